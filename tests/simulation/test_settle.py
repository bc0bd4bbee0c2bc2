"""M3: why a claim waits before its start."""

from dataclasses import replace

from mesh.core.params import Params, params_for
from mesh.core.snapshot import TaskState
from mesh.sim.agent import Habits
from mesh.sim.engine import Conditions
from tests.simulation.conftest import MeshOf

SLOW = Conditions(loss=0.01, latency_s=(0.002, 0.04))


def without_settling() -> Params:
    """Numbers with which a claim starts at once, and everybody claims at once."""
    params = params_for("local")
    hasty = replace(
        params.claims,
        settle_first_s=0.0,
        settle_floor_s=0.0,
        settle_ceiling_s=0.02,
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
