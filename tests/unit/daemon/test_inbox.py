"""Bounds and order of the three ways into the inbox."""

import pytest
import trio
import trio.testing

from mesh.core.effects import ClientId, StreamId
from mesh.core.identity import Address
from mesh.core.inputs import (
    ClientGone,
    DatagramReceived,
    Input,
    StreamClosed,
    StreamOpened,
    StreamReceived,
)
from mesh.core.instants import Instant
from mesh.daemon.inbox import STREAM_BYTES_MAX, STREAM_BYTES_PER_TURN, Inbox

PEER = Address("10.0.0.1", 7946)


def inbox_of(capacity: int) -> Inbox:
    return Inbox(lambda: Instant(trio.current_time()), capacity)


def gone(*numbers: int) -> list[Input]:
    return [ClientGone(ClientId(number)) for number in numbers]


async def test_offers_leave_the_last_quarter_to_clients() -> None:
    inbox = inbox_of(8)
    assert inbox.offer(gone(*range(10))) == 6
    assert inbox.room == 0
    assert inbox.offer(gone(99)) == 0
    with trio.fail_after(1):
        await inbox.put(gone(6)[0])
        await inbox.put(gone(7)[0])
    assert inbox.take(100) == gone(*range(8))


async def test_a_put_waits_at_the_bound_and_goes_on_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inbox = inbox_of(2)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(inbox.put, gone(number)[0])
            await trio.testing.wait_all_tasks_blocked()
        assert len(inbox) == 2
        taken: list[Input] = []
        while len(taken) < 5:
            taken += inbox.take(1)
            assert len(inbox) <= 2
            await trio.testing.wait_all_tasks_blocked()
    assert taken[:2] == gone(0, 1)
    assert sorted(map(repr, taken)) == sorted(map(repr, gone(*range(5))))
    assert autojump_clock.current_time() == trio.current_time()


async def test_a_notice_never_waits() -> None:
    inbox = inbox_of(1)
    for each in gone(1, 2, 3):
        inbox.notice(each)
    assert inbox.take(9) == gone(1, 2, 3)


async def test_room_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    inbox = inbox_of(4)
    inbox.offer(gone(1, 2, 3))
    with trio.move_on_after(1) as scope:
        await inbox.wait_room()
    assert scope.cancelled_caught
    inbox.take(1)
    with trio.fail_after(1):
        await inbox.wait_room()


async def test_waiting_ends_by_input_or_wake(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    inbox = inbox_of(4)
    began = trio.current_time()
    with trio.move_on_after(3):
        await inbox.wait()
    assert trio.current_time() - began == pytest.approx(3)
    inbox.wake()
    await inbox.wait()
    inbox.notice(gone(1)[0])
    await inbox.wait()
    await inbox.wait()
    assert trio.current_time() - began == pytest.approx(3), "something waits: no time passes"
    inbox.take(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait)
        await trio.testing.wait_all_tasks_blocked()
        inbox.wake()
    assert trio.current_time() - began == pytest.approx(3)


async def test_the_oldest_is_known_by_its_instant(autojump_clock: trio.testing.MockClock) -> None:
    inbox = inbox_of(4)
    assert inbox.oldest() is None
    inbox.notice(gone(1)[0])
    came = trio.current_time()
    autojump_clock.jump(2)
    inbox.notice(gone(2)[0])
    assert inbox.oldest() == came
    inbox.take(1)
    assert inbox.oldest() == came + 2


def datagrams(count: int) -> list[Input]:
    return [DatagramReceived(bytes((number % 256,)), PEER) for number in range(count)]


def chunk(stream: int, size: int) -> StreamReceived:
    return StreamReceived(StreamId(stream), bytes(size))


async def test_a_turn_takes_one_chunk_of_streams_and_everybody_else_first() -> None:
    inbox = inbox_of(4096)
    for _ in range(300):
        inbox.notice(chunk(1, 60_000))
    inbox.notice(gone(1)[0])
    inbox.offer(datagrams(2))
    assert inbox.take(64) == [*gone(1), *datagrams(2), chunk(1, 60_000)]
    assert inbox.take(64) == [chunk(1, 60_000)]


async def test_small_pieces_of_streams_are_taken_together_and_in_order() -> None:
    inbox = inbox_of(4096)
    pieces: list[Input] = [
        StreamOpened(StreamId(2), PEER, dialled=False),
        chunk(2, 100),
        chunk(4, STREAM_BYTES_PER_TURN - 200),
        StreamClosed(StreamId(2), "ended"),
        chunk(4, 101),
    ]
    for each in pieces:
        inbox.notice(each)
    assert inbox.take(64) == pieces[:4]
    assert inbox.take(64) == pieces[4:]
    assert inbox.take(64) == []


async def test_no_lane_keeps_the_others_waiting() -> None:
    inbox = inbox_of(4096)
    inbox.offer(datagrams(500))
    for number in range(200):
        inbox.notice(gone(number)[0])
        inbox.notice(chunk(1, 1))
    kinds = [type(each) for each in inbox.take(64)]
    assert kinds == [ClientGone] * 64 + [DatagramReceived] * 64 + [StreamReceived] * 64
    taken = len(kinds)
    while more := inbox.take(64):
        taken += len(more)
    assert taken == 900


async def test_streams_wait_at_their_own_bound_and_clients_do_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    inbox = inbox_of(4096)
    size = STREAM_BYTES_MAX // 16
    for _ in range(16):
        await inbox.put(chunk(1, size))
    with trio.move_on_after(1) as scope:
        await inbox.put(chunk(1, 1))
    assert scope.cancelled_caught
    with trio.fail_after(1):
        await inbox.put(gone(1)[0])
    assert inbox.offer(datagrams(1)) == 1
    inbox.take(64)
    with trio.fail_after(1):
        await inbox.put(chunk(1, 1))


async def test_what_waits_in_streams_is_not_late(autojump_clock: trio.testing.MockClock) -> None:
    inbox = inbox_of(4096)
    inbox.notice(chunk(1, 1))
    autojump_clock.jump(5)
    assert inbox.oldest() is None
    inbox.offer(datagrams(1))
    assert inbox.oldest() == trio.current_time()
