"""The only one that owns the node: inputs go in, effects come out in order.

A turn never waits, so no turn runs into another. The pump's own task takes one whenever something
is in the inbox or time is up; whoever has just read datagrams takes one itself, since to wake
another task for that would cost a round of the loop.

What has come in together goes in together, so that it shares one commit, and datagrams. A turn
never waits for the world. Effects are handed on (to a socket, a queue, the writer) and the loop
goes on; what waits for a commit waits in the node, behind its number. There is one deadline, the
node's, and one rule of fairness: before the node is told that time is up, what had already reached
this machine is handled, so that an answer in the kernel's buffer never counts as silence.

The pump also watches itself. It wakes at least once per heartbeat; if it wakes late, or inputs had
to wait, the node is told (`LoopLag`) before it draws conclusions about others; if the host slept,
the node is told that too (`SuspendGap`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from mesh.core.effects import Effect
from mesh.core.inputs import Input, LoopLag, SuspendGap
from mesh.core.instants import Instant, Now
from mesh.core.params import MembershipParams
from mesh.daemon.clock import Clock
from mesh.daemon.inbox import Inbox

HEARTBEAT_S = 1.0
"""Trio's sleep does not count suspend: after so long at most, a gap is noticed."""
ALARM_EARLY_S = 0.02
"""An alarm set so much too early is moved: seldom in a busy loop, and an idle one sleeps on."""
INPUTS_PER_TURN = 64
"""Handled of each lane before the deadline is looked at again."""


class Driven(Protocol):
    """A node as its driver sees it."""

    def start(self, now: Now) -> list[Effect]:
        """Begin."""
        ...

    def handle_all(self, now: Now, inputs: Sequence[Input], /) -> list[Effect]:
        """Take inputs that came together."""
        ...

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Do what is due; calls that come early or late are harmless."""
        ...

    def next_deadline(self) -> Instant:
        """Return when something will be due; after `handle_timeout(now)` that is after `now`."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pump is plugged into; none of it may block."""

    inbox: Inbox
    clock: Clock
    perform: Callable[[Effect], None]
    poll: Callable[[], object]
    """Moves what the kernel has received into the inbox."""
    outcomes: Callable[[], Sequence[Input]]
    """Takes what the writer has decided."""
    watchdog: Callable[[], None]
    """Told after every turn, and at least once per heartbeat, that the loop is alive."""


class Pump:
    """Drives one node until it is stopped."""

    def __init__(self, node: Driven, around: Surroundings, params: MembershipParams) -> None:
        self._node = node
        self._around = around
        self._params = params
        self._reason: str | None = None
        self._is_running = False
        self._is_gap_unknown = False
        self._crash: Exception | None = None
        self._planned = Instant(0.0)
        """When the alarm goes off, whatever comes in until then."""
        self._alarm = trio.CancelScope()
        self._deadline = Instant(0.0)
        """The node's, as of the end of the last turn."""
        self._slept_s = around.clock.slept_s()
        self.lag_max_s = 0.0
        self._looked = Instant(0.0)
        """When the clock was last asked whether something is late."""

    def stop(self, reason: str) -> None:
        """End after the present turn; the first reason stands."""
        if self._reason is None:
            self._reason = reason
            self._around.inbox.wake()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> str:
        """Start the node, drive it, and return why it was stopped."""
        around = self._around
        self._perform(self._node.start(around.clock.now()))
        self._looked = around.clock.now().instant
        self._deadline = self._node.next_deadline()
        self._is_running = True
        task_status.started()
        while self._reason is None:
            deadline = self._plan(around.clock.now().instant)
            with trio.CancelScope(deadline=deadline) as self._alarm:
                while self._reason is None:
                    await around.inbox.wait()
                    if self._crash is not None:
                        raise self._crash
                    around.poll()
                    self._turn()
            if self._alarm.cancelled_caught:
                around.poll()
                self._turn()
        self._is_running = False
        return self._reason

    def turn(self) -> None:
        """Handle what has come in and what is due; nothing before the start or after the end."""
        if self._is_running and self._reason is None:
            self._turn()

    def turn_in_callback(self) -> None:
        """Do the same where nothing may be raised: what goes wrong is raised by `run`."""
        try:
            self.turn()
        except Exception as wrong:  # noqa: BLE001  raised by the task that people look at
            self._crash = wrong
            self._around.inbox.wake()

    def _turn(self) -> None:
        around = self._around
        self._notice_gap_and_lag(around.clock.now().instant)
        took_time = self._handle_inputs()
        now = self._handle_deadline(took_time=took_time)
        around.watchdog()
        if len(around.inbox):
            around.inbox.wake()
        early_s = self._wanted() - self._planned
        if early_s < 0 or early_s > ALARM_EARLY_S or self._planned <= now:
            self._alarm.deadline = self._plan(now)

    def handle_outcomes(self) -> None:
        """Tell the node what the writer has decided."""
        self._handle(*self._around.outcomes())

    def _plan(self, now: Instant) -> float:
        """Return until when, on the clock of the loop, to wait for inputs."""
        self._planned = self._wanted()
        return trio.current_time() + max(0.0, self._planned - now)

    def _wanted(self) -> Instant:
        # From the last look at the clock: a stop amid a turn is a lag as well.
        return min(self._deadline, Instant(self._looked + HEARTBEAT_S))

    def _notice_gap_and_lag(self, now: Instant) -> None:
        # Asked so often that no gap worth telling can hide, and not at each turn.
        is_soon = now - self._looked <= self._params.loop_lag_s and not self._is_gap_unknown
        self._looked = now
        gap_s = 0.0 if is_soon else self._take_gap_s()
        if gap_s > self._params.suspend_gap_s:
            self._handle(SuspendGap(gap_s))
        oldest = self._around.inbox.oldest()
        since = self._planned if oldest is None else min(self._planned, oldest)
        # Nothing is late because the host slept: that has been said.
        lag_s = now - since - gap_s
        self.lag_max_s = max(self.lag_max_s, lag_s)
        if lag_s > self._params.loop_lag_s:
            self._handle(LoopLag(lag_s))

    def _take_gap_s(self) -> float:
        slept_s = self._around.clock.slept_s()
        self._is_gap_unknown = slept_s is None
        if slept_s is None:
            return 0.0
        before_s, self._slept_s = self._slept_s, slept_s
        return 0.0 if before_s is None else max(0.0, slept_s - before_s)

    def _handle_inputs(self) -> bool:
        inputs = (*self._around.outcomes(), *self._around.inbox.take(INPUTS_PER_TURN))
        self._handle(*inputs)
        return bool(inputs)

    def _handle_deadline(self, *, took_time: bool) -> Instant:
        """Let time pass if the deadline is over; returns the present."""
        now = self._around.clock.now()
        if not self._is_due(now):
            return now.instant
        if took_time:
            self._around.poll()
            self._handle_inputs()
            now = self._around.clock.now()
        if self._is_due(now):
            self._perform(self._node.handle_timeout(now))
            # A deadline that stays in the past would turn this loop into a hot one.
            assert not self._is_due(now)
        return now.instant

    def _is_due(self, now: Now) -> bool:
        self._deadline = self._node.next_deadline()
        return self._deadline <= now.instant

    def _handle(self, *inputs: Input) -> None:
        if inputs:
            self._perform(self._node.handle_all(self._around.clock.now(), inputs))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._around.perform(effect)
