"""The measures of large meshes, on small ones: they see what there is to see."""

import json
from pathlib import Path

from mesh.core.effects import Notify
from tests.bench.figures import PARTS, TARGETS, figures_table
from tests.bench.soak import Soak, SoakPlan


def test_a_soak_counts_crashes_and_wrongs_nobody(tmp_path: Path) -> None:
    out = tmp_path / "soak.jsonl"
    body = Soak(SoakPlan(5, 500.0, 0.05, crash_every_s=200.0)).run(out)
    assert (body["crashes"], body["not_known"]) == (2, 0)
    assert (body["false_down"], body["false_dead"], body["wronged"]) == (0, 0, {})
    assert 1.0 < body["known_p50_s"] <= body["known_worst_s"] < 10.0
    assert json.loads(out.read_text().splitlines()[-1]) == body


def test_a_soak_sees_who_is_wronged() -> None:
    soak = Soak(SoakPlan(3, 60.0, 0.0))
    world = soak.world
    for name in soak.names:
        world.start(name)
    for new in ("suspect", "down", "dead"):
        for node, name in soak.listener.names.items():
            if name != "a":
                notice = Notify("member", {"node": node, "new": new})
                soak.listener.handle_notice(world.hosts["a"], notice)
    world.kill("b")
    notice = Notify("member", {"node": next(iter(soak.listener.names)), "new": "left"})
    soak.listener.handle_notice(world.hosts["c"], notice)
    assert (soak.listener.false_down, soak.listener.false_dead) == (2, 2)
    assert soak.listener.wronged == {"b": 2, "c": 2}


def test_every_row_of_the_figures_has_its_part() -> None:
    assert [part for _, _, part, _, _ in TARGETS if part not in PARTS] == []
    found = {name: PARTS[name](10, 0.01) for name in ("copies", "liars")}
    assert 1.0 <= found["copies"]["copies_per_node"] < 8.0
    assert found["liars"]["honest_dead_views"] == 0
    text = figures_table(found)
    assert text.count("\n") == 2 + sum(part in found for _, _, part, _, _ in TARGETS)
