"""Self-doubt: late, asleep, cut off."""

import pytest

from mesh.core.instants import Instant
from mesh.core.membership.local_health import LocalHealth, looks_isolated
from mesh.core.params import MembershipParams

PARAMS = MembershipParams()


@pytest.mark.parametrize(
    ("edges", "dead", "lost", "isolated"),
    [
        (0, 0, 0, False),
        (1, 1, 0, True),
        (2, 1, 0, False),
        (2, 2, 0, True),
        (8, 4, 0, False),
        (8, 5, 0, True),
        (0, 0, 1, True),
        (1, 0, 1, False),
        (4, 0, 4, False),
    ],
)
def test_more_than_half_dead_edges_mean_me(
    edges: int,
    dead: int,
    lost: int,
    isolated: bool,
) -> None:
    assert looks_isolated(edges, dead, lost) is isolated


def test_one_lag_counts_once() -> None:
    health = LocalHealth()
    assert health.note_lag(Instant(5.0))
    assert not health.note_lag(Instant(5.0))
    assert health.note_lag(Instant(6.0))
    assert health.is_degraded(Instant(7.0), PARAMS)
    assert not health.is_degraded(Instant(60.0), PARAMS)


def test_after_a_suspend_nobody_is_accused_for_a_window() -> None:
    health = LocalHealth()
    assert health.may_accuse(Instant(0.0))
    health.note_suspend(Instant(10.0), PARAMS)
    assert not health.may_accuse(Instant(10.0 + PARAMS.refutation_window_s - 0.1))
    assert health.may_accuse(Instant(10.0 + PARAMS.refutation_window_s))
