"""TCP streams over the loopback: order, bounds, and every way to end."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mesh.core.effects import StreamId
from mesh.core.identity import Address
from mesh.core.inputs import Input, StreamClosed, StreamOpened, StreamReceived
from mesh.core.instants import Instant
from mesh.daemon import streams as streams_module
from mesh.daemon.inbox import Inbox
from mesh.daemon.sockets import Sockets, bind_sockets
from mesh.daemon.streams import Channel, StreamBounds, Streams

LOCAL = Address("127.0.0.1", 0)
MIB = 1024 * 1024
ONE = StreamId(1)


class End:
    def __init__(self, bounds: StreamBounds | None, capacity: int) -> None:
        self.sockets: Sockets = bind_sockets(LOCAL)
        self.address = self.sockets.address
        self.inbox = Inbox(lambda: Instant(trio.current_time()), capacity)
        self.streams = Streams(self.sockets.listener, self.inbox, bounds)
        self.seen: list[Input] = []

    async def next(self) -> Input:
        """Return the next input that is no bytes; those are collected in `data`."""
        with trio.fail_after(5):
            while True:
                for each in self.inbox.take(1):
                    self.seen.append(each)
                    if not isinstance(each, StreamReceived):
                        return each
                await self.inbox.wait()

    def data(self, stream: int) -> bytes:
        pieces = [
            each.data
            for each in self.seen
            if isinstance(each, StreamReceived) and each.stream == stream
        ]
        return b"".join(pieces)

    async def wait_data(self, stream: int, size: int) -> bytes:
        with trio.fail_after(5):
            while len(self.data(stream)) < size:
                await self.inbox.wait()
                self.seen += self.inbox.take(100)
        return self.data(stream)


@asynccontextmanager
async def running(bounds: StreamBounds | None = None, capacity: int = 4096) -> AsyncIterator[End]:
    end = End(bounds, capacity)
    async with trio.open_nursery() as nursery:
        await nursery.start(end.streams.run)
        yield end
        nursery.cancel_scope.cancel()
    end.sockets.close()


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    async with running() as one, running() as two:
        yield one, two


async def connected(one: End, two: End, stream: StreamId = ONE) -> StreamId:
    one.streams.open(stream, two.address)
    assert await one.next() == StreamOpened(stream, two.address, dialled=True)
    accepted = await two.next()
    assert isinstance(accepted, StreamOpened)
    assert not accepted.dialled
    assert accepted.stream % 2 == 0
    return accepted.stream


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the option")
async def test_streams_over_a_cut_network_end_soon(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard_ms, read = [], Streams._read

    async def watched(self: Streams, channel: Channel, stream: trio.SocketStream) -> None:
        unheard_ms.append(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        await read(self, channel, stream)

    monkeypatch.setattr(Streams, "_read", watched)
    await connected(*ends)
    await trio.testing.wait_all_tasks_blocked()
    assert unheard_ms == [5000, 5000], "whoever dialled, and whoever accepted"


async def test_bytes_go_both_ways_in_order(ends: tuple[End, End]) -> None:
    one, two = ends
    there = await connected(one, two)
    for number in range(100):
        one.streams.send(ONE, bytes((number,)))
    two.streams.send(there, b"hello")
    assert await two.wait_data(there, 100) == bytes(range(100))
    assert await one.wait_data(ONE, 5) == b"hello"


async def test_accepted_streams_get_ids_of_their_own(ends: tuple[End, End]) -> None:
    one, two = ends
    ids = [await connected(one, two, StreamId(number)) for number in (1, 3, 5)]
    assert ids == [2, 4, 6]


async def test_closing_delivers_what_was_sent_and_is_said_once_on_each_side(
    ends: tuple[End, End],
) -> None:
    one, two = ends
    there = await connected(one, two)
    # Unread bytes on the closing side would turn the end into a reset that eats what is under way.
    two.streams.send(there, bytes(MIB))
    one.streams.send(ONE, b"x" * MIB)
    one.streams.close(ONE)
    one.streams.send(ONE, b"too late")
    one.streams.close(ONE)
    assert await two.next() == StreamClosed(there, "ended")
    assert two.data(there) == b"x" * MIB
    assert await one.next() == StreamClosed(ONE, "closed")
    assert one.data(ONE) == b"", "nobody waits for that any more"
    assert len(one.streams) == len(two.streams) == 0
    await trio.testing.wait_all_tasks_blocked()
    assert len(one.inbox) == len(two.inbox) == 0


async def test_unknown_streams_are_ignored(ends: tuple[End, End]) -> None:
    one, _ = ends
    one.streams.close(StreamId(77))
    one.streams.send(StreamId(77), b"x")
    assert len(one.inbox) == 0


async def test_nobody_listening_is_refused(ends: tuple[End, End]) -> None:
    one, _ = ends
    with socket.socket() as unused:
        unused.bind(LOCAL)
        one.streams.open(ONE, Address(*unused.getsockname()))
        assert await one.next() == StreamClosed(ONE, "refused")


@pytest.mark.parametrize("target", [Address("::1", 7), Address("localhost", 7)])
async def test_an_address_of_another_kind_is_unreachable(
    ends: tuple[End, End], target: Address
) -> None:
    one, _ = ends
    one.streams.open(ONE, target)
    assert await one.next() == StreamClosed(ONE, "unreachable")


async def silent_listener() -> tuple[socket.socket, list[trio.socket.SocketType], Address]:
    """Return a listener whose backlog is full: further connections get no answer."""
    listener = socket.socket()
    listener.bind(LOCAL)
    listener.listen(0)
    address = Address(*listener.getsockname())
    fillers = []
    while True:
        filler = trio.socket.socket()
        fillers.append(filler)
        with trio.move_on_after(0.05) as scope:
            await filler.connect(address)
        if scope.cancelled_caught:
            return listener, fillers, address


async def test_dialling_ends_after_its_time_or_when_closed() -> None:
    listener, fillers, address = await silent_listener()
    async with running(StreamBounds(dial_s=0.05)) as one:
        one.streams.open(ONE, address)
        assert await one.next() == StreamClosed(ONE, "timed_out")
        one.streams.open(StreamId(3), address)
        one.streams.close(StreamId(3))
        assert await one.next() == StreamClosed(StreamId(3), "closed")
        for filler in fillers:
            filler.close()
        listener.close()


async def test_a_stream_over_its_bound_is_closed() -> None:
    async with running(StreamBounds(queue_bytes_max=MIB)) as one:
        # The peer accepts and never reads.
        with socket.socket() as silent:
            silent.bind(LOCAL)
            silent.listen()
            address = Address(*silent.getsockname())
            one.streams.open(ONE, address)
            assert await one.next() == StreamOpened(ONE, address, dialled=True)
            one.streams.send(ONE, bytes(MIB))
            assert one.streams.counters["streams_overflowed"] == 0, "at the bound"
            one.streams.send(ONE, b"x")
            assert one.streams.counters["streams_overflowed"] == 1
            one.streams.send(ONE, b"ignored")
            assert await one.next() == StreamClosed(ONE, "overflow")


async def test_what_has_left_counts_no_more() -> None:
    async with running(StreamBounds(queue_bytes_max=MIB)) as one, running() as two:
        there = await connected(one, two)
        for sent in range(1, 4):
            one.streams.send(ONE, bytes(MIB))
            await two.wait_data(there, sent * MIB)
        assert one.streams.counters["streams_overflowed"] == 0


async def test_a_peer_that_never_reads_holds_a_closed_stream_no_longer_than_allowed() -> None:
    async with running(StreamBounds(queue_bytes_max=16 * MIB, linger_s=0.05)) as one:
        with socket.socket() as silent:
            silent.bind(LOCAL)
            silent.listen()
            one.streams.open(ONE, Address(*silent.getsockname()))
            await one.next()
            one.streams.send(ONE, bytes(16 * MIB))
            one.streams.close(ONE)
            assert await one.next() == StreamClosed(ONE, "closed")


async def test_a_reset_is_told_as_one(ends: tuple[End, End]) -> None:
    one, _ = ends
    with socket.create_connection(one.address) as rude:
        opened = await one.next()
        assert isinstance(opened, StreamOpened)
        assert opened.peer == Address(*rude.getsockname())
        linger_nothing = b"\1\0\0\0\0\0\0\0"
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_nothing)
    assert await one.next() == StreamClosed(opened.stream, "reset")


async def test_one_stream_more_than_allowed_is_refused() -> None:
    async with running(StreamBounds(streams_max=2)) as one:
        kept = [socket.create_connection(one.address) for _ in range(2)]
        for _ in kept:
            assert isinstance(await one.next(), StreamOpened)
        with socket.create_connection(one.address) as refused:
            refused.setblocking(False)
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(refused)
            assert refused.recv(1) == b""
        one.streams.open(ONE, one.address)
        assert await one.next() == StreamClosed(ONE, "too_many")
        assert one.streams.counters["streams_refused"] == 2
        for connection in kept:
            connection.close()
            assert isinstance(await one.next(), StreamClosed)
        await connected_again(one)


async def connected_again(end: End) -> None:
    with socket.create_connection(end.address):
        assert isinstance(await end.next(), StreamOpened)


async def test_a_full_inbox_holds_back_the_peer() -> None:
    async with running(capacity=4) as one:
        with socket.create_connection(one.address) as eager:
            eager.setblocking(False)
            total = 0
            with trio.move_on_after(0.3):
                while True:
                    await trio.lowlevel.wait_writable(eager)
                    total += eager.send(bytes(MIB))
            assert len(one.inbox) == 4
            assert total < 64 * MIB, "the kernel's buffers, and no more"
            opened = one.inbox.take(1)[0]
            assert isinstance(opened, StreamOpened)
            got = sum(
                len(each.data) for each in one.inbox.take(9) if isinstance(each, StreamReceived)
            )
            with trio.fail_after(5):
                while got < total:
                    await one.inbox.wait()
                    found = [each for each in one.inbox.take(9) if isinstance(each, StreamReceived)]
                    got += sum(len(each.data) for each in found)


async def test_running_out_of_descriptors_is_survived(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ends
    monkeypatch.setattr(streams_module, "ACCEPT_PAUSE_S", 0.0)
    accept, failures = two.streams._listener.accept, [OSError(24, "EMFILE"), OSError(24, "EMFILE")]

    async def accept_or_fail() -> trio.SocketStream:
        if failures:
            await trio.lowlevel.checkpoint()
            raise failures.pop()
        return await accept()

    monkeypatch.setattr(two.streams._listener, "accept", accept_or_fail)
    # The accept under way is still the old one.
    await connected(one, two)
    await connected(one, two, StreamId(3))
    assert two.streams.counters["accepts_failed"] == 2


async def test_flushing_lets_everything_out(ends: tuple[End, End]) -> None:
    one, two = ends
    there = await connected(one, two)
    one.streams.send(ONE, b"y" * MIB)
    with trio.fail_after(5):
        await one.streams.flush(5)
    assert len(one.streams) == 0
    assert await two.next() == StreamClosed(there, "ended")
    assert two.data(there) == b"y" * MIB
