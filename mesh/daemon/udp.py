"""The UDP port: arrivals go to the inbox in one go, what is to leave leaves or is lost."""

import socket
from collections import Counter
from collections.abc import Callable

import trio

from mesh.core.identity import Address
from mesh.core.inputs import DatagramReceived
from mesh.core.wire.frame import DATAGRAM_BYTES_MAX
from mesh.daemon.inbox import Inbox
from mesh.daemon.sockets import KNOWN_MAX, AddressBook, plain_address

DRAIN_MAX = 256
"""Datagrams taken before anybody else has a turn."""
BUFFER_BYTES = DATAGRAM_BYTES_MAX + 1
"""One byte more than allowed: a longer datagram is known by filling it."""


class UdpPort:
    """Sends and receives datagrams on a bound socket that does not block."""

    def __init__(
        self, bound: socket.socket, inbox: Inbox, arrived: Callable[[], object] | None = None
    ) -> None:
        """`arrived` is called after something was put into the inbox; without it, that wakes."""
        self._socket = bound
        self._inbox = inbox
        self._arrived = arrived or inbox.wake
        self._book = AddressBook(bound.family)
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._sources: dict[tuple[str, int], Address] = {}
        self.counters: Counter[str] = Counter()

    def send(self, target: Address, data: bytes) -> None:
        """Send once; a datagram that can not leave now is dropped and counted."""
        where = self._book.socket_address(target)
        if where is None:
            self.counters["udp_unsendable"] += 1
            return
        try:
            try:
                self._socket.sendto(data, where)
            except ConnectionRefusedError:
                # Said of an earlier datagram: this one has not been tried yet.
                self._socket.sendto(data, where)
        except BlockingIOError:
            self.counters["udp_send_full"] += 1
        except OSError:
            self.counters["udp_send_failed"] += 1

    async def run(self) -> None:
        """Receive until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            await self._inbox.wait_room()
            self.drain()
            self._arrived()

    def drain(self) -> int:
        """Move what has arrived into the inbox, as far as there is room; returns how many."""
        arrived: list[DatagramReceived] = []
        for _ in range(min(DRAIN_MAX, self._inbox.room)):
            try:
                size, source = self._socket.recvfrom_into(self._buffer)
            except BlockingIOError:
                break
            except OSError:
                # An ICMP answer to an earlier datagram; whatever else it is shows up again.
                self.counters["udp_receive_failed"] += 1
                continue
            if size > DATAGRAM_BYTES_MAX:
                self.counters["udp_oversize"] += 1
                continue
            arrived.append(DatagramReceived(bytes(self._view[:size]), self._source(source)))
        self.counters["udp_received"] += len(arrived)
        return self._inbox.offer(arrived)

    def _source(self, found: tuple[str, int]) -> Address:
        known = self._sources.get(found)
        if known is None:
            if len(self._sources) >= KNOWN_MAX:
                self._sources.clear()
            known = self._sources[found] = plain_address(found)
        return known
