"""Tasks whose time is up, or that wait for what will not come: somebody alive writes that down.

The submitter's node does, and for a task that is worked on its owner's. When the submitter's node
is gone, the alive nodes take turns in the order of their ranks: whose turn it is claims the task
and cancels it, for an owner may. So no new right is needed, and nobody's clock ends a task while
its submitter's node is there to do that, but for the owner's. Until it is written down, nobody
whose clock agrees begins such a task.
"""

from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.allocation import stagger_order
from mesh.core.claims.dependencies import is_circular, is_hopeless
from mesh.core.claims.facts import Cancel, CancelReason, TaskFact
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.openings import Opening, Openings
from mesh.core.claims.record import Record
from mesh.core.claims.scheduling import too_late_at
from mesh.core.claims.views import TERMINAL
from mesh.core.errors import LocalError
from mesh.core.identity import TaskId
from mesh.core.instants import Instant, Now, later
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified

TURN_S = 0.5
RETRY_S = 5.0
"""Who is not to write it down looks again so often: whoever is may be gone by then."""
AGENT = "mesh"


@dataclass(slots=True)
class Ending:
    """Watches for such tasks, and cancels one when that is up to this node."""

    ledger: Ledger
    openings: Openings
    _late_since: dict[TaskId, Instant] = field(default_factory=dict)
    """Since when a task that is up to nobody in particular is known to be late."""

    def forget(self, task: TaskId) -> None:
        """A task is let go of."""
        self._late_since.pop(task, None)

    def evaluate(self, now: Now, record: Record) -> None:
        """Look at a task whose record, or whose parents' records, have changed."""
        timer = ("end", record.task)
        reason = self._reason(now, record)
        if reason is None:
            self.ledger.timers.cancel(timer)
            self._late_since.pop(record.task, None)
        elif reason[0] > now.instant:
            self.ledger.timers.set(timer, reason[0])
        else:
            self._end(now, record, reason[1])

    def _reason(self, now: Now, record: Record) -> tuple[Instant, CancelReason] | None:
        if record.spec is None or record.state in TERMINAL:
            return None
        table, spec = self.ledger.parts.table, record.spec.fact
        if spec.parents and record.state is TaskState.SUBMITTED:
            if is_hopeless(table, spec):
                return now.instant, CancelReason.PARENT
            if is_circular(table, spec):
                return now.instant, CancelReason.CIRCLE
        return too_late_at(now, record, self.ledger.parts.params)

    def _end(self, now: Now, record: Record, reason: CancelReason) -> None:
        timer = ("end", record.task)
        if self._may_cancel(record):
            opening, turn = None, now.instant
        else:
            opening = self.openings.right(now, record)
            turn = self._turn(now, record, opening)
        if turn > now.instant or self.ledger.disk_error is not None:
            self.ledger.timers.set(timer, max(turn, later(now.instant, TURN_S)))
            return
        try:
            self._cancel(now, record, opening, reason)
        except LocalError:
            self.ledger.timers.set(timer, later(now.instant, RETRY_S))

    def _may_cancel(self, record: Record) -> bool:
        me, owner = self.ledger.self_id, record.owner
        assert record.spec is not None
        owns = owner is not None and owner.fact.author == me and record.holder is not None
        return owns or any(spec.author == me for spec in (record.spec, *record.others))

    def _turn(self, now: Now, record: Record, opening: Opening | None) -> Instant:
        """Return when it is up to this node, which has no part in the task."""
        assert record.spec is not None
        alive = self.ledger.parts.liveness.alive()
        submitters = [spec.author for spec in (record.spec, *record.others)]
        if opening is None or any(author in alive for author in submitters):
            return later(now.instant, RETRY_S)
        capable = self.openings.capable(record.spec.fact)
        order = stagger_order(record.task, record.epoch + 1, capable)
        place = order.index(self.ledger.self_id)
        first_seen = self._late_since.setdefault(record.task, now.instant)
        return later(max(opening.at, first_seen), TURN_S * place)

    def _cancel(
        self, now: Now, record: Record, opening: Opening | None, reason: CancelReason
    ) -> None:
        ledger = self.ledger
        assert record.spec is not None
        facts: list[TaskFact] = []
        cited: list[Verified[Any]] = []
        if opening is not None:
            claim, cited = self.openings.draft(record, opening, AGENT)
            facts.append(claim)
        facts.append(Cancel(record.task, record.spec.id, reason))
        ledger.publish(now, facts, cited=cited)
        self._late_since.pop(record.task, None)
        ledger.count(f"ended_{reason.name.lower()}")

    def handle_due(self, now: Now, task: TaskId) -> None:
        """A limit may have passed, or it is this node's turn."""
        self.evaluate(now, self.ledger.known(task))
