"""How long one attempt may take: the owner's node ends it itself when that has passed.

Counted on the owner's own clock from the moment the work may start; after a restart of its node,
from the moment the claim is taken up again. Others learn of it by the attempt that is written: a
slow owner is never robbed by somebody else's clock.
"""

from dataclasses import dataclass

from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.claims.sessions import Phase
from mesh.core.claims.writing import Writing
from mesh.core.errors import LocalError
from mesh.core.instants import NEVER, Now, later

RETRY_S = 1.0
MS = 1000


@dataclass(slots=True)
class Running:
    """The limits of the claims that this node owns."""

    ledger: Ledger
    writing: Writing

    def evaluate(self, now: Now, record: Record) -> None:
        """Begin to count for claims that may start."""
        limit_ms = None if record.spec is None else record.spec.fact.run_limit_ms
        if limit_ms is None or not record.is_worked_on:
            return
        for holding in self.ledger.sessions.of_task(record.task):
            timer = ("run", holding.key)
            if holding.phase is Phase.OWNED and self.ledger.timers.due_at(timer) == NEVER:
                self.ledger.timers.set(timer, later(now.instant, limit_ms / MS))

    def handle_due(self, now: Now, key: bytes) -> None:
        """An attempt has taken as long as it may."""
        holding = self.ledger.sessions.get(key)
        if holding is None or not holding.is_live:
            return
        try:
            self.writing.time_out(now, holding, "the attempt took longer than it may")
        except LocalError:
            self.ledger.timers.set(("run", key), later(now.instant, RETRY_S))
