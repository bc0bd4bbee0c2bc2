"""Two kinds of time that never mix: instants order events, wall time is for people and limits."""

from typing import NamedTuple, NewType

Instant = NewType("Instant", float)
"""Seconds on this node's own monotonic clock, which counts suspend; never sent anywhere."""

WallTime = NewType("WallTime", float)
"""Seconds since 1970, as this machine believes; never orders or owns anything."""

NEVER = Instant(float("inf"))


class Now(NamedTuple):
    """Both readings taken for one input of a node."""

    instant: Instant
    wall: WallTime


def later(instant: Instant, seconds: float) -> Instant:
    """Return the instant `seconds` after the given one."""
    return Instant(instant + seconds)
