"""Which open task is next: the most urgent, and among equals the one this node is first for."""

from dataclasses import dataclass
from heapq import merge

from mesh.core.claims.allocation import stagger_delay_s, stagger_order
from mesh.core.claims.capability import meets, score
from mesh.core.claims.facts import Spec
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.claims.timers import TimerName
from mesh.core.identity import NodeId, TaskId
from mesh.core.instants import Instant, Now, later

LOOK_AHEAD = 8
"""Open tasks among which a claimant prefers the one it is first in line for."""


@dataclass(slots=True)
class Choosing:
    """Looks along the board."""

    ledger: Ledger

    def choose(self, now: Now, kinds: tuple[str, ...]) -> TaskId | None:
        """Return the open task to claim next; None when the turn of each is still to come."""
        board = self.ledger.board
        ahead = merge(*(board.candidates(kind, LOOK_AHEAD) for kind in dict.fromkeys(kinds)))
        best: tuple[int, TaskId] | None = None
        soonest: dict[str, Instant] = {}
        priority: int | None = None
        for count, (_, task) in enumerate(ahead):
            record = self.ledger.known(task)
            assert record.spec is not None
            spec = record.spec.fact
            if priority is None:
                priority = spec.priority
            if count >= LOOK_AHEAD or spec.priority != priority:
                break
            place, due = self._turn(record)
            if due > now.instant:
                soonest[spec.kind] = min(due, soonest.get(spec.kind, due))
            elif best is None or place < best[0]:
                best = (place, task)
        for kind, due in soonest.items():
            self.ledger.timers.set(TimerName("kind", kind), due)
        return None if best is None else best[1]

    def _turn(self, record: Record) -> tuple[int, Instant]:
        """Return this node's place in the order, and from when on it may claim."""
        since = self.ledger.board.open_since(record.task)
        assert since is not None
        assert record.spec is not None
        nodes = self._nodes_for(record.spec.fact)
        place = self._place(record, nodes)
        return place, later(since, stagger_delay_s(place, len(nodes), self.ledger.parts.params))

    def _nodes_for(self, spec: Spec) -> tuple[NodeId, ...]:
        liveness = self.ledger.parts.liveness
        nodes = liveness.nodes_for(spec.kind)
        if spec.requires:
            nodes = tuple(node for node in nodes if meets(liveness.tags(node), spec.requires))
        return nodes if self.ledger.self_id in nodes else (*nodes, self.ledger.self_id)

    def _place(self, record: Record, nodes: tuple[NodeId, ...]) -> int:
        if len(nodes) == 1:
            return 0
        order = stagger_order(record.task, record.epoch + 1, nodes)
        assert record.spec is not None
        prefers, liveness = record.spec.fact.prefers, self.ledger.parts.liveness
        if prefers:
            # A stable sort: who has more of what is preferred, and among equals the lot.
            order = tuple(sorted(order, key=lambda node: -score(liveness.tags(node), prefers)))
        return order.index(self.ledger.self_id)
