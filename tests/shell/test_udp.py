"""UDP over the loopback: what arrives, what is dropped, and who has to wait."""

import errno
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from mesh.core.effects import ClientId
from mesh.core.identity import Address
from mesh.core.inputs import ClientGone, DatagramReceived, Input
from mesh.core.instants import Instant
from mesh.core.wire.frame import DATAGRAM_BYTES_MAX
from mesh.daemon.inbox import Inbox
from mesh.daemon.sockets import Sockets, bind_sockets
from mesh.daemon.udp import DRAIN_MAX, UdpPort

LOCAL = Address("127.0.0.1", 0)


class End:
    """One node's port with its inbox."""

    def __init__(self, host: str = "127.0.0.1", capacity: int = 4096) -> None:
        self.sockets: Sockets = bind_sockets(Address(host, 0))
        self.address = self.sockets.address
        self.inbox = Inbox(lambda: Instant(trio.current_time()), capacity)
        self.port = UdpPort(self.sockets.udp, self.inbox)


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    both = End(), End()
    yield both
    for end in both:
        end.sockets.close()


async def received(end: End, count: int) -> list[Input]:
    found: list[Input] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.port.run)
            while len(found) < count:
                await end.inbox.wait()
                found += end.inbox.take(count)
            nursery.cancel_scope.cancel()
    return found


async def test_datagrams_arrive_with_their_source(ends: tuple[End, End]) -> None:
    one, two = ends
    largest = bytes(DATAGRAM_BYTES_MAX)
    for data in (b"first", b"", largest):
        one.port.send(two.address, data)
    assert await received(two, 3) == [
        DatagramReceived(data, one.address) for data in (b"first", b"", largest)
    ]


async def test_a_turn_takes_many_in_one_go_but_not_all(ends: tuple[End, End]) -> None:
    one, two = ends
    for number in range(DRAIN_MAX + 5):
        one.port.send(two.address, number.to_bytes(2, "big"))
    assert two.port.drain() == DRAIN_MAX
    assert two.port.drain() == 5
    assert two.port.drain() == 0
    data = [each.data for each in two.inbox.take(999) if isinstance(each, DatagramReceived)]
    assert data == [number.to_bytes(2, "big") for number in range(DRAIN_MAX + 5)]


async def test_a_longer_datagram_is_dropped_and_counted(ends: tuple[End, End]) -> None:
    one, two = ends
    one.port.send(two.address, bytes(DATAGRAM_BYTES_MAX + 1))
    one.port.send(two.address, bytes(5000))
    one.port.send(two.address, b"fits")
    assert await received(two, 1) == [DatagramReceived(b"fits", one.address)]
    assert two.port.counters["udp_oversize"] == 2


async def test_with_a_full_inbox_datagrams_wait_in_the_kernel() -> None:
    one, two = End(), End(capacity=8)
    for number in range(10):
        one.port.send(two.address, bytes((number,)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(two.port.run)
        with trio.fail_after(5):
            while len(two.inbox) < 6:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert len(two.inbox) == 6, "the last quarter is for clients"
        with trio.fail_after(5):
            await two.inbox.put(ClientGone(ClientId(1)))
            found = two.inbox.take(7)
            while len(found) < 11:
                await two.inbox.wait()
                found += two.inbox.take(7)
        nursery.cancel_scope.cancel()
    data = [each.data for each in found if isinstance(each, DatagramReceived)]
    assert data == [bytes((number,)) for number in range(10)], "none was lost"
    one.sockets.close()
    two.sockets.close()


async def test_what_can_not_be_sent_is_counted_and_no_name_is_looked_up(
    ends: tuple[End, End],
) -> None:
    one, two = ends
    for target in (Address("localhost", 7), Address("::1", 7), Address("127.0.0.1", 0)):
        one.port.send(target, b"x")
    assert one.port.counters["udp_unsendable"] == 3
    one.port.send(Address("127.0.0.1", 1), bytes(70_000))
    assert one.port.counters["udp_send_failed"] == 1
    one.port.send(two.address, b"still works")
    assert await received(two, 1) == [DatagramReceived(b"still works", one.address)]


class Troubled(socket.socket):
    """A socket with an error waiting for the next send."""

    trouble: list[OSError]

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:  # type: ignore[override]  # the one form used
        if self.trouble:
            raise self.trouble.pop(0)
        return super().sendto(data, address)


@pytest.mark.parametrize(
    ("trouble", "arrives", "counter"),
    [
        ([ConnectionRefusedError()], True, ""),
        ([ConnectionRefusedError(), ConnectionRefusedError()], False, "udp_send_failed"),
        ([BlockingIOError()], False, "udp_send_full"),
        ([OSError(errno.ENETUNREACH, "no network")], False, "udp_send_failed"),
        ([OSError(errno.EPERM, "firewall")], False, "udp_send_failed"),
    ],
)
async def test_errors_of_sending(
    ends: tuple[End, End], trouble: list[OSError], arrives: bool, counter: str
) -> None:
    one, two = ends
    troubled = Troubled(socket.AF_INET, socket.SOCK_DGRAM)
    troubled.trouble = list(trouble)
    port = UdpPort(troubled, one.inbox)
    port.send(two.address, b"x")
    troubled.close()
    assert two.port.drain() == (1 if arrives else 0)
    assert dict(port.counters) == ({} if not counter else {counter: 1})


async def test_ipv4_and_ipv6_meet_on_one_socket() -> None:
    try:
        both = End("::")
    except OSError:
        pytest.skip("no IPv6 here")
    four, six = End(), End("::1")
    port = both.address.port
    four.port.send(Address("127.0.0.1", port), b"four")
    six.port.send(Address("::1", port), b"six")
    assert await received(both, 2) == [
        DatagramReceived(b"four", four.address),
        DatagramReceived(b"six", six.address),
    ]
    both.port.send(four.address, b"back")
    assert await received(four, 1) == [DatagramReceived(b"back", Address("127.0.0.1", port))]
    for end in (both, four, six):
        end.sockets.close()
