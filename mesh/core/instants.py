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


def wall_text(seconds: float) -> str:
    """Return an RFC 3339 time in UTC with milliseconds, for people.

    Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    """
    millis = round(seconds * 1000)
    days, millis = divmod(millis, 86_400_000)
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (month <= 2)
    minutes, rest = divmod(millis, 60_000)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
    return f"{year:04}-{month:02}-{day:02}T{clock}Z"
