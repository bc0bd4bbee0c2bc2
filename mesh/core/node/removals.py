"""What happens everywhere once records of trust take a key back: its links, its facts, its claims.

Whenever the ranks may have changed, everything that is held is judged again by its author. Whoever
takes part no more is cut off; of what it has said only what the revocation lists is kept.
"""

from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.table import Table
from mesh.core.gossip.gossip import Family, Gossip
from mesh.core.identity import Boot, FactId, NodeId, PublicKey, TaskId, node_id
from mesh.core.instants import Instant, Now
from mesh.core.membership.member import Ended
from mesh.core.membership.membership import Membership
from mesh.core.node.bulk import Bulk
from mesh.core.outbox import Outbox
from mesh.core.trust.records import TRUST_CONTEXTS, Revocation
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Verified

EVERY_BOOT = Boot((1 << 64) - 1)


@dataclass(slots=True)
class Removals:
    """Applies to the parts of a node what its records of trust take away."""

    own: PublicKey
    trust: Trust
    gossip: Gossip
    membership: Membership
    table: Table
    bulk: Bulk
    outbox: Outbox
    since: dict[NodeId, Instant] = field(default_factory=dict)
    """When this node learned that a node takes part no more."""
    version: int = -1
    is_expelled: bool = False
    """Whether this node itself takes part no more."""

    def counts(self, family: Family, verified: Verified[Any], *, is_new: bool) -> bool:
        """Whether a fact counts, as far as its author goes: a pure function of the records."""
        author = verified.signed.author
        if isinstance(verified.fact, Revocation):
            # One that a claim cites counts where it really ends somebody's part.
            cited = self.trust.revocations_of(verified.fact.key)
            return family is Family.MEMBERS or any(held.id == verified.id for held in cited)
        if verified.signed.context in TRUST_CONTEXTS:
            return True
        if family is Family.MEMBERS:
            return self.trust.is_member(author)
        return self.trust.counts(author, verified.id, is_new=is_new)

    def apply(self, now: Now) -> tuple[TaskId, ...]:
        """Judge everything again if the ranks changed; return the tasks that it may concern."""
        if self.version == self.trust.version:
            return ()
        self.version = self.trust.version
        self.is_expelled = not self.trust.is_member(self.own)
        self._note_revoked(now)
        for view in self.membership.members(now):
            if not view.is_self and not self.trust.is_member_id(view.id):
                self._cut_off(now, view.id, view.name, str(view.status))
        gone: dict[FactId, None] = {}
        for family in Family:
            for verified in tuple(self.gossip.facts(family)):
                if not self.counts(family, verified, is_new=False):
                    self.gossip.drop(family, verified.id)
                    if family is Family.TASKS:
                        gone[verified.id] = None
        # What was refused under the old ranks may count now.
        self.gossip.forget_refused()
        return self.table.withdraw(gone) if gone else ()

    def _note_revoked(self, now: Now) -> None:
        revoked = [node_id(key) for key in self.trust.revoked()]
        self.since = {node: self.since.get(node, now.instant) for node in revoked}

    def _cut_off(self, now: Now, node: NodeId, name: str, old: str) -> None:
        self.membership.remove(now, node)
        for effect in self.bulk.forget(node):
            self.outbox.put(effect)
        self.outbox.messages.pop(node, None)
        self.outbox.notify(
            "member", {"node": node.hex(), "name": name, "old": old, "new": "removed"}
        )

    def ended(self, node: NodeId) -> Ended | None:
        """Return the revocation of a node as the end of all its boots; the one of least id."""
        key = self.trust.public_key(node)
        revocations = () if key is None else self.trust.revocations_of(key)
        if not revocations:
            return None
        since = self.since.get(node, Instant(0.0))
        return Ended(revocations[0], node, EVERY_BOOT, False, "revoked", since)
