"""M3: why a claim waits before its start, and how well that keeps a second start away."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from mesh.core.commands import TaskClaim, TaskComplete, TaskStart, TaskSubmit
from mesh.core.params import Params, params_for
from mesh.core.snapshot import TaskState
from mesh.sim.agent import Habits
from mesh.sim.checker import unwatch
from mesh.sim.client import Answer
from mesh.sim.engine import Conditions
from mesh.sim.network import lognormal
from mesh.sim.scenario import Mesh, Person
from tests.simulation.conftest import MeshOf

SLOW = Conditions(loss=0.01, latency_s=(0.002, 0.04))
MEDIAN_S, P99_S = 0.004, 0.040
"""Mostly quick, with a long tail: the delays of the races."""
WARM_SAMPLES = 128
"""So many that the settle window is what was measured."""


def without_settling() -> Params:
    """Numbers with which a claim starts at once, and everybody claims at once."""
    params = params_for("local")
    hasty = replace(
        params.claims,
        settle_first_s=0.0,
        settle_floor_s=0.0,
        settle_ceiling_s=0.01,
        stagger_s=0.0,
    )
    return replace(params, claims=hasty)


def doubles(meshes: MeshOf, params: Params, seeds: range, count: int = 5) -> int:
    """Return how many tasks were started more than once, over all seeds."""
    twice = 0
    for seed in seeds:
        mesh = meshes(count, seed=seed, params=params, conditions=SLOW)
        for name in mesh.names:
            mesh.employ(name, "build", habits=Habits(("build",), work_s=(1.0, 1.0)))
        mesh.run(s=7)
        mesh["a"].submit("build")
        mesh.run_until(
            lambda: (
                (view := mesh["a"].view("build")) is not None  # noqa: B023  called before the next turn
                and view.state is TaskState.COMPLETED
            ),
            30,
        )
        twice += mesh.worked_on("build") > 1
    return twice


def test_nobody_starts_twice_with_settling_and_somebody_does_without(
    meshes: MeshOf, seeds: range
) -> None:
    assert doubles(meshes, params_for("local"), range(max(10, len(seeds)))) == 0
    assert doubles(meshes, without_settling(), range(10)) > 0, "the test can see doubles"


# The race of many: every node claims one task by its id in the same instant, at 1 % loss.


def start(person: Person, granted: Answer) -> None:
    """Begin the work as soon as it is allowed, and end it soon."""
    handle = granted.text("handle")
    if handle:
        person.ask(TaskStart(handle))
        person.client.later(1.0, lambda: complete(person, handle))


def complete(person: Person, handle: str) -> None:
    """End the work."""
    person.ask(TaskComplete(handle))


def run_race(mesh: Mesh, label: str, submitter: str, racers: Sequence[str]) -> int:
    """Let these nodes claim one task at once; return how often it was started."""
    task = mesh[submitter].submit(label)
    mesh.run(s=1.0)
    answers = []
    for name in racers:
        person = mesh[name]
        claim = TaskClaim(task=task, detached=True)
        answers.append(person.client.ask(claim, partial(start, person)))
    mesh.run(s=2.0)
    assert all(answer.done for answer in answers)
    assert mesh.worked_on(label) >= 1, "somebody wins"
    return mesh.worked_on(label)


def warm_up(mesh: Mesh, claims: int) -> None:
    """Let every node claim so many tasks of its own, and so measure the network."""

    def submit(person: Person) -> None:
        person.client.ask(TaskSubmit(kind="warm"), partial(claim, person))

    def claim(person: Person, submitted: Answer) -> None:
        person.ask(TaskClaim(task=submitted.text("task"), detached=True))

    for person in mesh.people.values():
        for number in range(claims):
            person.client.later(0.1 * number, partial(submit, person))
    mesh.run(s=0.1 * claims + 3.0)


def run_races(
    meshes: MeshOf, count: int, races: int, seed: int, params: Params | None = None
) -> int:
    """Return how many of so many races, in one world, had more than one start.

    With the usual numbers, the samples of the settle windows are filled beforehand.
    """
    mesh = meshes(count, seed=seed, params=params)
    world = mesh.world
    world.network.latency = lognormal(world.rng, MEDIAN_S, P99_S)
    world.network.loss = 0.01
    unwatch(world)  # only starts are counted here, and looking at fifty nodes is dear
    if params is None:
        warm_up(mesh, -(-WARM_SAMPLES // (count - 1)))
    twice = 0
    for number in range(races):
        submitter = mesh.names[number % count]
        twice += run_race(mesh, f"race-{number}", submitter, mesh.names) > 1
    return twice


@pytest.mark.parametrize(("count", "races"), [(2, 30), (3, 20), (5, 10)])
def test_of_few_who_race_one_starts(meshes: MeshOf, seeds: range, count: int, races: int) -> None:
    for seed in seeds:
        assert run_races(meshes, count, races, seed) == 0, seed


def test_of_fifty_who_race_one_starts(meshes: MeshOf, seeds: range) -> None:
    """As many races as `--seeds` says, twenty to a world."""
    for seed in range(-(-len(seeds) // 20)):
        races = min(20, len(seeds) - 20 * seed)
        assert run_races(meshes, 50, races, seed) == 0, seed


def test_without_settling_a_race_is_seen_to_start_twice(meshes: MeshOf) -> None:
    assert run_races(meshes, 5, 4, 1, without_settling()) > 0
