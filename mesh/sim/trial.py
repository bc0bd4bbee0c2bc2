"""One trial: a seed draws weather over a whole mesh at work; safety always, liveness afterwards."""

import random
import traceback
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from mesh.core.commands import TaskSubmit
from mesh.core.crypto.suite import Suite
from mesh.core.params import Params
from mesh.sim.agent import Habits, SimAgent, reformed
from mesh.sim.checker import Checker, Violation, watch
from mesh.sim.checkers import safety_checkers
from mesh.sim.client import Answer, SimClient
from mesh.sim.history import What
from mesh.sim.liveness import Final, check_convergence, check_final
from mesh.sim.weather import FaultKind, Weather, clear_up, draw_core, draw_weather, unleash
from mesh.sim.world import NodeFactory, World

KINDS = ("build", "test", "review")
SNAPSHOT_S = 1.0
SUBMIT_RETRY_S = 2.0
SETTLE_STEP_S = 2.0
AGREE_STEP_S = 1.0
AGREE_S = 10.0
"""L1: so long after the weather has cleared up all that are left see the same members and state."""
JOIN_S = 10.0
"""In this time the nodes are started, one after the other, before the storm."""
CALM_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a trial does; the seed draws the rest."""

    seed: int
    nodes: int = 5
    storm_s: float = 60.0
    calm_s: float = CALM_S
    """Longest time after the weather cleared up until everything must be well."""
    tasks: int = 10
    loss: float | None = None
    """Instead of the loss that the seed draws."""
    delay_s: tuple[float, float] | None = None
    """Median and p99, instead of the latency that the seed draws."""
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)
    """From which kinds of faults the seed draws."""
    scheduled: bool = False
    """Whether tasks have priorities, limits and allocations, which a seed of their own draws."""

    def weather(self, drawn: Weather) -> Weather:
        """Return the weather that was drawn, with what the plan says instead."""
        if self.loss is not None:
            drawn = replace(drawn, loss=self.loss)
        if self.delay_s is not None:
            median_s, p99_s = self.delay_s
            drawn = replace(drawn, latency_s=median_s, latency_p99_s=p99_s)
        return drawn

    def command(self, profile: str) -> str:
        """Return the command that carries out this plan on a mesh of some profile."""
        words = [
            f"mesh sim --seed {self.seed} --nodes {self.nodes} --storm {exact(self.storm_s)}",
            f"--tasks {self.tasks} --profile {profile}",
        ]
        words += network_words(self.loss, self.delay_s)
        if self.kinds != tuple(FaultKind):
            words.append(f"--faults={','.join(self.kinds)}")  # one word even with none
        if self.calm_s != CALM_S:
            words.append(f"--calm {exact(self.calm_s)}")
        if self.scheduled:
            words.append("--scheduled")
        return " ".join(words)


def network_words(loss: float | None, delay_s: tuple[float, float] | None) -> list[str]:
    """Return the options that stand for a network."""
    words = []
    if loss is not None:
        words.append(f"--loss {loss * 100:.12g}")
    if delay_s is not None:
        words.append(f"--delay {':'.join(map(exact, delay_s))}")
    return words


def exact(number: float) -> str:
    """Return the shortest usual text from which the same number is read again."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended."""

    plan: Plan
    weather: Weather
    core: tuple[str, ...]
    broken: str | None
    """What was violated, and when; None when all is well."""
    virtual_s: float
    events: int
    trace: str
    starts: int
    profile: str
    agreed_s: float | None
    """How long after the weather cleared up all agreed for the first time; None if they did not."""

    @property
    def replay(self) -> str:
        """The command that replays the trial with real nodes and the numbers of its profile."""
        return self.plan.command(self.profile)

    def line(self) -> str:
        """Return one line: how it ended, the command that replays it, and what was found."""
        if self.broken is None:
            return f"ok: {self.replay}  # {self.events} events, trace {self.trace}"
        return f"FAILED: {self.replay}  # {' '.join(self.broken.split())}"


def finding(failure: Exception, at_s: float) -> str:
    """Return what was raised, when in virtual time, and where."""
    place = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{type(failure).__name__} at {at_s:.6f} s in {place.name}: {failure}"


