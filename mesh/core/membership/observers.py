"""Who observes whom: four rings ordered by hash, successor and predecessor on each.

Everybody computes the same rings from the same members, so nobody has to be asked who watches a
node, and nobody chooses its own watchers (Rapid, section 4). Only those who are not down stand on
the rings: when a rack is lost, new edges close over it by themselves. In a small mesh everybody
observes everybody.
"""

import bisect
import functools
import hashlib
from typing import Protocol

from mesh.core.identity import NodeId

RING_HASH_BYTES = 8
PLACES_CACHED = 4096


class ObserverRule(Protocol):
    """Says who observes a node; must be symmetric between nodes that are present."""

    def add(self, node: NodeId) -> None:
        """Let a node take part; once more is harmless."""
        ...

    def remove(self, node: NodeId) -> None:
        """Let a node no longer observe anybody; once more is harmless."""
        ...

    def observers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Return who observes a node, sorted, never itself; the node need not take part."""
        ...

    def observes(self, node: NodeId) -> frozenset[NodeId]:
        """Return the same as a set to look into."""
        ...


@functools.lru_cache(maxsize=PLACES_CACHED)
def ring_place(ring: int, node: NodeId) -> bytes:
    """Return where a node stands on a ring."""
    return hashlib.blake2b(bytes((ring,)) + node, digest_size=RING_HASH_BYTES).digest() + node


class RingObservers:
    """The rings, kept sorted: a change costs one insertion per ring, a question two look-ups."""

    def __init__(self, rings: int, all_observe_max: int) -> None:
        self._rings: tuple[list[bytes], ...] = tuple([] for _ in range(rings))
        self._nodes: list[NodeId] = []
        self._all_observe_max = all_observe_max
        self._cache: dict[NodeId, tuple[NodeId, ...]] = {}

    def add(self, node: NodeId) -> None:
        """Let a node take part."""
        at = bisect.bisect_left(self._nodes, node)
        if self._nodes[at : at + 1] == [node]:
            return
        self._cache.clear()
        self._nodes.insert(at, node)
        for number, ring in enumerate(self._rings):
            bisect.insort(ring, ring_place(number, node))

    def remove(self, node: NodeId) -> None:
        """Let a node no longer observe anybody."""
        at = bisect.bisect_left(self._nodes, node)
        if self._nodes[at : at + 1] != [node]:
            return
        self._cache.clear()
        del self._nodes[at]
        for number, ring in enumerate(self._rings):
            del ring[bisect.bisect_left(ring, ring_place(number, node))]

    def observers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Return who observes a node, sorted, never itself."""
        known = self._cache.get(node)
        if known is None:
            known = self._cache[node] = self._compute(node)
        return known

    def observes(self, node: NodeId) -> frozenset[NodeId]:
        """Return the same as a set to look into."""
        return frozenset(self.observers(node))

    def _compute(self, node: NodeId) -> tuple[NodeId, ...]:
        if len(self._nodes) <= self._all_observe_max:
            return tuple(other for other in self._nodes if other != node)
        found: dict[NodeId, None] = {}
        for number, ring in enumerate(self._rings):
            place = ring_place(number, node)
            at = bisect.bisect_left(ring, place)
            after = at + 1 if ring[at : at + 1] == [place] else at
            for neighbour in (ring[at - 1], ring[after % len(ring)]):
                found[NodeId(neighbour[RING_HASH_BYTES:])] = None
        found.pop(node, None)
        return tuple(sorted(found))
