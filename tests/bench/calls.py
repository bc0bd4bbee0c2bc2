"""What claims cost in counts that no load of the machine changes: `python -m tests.bench calls`.

Simulated nodes under a fixed seed: calls of functions inside the nodes (simulator and network are
left out), inputs, datagrams, commits, signatures and verifications per claim; calls per second of
an idle node; bytes of memory per open task and node.
"""

import argparse
import cProfile
import functools
import gc
import pstats
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.core.commands import Command, TaskClaim, TaskSubmit
from mesh.core.effects import Effect
from mesh.core.inputs import Input
from mesh.core.instants import Instant, Now
from mesh.core.params import params_for
from mesh.core.snapshot import Snapshot
from mesh.sim.checker import unwatch
from mesh.sim.client import Answer, SimClient
from mesh.sim.host import Birth, Driven
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, mesh_of
from mesh.sim.suite import SimSuite
from mesh.sim.world import World
from tests.bench.reports import table

NODES, MEMORY_NODES, IDLE_NODES = 3, 2, 20
WARM_UP_S, PAUSE_S = 20.0, 2.0
LIMIT_S = 600.0
PLACES = 25
"""Rows of the profile that are shown."""
BUNDLE = 32
TASKS, MEMORY_TASKS = 320, 2000
IDLE_S = 10.0
HEADER = ["", "calls", "inputs", "datagrams", "bytes", "commits", "signatures", "verifications"]


class Profiled:
    """A node whose every turn is profiled."""

    def __init__(self, node: Driven, profile: cProfile.Profile) -> None:
        self._node, self._profile = node, profile

    def start(self, now: Now) -> list[Effect]:
        """Begin."""
        return self._node.start(now)

    def handle(self, now: Now, event: Input, /) -> list[Effect]:
        """Take one input."""
        return self._profile.runcall(self._node.handle, now, event)

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Let time pass."""
        return self._profile.runcall(self._node.handle_timeout, now)

    def next_deadline(self) -> Instant:
        """Return when time is to pass."""
        return self._profile.runcall(self._node.next_deadline)

    def snapshot(self, now: Now) -> Snapshot:
        """Return what a checker looks at, unprofiled."""
        return self._node.snapshot(now)


@dataclass(slots=True)
class Counted:
    """A mesh whose costs are counted from `begin` on."""

    nodes: int
    profile: cProfile.Profile = field(default_factory=cProfile.Profile)
    mesh: Mesh = field(init=False)
    _before: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        population = Population()

        def factory(world: World, birth: Birth, /) -> Driven:
            return Profiled(population(world, birth), self.profile)

        self.mesh = mesh_of(self.nodes, factory, params=params_for("lan"))
        unwatch(self.mesh.world)
        self.mesh.run(s=WARM_UP_S)

    def begin(self) -> None:
        """Count from here on."""
        gc.collect()
        self.profile.clear()
        self._before = self._counts()

    def _counts(self) -> tuple[int, ...]:
        world = self.mesh.world
        suite, hosts = world.suite, world.hosts.values()
        assert isinstance(suite, SimSuite)
        return (
            world.events,
            sum(host.datagrams for host in hosts),
            sum(host.bytes_sent for host in hosts),
            sum(host.disk.commits for host in hosts),
            suite.signatures,
            suite.verifications,
        )

    def calls(self) -> pstats.Stats:
        """Return the profile since `begin`."""
        return pstats.Stats(self.profile)

    def row(self, name: str, done: float) -> list[str]:
        """Return what was counted since `begin`, per thing done."""
        counts = zip(self._counts(), self._before, strict=True)
        each = [(now - then) / done for now, then in counts]
        total = sum(figures[1] for _, figures in _figures(self.calls())) / done
        return [name, f"{total:.0f}", *(f"{figure:.2f}" for figure in each)]


def submit_many(counted: Counted, count: int) -> list[str]:
    """Submit tasks on all nodes, and return their ids."""
    mesh = counted.mesh
    answers = [
        mesh[mesh.names[i % counted.nodes]].client.ask(TaskSubmit(kind="bench", payload="aGVsbG8="))
        for i in range(count)
    ]
    mesh.run_until(lambda: all(answer.done for answer in answers), LIMIT_S)
    mesh.run(s=PAUSE_S)
    return [answer.text("task") for answer in answers]


def in_turn(counted: Counted, asks: Sequence[Command], each: int = 1) -> None:
    """Let one client ask for all of it, `each` requests in flight at a time."""
    mesh, waiting, left = counted.mesh, list(reversed(asks)), [1]
    client = SimClient(mesh.world, mesh[mesh.names[0]].host, "bench")

    def go_on(_: Answer | None) -> None:
        left[0] -= 1
        if not left[0]:
            bundle = [waiting.pop() for _ in range(min(each, len(waiting)))]
            left[0] = len(bundle)
            for command in bundle:
                client.ask(command, go_on)

    go_on(None)
    mesh.run_until(lambda: not waiting and not left[0], LIMIT_S)


def _figures(stats: pstats.Stats) -> list[tuple[Any, Any]]:
    """Return what was counted of each function, the profiler's own left out."""
    found: dict[Any, Any] = stats.stats  # type: ignore[attr-defined]  # missing in typeshed
    return [item for item in found.items() if "_lsprof" not in item[0][2]]


