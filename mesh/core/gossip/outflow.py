"""Facts that a peer lacks, on their way to it at a pace that leaves room for everything else."""

from collections.abc import Sequence

from mesh.core.bucket import Bucket
from mesh.core.gossip.holdings import Holdings
from mesh.core.gossip.items import make_items, single_bytes
from mesh.core.gossip.messages import SyncFacts
from mesh.core.gossip.post import Post
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import FactId, NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import GossipParams

CHUNK_BYTES = 48_000
"""Sent at a time: one stream body, with room for an estimate that is off."""
WAIT_LOW_S = 0.001
"""A wait shorter than the clock's resolution would never end."""
REPLY_BURST_BYTES = 256_000
"""Ranges and lists that may answer a peer at once; a peer that asks for more waits."""


class Outflow:
    """What one peer is being sent: each fact once, however often it is found missing."""

    __slots__ = ("_queue_max", "_queues", "_rate", "_ready_at", "_sent", "peer", "replies")

    def __init__(self, peer: NodeId, params: GossipParams) -> None:
        self.peer = peer
        self.replies = Bucket(params.sync_rate_bytes_s, REPLY_BURST_BYTES)
        self._rate = params.sync_rate_bytes_s
        self._queue_max = params.sync_queue_max
        self._queues: tuple[dict[FactId, None], dict[FactId, None]] = ({}, {})
        self._sent: tuple[dict[FactId, None], dict[FactId, None]] = ({}, {})
        self._ready_at = Instant(0)

    def add(self, family: Family, ids: Sequence[FactId]) -> int:
        """Queue facts; returns how many did not fit and are left to the next comparison."""
        queue, sent = self._queues[family], self._sent[family]
        fresh = [id_ for id_ in ids if id_ not in sent and id_ not in queue]
        room = max(0, self._queue_max - self.waiting())
        queue.update(dict.fromkeys(fresh[:room]))
        return len(fresh[room:])

    def waiting(self) -> int:
        """Return how many facts are queued."""
        return sum(map(len, self._queues))

    def next_deadline(self) -> Instant:
        """Return when the next chunk may leave."""
        return self._ready_at if self.waiting() else NEVER

    def drain(self, now: Instant, holdings: Holdings, post: Post) -> bool:
        """Send one chunk of each family if it is due; whether anything left the queue."""
        if now < self._ready_at or not self.waiting():
            return False
        sent = sum(self._send_chunk(family, holdings, post) for family in Family)
        self._ready_at = later(now, max(sent / self._rate, WAIT_LOW_S))
        return True

    def _send_chunk(self, family: Family, holdings: Holdings, post: Post) -> int:
        facts = holdings.sendable(family, self._take(family, holdings))
        items = [item.encode() for item in make_items(facts, CHUNK_BYTES)]
        post.count("sync_facts_sent", len(facts))
        return post.send_entries(self.peer, SyncFacts, bytes((family,)), items)

    def _take(self, family: Family, holdings: Holdings) -> list[FactId]:
        """Take the ids of about one chunk of facts."""
        queue, sent, store = self._queues[family], self._sent[family], holdings[family]
        taken: list[FactId] = []
        room = CHUNK_BYTES
        while queue and room > 0:
            id_ = next(iter(queue))
            del queue[id_]
            verified = store.get(id_)
            room -= single_bytes(verified.signed) if verified else 0
            taken.append(id_)
        if len(sent) + len(taken) > self._queue_max:
            sent.clear()
        sent.update(dict.fromkeys(taken))
        return taken
