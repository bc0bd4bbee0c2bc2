"""Reconciliation: two nodes whose digests differ find out where, and exchange what the other lacks.

Each message says what its sender holds below some prefixes of ids, and the answer follows from
the message and the receiver's own facts alone: nothing for an equal range, a list of ids for a
short one, 16 narrower ranges for a long one, the facts themselves where the other side has none.
So a lost message ends a branch of the exchange and nothing else; the digests still differ, and
the next comparison begins anew. (Meyer, "Range-Based Set Reconciliation", 2022.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.core.gossip.holdings import Holdings
from mesh.core.gossip.messages import (
    FULL_BYTES,
    SHORT_BYTES,
    Have,
    IdList,
    SyncIds,
    SyncRanges,
    SyncWant,
    encode_range,
)
from mesh.core.gossip.outflow import Outflow
from mesh.core.gossip.post import Post, pack_bodies
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.lattice.fingerprint import Range
from mesh.core.params import GossipParams
from mesh.core.wire.frame import BODY_BYTES_MAX

SESSIONS_MAX = 256
"""Peers with which something is being compared, whoever began; the oldest beyond is forgotten."""
DIFFERENCES_MAX = 4096
"""Peers of whose digests a difference is remembered."""
ENTRY_COST_BYTES = 16
"""What looking at one range or id counts for, so that asking for work is not free either."""
PATIENCE = 3
"""After so many comparisons with a peer that repaired nothing, the next ones come ever later."""
PATIENCE_DOUBLINGS_MAX = 5
STILL_DOUBLINGS_MAX = 11
"""If nothing has changed since on either side, later still: after an hour or so.

Two versions of mesh, of which one refuses what the other holds, differ for ever.
"""


@dataclass(slots=True)
class _Session:
    """One comparison with one peer, begun by either side, until it falls silent."""

    outflow: Outflow
    expires: Instant
    ours: bool


@dataclass(slots=True)
class _Difference:
    """Since when a peer's digests differ, by family, and what comparing brought so far."""

    since: dict[Family, Instant] = field(default_factory=dict)
    fruitless: int = 0
    compared: tuple[int, ...] = ()
    """The digests of both sides when they were compared last."""

    def wait_s(self, base_s: float, digests: tuple[int, ...]) -> float:
        """Return how long a family must differ before it is compared again."""
        is_still = self.compared == digests
        high = STILL_DOUBLINGS_MAX if is_still else PATIENCE_DOUBLINGS_MAX
        return base_s * (1 << min(max(0, self.fruitless - PATIENCE), high))


@dataclass(slots=True)
class _Answer:
    """What one message is answered with."""

    ranges: list[Range] = field(default_factory=list)
    lists: list[IdList] = field(default_factory=list)
    short: list[bytes] = field(default_factory=list)
    full: list[bytes] = field(default_factory=list)
    announced: list[bytes] = field(default_factory=list)


