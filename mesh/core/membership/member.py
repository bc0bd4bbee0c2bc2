"""What this node believes of one other node, and why."""

import math
from dataclasses import dataclass, field
from typing import Any

from mesh.core.identity import Boot, Incarnation, NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.membership.agenda import EDGE, timer_key
from mesh.core.membership.facts import Leave, Presence, Verdict
from mesh.core.membership.probe import Probe, RoundTrip
from mesh.core.membership.suspicion import Suspicion
from mesh.core.snapshot import MemberView, Status
from mesh.core.wire.envelope import Verified

LONG_AGO = Instant(float("-inf"))

REFUTATIONS_MAX = 4
"""Each in a row is trusted twice as long as the last, up to this many."""
FIRST_TRUST = 1 / 3
"""How long the first one is trusted, in holds of an edge."""

Standing = tuple[Boot, Incarnation]
"""Under which boot and incarnation a node is known; the greatest counts."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why all boots of a node up to `ended_boot` are over."""

    fact: Verified[Any]
    """A goodbye, a verdict, a newer presence; or a revocation, of which membership knows not."""
    subject: NodeId
    ended_boot: Boot
    local: bool
    """No majority stands behind it: a conclusion of this node alone."""
    kind: str
    """`left`, `verdict`, `restarted` or `revoked`."""
    since: Instant
    """When this node came to believe it."""


@dataclass(slots=True)
class Detour:
    """Somebody who passes things on to a member that is no edge."""

    via: NodeId
    is_vouched: bool
    """Somebody said so during the check that is under way."""
    is_used: bool = True


@dataclass(slots=True)
class Member:
    """A belief about one other node."""

    id: NodeId
    presence: Verified[Presence]
    boot_since: Instant
    """When its present boot was first seen."""
    status: Status = Status.ALIVE
    since: Instant = LONG_AGO
    """When it went down or left."""
    heard_at: Instant = LONG_AGO
    evidence_at: Instant = LONG_AGO
    """When its last two-way evidence came in."""
    reached_at: Instant = LONG_AGO
    """When it surely heard me last: the far half of that evidence."""
    trip: RoundTrip = field(default_factory=RoundTrip)
    asked: tuple[int, Instant] | None = None
    """The last ping outside of any run: a redial."""
    probe: Probe | None = None
    detour: Detour | None = None
    suspicion: Suspicion | None = None
    askers: dict[NodeId, None] = field(default_factory=dict)
    """Who wants to hear whether I reach it."""
    verdict: Verified[Verdict] | None = None
    """Names its present boot and incarnation; believed once the status is down or dead."""
    local: bool = False
    """It is down because I concluded so alone."""
    leave: Verified[Leave] | None = None
    noticed_at: Instant = LONG_AGO
    """When it was last told of the verdict on it."""
    refutations: int = 0
    """How often in a row it refuted a verdict without being reached from here in between."""
    trusted_until: Instant = LONG_AGO
    """Until then such a refutation stands for a voucher."""
    contradicted_at: Instant = NEVER
    """When somebody first spoke against it after its last word."""
    flaps: float = 0.0
    flaps_at: Instant = LONG_AGO
    edge_key: bytes = b""
    view: MemberView | None = None
    """How it was shown last."""
    viewed: tuple[Presence, Status, float | None, tuple[str, ...]] | None = None
    """What that followed from."""

    def __post_init__(self) -> None:
        self.edge_key = timer_key(EDGE, self.id)

    @property
    def standing(self) -> Standing:
        """Its boot and incarnation."""
        fact = self.presence.fact
        return fact.boot, fact.incarnation

    @property
    def is_here(self) -> bool:
        """Whether it takes part: alive or suspect."""
        return self.status is Status.ALIVE or self.status is Status.SUSPECT

    @property
    def is_down(self) -> bool:
        """Whether it is believed to have failed: down or dead."""
        return self.status is Status.DOWN or self.status is Status.DEAD

    def ended(self, boot: Boot) -> Ended | None:
        """Return why a boot of it is over, as far as is known."""
        if self.leave is not None and boot <= self.leave.fact.boot:
            return Ended(self.leave, self.id, self.leave.fact.boot, False, "left", self.since)
        current = self.presence.fact.boot
        if boot < current:
            before = Boot(current - 1)
            return Ended(self.presence, self.id, before, False, "restarted", self.boot_since)
        if boot == current and self.is_down and self.verdict is not None:
            return Ended(self.verdict, self.id, current, self.local, "verdict", self.since)
        return None

    def penalty(self, instant: Instant, half_life_s: float) -> float:
        """Return how much it flapped of late: each flap counts 1 and halves in the given time."""
        if self.flaps == 0.0:
            return 0.0
        halvings = (instant - self.flaps_at) / half_life_s
        return self.flaps * math.pow(0.5, halvings)

    def add_flap(self, instant: Instant, half_life_s: float) -> None:
        """Count one more flap."""
        self.flaps = self.penalty(instant, half_life_s) + 1.0
        self.flaps_at = instant

    def add_refutation(self, instant: Instant, hold_s: float) -> None:
        """It lives although it was not reached: so it is the path that is broken."""
        self.refutations = min(self.refutations + 1, REFUTATIONS_MAX)
        trust_s = FIRST_TRUST * hold_s * 2 ** (self.refutations - 1)
        self.trusted_until = later(instant, trust_s)

    def contradict(self, instant: Instant) -> None:
        """An accusation or a verdict names its present boot and incarnation: it may answer."""
        self.contradicted_at = min(self.contradicted_at, instant)

    def forget_refutations(self) -> None:
        """It was reached: what was wrong with the path is mended."""
        self.refutations, self.trusted_until = 0, LONG_AGO

    def forget_contact(self) -> None:
        """It runs anew: what its former process heard says nothing any more."""
        self.heard_at = self.evidence_at = self.reached_at = LONG_AGO
        self.forget_refutations()
        self.asked = self.detour = None
        self.askers.clear()
