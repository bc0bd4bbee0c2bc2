"""All that a node holds: a store per family, the way to disk, and what of it may be sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mesh.core.gossip.fact_store import FactStore
from mesh.core.gossip.journal import Journal
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import FactId, MeshId
from mesh.core.outbox import Outbox
from mesh.core.wire.envelope import Verified


@dataclass(frozen=True, slots=True)
class Holdings:
    """The stores of both families and their journal."""

    stores: tuple[FactStore, FactStore]
    journal: Journal

    def __getitem__(self, family: Family) -> FactStore:
        return self.stores[family]

    def fingerprints(self) -> tuple[int, int]:
        """Return the digests of both families."""
        members, tasks = self.stores
        return members.tree.fingerprint, tasks.tree.fingerprint

    def hold_foreign(self, family: Family, verified: Verified[Any], encoded: bytes) -> None:
        """Hold an accepted fact and make it durable."""
        if self.stores[family].hold(verified):
            self.journal.write(family, verified.signed.id, encoded)
            verified.shed_payload()

    def hold_own(self, family: Family, verified: Verified[Any]) -> None:
        """Hold a fact that may leave only once it is on disk."""
        if self.stores[family].hold(verified):
            self.journal.write_own(family, verified.signed)

    def sendable(self, family: Family, ids: Iterable[FactId]) -> list[Verified[Any]]:
        """Return the facts among these that are held and may leave the node."""
        store, may_leave = self.stores[family], self.journal.may_leave
        held = [store.get(id_) for id_ in ids if may_leave(family, id_)]
        return [verified for verified in held if verified is not None]


def holdings_of(mesh: MeshId, outbox: Outbox, seen_max: int) -> Holdings:
    """Return empty holdings."""
    stores = (FactStore(mesh, seen_max), FactStore(mesh, seen_max))
    return Holdings(stores, Journal(outbox))
