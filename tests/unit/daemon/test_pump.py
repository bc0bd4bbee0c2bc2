"""The pump in virtual time, around a node that writes down what it is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from mesh.core.effects import ClientId, Commit, CommitNumber, Effect, Halt, Row
from mesh.core.inputs import ClientGone, CommitDone, Input, LoopLag, SuspendGap
from mesh.core.instants import NEVER, Instant, Now, WallTime
from mesh.core.params import MembershipParams
from mesh.daemon.inbox import Inbox
from mesh.daemon.pump import HEARTBEAT_S, INPUTS_PER_TURN, Pump, Surroundings

PARAMS = MembershipParams()


class FakeClock:
    """Trio's virtual time plus what the host has slept."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.is_readable = True

    def now(self) -> Now:
        at = trio.current_time() + self.slept
        return Now(Instant(at), WallTime(at))

    def slept_s(self) -> float | None:
        return self.slept if self.is_readable else None


@dataclass
class FakeNode:
    """Writes down what it was told, and answers from a script."""

    clock: FakeClock
    deadlines: list[float] = field(default_factory=list)
    told: list[object] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    """How many inputs came together."""
    answers: dict[object, list[Effect]] = field(default_factory=dict)
    on_timeout: Callable[[], None] = lambda: None
    is_stubborn: bool = False

    def start(self, now: Now) -> list[Effect]:
        self.told.append("start")
        assert now == self.clock.now()
        return self.answers.get("start", [])

    def handle_all(self, now: Now, inputs: Sequence[Input], /) -> list[Effect]:
        assert now == self.clock.now()
        self.told += inputs
        self.turns.append(len(inputs))
        return [effect for each in inputs for effect in self.answers.get(each, [])]

    def handle_timeout(self, now: Now) -> list[Effect]:
        if not self.is_stubborn:
            self.deadlines = [each for each in self.deadlines if each > now.instant]
        self.told.append("timeout")
        self.on_timeout()
        return self.answers.get("timeout", [])

    def next_deadline(self) -> Instant:
        return Instant(min(self.deadlines, default=NEVER))


class World:
    def __init__(self, virtual: MockClock) -> None:
        self.virtual = virtual
        self.clock = FakeClock()
        self.node = FakeNode(self.clock)
        self.inbox = Inbox(lambda: self.clock.now().instant)
        self.performed: list[Effect] = []
        self.kernel: list[Input] = []
        self.outcomes: list[Input] = []
        self.fed: list[float] = []
        around = Surroundings(
            inbox=self.inbox,
            clock=self.clock,
            perform=self.perform,
            poll=self.poll,
            outcomes=self.take_outcomes,
            watchdog=lambda: self.fed.append(trio.current_time()),
        )
        self.pump = Pump(self.node, around, PARAMS)

    def perform(self, effect: Effect) -> None:
        self.performed.append(effect)
        if isinstance(effect, Halt):
            self.pump.stop(effect.reason)

    def poll(self) -> None:
        self.inbox.offer(self.kernel)
        self.kernel = []

    def take_outcomes(self) -> Sequence[Input]:
        taken, self.outcomes = self.outcomes, []
        return taken

    async def run_for(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.pump.run)
            await trio.sleep(seconds)
            self.pump.stop("test")


def gone(number: int) -> ClientGone:
    return ClientGone(ClientId(number))


def commit(number: int) -> Commit:
    return Commit(CommitNumber(number), (Row("fact", b"", b""),))


async def test_effects_are_performed_in_order_and_nothing_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    world = World(autojump_clock)
    world.node.answers = {"start": [commit(1), commit(2)], gone(1): [commit(3)], gone(2): []}
    async with trio.open_nursery() as nursery:
        await nursery.start(world.pump.run)
        assert world.performed == [commit(1), commit(2)], "before it counts as started"
        world.inbox.notice(gone(1))
        world.inbox.notice(gone(2))
        await trio.testing.wait_all_tasks_blocked()
        world.pump.stop("test")
    assert world.performed == [commit(1), commit(2), commit(3)]
    assert world.node.told == ["start", gone(1), gone(2)]


