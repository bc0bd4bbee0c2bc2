"""A simulated agent: attaches, claims in a loop, works for a while, and is not always good."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from mesh.core.commands import (
    AgentAttach,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskResume,
    TaskStart,
)
from mesh.sim.client import Answer, Holding, SimClient
from mesh.sim.host import Host, HostState
from mesh.sim.world import World

RETRY_S = 0.5
TRIES_MAX = 5
RECONNECT_S = 0.3
REVIVE_LOW_S, REVIVE_HIGH_S = 0.5, 3.0
NO_SUCH_HANDLE = "00000000deadbeef"
Ending = TaskComplete | TaskFail | TaskRelease


@dataclass(frozen=True, slots=True)
class Habits:
    """What an agent does, and how often it does what it should not."""

    kinds: tuple[str, ...]
    capacity: int = 1
    work_s: tuple[float, float] = (0.2, 3.0)
    wait_s: float = 20.0
    patience_s: float = 4.0
    """Without a node for so long it stops its work, as a runner does."""
    fails: float = 0.0
    releases: float = 0.0
    crashes: float = 0.0
    stalls: float = 0.0
    stall_s: float = 30.0
    lies: float = 0.0
    """It completes twice, or what it has lost, or what it never had."""


def reformed(habits: Habits) -> Habits:
    """Return the habits of the same agent without its vices."""
    return replace(habits, fails=0.0, releases=0.0, crashes=0.0, stalls=0.0, lies=0.0)


class SimAgent(SimClient):
    """One agent; `begin` sets it going, and it comes back after crashes of any sort."""

    def __init__(self, world: World, host: Host, name: str, habits: Habits) -> None:
        super().__init__(world, host, name)
        self.habits = habits
        self._life = 0
        self._endings: dict[str, Ending] = {}
        self._request_number = 0

    def begin(self) -> None:
        """Attach to the node and claim."""
        life = self._life
        attach = AgentAttach(self.name, self.habits.kinds, self.habits.capacity)
        self.ask(attach, lambda answer: self._attached(life, answer))

    def crash(self) -> None:
        """Die without a word, and be started again."""
        self._life += 1
        self._endings.clear()
        self.let_go_all()
        self.hang_up()
        self._soon(self.rng.uniform(REVIVE_LOW_S, REVIVE_HIGH_S), self.begin)

    def handle_disconnected(self, *, machine: bool) -> None:
        """Go on working for a while without the node; die with the machine."""
        self._life += 1
        super().handle_disconnected(machine=machine)
        if machine:
            self._endings.clear()
        else:
            self._soon(self.habits.patience_s, self._give_up)

    def handle_started(self) -> None:
        """Take up what is held, then go on."""
        self._life += 1
        self._soon(self.rng.uniform(0.0, RECONNECT_S), self.begin)

    def handle_lost(self, held: Holding) -> None:
        """Stop, as told; a liar finishes all the same."""
        super().handle_lost(held)
        self._endings.pop(held.handle, None)
        if self.rng.random() < self.habits.lies:
            self._soon(RETRY_S, lambda: self._lie(held.handle))
        if held.started:
            self._soon(0.0, self._claim)

    def _soon(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later in this life of the agent."""
        self.later(delay_s, partial(self._if_alive, self._life, action))

    def _if_alive(self, life: int, action: Callable[[], None]) -> None:
        if life == self._life:
            action()

    def _give_up(self) -> None:
        if self.host.state is HostState.OFF:
            self._endings.clear()
            self.let_go_all()

    def _attached(self, life: int, answer: Answer) -> None:
        if life != self._life:
            return
        if answer.error is not None:
            if self.host.state is not HostState.OFF:
                self._soon(RETRY_S, self.begin)
            return
        for held in list(self.holdings.values()):
            self.ask(TaskResume(held.handle), partial(self._resumed, life, held))
        for _ in range(self.habits.capacity - len(self.holdings)):
            self._claim()

    def _resumed(self, life: int, held: Holding, answer: Answer) -> None:
        if life != self._life or held.handle not in self.holdings:
            return
        if answer.error is not None:
            self._endings.pop(held.handle, None)
            self.let_go(held)
            self._claim()
        elif held.handle in self._endings:
            self._end(held, 1)
        elif held.started:
            self._work(held)
        else:
            self._start(held, 1)

    def _claim(self) -> None:
        life, habits = self._life, self.habits
        ask = TaskClaim(kinds=habits.kinds, wait_s=habits.wait_s, agent=self.name)
        self.ask(ask, lambda answer: self._claimed(life, answer))

    def _claimed(self, life: int, answer: Answer) -> None:
        if life != self._life:
            return
        held = self.holdings.get(answer.text("handle"))
        if held is None:
            self._soon(self.rng.uniform(0.0, RETRY_S), self._claim)
        else:
            self._start(held, 1)

    def _start(self, held: Holding, tries: int) -> None:
        self.ask(TaskStart(held.handle), partial(self._started, self._life, held, tries))

    def _started(self, life: int, held: Holding, tries: int, answer: Answer) -> None:
        if life != self._life:
            return
        if held.handle not in self.holdings:
            self._soon(RETRY_S, self._claim)  # lost in the meantime
        elif answer.error is None:
            self._work(held)
        elif tries < TRIES_MAX:
            self._soon(RETRY_S, partial(self._start, held, tries + 1))
        else:
            self.crash()

    def _work(self, held: Holding) -> None:
        work_s = self.rng.uniform(*self.habits.work_s)
        if self.rng.random() < self.habits.stalls:
            work_s += self.habits.stall_s
        self._soon(work_s, partial(self._finish, held))

    def _finish(self, held: Holding) -> None:
        if held.handle not in self.holdings:
            return
        habits, chance = self.habits, self.rng.random()
        if chance < habits.crashes:
            self.crash()
            return
        self._request_number += 1
        request = f"{self.host.name}-{self.name}-{self._request_number}"
        ending: Ending = TaskComplete(held.handle, "b2s=", request)
        if chance < habits.crashes + habits.fails:
            ending = TaskFail(held.handle, "drawn", request)
        elif chance < habits.crashes + habits.fails + habits.releases:
            ending = TaskRelease(held.handle, request)
        self._endings[held.handle] = ending
        self._end(held, 1)

    def _end(self, held: Holding, tries: int) -> None:
        ending = self._endings.get(held.handle)
        if ending is not None:
            self.ask(ending, partial(self._ended, self._life, held, tries))

    def _ended(self, life: int, held: Holding, tries: int, answer: Answer) -> None:
        if life != self._life or held.handle not in self._endings:
            return
        if answer.error is not None and tries < TRIES_MAX:
            self._soon(RETRY_S, partial(self._end, held, tries + 1))
        elif answer.error is not None:
            self.crash()
        else:
            del self._endings[held.handle]
            if self.rng.random() < self.habits.lies:
                self._lie(self.rng.choice((held.handle, NO_SUCH_HANDLE)))
            self._claim()

    def _lie(self, handle: str) -> None:
        self.ask(TaskComplete(handle, "bGll"))
