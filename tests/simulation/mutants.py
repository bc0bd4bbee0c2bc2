"""Plants bugs into the real code, to see whether the simulator notices them.

`python -m tests.simulation.mutants [--seeds N] [NAME ...]` plants one after the other and prints
what caught it: which hunt, in which words, under which seed first.
"""

import argparse
import sys
import time
from dataclasses import dataclass

from mesh.sim.checker import Violation
from mesh.sim.client import AnsweredTwice
from mesh.sim.scenario import Refused, TooLate
from tests.simulation.catalogue import MUTANTS
from tests.simulation.mutant import Mutant

SEEDS_BY_DEFAULT = 20
FINDINGS = (Violation, AssertionError, TooLate, Refused, AnsweredTwice)
"""What counts as caught; any other exception means that the mutant itself is broken."""


@dataclass(frozen=True)
class Catch:
    """What became of the hunt for one mutant."""

    mutant: Mutant
    seed: int | None
    """The first seed that showed it; None when it survived all of them."""
    finding: str
    seconds: float


def hunt_down(mutant: Mutant, seeds: range) -> Catch:
    """Send the hunt after a mutant until a seed catches it."""
    began_s = time.perf_counter()
    with mutant.planted():
        for seed in seeds:
            try:
                mutant.hunt(seed)
            except FINDINGS as finding:
                return Catch(mutant, seed, in_words(finding), time.perf_counter() - began_s)
    return Catch(mutant, None, "SURVIVED", time.perf_counter() - began_s)


def in_words(finding: BaseException) -> str:
    """Return what a hunt found, in a few words."""
    if isinstance(finding, Violation):
        return f"checker {finding.rule}"
    if isinstance(finding, TooLate):
        return "not in time"
    return str(finding).split("\n", maxsplit=1)[0].split(": ", maxsplit=1)[0]


def chosen(names: list[str]) -> list[Mutant]:
    """Return the mutants of these names; all without any."""
    return [mutant for mutant in MUTANTS if not names or mutant.name in names]


def row(catch: Catch) -> str:
    """Return one line of the table."""
    mutant, seed = catch.mutant, "-" if catch.seed is None else str(catch.seed)
    cells = (
        mutant.name,
        mutant.says,
        mutant.rule,
        mutant.hunt.__name__,
        catch.finding,
        seed,
        f"{catch.seconds:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str]) -> int:
    """Plant the bugs, print the table of catches; the exit code says whether all were caught."""
    parser = argparse.ArgumentParser(prog="mutants", description="Plant bugs, one after another.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them without any")
    parser.add_argument("--seeds", type=int, default=SEEDS_BY_DEFAULT)
    options = parser.parse_args(arguments)
    known = [mutant.name for mutant in MUTANTS]
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no planted bug is called {', '.join(unknown)}: those are {', '.join(known)}")
    print("| planted bug | what it does | breaks | hunt | caught by | first seed | seconds |")
    print("|---|---|---|---|---|---|---|")
    survivors = 0
    for mutant in chosen(options.names):
        catch = hunt_down(mutant, range(options.seeds))
        survivors += catch.seed is None
        print(row(catch), flush=True)
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
