"""Seeds of random trials that once broke a rule: each is run again, with what it had found."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.params import params_for
from mesh.sim.population import Population
from mesh.sim.trial import Plan, run_trial
from mesh.sim.weather import FIRST_KINDS
from tests.conftest import SEEDS_BY_DEFAULT

WITHDRAWN = "a claim that the disk had refused was spread later, and its task worked on for ever"
FORGOTTEN = "a result that only a full disk had not taken was missed after a crash: not a rule"
UPGRADED = "a failed check of somebody down made an own conclusion count as a majority's verdict"


def old_plan(seed: int, nodes: int, storm_s: float) -> Plan:
    """A trial from when fewer kinds of faults were drawn."""
    return Plan(seed, nodes=nodes, storm_s=storm_s, kinds=FIRST_KINDS)


FOUND = (
    ("local", old_plan(101, 5, 90.0), WITHDRAWN),
    ("local", old_plan(1019, 3, 90.0), WITHDRAWN),
    ("local", old_plan(1027, 3, 60.0), WITHDRAWN),
    ("lan", old_plan(1027, 3, 60.0), WITHDRAWN),
    ("lan", old_plan(1044, 4, 90.0), WITHDRAWN),
    ("lan", old_plan(2043, 6, 120.0), FORGOTTEN),
    ("lan", old_plan(1190, 6, 120.0), UPGRADED),
    ("local", old_plan(4000, 6, 90.0), UPGRADED),
)

UNTESTED = "a verdict that was to be tested on an edge was tested no more when the edge was gone"
GIVEN_UP = (
    "two that gave each other up alone, beside forty dead, did not dial each other for minutes"
)
OUTRACED = (
    "the loser of a lossy race counted as robbed by who came after the winner: no rule broken"
)
OVERRUN = "more admins than a mesh may have: each new disk of the first hosts made one more"
LATE_LOT = "a claim kept back by a full disk took a task from who had begun: called calm weather"

REPLACED = "a conclusion of one's own took the place of the verdict that was under test, for good"
GHOST = "observers had given somebody up alone, on islands, and whoever observed it not believed on"
UNHEARD = (
    "claims went from a joiner's disk, since the certificate of who had submitted was yet to come"
)
SECOND_LOOK = "all had been alone; who had not met one of them looked twice, ten seconds apart"

FOUND_LONG = (
    (old_plan(144, 10, 590.0), UNTESTED),
    (old_plan(228, 10, 590.0), UNTESTED),
    (old_plan(52, 10, 590.0), LATE_LOT),
    (old_plan(73, 10, 590.0), LATE_LOT),
    (old_plan(3, 10, 590.0), OVERRUN),
    (Plan(622, nodes=10, storm_s=590.0), GIVEN_UP),
    (Plan(182, nodes=10, storm_s=590.0), OUTRACED),
    (Plan(40316, nodes=10, storm_s=590.0), REPLACED),
    (Plan(40793, nodes=10, storm_s=590.0), REPLACED),
    (Plan(50572, nodes=10, storm_s=590.0), GHOST),
    (Plan(50107, nodes=10, storm_s=590.0), GHOST),
    (Plan(70447, nodes=10, storm_s=590.0), GIVEN_UP),
    (Plan(72167, nodes=10, storm_s=590.0), UNHEARD),
    (Plan(72753, nodes=10, storm_s=590.0), UNHEARD),
    (Plan(74107, nodes=10, storm_s=590.0), SECOND_LOOK),
)
"""Of ten simulated minutes each, so the usual test run tries the first one only."""

LEAVER = "who was saying goodbye when the weather cleared up was looked for, and never came back"

BASELESS = "a peer that had missed the claim counted as a copy of its completion, and had nothing"

IN_FLIGHT = "a copy was lost with its disk while word of it was under way: no rule broken"
TRUSTING = "who had refuted was trusted for half a minute after it had died, whatever others said"
TRUSTING_LONG = "who refuted and died at once was trusted for twelve seconds by all who were left"
SLOW_RUN = "one run of pings to somebody never met took most of half a minute"

FOUND_LATER = (
    ("lan", Plan(81, nodes=3, storm_s=10.0, tasks=5), LEAVER),
    ("lan", Plan(785, nodes=3, storm_s=10.0, tasks=5), BASELESS),
    ("lan", Plan(7751, nodes=3, storm_s=10.0, tasks=5), BASELESS),
    ("lan", Plan(956, nodes=3, storm_s=10.0, tasks=5), TRUSTING_LONG),
    ("lan", Plan(4177, nodes=3, storm_s=10.0, tasks=5), TRUSTING_LONG),
    ("lan", Plan(6861, nodes=3, storm_s=10.0, tasks=5), TRUSTING_LONG),
    ("lan", Plan(8568, nodes=3, storm_s=10.0, tasks=5), TRUSTING_LONG),
    ("lan", Plan(11083, nodes=3, storm_s=10.0, tasks=5), TRUSTING_LONG),
    ("lan", Plan(5322, nodes=3, storm_s=10.0, tasks=5), IN_FLIGHT),
    ("lan", Plan(197, nodes=7), TRUSTING),
    ("lan", Plan(212, nodes=7), TRUSTING),
    ("wan", Plan(2000, nodes=5), SLOW_RUN),
)


@pytest.mark.parametrize(("profile", "plan", "what"), [*FOUND, *FOUND_LATER])
def test_what_a_seed_once_broke_holds(profile: str, plan: Plan, what: str) -> None:
    outcome = run_trial(plan, params_for(profile), Population())
    assert outcome.broken is None, f"{outcome.line()} once: {what}"


def test_what_a_long_seed_once_broke_holds(seeds: range) -> None:
    for plan, what in FOUND_LONG[: max(1, len(seeds) - SEEDS_BY_DEFAULT)]:
        outcome = run_trial(plan, params_for("lan"), Population())
        assert outcome.broken is None, f"{outcome.line()} once: {what}"


def test_trials_with_the_primitives_of_real_nodes(seeds: range) -> None:
    """Most trials sign and seal with keyed hashes, which are faster and bind as much."""
    for seed in seeds:
        plan = Plan(6000 + seed, nodes=4, storm_s=20.0, tasks=5)
        outcome = run_trial(plan, params_for("local"), Population(), RealSuite())
        assert outcome.broken is None, outcome.line()
        assert outcome.trace != run_trial(plan, params_for("local"), Population()).trace


def test_seeds_never_tried_before(seeds: range) -> None:
    for seed in seeds:
        for profile in ("local", "lan"):
            plan = Plan(5000 + seed, nodes=3 + seed % 5, storm_s=60.0 + 30.0 * (seed % 3))
            outcome = run_trial(plan, params_for(profile), Population())
            assert outcome.broken is None, f"{outcome.line()} --profile {profile}"
