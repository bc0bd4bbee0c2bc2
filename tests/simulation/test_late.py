"""Whoever comes late takes nothing from those who were there: each task is begun once."""

from typing import Literal

import pytest

from mesh.core.commands import TaskClaim, TaskStart, TaskSubmit
from mesh.sim.engine import Conditions
from mesh.sim.scenario import Mesh
from tests.simulation.conftest import MeshOf
from tests.simulation.hunting import LOCAL

NEAR = Conditions(latency_s=(0.001, 0.02))
Allocation = Literal["pull", "auction"]
ALLOCATIONS: tuple[Allocation, ...] = ("pull", "auction")
LATE_SCORE = 9
OTHERS = {"a": 1, "b": 2, "c": 3}


class Bidders:
    """Agents that wait for work, begin it as soon as they may, and never come to its end."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._wishes = {name: self._wish(name, score) for name, score in OTHERS.items()}
        self._begun: dict[str, None] = {}

    def come_late(self, name: str) -> None:
        """One more, who bids more than all others."""
        self._wishes[name] = self._wish(name, LATE_SCORE)

    def _wish(self, name: str, score: int) -> object:
        return self._mesh[name].ask(TaskClaim(kinds=("build",), wait_s=60.0, score=score))

    def run(self, *, s: float) -> None:
        """Let time pass in small steps, and begin what may be begun."""
        for _ in range(round(s / 0.02)):
            self._mesh.run(s=0.02)
            for name, wish in list(self._wishes.items()):
                if getattr(wish, "error", None) is not None:
                    self._wishes[name] = self._wish(name, LATE_SCORE)
                elif getattr(wish, "done", False) and name not in self._begun:
                    self._begun[name] = None
                    self._mesh[name].ask(TaskStart(self._mesh[name].handle("build")))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("away_s", [0.57, 0.7, 0.84, 1.3, 2.0, 4.3])
def test_who_comes_back_from_behind_a_split_robs_nobody(
    meshes: MeshOf, allocation: Allocation, away_s: float
) -> None:
    # The spec came before the claims, in the same message even, and was claimed at once: in an
    # auction nearly always by whoever came back, and otherwise in one of three cases.
    for seed in (17, 18, 21):
        mesh = meshes(4, seed=seed, params=LOCAL, conditions=NEAR)
        mesh.run(s=2)
        mesh.partition(["d"], ["a", "b", "c"])
        mesh["a"].submit("build", TaskSubmit("build", allocation=allocation, bid_window_s=1.0))
        bidders = Bidders(mesh)
        bidders.come_late("d")
        bidders.run(s=away_s)
        mesh.repair()
        bidders.run(s=6)
        assert mesh.starts("build") == 1, seed


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_who_starts_again_takes_nothing_that_it_remembers_as_open(
    meshes: MeshOf, allocation: Allocation
) -> None:
    for seed in range(4):
        mesh = meshes(4, seed=seed, params=LOCAL, conditions=NEAR)
        mesh.run(s=2)
        mesh["a"].submit("build", TaskSubmit("build", allocation=allocation))
        mesh.run(s=1)
        mesh.kill("d")
        bidders = Bidders(mesh)
        bidders.run(s=2)
        mesh.restart("d")
        bidders.come_late("d")
        bidders.run(s=6)
        assert mesh.starts("build") == 1, seed


def test_who_comes_late_does_what_nobody_has_begun(meshes: MeshOf) -> None:
    mesh = meshes(4, params=LOCAL, conditions=NEAR)
    mesh.run(s=2)
    mesh.partition(["d"], ["a", "b", "c"])
    mesh["a"].submit("build")
    mesh.run(s=3)
    wish = mesh["d"].ask(TaskClaim(kinds=("build",), wait_s=60.0))
    mesh.repair()
    assert mesh.run_until(lambda: wish.done) < 6
    assert mesh.everyone_agrees("build", holder="d")