def profile_table(stats: pstats.Stats, done: float, places: int) -> str:
    """Return the functions with the most calls, per thing done."""
    most = sorted(_figures(stats), key=lambda item: -item[1][1])[:places]
    rows = [[_place(place), f"{figures[1] / done:.1f}"] for place, figures in most]
    return table(["function", "calls"], rows)


def _place(place: tuple[str, int, str]) -> str:
    file, line, function = place
    where = file[file.index("mesh/core") + len("mesh/core/") :] if "mesh/core" in file else ""
    return f"{where}:{line} {function}" if where else function


def measure_claims(tasks: int, places: int) -> tuple[list[list[str]], str]:
    """Count submits and claims by id, one after the other and in bundles."""
    counted = Counted(NODES)
    rows = []
    submit: list[Command] = [TaskSubmit(kind="bench", payload="aGVsbG8=")] * tasks
    made = submit_many(counted, 2 * tasks)
    claims: list[Command] = [TaskClaim(task=task, detached=True) for task in made]
    counted.begin()
    in_turn(counted, claims[:tasks])
    shown = profile_table(counted.calls(), tasks, places)
    rows.append(counted.row("claim by id, one after the other", tasks))
    counted.begin()
    in_turn(counted, claims[tasks:], BUNDLE)
    rows.append(counted.row(f"claim by id, {BUNDLE} in flight", tasks))
    counted.begin()
    in_turn(counted, submit)
    rows.append(counted.row("submit, one after the other", tasks))
    counted.begin()
    in_turn(counted, submit, BUNDLE)
    rows.append(counted.row(f"submit, {BUNDLE} in flight", tasks))
    return rows, shown


def measure_idle(places: int) -> tuple[list[str], str]:
    """Count what a node does in a second without any work."""
    counted = Counted(IDLE_NODES)
    counted.begin()
    counted.mesh.run(s=IDLE_S)
    done = IDLE_NODES * IDLE_S
    name = f"a second of an idle node of {IDLE_NODES}"
    return counted.row(name, done), profile_table(counted.calls(), done, places)


def measure_memory(tasks: int) -> float:
    """Return the bytes that an open task takes on a node, without what caches keep of it.

    A node has a half of the tasks from its own clients: of more nodes, those that receive a fact
    would share what a process keeps of it.
    """
    counted = Counted(MEMORY_NODES)
    tracemalloc.start()
    submit_many(counted, tasks)
    before = _held_bytes(counted)
    submit_many(counted, tasks)
    after = _held_bytes(counted)
    tracemalloc.stop()
    return (after - before) / tasks / MEMORY_NODES


def _held_bytes(counted: Counted) -> int:
    """Return what the nodes hold, without what stands for disks and clients."""
    for person in counted.mesh.people.values():
        person.client.answers.clear()
        person.client.notices.clear()
    counted.mesh.world.history.events.clear()
    for host in counted.mesh.world.hosts.values():
        host.disk.rows.clear()  # a real disk takes no memory but for the index of its log
    for cache in gc.get_objects():
        if isinstance(cache, functools._lru_cache_wrapper):
            cache.cache_clear()
    gc.collect()
    ours = [tracemalloc.Filter(True, "*/mesh/core/*"), tracemalloc.Filter(True, "*/msgpack/*")]
    snapshot = tracemalloc.take_snapshot().filter_traces(ours)
    return sum(entry.size for entry in snapshot.statistics("filename"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"of each row ({TASKS})")
    parser.add_argument("--places", type=int, default=PLACES, help=f"of the profile ({PLACES})")
    parser.add_argument("--memory-tasks", type=int, default=MEMORY_TASKS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Count and show."""
    rows, profile = measure_claims(options.tasks, options.places)
    idle, idle_profile = measure_idle(options.places)
    print(table(HEADER, [*rows, idle]))
    print(f"\nMemory of an open task on a node: {measure_memory(options.memory_tasks):.0f} bytes")
    print(f"\nCalls by function, per claim:\n\n{profile}")
    print(f"\nCalls by function, per second of an idle node:\n\n{idle_profile}")
    return 0
