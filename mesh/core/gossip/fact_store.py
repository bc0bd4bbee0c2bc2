"""The held facts of one family, their fingerprints, and the ids that need no second look."""

from collections.abc import Sequence
from typing import Any

from mesh.core.gossip.messages import FULL_BYTES, SHORT_BYTES
from mesh.core.identity import FactId, MeshId
from mesh.core.lattice.fingerprint import FingerprintTree
from mesh.core.wire.envelope import Verified

SCAN_FACTOR = 8
"""Above one fact in so many, walking over all of them is as cheap as sorting the wanted ones."""


class FactStore:
    """A set of verified facts in the order in which they came.

    Order is worth keeping: a certificate came before what its owner said, so a node that sends
    many facts sends them in an order in which they can be accepted.
    """

    __slots__ = ("_facts", "_ids", "_seen", "_seen_max", "tree")

    def __init__(self, mesh: MeshId, seen_max: int) -> None:
        self._facts: dict[FactId, Verified[Any]] = {}
        self._ids: tuple[FactId, ...] | None = None
        self._seen: dict[bytes, FactId] = {}
        self._seen_max = seen_max
        self.tree = FingerprintTree(mesh)

    def __contains__(self, id_: FactId) -> bool:
        return id_ in self._facts

    def __len__(self) -> int:
        return len(self._facts)

    def get(self, id_: FactId) -> Verified[Any] | None:
        """Return a held fact."""
        return self._facts.get(id_)

    def facts(self) -> Sequence[Verified[Any]]:
        """Return all held facts, oldest first."""
        return tuple(self._facts.values())

    def ids(self) -> tuple[FactId, ...]:
        """Return the ids of all held facts, sorted; the same object until they change."""
        if self._ids is None:
            self._ids = tuple(sorted(self._facts))
        return self._ids

    def hold(self, verified: Verified[Any]) -> bool:
        """Hold a fact; False when it is held already."""
        id_ = verified.signed.id
        if id_ in self._facts:
            return False
        self._facts[id_] = verified
        self._ids = None
        self.tree.add(id_)
        return True

    def release(self, id_: FactId) -> bool:
        """Let go of a fact and remember its id; False when it was not held."""
        self.remember(id_)
        return self.discard(id_)

    def discard(self, id_: FactId) -> bool:
        """Let go of a fact and of its id; False when it was not held."""
        if self._facts.pop(id_, None) is None:
            return False
        self._ids = None
        self.tree.remove(id_)
        return True

    def remember(self, id_: FactId) -> None:
        """Remember that a fact is not to be kept; the oldest such memory goes at the bound."""
        self._seen[id_[:SHORT_BYTES]] = id_
        if len(self._seen) > self._seen_max:
            del self._seen[next(iter(self._seen))]

    def forget_remembered(self) -> None:
        """Judge anew whatever comes again: the rules by which it was refused have changed."""
        self._seen.clear()

    def knows(self, id_: FactId) -> bool:
        """Whether a fact is held or was judged as not to be kept."""
        return id_ in self._facts or self._seen.get(id_[:SHORT_BYTES]) == id_

    def knows_cut(self, cut: bytes) -> bool:
        """Whether a fact with an id that begins so is known."""
        seen = self._seen.get(cut[:SHORT_BYTES])
        return (seen is not None and seen.startswith(cut)) or bool(self.find(cut))

    def find(self, cut: bytes) -> list[FactId]:
        """Return the held ids that begin with these bytes: rarely more than one."""
        if len(cut) == FULL_BYTES:
            return [FactId(cut)] if cut in self._facts else []
        return [FactId(id_) for id_ in self.tree.starting(cut)]

    def in_order(self, ids: Sequence[bytes]) -> list[FactId]:
        """Return held ids, those of many in the order in which they came."""
        if len(ids) * SCAN_FACTOR < len(self._facts):
            return [FactId(id_) for id_ in ids if id_ in self._facts]
        wanted = dict.fromkeys(ids)
        return [id_ for id_ in self._facts if id_ in wanted]
