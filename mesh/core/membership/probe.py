"""Asking one peer whether it hears us: when to ask, how long to wait, how often to try.

An edge rests while there is two-way evidence. Once it has been quiet for a while one run of
pings starts, each waiting longer than the one before, up to a bound; any proof that the peer
heard a ping of this run ends it, and silence after the last one is a failure. The wait follows
the measured round trip (RFC 6298), the number of tries the measured loss: at 30 % loss three
tries would accuse the innocent every few minutes.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

from mesh.core.instants import Instant, later
from mesh.core.params import MembershipParams

SEQUENCES = 1 << 32
LOSS_GAIN = 1 / 32
FALSE_FAILURE = 0.01
"""How likely a run may fail on loss alone: each that does costs some dozen messages of a vote."""


class Phase(Enum):
    """Where a probe stands."""

    QUIET = "quiet"
    ASKING = "asking"
    FAILED = "failed"
    HELD = "held"
    """Others vouch for the peer: the edge is broken, not the node."""


@dataclass(slots=True)
class RoundTrip:
    """The smoothed round-trip time to one peer and how much it varies (RFC 6298)."""

    smoothed_s: float | None = None
    variation_s: float = 0.0

    def add(self, sample_s: float) -> None:
        """Take one measured round trip into account."""
        if self.smoothed_s is None:
            self.smoothed_s, self.variation_s = sample_s, sample_s / 2
            return
        off = abs(self.smoothed_s - sample_s)
        self.variation_s += (off - self.variation_s) / 4
        self.smoothed_s += (sample_s - self.smoothed_s) / 8

    def timeout_s(self, params: MembershipParams) -> float:
        """Return how long to wait for an answer; the longest before anything was measured."""
        if self.smoothed_s is None:
            return params.probe_rto_high_s
        wait = self.smoothed_s + 4 * self.variation_s
        return min(max(wait, params.probe_rto_low_s), params.probe_rto_high_s)


@dataclass(slots=True)
class LossMeter:
    """The share of pings that went unanswered by peers who turned out to be there."""

    rate: float = 0.0

    def add(self, lost: int) -> None:
        """Take one run into account that ended well, and how many of its pings were lost before."""
        for _ in range(lost):
            self.rate += (1 - self.rate) * LOSS_GAIN
        self.rate -= self.rate * LOSS_GAIN

    def tries(self, params: MembershipParams) -> int:
        """Return how many pings a run needs so that loss alone seldom fails it."""
        if self.rate < 1e-3:
            return params.probe_tries_low
        needed = math.ceil(math.log(FALSE_FAILURE) / math.log(min(self.rate, 0.99)))
        return min(max(needed, params.probe_tries_low), params.probe_tries_high)


@dataclass(slots=True)
class Probe:
    """One peer being watched: the run under way and the pings it has sent."""

    phase: Phase = Phase.QUIET
    is_check: bool = False
    """Not an edge of ours: one run to see whether it is there, then gone."""
    is_sweep: bool = False
    """Such a run because of a cut: who stays silent is doubted."""
    started: Instant = Instant(0.0)
    tries_left: int = 0
    wait_s: float = 0.0
    sent: list[tuple[int, Instant]] = field(default_factory=list)
    answered: int | None = None
    """Which ping of the run was answered, counted from 0."""

    @property
    def runs(self) -> bool:
        """Whether pings wait for their answer."""
        return self.phase is Phase.ASKING

    def begin(self, instant: Instant, tries: int, wait_s: float) -> None:
        """Start a run; `send` follows."""
        self.phase = Phase.ASKING
        self.started = instant
        self.tries_left = tries
        self.wait_s = wait_s
        self.answered = None
        self.sent.clear()

    def send(self, instant: Instant, sequence: int, params: MembershipParams) -> Instant:
        """Note that a ping of the run leaves; returns when its answer is overdue."""
        assert self.phase is Phase.ASKING
        self.sent.append((sequence, instant))
        self.tries_left -= 1
        due = later(instant, self.wait_s)
        self.wait_s = min(self.wait_s * params.probe_backoff, params.probe_rto_high_s)
        return due

    @property
    def lost(self) -> int | None:
        """How many pings of a run that ends now were lost; None when that says nothing."""
        if self.phase is Phase.ASKING or self.phase is Phase.FAILED:
            return max(0, len(self.sent) - 1) if self.answered is None else self.answered
        return None

    def rest(self) -> None:
        """The peer hears us: the run is over."""
        self.phase = Phase.QUIET
        self.sent.clear()

    def believes(self, heard_us_at: Instant) -> bool:
        """Whether the peer having heard us then is proof: it must postdate our question."""
        return self.phase is Phase.QUIET or heard_us_at >= self.started

    def place_of(self, sequence: int) -> tuple[int, Instant] | None:
        """Return which ping of the run this was, counted from 0, and when it left."""
        for place, (sent, instant) in enumerate(self.sent):
            if sent == sequence:
                return place, instant
        return None
