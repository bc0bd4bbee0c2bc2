"""Streams between simulated nodes: reliable and ordered until they break.

Bytes arrive in order, late by latency and, on a lossy network, by retransmissions; they are cut
anywhere. A stream breaks when the network between its ends is cut or one end dies: what was under
way is lost, and each living end is told once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from mesh.core.effects import StreamId
from mesh.core.identity import Address
from mesh.core.inputs import Input, StreamClosed, StreamOpened, StreamReceived
from mesh.sim.host import Host, HostState
from mesh.sim.network import Network

ACCEPTED_FIRST = 1 << 32
"""Streams accepted from others are numbered from here; a node numbers its own below."""
EPHEMERAL_PORT_LOW = 32_768
EPHEMERAL_PORTS = 28_000
RETRANSMIT_S = 0.2
RETRANSMISSIONS_MAX = 8
CONNECT_TIMEOUT_S = 3.0
RESET_S = 0.01
BREAK_LOW_S = 0.5
BREAK_HIGH_S = 4.0
CUT_PROBABILITY = 0.2


class Wires(Protocol):
    """What streams need of their world."""

    now_s: float
    rng: random.Random
    network: Network

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a while."""
        ...

    def give(self, host: Host, event: Input) -> None:
        """Hand a host an input now."""
        ...

    def host_at(self, address: Address) -> Host | None:
        """Return the host that has an address."""
        ...


@dataclass(slots=True, eq=False)
class End:
    """One end of a stream, at one run of a host's node."""

    host: Host
    run: int
    stream: StreamId
    peer: "End | None" = None
    closed: bool = False
    """This end was told so, or closed it."""
    arrival_s: float = 0.0
    """When the last bytes sent to this end arrive."""
    early: list[bytes] = field(default_factory=list)
    """What the dialling node sent before the stream was up."""
    close_early: bool = False


