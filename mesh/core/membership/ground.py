"""What every machine of one membership stands on: its parts, its table, its timers."""

from dataclasses import dataclass

from mesh.core.gossip.gossip import Gossip
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import Address, Boot, NodeId
from mesh.core.instants import Instant, Now, later
from mesh.core.membership.agenda import Agenda
from mesh.core.membership.local_health import LocalHealth
from mesh.core.membership.member_table import MemberTable
from mesh.core.membership.observers import ObserverRule
from mesh.core.outbox import Outbox
from mesh.core.params import MembershipParams
from mesh.core.rng import Rng
from mesh.core.wire.envelope import Author, Fact, Verified
from mesh.core.wire.frame import Message

SOON_S = 0.3
"""Pings that must not leave at one instant are spread over this long."""
MOMENT_S = 0.001


@dataclass(frozen=True, slots=True)
class OwnPresence:
    """What this node says of itself at the start of a boot."""

    name: str
    addresses: tuple[Address, ...]
    link_key: bytes
    """The public half, 32 bytes."""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class MembershipParts:
    """What a `Membership` is made of."""

    author: Author
    gossip: Gossip
    params: MembershipParams
    rng: Rng
    outbox: Outbox
    boot: Boot
    own: OwnPresence
    observers: ObserverRule | None = None
    """Who observes whom; the rings unless given."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The parts, and the state that the machines share."""

    parts: MembershipParts
    table: MemberTable
    agenda: Agenda
    health: LocalHealth

    @property
    def params(self) -> MembershipParams:
        """The numbers."""
        return self.parts.params

    def send(self, peer: NodeId, message: Message) -> None:
        """Send a message over the link to a peer."""
        self.parts.outbox.send(peer, message)

    def soon(self, now: Now) -> Instant:
        """Return an instant that is near but not the same for everybody."""
        return later(now.instant, self.parts.rng.uniform(MOMENT_S, SOON_S))

    def spread(self, now: Now, seconds: float) -> Instant:
        """Return the instant after a time that is spread by the jitter of edges."""
        jitter = self.params.edge_jitter
        return later(now.instant, seconds * self.parts.rng.uniform(1 - jitter, 1 + jitter))

    def is_held(self, verified: Verified[Fact] | None) -> bool:
        """Whether gossip holds a fact."""
        gossip = self.parts.gossip
        return verified is not None and gossip.holds(Family.MEMBERS, verified.id)

    def drop(self, verified: Verified[Fact] | None) -> None:
        """Let gossip let go of a dominated fact, if it holds it."""
        if verified is not None and self.is_held(verified):
            self.parts.gossip.drop(Family.MEMBERS, verified.id)
