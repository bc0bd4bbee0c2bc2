"""What `mesh task submit` makes of times, tags, keys and limits."""

import argparse
import time
from collections.abc import Callable

import pytest

from mesh.cli.submission import keyed, limit, moment, priority, tag


def test_a_moment_is_a_length_of_time_from_now_or_a_time() -> None:
    assert abs(moment("10m") - time.time() - 600) < 60
    assert moment("2026-01-31T18:00:00Z") == 1_769_882_400.0


def test_a_key_may_carry_its_window() -> None:
    assert keyed("nightly") == ("nightly", None)
    assert keyed("nightly=1h") == ("nightly", 3600.0)
    assert keyed("branch=main") == ("branch=main", None)
    assert keyed("branch=main=2m") == ("branch=main", 120.0)


def test_tags_limits_and_priorities() -> None:
    assert tag("gpu") == ("gpu", "")
    assert tag("os=linux") == ("os", "linux")
    assert limit("db=2") == ("db", 2)
    assert priority("255") == 255


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (moment, "soon"),
        (moment, "-5m"),
        (moment, "0000-00-00"),
        (priority, "-1"),
        (priority, "256"),
        (limit, "db"),
        (limit, "db=0"),
        (limit, "db=-1"),
        (tag, "=x"),
        (tag, ""),
    ],
)
def test_nonsense_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)
