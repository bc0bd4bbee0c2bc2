"""Pulls: what peers announced and this node lacks is asked for, of one peer after the other.

A request or its answer may be lost, and all announcements of a fact come within a few ticks. So who
announced it meanwhile is kept in mind, and asked when the answer does not come.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.core.gossip.holdings import Holdings
from mesh.core.gossip.messages import SHORT_BYTES, Pull
from mesh.core.gossip.post import Post
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import FactId, NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import GossipParams

PATIENCE_TICKS = 2
"""A fact that was asked for is asked for elsewhere after so many ticks."""
OTHERS_MAX = 3
"""Further announcers of one fact that are kept in mind."""


@dataclass(slots=True)
class _Asked:
    """One fact that was asked for, and who else has it."""

    due: Instant
    others: list[NodeId] = field(default_factory=list)


class Pulls:
    """The facts that were asked for and have not come, by the first bytes of their ids.

    All wait equally long, so they are in order of time.
    """

    def __init__(self, params: GossipParams, holdings: Holdings, post: Post) -> None:
        self._patience_s = PATIENCE_TICKS * params.tick_s
        self._high = params.queue_items_max
        self._holdings, self._post = holdings, post
        self._asked: dict[tuple[Family, bytes], _Asked] = {}

    def want(self, now: Instant, peer: NodeId, family: Family, cuts: Sequence[bytes]) -> None:
        """Ask a peer, which has these, for those that are lacking and nobody was asked for yet."""
        store, wanted = self._holdings[family], []
        for cut in cuts:
            if store.knows_cut(cut):
                continue
            asked = self._asked.get((family, cut))
            if asked is None or asked.due <= now:
                self._asked.pop((family, cut), None)
                wanted.append(cut)
            elif peer not in asked.others and len(asked.others) < OTHERS_MAX:
                asked.others.append(peer)
        self._ask(now, peer, family, wanted)

    def handle_arrived(self, family: Family, id_: FactId) -> None:
        """A fact has come, from wherever."""
        self._asked.pop((family, id_[:SHORT_BYTES]), None)

    def next_deadline(self) -> Instant:
        """Return when patience ends for the first one."""
        return next(iter(self._asked.values())).due if self._asked else NEVER

    def handle_timeout(self, now: Instant) -> None:
        """Ask others for what has not come, and forget what nobody else has announced."""
        again: dict[tuple[NodeId, Family], list[bytes]] = {}
        while self._asked:
            key = next(iter(self._asked))
            asked = self._asked[key]
            if asked.due > now:
                break
            del self._asked[key]
            family, cut = key
            if asked.others and not self._holdings[family].knows_cut(cut):
                again.setdefault((asked.others[0], family), []).append(cut)
                self._asked[key] = _Asked(later(now, self._patience_s), asked.others[1:])
        for (peer, family), cuts in again.items():
            self._post.count("pulled_again", len(cuts))
            self._post.send(peer, Pull, Pull(family, tuple(cuts)).encode())

    def _ask(self, now: Instant, peer: NodeId, family: Family, cuts: Sequence[bytes]) -> None:
        if not cuts:
            return
        for cut in cuts:
            self._asked[family, cut] = _Asked(later(now, self._patience_s))
            if len(self._asked) > self._high:
                del self._asked[next(iter(self._asked))]
        self._post.send(peer, Pull, Pull(family, tuple(cuts)).encode())