def names_of(count: int) -> list[str]:
    """Return host names: a, b, ... z, aa, ab, ..."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = list(letters)
    while len(names) < count:
        names = [*letters, *(first + second for first in names for second in letters)]
    return names[:count]


class Trial:
    """One world, its agents and its checkers, on the way through storm and calm."""

    def __init__(
        self, plan: Plan, params: Params, factory: NodeFactory, suite: Suite | None = None
    ) -> None:
        self.plan = plan
        # A generator of its own: the weather stays the same when the nodes draw differently.
        self.rng = random.Random(f"trial {plan.seed}")
        self.names = names_of(plan.nodes)
        self.weather = plan.weather(draw_weather(self.rng, self.names, plan.storm_s, plan.kinds))
        self.core = draw_core(self.rng, self.names)
        self.world = World(plan.seed, params, factory, suite=suite)
        self.checkers: list[Checker] = safety_checkers(self.world)
        self.agents: list[SimAgent] = []
        self.agreed_s: float | None = None
        watch(self.world, self.checkers)

    def run(self) -> Outcome:
        """Run to the end, or to the first violation."""
        broken = None
        try:
            self.live()
        except Exception as failure:  # noqa: BLE001  whatever a node raises is a finding
            broken = finding(failure, self.world.now_s)
        world = self.world
        return Outcome(
            self.plan,
            self.weather,
            self.core,
            broken,
            world.now_s,
            world.events,
            world.trace.digest(),
            sum(event.what is What.STARTED for event in world.history.events),
            world.params.profile,
            self.agreed_s,
        )

    def live(self) -> None:
        """Run to the end; raises at the first violation."""
        world, plan = self.world, self.plan
        for name in self.names:
            world.add_host(name)
            world.start(name)
            world.run(JOIN_S / plan.nodes)
        world.watch(SNAPSHOT_S)
        self._employ()
        unleash(world, self.weather)
        world.run(plan.storm_s)
        # Whoever came during the storm is a part of what must be well again.
        self.core += tuple(name for name in world.hosts if name not in self.names)
        clear_up(world, self.core)
        for agent in self.agents:
            agent.habits = reformed(agent.habits)
        self._settle()
        snapshots = world.snapshots()
        for checker in self.checkers:
            checker.finish(self.core, snapshots)

    def _employ(self) -> None:
        world, rng = self.world, self.rng
        vices = rng.random() < 0.5
        for name in self.names:
            habits = Habits(
                kinds=tuple(rng.sample(KINDS, rng.randint(1, len(KINDS)))),
                capacity=rng.randint(1, 3),
                fails=0.1 * vices,
                releases=0.1 * vices,
                crashes=0.1 * vices,
                stalls=0.1 * vices,
                lies=0.1 * vices,
            )
            agent = SimAgent(world, world.hosts[name], f"agent-{name}", habits)
            agent.begin()
            self.agents.append(agent)
        for number in range(self.plan.tasks):
            host = world.hosts[rng.choice(self.names)]
            client = SimClient(world, host, f"submitter-{number}")
            task = TaskSubmit(kind=rng.choice(KINDS), request_id=f"trial-{number}")
            if self.plan.scheduled:
                task = scheduled(task, random.Random(f"{self.plan.seed}-{number}"))
            client.later(rng.uniform(0.0, self.plan.storm_s), partial(submit, client, task))

    def _settle(self) -> None:
        """Wait until all is well; raise what is wrong when it takes too long."""
        willing = [agent for agent in self.agents if agent.host.name in self.core]
        kinds = {kind: None for agent in willing for kind in agent.habits.kinds}
        final = Final(self.world, self.core, tuple(kinds))
        deadline_s = self.world.now_s + self.plan.calm_s
        self._agree(replace(final, core=self._members()))
        while True:
            self.world.run(SETTLE_STEP_S)
            try:
                check_final(final)
            except Violation:
                if self.world.now_s >= deadline_s:
                    raise
            else:
                return

    def _members(self) -> tuple[str, ...]:
        """Return who of the core has been met by others of it: the rest are still at the door."""
        shown = {name: one for name, one in self.world.snapshots().items() if name in self.core}
        met = {view.id: None for one in shown.values() for view in one.members if not view.is_self}
        return tuple(name for name in self.core if name in shown and shown[name].id in met)

    def _agree(self, final: Final) -> None:
        """Wait until all agree for the first time; raise why they do not when it takes too long."""
        began_s = self.world.now_s
        while True:
            self.world.run(AGREE_STEP_S)
            waited_s = self.world.now_s - began_s
            try:
                check_convergence(final)
            except Violation as late:
                if waited_s >= agree_limit_s(self.world.params):
                    raise Violation(
                        late.rule, f"after {waited_s:g} s still {late.detail}"
                    ) from None
            else:
                self.agreed_s = waited_s
                return


def agree_limit_s(params: Params) -> float:
    """Return after how long a mesh that does not agree is broken.

    Who starts on an empty disk hears of members that died long ago. Where nobody who saw it is
    left it has to find that out alone: an edge is quiet, the window passes, and nobody objects.
    """
    member = params.membership
    alone_s = member.edge_quiet_s + member.refutation_window_s + member.local_conclusion_s
    return max(AGREE_S, alone_s)


def scheduled(task: TaskSubmit, rng: random.Random) -> TaskSubmit:
    """Return a task with some of what may be said about its order and its owner."""
    return msgspec.structs.replace(
        task,
        priority=rng.choice((0, 0, 3)),
        limit=rng.choice((None, None, ("one", 1), ("two", 2))),
        allocation=rng.choice(("pull", "offered", "auction")),
        bid_window_s=rng.choice((None, 0.2)),
        run_limit_s=rng.choice((None, 20.0)),
        max_attempts=9,
    )


def submit(client: SimClient, task: TaskSubmit) -> None:
    """Submit a task until it is acknowledged."""

    def answered(answer: Answer) -> None:
        if answer.error is not None:
            client.later(SUBMIT_RETRY_S, partial(submit, client, task))

    client.ask(task, answered)


def run_trial(
    plan: Plan, params: Params, factory: NodeFactory, suite: Suite | None = None
) -> Outcome:
    """Run one trial from its beginning to its end; without a suite, on the simulator's own."""
    return Trial(plan, params, factory, suite).run()
