"""Tasks whose owner died in their last attempt: somebody alive has to write that down.

Nobody may start such a task again, so nobody will claim it, and evidence that no claim cites
changes nothing: it would be shown as worked on for ever. Once the owner's grace is over, the alive
nodes take turns in the order of their ranks: the first claims the next epoch, starts nothing, and
ends it as lost. Those behind it hear of that before their turn comes.
"""

from dataclasses import dataclass

from mesh.core.claims.allocation import stagger_order
from mesh.core.claims.facts import Attempt, AttemptKind
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.openings import Opening, Openings
from mesh.core.claims.record import ClaimView, Record
from mesh.core.claims.sessions import Holding, Phase
from mesh.core.claims.takeover import Ended, free_at, session_boot
from mesh.core.errors import LocalError
from mesh.core.identity import TaskId
from mesh.core.instants import Instant, Now, later

TURN_S = 0.5
"""Nodes learn of a death at different moments, and nobody waits for this: turns are long."""
RETRY_S = 1.0
AGENT = "mesh"
ERROR = b"the owner's node was gone in the last attempt"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A task that nobody may start again, its owner, and what proves that the owner is gone."""

    record: Record
    owner: ClaimView
    ended: Ended


@dataclass(slots=True)
class Burying:
    """Watches for such tasks, and ends one when it is this node's turn."""

    ledger: Ledger
    openings: Openings

    def evaluate(self, now: Now, record: Record) -> None:
        """Look at a task whose record, or whose owner's life, has changed."""
        timer, orphan = ("bury", record.task), self._orphan(record)
        if orphan is None:
            self.ledger.timers.cancel(timer)
        else:
            self.ledger.timers.set(timer, max(now.instant, self._turn(orphan)))

    def handle_due(self, now: Now, task: TaskId) -> None:
        """It is this node's turn, unless something has changed meanwhile."""
        orphan = self._orphan(self.ledger.known(task))
        if orphan is None:
            return
        turn = self._turn(orphan)
        if turn > now.instant or self.ledger.disk_error or self.ledger.stopped:
            again = max(turn, later(now.instant, RETRY_S))
            self.ledger.timers.set(("bury", task), again)
            return
        try:
            self._bury(now, orphan)
        except LocalError:
            self.ledger.timers.set(("bury", task), later(now.instant, RETRY_S))

    def _orphan(self, record: Record) -> Orphan | None:
        owner = record.owner
        if record.spec is None or not record.is_worked_on or record.attempts_left:
            return None
        assert owner is not None
        if owner.fact.author == self.ledger.self_id:
            return None
        if not self.openings.is_capable(record.spec.fact):
            return None
        ended = self.ledger.parts.liveness.ended(owner.fact.author, session_boot(owner))
        return None if ended is None else Orphan(record, owner, ended)

    def _turn(self, orphan: Orphan) -> Instant:
        record = orphan.record
        assert record.spec is not None
        free = free_at(orphan.ended, record.spec.fact, self.ledger.graces)
        here = self.openings.capable(record.spec.fact)
        order = stagger_order(record.task, record.epoch + 1, here)
        return later(free, TURN_S * order.index(self.ledger.self_id))

    def _bury(self, now: Now, orphan: Orphan) -> None:
        ledger, record, ended = self.ledger, orphan.record, orphan.ended
        assert record.spec is not None
        owner = orphan.owner.fact.id
        opening = Opening(now.instant, record.epoch + 1, owner, ended.fact.id, ended)
        fact, cited = self.openings.draft(record, opening, AGENT)
        _, (claim,) = ledger.publish(now, [fact], cited=cited)
        ledger.count("buried")
        try:
            ledger.publish(now, [Attempt(record.task, claim.id, AttemptKind.LOST, ERROR)])
        except LocalError:
            # No room for the end of a claim that is there: given up as soon as there is some.
            holding = Holding(claim.id[:16], claim, phase=Phase.OWNED)
            ledger.sessions.add(holding)
            ledger.timers.set(("grace", holding.key), later(now.instant, RETRY_S))