class Reconciler:
    """Compares with peers and sends them what they lack."""

    def __init__(self, params: GossipParams, holdings: Holdings, post: Post) -> None:
        self._params, self._holdings, self._post = params, holdings, post
        self._sessions: dict[NodeId, _Session] = {}
        self._differences: dict[NodeId, _Difference] = {}
        self._wanted: dict[NodeId, None] = {}

    def handle_digests(self, now: Instant, peer: NodeId, theirs: Sequence[int]) -> None:
        """Note which families differ; start with those that have differed for long enough."""
        known = self._differences.get(peer)
        members, tasks = self._holdings.fingerprints()
        if known is None:
            if members == theirs[0] and tasks == theirs[1]:
                return
            known = _Difference()
        overdue, digests = [], (members, tasks, *theirs)
        wait_s = known.wait_s(self._params.digest_differs_s, digests)
        for family in Family:
            if self._holdings[family].tree.fingerprint == theirs[family]:
                known.since.pop(family, None)
            elif now - known.since.setdefault(family, now) >= wait_s:
                overdue.append(family)
        if not known.since:
            self._differences.pop(peer, None)
            return
        self._differences[peer] = known
        if len(self._differences) > DIFFERENCES_MAX:
            del self._differences[next(iter(self._differences))]
        if overdue and not self.runs(now, peer) and self._has_room():
            known.fruitless += 1
            known.compared = digests
            for family in overdue:
                known.since[family] = now
            self._begin(now, peer, overdue)

    def start(self, now: Instant, peer: NodeId) -> None:
        """Compare both families at once, or as soon as fewer comparisons are under way.

        What was fruitless before may not be now: the peer may run another version.
        """
        self._differences.pop(peer, None)
        if self.runs(now, peer) and self._sessions[peer].ours:
            return
        if not self._has_room():
            self._wanted[peer] = None
            if len(self._wanted) > SESSIONS_MAX:
                del self._wanted[next(iter(self._wanted))]
            return
        self._begin(now, peer, tuple(Family))

    def note_repaired(self, peer: NodeId, count: int) -> None:
        """Facts of this peer that were kept had been missing: comparing was worth while."""
        self._post.count("repaired", count)
        known = self._differences.get(peer)
        if known is not None and count:
            known.fruitless = 0

    def touch(self, now: Instant, peer: NodeId) -> Outflow:
        """Note that a comparison with this peer is going on; returns what it is being sent."""
        if not self.runs(now, peer):
            self._add_session(peer)
        session = self._sessions[peer]
        session.expires = later(now, self._params.sync_idle_s)
        return session.outflow

    def handle_ranges(self, now: Instant, peer: NodeId, message: SyncRanges) -> None:
        """Answer for every range that differs."""
        family = message.family
        outflow, answer = self.touch(now, peer), _Answer()
        for theirs in message.ranges:
            if outflow.replies.left(now) <= 0:
                self._post.count("sync_throttled")
                break
            cost = self._answer_range(family, theirs, outflow, answer)
            outflow.replies.take(now, cost)
        self._send(now, family, outflow, answer)

    def handle_ids(self, now: Instant, peer: NodeId, message: SyncIds) -> None:
        """Send what the lists lack, and ask for what they have beyond ours."""
        outflow, answer = self.touch(now, peer), _Answer()
        for listed in message.lists:
            if outflow.replies.left(now) <= 0:
                self._post.count("sync_throttled")
                break
            cost = self._answer_list(message.family, listed, outflow, answer)
            outflow.replies.take(now, cost)
        self._send(now, message.family, outflow, answer)

    def handle_want(self, now: Instant, peer: NodeId, message: SyncWant) -> None:
        """Send the facts that were asked for."""
        store = self._holdings[message.family]
        outflow = self.touch(now, peer)
        if outflow.replies.take(now, ENTRY_COST_BYTES * len(message.ids)):
            found = [id_ for cut in message.ids for id_ in store.find(cut)]
            self._queue(message.family, found, outflow)
        else:
            self._post.count("sync_throttled")
        self._send(now, message.family, outflow, _Answer())

    def next_deadline(self) -> Instant:
        """Return when a chunk may leave or a comparison is over."""
        if not self._sessions:
            return NEVER
        deadline = NEVER
        for session in self._sessions.values():
            deadline = min(deadline, session.expires, session.outflow.next_deadline())
        return deadline

    def handle_timeout(self, now: Instant) -> None:
        """Send the chunks that are due, end what fell silent, begin what waited for room."""
        for session in self._sessions.values():
            if session.outflow.drain(now, self._holdings, self._post):
                session.expires = later(now, self._params.sync_idle_s)
        over = [peer for peer, session in self._sessions.items() if session.expires <= now]
        for peer in over:
            del self._sessions[peer]
        while self._wanted and self._has_room():
            peer = next(iter(self._wanted))
            del self._wanted[peer]
            self._begin(now, peer, tuple(Family))

    def runs(self, now: Instant, peer: NodeId) -> bool:
        """Whether something is being compared with a peer."""
        session = self._sessions.get(peer)
        return session is not None and now < session.expires

    def _has_room(self) -> bool:
        ours = sum(session.ours for session in self._sessions.values())
        return ours < self._params.sync_open_max

    def _add_session(self, peer: NodeId) -> None:
        self._sessions.pop(peer, None)
        self._sessions[peer] = _Session(Outflow(peer, self._params), NEVER, ours=False)
        if len(self._sessions) > SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]

    def _begin(self, now: Instant, peer: NodeId, families: Sequence[Family]) -> None:
        """Say what we hold, as if the peer had said that it holds something else."""
        self._post.count("syncs_started")
        outflow = self.touch(now, peer)
        self._sessions[peer].ours = True
        for family in families:
            tree, answer = self._holdings[family].tree, _Answer()
            if len(tree) <= self._params.sync_leaf:
                answer.lists.append(self._list_ids(family, "", SHORT_BYTES))
            else:
                answer.ranges += tree.children("")
            self._send(now, family, outflow, answer)

    def _list_ids(self, family: Family, prefix: str, width: int) -> IdList:
        tree = self._holdings[family].tree
        ids = tuple(id_[:width] for id_ in sorted(tree.ids(prefix)))
        return IdList(prefix, tree.range(prefix).fingerprint, width, ids)

    def _answer_range(
        self, family: Family, theirs: Range, outflow: Outflow, answer: _Answer
    ) -> int:
        """Add the answer to one range; returns what it costs, in bytes."""
        tree, leaf = self._holdings[family].tree, self._params.sync_leaf
        ours = tree.range(theirs.prefix)
        if ours == theirs:
            return ENTRY_COST_BYTES
        if not theirs.size:
            self._give(family, tree.ids(theirs.prefix), outflow, answer)
            return ENTRY_COST_BYTES + SHORT_BYTES * ours.size
        if ours.size <= leaf:
            answer.lists.append(self._list_ids(family, theirs.prefix, SHORT_BYTES))
            return ENTRY_COST_BYTES + SHORT_BYTES * ours.size
        narrower = [ours] if theirs.size <= leaf else tree.children(theirs.prefix)
        answer.ranges += narrower
        return sum(len(encode_range(range_)) for range_ in narrower)

    def _answer_list(
        self, family: Family, listed: IdList, outflow: Outflow, answer: _Answer
    ) -> int:
        """Add the answer to one list; returns what it costs, in bytes."""
        store, width = self._holdings[family], listed.width
        theirs = dict.fromkeys(listed.ids)
        ours = {id_[:width]: id_ for id_ in store.tree.ids(listed.prefix)}
        surplus = [id_ for cut, id_ in ours.items() if cut not in theirs]
        missing = [cut for cut in theirs if cut not in ours]
        unknown = [cut for cut in missing if not store.knows_cut(cut)]
        self._give(family, surplus, outflow, answer)
        (answer.short if width == SHORT_BYTES else answer.full).extend(unknown)
        differs = store.tree.range(listed.prefix).fingerprint != listed.fingerprint
        if differs and not surplus and not missing and width == SHORT_BYTES:
            # Two ids agree in their first bytes: somebody took the trouble.
            answer.lists.append(self._list_ids(family, listed.prefix, FULL_BYTES))
        return ENTRY_COST_BYTES + width * (len(ours) + len(theirs))

    def _give(
        self, family: Family, ids: Sequence[bytes], outflow: Outflow, answer: _Answer
    ) -> None:
        """Send what the peer lacks; by id alone where that was in vain so often."""
        known = self._differences.get(outflow.peer)
        if known is not None and known.fruitless > PATIENCE:
            answer.announced += [id_[:SHORT_BYTES] for id_ in ids]
        else:
            self._queue(family, ids, outflow)

    def _queue(self, family: Family, ids: Sequence[bytes], outflow: Outflow) -> None:
        refused = outflow.add(family, self._holdings[family].in_order(ids))
        if refused:
            self._post.count("sync_queue_full", refused)

    def _send(self, now: Instant, family: Family, outflow: Outflow, answer: _Answer) -> None:
        """Send an answer, and a chunk of facts if one is due."""
        peer, send = outflow.peer, self._post.send_entries
        head = bytes((family,))
        send(peer, SyncRanges, head, [encode_range(range_) for range_ in answer.ranges])
        send(peer, SyncIds, head, [listed.encode() for listed in answer.lists])
        send(peer, SyncWant, bytes((family, SHORT_BYTES)), answer.short)
        send(peer, SyncWant, bytes((family, FULL_BYTES)), answer.full)
        for body in pack_bodies(head, answer.announced, BODY_BYTES_MAX):
            self._post.send(peer, Have, body)
        outflow.drain(now, self._holdings, self._post)