async def test_halt_ends_the_run_with_its_reason(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.answers = {gone(1): [Halt("left"), commit(1)]}
    world.inbox.notice(gone(1))
    assert await world.pump.run() == "left"
    assert world.performed[-1] == commit(1), "what came with it is still done"
    world.pump.stop("too late")


async def test_the_deadline_is_kept(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    began = trio.current_time()
    world.node.deadlines = [began + 0.3, began + 0.4, began + 50]
    seen: list[float] = []
    world.node.on_timeout = lambda: seen.append(trio.current_time() - began)
    await world.run_for(10)
    assert seen == pytest.approx([0.3, 0.4])


async def test_what_has_arrived_is_handled_before_time_is_up(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time() + 0.5]
    world.kernel = [gone(1)]
    await world.run_for(1)
    assert world.node.told == ["start", gone(1), "timeout"]


async def test_an_answer_in_the_kernel_can_move_the_deadline(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time() + 0.5]
    world.kernel = [gone(1)]
    original = world.node.handle_all

    def handle_all(now: Now, inputs: Sequence[Input], /) -> list[Effect]:
        world.node.deadlines = []
        return original(now, inputs)

    world.node.handle_all = handle_all  # type: ignore[method-assign]  # the fake's script
    await world.run_for(1)
    assert "timeout" not in world.node.told


async def test_a_flood_does_not_hold_up_the_deadline(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    flood = INPUTS_PER_TURN * 4
    for number in range(flood):
        world.inbox.notice(gone(number))
    world.node.deadlines = [trio.current_time()]
    await world.run_for(1)
    assert world.node.told.index("timeout") <= 2 * INPUTS_PER_TURN + 1
    assert len(world.node.told) == flood + 2


async def test_commit_outcomes_come_first(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.inbox.notice(gone(1))
    world.outcomes = [CommitDone(CommitNumber(7))]
    await world.run_for(0.1)
    assert world.node.told == ["start", CommitDone(CommitNumber(7)), gone(1)]


async def test_lag_is_told_before_late_inputs_and_timeouts(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time() + 0.5]

    async def hog() -> None:
        await trio.sleep(0.4)
        world.inbox.notice(gone(1))
        world.virtual.jump(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hog)
        await world.run_for(2)
    lag = world.node.told[1]
    assert isinstance(lag, LoopLag)
    assert lag.lag_s == pytest.approx(5)
    assert world.node.told == ["start", lag, gone(1), "timeout"]
    assert world.pump.lag_max_s == pytest.approx(5)


async def test_a_stop_amid_a_turn_is_told_before_what_comes_in_then(
    autojump_clock: MockClock,
) -> None:
    """Found with SIGSTOP: the deadlines after the stop hid that the turn itself had taken long."""
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time() + 0.5, trio.current_time() + 60]

    def stop() -> None:
        world.node.on_timeout = lambda: None
        world.virtual.jump(8)
        world.inbox.notice(gone(1))

    world.node.on_timeout = stop
    await world.run_for(10)
    lag = world.node.told[2]
    assert isinstance(lag, LoopLag)
    assert lag.lag_s == pytest.approx(8 - HEARTBEAT_S)
    assert world.node.told == ["start", "timeout", lag, gone(1)]


async def test_lag_within_the_bound_is_not_told(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time() + 0.5]

    async def hog() -> None:
        await trio.sleep(0.45)
        world.virtual.jump(0.05 + PARAMS.loop_lag_s * 0.9)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hog)
        await world.run_for(2)
    assert world.node.told == ["start", "timeout"]


async def test_a_suspended_host_is_told_once_and_not_as_lag(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time() + 60]

    async def sleep_and_wake() -> None:
        await trio.sleep(0.1)
        world.clock.slept += 3600.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep_and_wake)
        await world.run_for(5)
    assert world.node.told == ["start", SuspendGap(3600.0), "timeout"]


async def test_a_small_gap_and_an_unreadable_clock_are_no_suspend(
    autojump_clock: MockClock,
) -> None:
    world = World(autojump_clock)
    world.clock.slept += PARAMS.suspend_gap_s * 0.9
    await world.run_for(2)
    assert world.node.told == ["start"]


async def test_a_gap_is_found_once_the_clock_can_be_read(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.clock.is_readable = False
    async with trio.open_nursery() as nursery:
        await nursery.start(world.pump.run)
        world.clock.slept += 100
        await trio.sleep(2 * HEARTBEAT_S)
        assert SuspendGap(100) not in world.node.told
        world.clock.is_readable = True
        await trio.sleep(2 * HEARTBEAT_S)
        world.pump.stop("test")
    assert SuspendGap(100) in world.node.told


async def test_the_watchdog_is_fed_at_least_once_per_heartbeat(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    await world.run_for(10)
    gaps = [after - before for before, after in zip(world.fed, world.fed[1:], strict=False)]
    assert len(world.fed) >= 10
    assert max(gaps) <= HEARTBEAT_S + 0.001


async def test_a_deadline_that_stays_in_the_past_is_a_crash(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [trio.current_time()]
    world.node.is_stubborn = True
    with pytest.raises(AssertionError):
        await world.pump.run()


async def test_what_came_together_goes_in_together(autojump_clock: MockClock) -> None:
    world = World(autojump_clock)
    world.outcomes = [CommitDone(CommitNumber(1))]
    world.inbox.notice(gone(1))
    world.kernel = [gone(2)]
    await world.run_for(0.5)
    assert world.node.told == ["start", CommitDone(CommitNumber(1)), gone(1), gone(2)]
    assert world.node.turns == [3]


async def test_an_alarm_that_has_become_too_early_does_not_wake_an_idle_loop(
    autojump_clock: MockClock,
) -> None:
    world = World(autojump_clock)
    world.node.deadlines = [0.4, 9.0]
    async with trio.open_nursery() as nursery:
        await nursery.start(world.pump.run)
        await trio.sleep(0.3)
        world.node.deadlines = [9.0]
        world.inbox.notice(gone(1))
        await trio.sleep(0.95)
        assert world.fed == pytest.approx([0.3]), "not at 0.4, nor a heartbeat after the start"
        await trio.sleep(0.1)
        assert world.fed == pytest.approx([0.3, 0.3 + HEARTBEAT_S])
        world.pump.stop("test")
