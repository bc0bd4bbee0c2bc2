"""The simulator sees planted bugs, and sees none where none is planted."""

import pytest

from tests.simulation.catalogue import HUNTS, MUTANTS
from tests.simulation.hunting import Hunt
from tests.simulation.mutant import Mutant
from tests.simulation.mutants import hunt_down, main

PLANTED_MIN = 20


def name_of(hunt: Hunt) -> str:
    return hunt.__name__


def test_there_are_enough_bugs_and_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= PLANTED_MIN


@pytest.mark.parametrize("hunt", HUNTS, ids=name_of)
def test_without_a_planted_bug_nothing_is_found(hunt: Hunt, seeds: range) -> None:
    known = [mutant.seed for mutant in MUTANTS if mutant.hunt is hunt]
    for seed in range(max(len(seeds), 1 + max(known))):
        hunt(seed)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant: Mutant, seeds: range) -> None:
    catch = hunt_down(mutant, range(mutant.seed, max(mutant.seed + 1, len(seeds))))
    assert catch.seed is not None, f"{mutant.name} survived: {mutant.says}"


def test_a_mutant_leaves_nothing_behind() -> None:
    mutant = MUTANTS[0]
    before = [getattr(owner, name) for owner, name, _ in mutant.patches]
    with mutant.planted():
        assert [getattr(owner, name) for owner, name, _ in mutant.patches] != before
    assert [getattr(owner, name) for owner, name, _ in mutant.patches] == before


def test_who_asks_for_an_unknown_one_is_told_which_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([MUTANTS[0].name, "nosuch"])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert f"no planted bug is called nosuch: those are {MUTANTS[0].name}, " in printed.err


def test_the_table_of_catches_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cap-ignored", "--seeds", "1"]) == 0
    [head, _, line] = capsys.readouterr().out.splitlines()
    assert head.startswith("| planted bug |")
    assert line.startswith("| cap-ignored |")
    assert "S8" in line
