"""The clocks of this machine: an instant that counts suspend, wall time, and how long it slept."""

import time
from typing import Protocol

from mesh.core.instants import Instant, Now, WallTime

READ_TOGETHER_S = 0.001
READ_TRIES = 3


class Clock(Protocol):
    """What the pump reads."""

    def now(self) -> Now:
        """Return both readings for one input."""
        ...

    def slept_s(self) -> float | None:
        """Return for how long the host has been suspended since it started, if it can be told."""
        ...


class SystemClock:
    """CLOCK_BOOTTIME for order, the system's wall time for people and limits."""

    def now(self) -> Now:
        """Return both readings for one input."""
        return Now(Instant(time.clock_gettime(time.CLOCK_BOOTTIME)), WallTime(time.time()))

    def slept_s(self) -> float | None:
        """Return BOOTTIME - MONOTONIC: it grows by exactly the time spent suspended.

        None when the process was held up between the readings, whose difference means nothing then.
        """
        for _ in range(READ_TRIES):
            before = time.clock_gettime(time.CLOCK_BOOTTIME)
            monotonic = time.clock_gettime(time.CLOCK_MONOTONIC)
            after = time.clock_gettime(time.CLOCK_BOOTTIME)
            if after - before < READ_TOGETHER_S:
                return before - monotonic
        return None
