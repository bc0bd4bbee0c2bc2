"""The vote on one node that somebody cannot reach.

One observer alone proves nothing: its own cable may be the one that is cut. So the observers of a
node, whom everybody can compute, vote: who cannot reach it accuses, who can vouches. More than
half must accuse, hardly anybody may vouch, and the subject has a refutation window in which to
answer. Two who vouch mean that the edge is broken and not the node. Where nobody is left to vote
a conclusion stands for the one who draws it, and for nobody else (Rapid, section 4.2; memberlist's
suspicion is the counter-example: one accuser's clock decides).
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum

from mesh.core.identity import Boot, Incarnation, NodeId, PublicKey
from mesh.core.instants import Instant, later
from mesh.core.params import MembershipParams
from mesh.core.wire.envelope import SignedFact

FEW_OBSERVERS = 4
SMALLEST_VOTE = 2


class Outcome(Enum):
    """What a suspicion has come to."""

    WAIT = "wait"
    HOLD = "hold"
    """Others reach the subject."""
    VERDICT = "verdict"
    """A majority cannot: everybody may know."""
    ALONE = "alone"
    """Nobody is left to agree or to object: it stands here only."""


def accusers_needed(observers: int) -> int:
    """Return how many of k observers make a verdict."""
    return observers // 2 + 1


def vouchers_needed(observers: int) -> int:
    """Return how many of k observers show that an edge is broken and not the node."""
    return 1 if observers < FEW_OBSERVERS else 2


@dataclass(slots=True)
class Suspicion:
    """Who accuses one subject under one boot and incarnation, and who vouches for it."""

    boot: Boot
    incarnation: Incarnation
    started: Instant
    accusers: dict[NodeId, tuple[PublicKey, bytes]] = field(default_factory=dict)
    vouchers: dict[NodeId, Instant] = field(default_factory=dict)
    vouched_at: Instant = Instant(float("-inf"))
    own: SignedFact | None = None
    """My accusation, once signed; it stands while I am among the accusers."""
    alone: bool = False
    """I am no observer of it: nobody hears of my doubt, and any word for it ends that."""
    asked: dict[NodeId, None] = field(default_factory=dict)
    """Who was asked around, so that in time it is everybody."""
    resends: int = 0
    asked_all_at: Instant = Instant(float("-inf"))

    def add_accuser(self, node: NodeId, signed: SignedFact) -> None:
        """Count an accusation that was verified."""
        self.accusers[node] = (signed.author, signed.signature)
        self.vouchers.pop(node, None)

    def add_voucher(self, node: NodeId, instant: Instant) -> None:
        """Count a voucher; whoever vouches accuses no longer."""
        self.vouchers[node] = instant
        self.vouched_at = instant
        self.accusers.pop(node, None)

    def fresh_vouchers(self, instant: Instant, params: MembershipParams) -> list[NodeId]:
        """Return whose word still counts, the freshest first."""
        oldest = instant - params.vouch_fresh_s
        fresh = [(at, node) for node, at in self.vouchers.items() if at >= oldest]
        return [node for _, node in sorted(fresh, reverse=True)]

    def vouchers_by_freshness(self) -> list[NodeId]:
        """Return everybody who vouched, the freshest first."""
        return [
            node for _, node in sorted(((at, n) for n, at in self.vouchers.items()), reverse=True)
        ]

    def accusers_among(self, observers: AbstractSet[NodeId]) -> list[NodeId]:
        """Return who accuses and may vote, sorted."""
        return sorted(node for node in self.accusers if node in observers)

    def outcome(
        self, instant: Instant, observers: AbstractSet[NodeId], params: MembershipParams
    ) -> Outcome:
        """Return what the votes of these observers come to at this instant."""
        count = len(observers)
        vouching = [n for n in self.fresh_vouchers(instant, params) if n in observers]
        if len(vouching) >= vouchers_needed(count):
            return Outcome.HOLD
        if instant < later(self.started, params.refutation_window_s):
            return Outcome.WAIT
        accusing = len(self.accusers_among(observers))
        if accusing >= accusers_needed(count) and count >= SMALLEST_VOTE:
            return Outcome.WAIT if self._is_contested(instant, params) else Outcome.VERDICT
        if count <= SMALLEST_VOTE and not vouching:
            return Outcome.ALONE
        silent_since = max(self.started, self.vouched_at)
        if instant >= later(silent_since, params.local_conclusion_s):
            return Outcome.ALONE
        return Outcome.WAIT

    def _is_contested(self, instant: Instant, params: MembershipParams) -> bool:
        """Whether somebody reached it lately: that gives it one more window to speak for itself.

        Who had just reached it when it died says so in the first half of a window only.
        """
        window_s = params.refutation_window_s
        since_s = self.vouched_at - self.started
        return since_s >= window_s / 2 and instant < later(self.started, 2 * window_s)

    def next_look(self, instant: Instant, params: MembershipParams) -> Instant:
        """Return when the outcome may change by time alone; later than the given instant."""
        window_ends = later(self.started, params.refutation_window_s)
        if instant < window_ends:
            return window_ends
        if self._is_contested(instant, params):
            return later(window_ends, params.refutation_window_s)
        silent_since = max(self.started, self.vouched_at)
        alone = later(silent_since, params.local_conclusion_s)
        return alone if alone > instant else later(instant, params.edge_quiet_s)

    def postpone(self, seconds: float) -> None:
        """Push all clocks: for this long nobody here was listening."""
        self.started = later(self.started, seconds)
        self.vouched_at = later(self.vouched_at, seconds)
        for node, at in self.vouchers.items():
            self.vouchers[node] = later(at, seconds)
