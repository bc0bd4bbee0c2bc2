"""Arithmetic on what was measured."""

import math
from collections.abc import Sequence

from tests.faults.fault import Scale

PATIENCE = 3.0
"""The quick forms run among the tests, where a busy machine must not look like a bug."""


def seconds(limit_s: float, scale: Scale) -> float:
    """Return a limit in time as it counts in this form of a fault."""
    return limit_s if scale is Scale.FULL else limit_s * PATIENCE


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value that this part of all does not exceed; infinite for none at all."""
    if not values:
        return math.inf
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def worst(values: Sequence[float]) -> float:
    """Return the greatest value; infinite for none at all."""
    return max(values, default=math.inf)
