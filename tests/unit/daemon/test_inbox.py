"""Bounds and order of the three ways into the inbox."""

import pytest
import trio
import trio.testing

from mesh.core.effects import ClientId
from mesh.core.inputs import ClientGone, Input
from mesh.core.instants import Instant
from mesh.daemon.inbox import Inbox


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


async def test_waiting_ends_by_input_wake_or_time(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    inbox = inbox_of(4)
    began = trio.current_time()
    await inbox.wait(3)
    assert trio.current_time() - began == pytest.approx(3)
    inbox.wake()
    await inbox.wait(3)
    inbox.notice(gone(1)[0])
    await inbox.wait(3)
    await inbox.wait(3)
    assert trio.current_time() - began == pytest.approx(3), "something waits: no time passes"
    inbox.take(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait, 3)
        await trio.testing.wait_all_tasks_blocked()
        inbox.wake()
    assert trio.current_time() - began == pytest.approx(3)
    await inbox.wait(-1)


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
