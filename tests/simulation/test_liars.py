"""A fifth of the members lie together, and nobody honest is evicted, robbed or drowned."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh.core.claims.garbage import Garbage
from mesh.core.claims.held_back import HeldBack
from mesh.core.claims.record import _Heap
from mesh.core.membership import court, intake, suspicion, verdicts
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Verifier
from tests.simulation import planted
from tests.simulation.attacker import participant_of
from tests.simulation.liars import NODES, Evicted, Forged, Overfull, a_gang, gang_at_work, main
from tests.simulation.mutant import Patch
from tests.simulation.planted import nothing, then, yes

MINUTE_H = 1 / 60
EVERY_S = 0.25


@pytest.mark.parametrize("nodes", [5, NODES])
def test_a_fifth_of_the_members_lies_together(nodes: int, seeds: range) -> None:
    for seed in seeds[: max(1, len(seeds) // 3)]:
        gang = gang_at_work(seed, nodes, MINUTE_H, every_s=EVERY_S)
        assert len(gang.liars) == nodes // 5
        assert sum(gang.sent.values()) > 200
        assert min(gang.sent.values()) > 2
        for name in gang.honest:
            refused = participant_of(gang.mesh, name).counters
            for reason in ("bad_signature", "broken_rule", "not_admitted", "author_mismatch"):
                assert refused[f"refused_{reason}"] > 2, f"{name} never had to refuse {reason}"


def test_a_table_is_stuffed_to_its_bound_and_no_further() -> None:
    gang = a_gang(1, 5, MINUTE_H)
    gang.run(MINUTE_H / 2, EVERY_S, [gang.drown])
    assert gang.fill["held back of one author"] == 1.0
    assert gang.fill["trust_pending"] == 1.0
    for table in ("tasks", "evidence", "forgets unproven", "keys of one author", "seen"):
        assert gang.fill[table] > 0.01, f"nothing of it gets into {table}"


@dataclass(frozen=True)
class Bug:
    """A planted bug, and what the gang makes of it."""

    finding: type[AssertionError]
    patches: tuple[Patch, ...]
    stuff: bool = False
    seed: int = 0
    """Under which a minute is known to be enough."""


BELIEVING = then(_Heap.__post_init__, planted.believe_everybody)
BUGS = {
    "signatures unchecked": Bug(
        Forged, (Patch(Verifier, "open_untrusted", planted.open_unchecked),)
    ),
    "any reason will do": Bug(
        Forged, (Patch(_Heap, "_is_valid", planted.valid_unless("because")),)
    ),
    "epochs may be skipped": Bug(
        Forged, (Patch(_Heap, "_is_valid", planted.valid_unless("epoch")),)
    ),
    "anybody ends a claim": Bug(Forged, (Patch(_Heap, "__post_init__", BELIEVING),)),
    "anybody forgets": Bug(Forged, (Patch(Garbage, "_counts", yes),)),
    "anybody ranks": Bug(Forged, (Patch(Trust, "_rests", yes),)),
    "one accuser is enough": Bug(
        Evicted,
        tuple(
            Patch(module, "accusers_needed", lambda _: 1)
            for module in (suspicion, court, verdicts, intake)
        ),
    ),
    "no end to what waits": Bug(Overfull, (Patch(HeldBack, "check_room", nothing),), stuff=True),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_gang_finds_a_planted_bug(name: str) -> None:
    bug = BUGS[name]
    for owner, patched, _ in bug.patches:
        assert hasattr(owner, patched), f"{patched} stands for nothing"
    gang = a_gang(bug.seed, 5, MINUTE_H)
    moves = [gang.drown] if bug.stuff else gang.moves()
    with pytest.MonkeyPatch.context() as planting:
        for owner, patched, instead in bug.patches:
            planting.setattr(owner, patched, instead)
        with pytest.raises(bug.finding):
            gang.run(MINUTE_H, EVERY_S, moves)


def test_what_was_run_is_a_line_each_and_goes_on_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hours"
    short = ["--each", "0.002", "--nodes", "5", "--profile", "wan", "--out", str(out)]
    assert main(["--hours", "0.004", *short]) == 0
    first = out.read_text().splitlines()
    assert [json.loads(line)["seed"] for line in first] == [0, 1]
    assert main(["--hours", "0.006", *short]) == 0
    lines = out.read_text().splitlines()
    assert lines[:2] == first
    assert [json.loads(line)["seed"] for line in lines] == [0, 1, 2]
    said = capsys.readouterr().out
    assert "0.006 hours, 3 seeds" in said
    assert "forged acceptances 0, honest evictions 0, overfull 0, other findings 0" in said
