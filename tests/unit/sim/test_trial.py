"""Whole trials of toy meshes: good ones pass, planted bugs are caught and replayed."""

import pytest

from mesh.core.effects import Effect
from mesh.core.inputs import Input
from mesh.core.instants import Now
from mesh.core.params import Params
from mesh.sim.trial import Plan, Trial, names_of, run_trial
from mesh.sim.weather import FaultKind
from tests.unit.sim.scripted import Board, scripts, toys


def test_names_go_on_after_z() -> None:
    assert names_of(3) == ["a", "b", "c"]
    assert names_of(28)[25:] == ["z", "aa", "ab"]
    assert len(set(names_of(300))) == 300


UNDONE = (FaultKind.DISK_FULL, FaultKind.DISK_ERRORS)
"""A toy shows what it then takes back when the disk refuses it."""
KINDS = tuple(kind for kind in FaultKind if kind not in UNDONE)


def test_a_good_mesh_survives_every_weather() -> None:
    for seed in range(30):
        outcome = run_trial(Plan(seed, storm_s=40.0, kinds=KINDS), Params(), toys())
        assert outcome.broken is None, outcome.line()
        assert outcome.starts > 0
        assert outcome.line().startswith("ok")


@pytest.mark.parametrize(
    ("board", "rules"),
    [(Board(forgetful=True), {"S1", "L2"}), (Board(generous=True), {"S9", "S5", "S6"})],
    ids=["forgetful", "generous"],
)
def test_a_planted_bug_is_caught_and_its_line_replays_it(board: Board, rules: set[str]) -> None:
    def plain() -> Board:
        return Board(forgetful=board.forgetful, generous=board.generous)

    for seed in range(30):
        plan = Plan(seed, nodes=3, storm_s=40.0, calm_s=20.0)
        outcome = run_trial(plan, Params(), toys(plain()))
        if outcome.broken is not None:
            assert any(f": {rule}: " in outcome.broken for rule in rules), outcome.broken
            assert f"--seed {seed} " in outcome.line()
            assert run_trial(plan, Params(), toys(plain())) == outcome
            with pytest.raises(Exception, match=outcome.broken.rsplit(": ", 1)[-1][:20]):
                Trial(plan, Params(), toys(plain())).live()
            return
    pytest.fail("not caught")


def test_a_node_that_raises_is_a_finding_with_its_place() -> None:
    def stumble(_now: Now, _event: Input) -> list[Effect]:
        raise KeyError("gone")

    outcome = run_trial(Plan(1, nodes=2), Params(), scripts(react=stumble))
    assert outcome.broken is not None
    assert "KeyError" in outcome.broken
    assert "in stumble: 'gone'" in outcome.broken
    assert outcome.line().startswith("FAILED: mesh sim --seed 1 --nodes 2")
