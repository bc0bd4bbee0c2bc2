"""Which open task is next: the most urgent, and among equals the one this node is first for."""

from dataclasses import dataclass
from heapq import merge
from typing import NamedTuple

from mesh.core.claims.allocation import stagger_delay_s, stagger_order
from mesh.core.claims.auction import is_auction
from mesh.core.claims.capability import meets, score
from mesh.core.claims.facts import Allocation
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.openings import Openings
from mesh.core.claims.record import Record
from mesh.core.claims.waiters import ClaimWaiter
from mesh.core.identity import NodeId, TaskId
from mesh.core.instants import Instant, Now, later

LOOK_AHEAD = 8
"""Open tasks among which a claimant prefers the one it is first in line for."""
SCAN = 64
"""So far it looks past tasks that are offered to others, or on which others have bid more."""
MS = 1000
MANY = 2


class Choice(NamedTuple):
    """What to claim now, and whether more comes within the stagger."""

    task: TaskId | None
    is_near: bool


@dataclass(slots=True)
class Choosing:
    """Looks along the board."""

    ledger: Ledger
    openings: Openings

    def choose(self, now: Now, kinds: tuple[str, ...], waiter: ClaimWaiter) -> Choice:
        """Return the open task for a waiter to claim next, if the turn of one has come."""
        board = self.ledger.board
        ahead = merge(*(board.candidates(kind, SCAN) for kind in dict.fromkeys(kinds)))
        best: tuple[int, TaskId] | None = None
        is_near, looked_at, priority = False, 0, None
        for _, task, *_ in ahead:
            record = self.ledger.known(task)
            assert record.spec is not None
            spec = record.spec.fact
            if looked_at >= LOOK_AHEAD or priority not in (None, spec.priority):
                break
            place, due = self._turn(record)
            if due > now.instant:
                self._look_again(spec.kind, now, due)
            if spec.allocation == Allocation.OFFERED and due > now.instant:
                continue  # it is somebody else's for now, and holds up nothing behind it
            asked = self.openings.auctions.asked(now, waiter, record)
            if not self.openings.outbids(now, record, asked):
                continue
            priority, looked_at = spec.priority, looked_at + 1
            if due > now.instant:
                is_near = True
            elif best is None or place < best[0]:
                best = (place, task)
        return Choice(None if best is None else best[1], is_near)

    def _look_again(self, kind: str, now: Now, due: Instant) -> None:
        timer = ("kind", kind)
        known = self.ledger.timers.due_at(timer)
        if known <= now.instant or due < known:
            self.ledger.timers.set(timer, due)

    def _turn(self, record: Record) -> tuple[int, Instant]:
        """Return this node's place in the order, and from when on it may claim."""
        since = self.ledger.board.open_since(record.task)
        assert since is not None
        assert record.spec is not None
        spec, params = record.spec.fact, self.ledger.parts.params
        if is_auction(spec):
            return 0, since
        order = turn_order(self.ledger, record)
        me = self.ledger.self_id
        if me not in order:
            order = (*order, me)
        place = order.index(me)
        if spec.allocation == Allocation.OFFERED:
            turn_s = spec.bid_window_ms / MS if spec.bid_window_ms else params.offer_s
            return place, later(since, place * turn_s)
        return place, later(since, stagger_delay_s(place, len(order), params))


def turn_order(ledger: Ledger, record: Record) -> tuple[NodeId, ...]:
    """Return the nodes that wait for such a task, in the order that everybody computes."""
    assert record.spec is not None
    spec, liveness = record.spec.fact, ledger.parts.liveness
    nodes = liveness.nodes_for(spec.kind)
    if spec.requires:
        nodes = tuple(node for node in nodes if meets(liveness.tags(node), spec.requires))
    if len(nodes) < MANY:
        return nodes
    order = stagger_order(record.task, record.epoch + 1, nodes)
    if not spec.prefers:
        return order
    # A stable sort: who has more of what is preferred, and among equals the lot.
    return tuple(sorted(order, key=lambda node: -score(liveness.tags(node), spec.prefers)))
