"""The clock of one machine: how the world's time looks from there.

The world has one time. A machine's monotonic clock started at another moment and runs a little
fast or slow; its wall clock is off by some amount and may jump. Both go on while it sleeps.
"""

from dataclasses import dataclass, field

from mesh.core.instants import Instant, Now, WallTime

WALL_EPOCH_S = 1_700_000_000.0
"""Wall time of a right clock at the world's second 0."""


@dataclass(slots=True)
class SimClock:
    """A monotonic clock (`base_s` at the world's `since_s`, then `rate`) and a wall clock."""

    base_s: float = 0.0
    since_s: float = 0.0
    rate: float = 1.0
    wall_error_s: float = 0.0
    last: Instant = Instant(0.0)
    _usual_rate: float = field(init=False)

    def __post_init__(self) -> None:
        self._usual_rate = self.rate

    def read(self, at_s: float) -> Now:
        """Return both readings at a moment of the world; the instant never goes back."""
        instant = self.base_s + (at_s - self.since_s) * self.rate
        # A rounding error, or a timer that was rounded up, must not turn it back.
        if instant < self.last:  # noqa: PLR1730  max() costs four times as much, for each event
            instant = self.last
        self.last = Instant(instant)
        return Now(self.last, WallTime(WALL_EPOCH_S + at_s + self.wall_error_s))

    def when(self, instant: Instant) -> float:
        """Return the world's second at which this clock will show an instant."""
        return self.since_s + (instant - self.base_s) / self.rate

    def reach(self, instant: Instant) -> None:
        """Never again show less than this: a timer for that instant has gone off."""
        self.last = max(self.last, instant)

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forwards or backwards."""
        self.wall_error_s += seconds

    def set_rate(self, at_s: float, rate: float | None = None) -> None:
        """Run faster or slower from now on; as at first when no rate is given."""
        self.base_s, self.since_s = self.read(at_s).instant, at_s
        self.rate = self._usual_rate if rate is None else rate

    def reboot(self, at_s: float, base_s: float) -> None:
        """Start the monotonic clock anew, as a machine does that lost its power."""
        self.base_s = base_s
        self.since_s = at_s
        self.last = Instant(base_s)