class Streams:
    """All streams of one world."""

    __slots__ = ("_accepted", "_ends", "_wires")

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._ends: dict[tuple[int, int, StreamId], End] = {}
        self._accepted = ACCEPTED_FIRST

    def count(self) -> int:
        """Return how many ends are open."""
        return len(self._ends)

    def open(self, host: Host, stream: StreamId, target: Address) -> None:
        """Dial: the stream is up, or closed, after a while."""
        assert stream < ACCEPTED_FIRST, "a node numbers its own streams below 2**32"
        key = (host.index, host.run, stream)
        assert key not in self._ends, f"stream {stream} of {host.name} is already open"
        end = self._ends[key] = End(host, host.run, stream)
        wires = self._wires
        peer = wires.host_at(target)
        if peer is None or peer.state is HostState.ASLEEP or self._severed(host.address, target):
            wires.call_later(CONNECT_TIMEOUT_S, partial(self._tell_closed, end, "timed out"))
        else:
            # One round trip: SYN, SYN-ACK.
            delay_s = self._delay_s() + self._delay_s()
            wires.call_later(delay_s, partial(self._establish, end, peer, target))

    def send(self, host: Host, stream: StreamId, data: bytes) -> None:
        """Append bytes to a stream; lost when it is already closed."""
        end = self._ends.get((host.index, host.run, stream))
        if end is None or end.closed:
            return
        if end.peer is None:
            end.early.append(data)
        elif self._severed(end.host.address, end.peer.host.address):
            self._break(end, "timed out")
        else:
            self._transmit(end.peer, data)

    def close(self, host: Host, stream: StreamId) -> None:
        """Close a stream after what was sent; both ends hear of it, unknown ids are ignored."""
        end = self._ends.get((host.index, host.run, stream))
        if end is None or end.closed:
            return
        if end.peer is None:
            end.close_early = True
            return
        peer = end.peer
        self._wires.call_later(0.0, partial(self._tell_closed, end, "closed here"))
        delay_s = max(peer.arrival_s - self._wires.now_s, self._delay_s())
        self._wires.call_later(delay_s, partial(self._tell_closed, peer, "closed by the peer"))

    def drop_host(self, host: Host, *, machine: bool) -> None:
        """End a stopped host's streams: a dead process resets them, a dead machine is silent."""
        for key, end in list(self._ends.items()):
            if end.host is not host:
                continue
            del self._ends[key]
            end.closed = True
            peer = end.peer
            if peer is not None and not peer.closed:
                slow = machine or self._severed(host.address, peer.host.address)
                delay_s = self._break_s() if slow else RESET_S
                self._wires.call_later(
                    delay_s, partial(self._tell_closed, peer, "reset by the peer")
                )

    def sweep(self) -> None:
        """Break the streams between hosts that can no longer reach each other."""
        for end in list(self._ends.values()):
            peer = end.peer
            if peer is None or not self._severed(end.host.address, peer.host.address):
                continue
            self._break(end, "timed out")

    def _establish(self, end: End, peer_host: Host, target: Address) -> None:
        if end.closed or end.run != end.host.run:
            return
        if peer_host.state in {HostState.OFF, HostState.ASLEEP} or peer_host.address != target:
            self._tell_closed(end, "refused")
            return
        if self._severed(end.host.address, target):
            self._tell_closed(end, "timed out")
            return
        self._accepted += 1
        accepted = StreamId(self._accepted)
        other = End(peer_host, peer_host.run, accepted, peer=end)
        self._ends[peer_host.index, peer_host.run, accepted] = other
        end.peer = other
        end.arrival_s = other.arrival_s = self._wires.now_s
        port = EPHEMERAL_PORT_LOW + self._wires.rng.randrange(EPHEMERAL_PORTS)
        source = Address(end.host.address.host, port)
        self._wires.give(peer_host, StreamOpened(accepted, source, dialled=False))
        for data in end.early:
            self._transmit(other, data)
        end.early.clear()
        self._wires.give(end.host, StreamOpened(end.stream, target, dialled=True))
        if end.close_early:
            self.close(end.host, end.stream)

    def _transmit(self, to: End, data: bytes) -> None:
        wires = self._wires
        chunks = [data]
        if len(data) > 1 and wires.rng.random() < CUT_PROBABILITY:
            at = 1 + wires.rng.randrange(len(data) - 1)
            chunks = [data[:at], data[at:]]
        for chunk in chunks:
            to.arrival_s = max(to.arrival_s, wires.now_s + self._delay_s())
            wires.call_later(to.arrival_s - wires.now_s, partial(self._arrive, to, chunk))

    def _arrive(self, to: End, data: bytes) -> None:
        if not to.closed and to.run == to.host.run:
            self._wires.give(to.host, StreamReceived(to.stream, data))

    def _tell_closed(self, end: End, reason: str) -> None:
        if end.closed:
            return
        end.closed = True
        self._ends.pop((end.host.index, end.run, end.stream), None)
        if end.run == end.host.run:
            self._wires.give(end.host, StreamClosed(end.stream, reason))

    def _break(self, end: End, reason: str) -> None:
        """Lose what is under way and tell both ends, each after a while of its own."""
        for side in (end, end.peer):
            if side is None or side.closed:
                continue
            self._ends.pop((side.host.index, side.run, side.stream), None)
            # A twin takes the end's place, so that bytes under way find a closed end.
            side.closed = True
            twin = End(side.host, side.run, side.stream)
            self._wires.call_later(self._break_s(), partial(self._tell_closed, twin, reason))

    def _delay_s(self) -> float:
        delay_s = self._wires.network.latency()
        for _ in range(RETRANSMISSIONS_MAX):
            if self._wires.rng.random() >= self._wires.network.loss:
                break
            delay_s += RETRANSMIT_S
        return delay_s

    def _break_s(self) -> float:
        return self._wires.rng.uniform(BREAK_LOW_S, BREAK_HIGH_S)

    def _severed(self, one: Address, other: Address) -> bool:
        return self._wires.network.severed(one, other)
