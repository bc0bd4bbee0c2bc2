"""Commits under way: numbers them, and keeps what a failing disk did not take.

"Done up to n" must stay true when a commit in the middle failed: the rows of a failed commit are
tried again after a pause, and until they are on disk no later commit counts as done.
"""

from dataclasses import dataclass, field

from mesh.core.effects import Commit, CommitNumber, Effect, Row
from mesh.core.instants import NEVER, Instant, later
from mesh.core.outbox import Outbox

RETRY_S = 1.0
COMPANY_S = 0.02
"""Rows that nobody waits for may wait so long for others to share their commit.

They are what peers have said: those have it on their own disks, and whoever wants a copy on this
one as well waits for it, and so makes the commit urgent.
"""
ROWS_AT_ONCE = 1024
"""With so many rows a commit is handed over at once, whatever else is under way."""


@dataclass(slots=True)
class Commits:
    """What was handed to the writer and what it has said of it."""

    under_way: dict[CommitNumber, tuple[Row, ...]] = field(default_factory=dict)
    unsaved: list[Row] = field(default_factory=list)
    retry_at: Instant = NEVER
    barrier: CommitNumber | None = None
    """The commit that carries the unsaved rows again; nothing after it is done before it is."""
    company_at: Instant = NEVER
    """When rows that nobody waits for are handed over at the latest."""

    @property
    def failing(self) -> bool:
        """Whether something could not be written and still is not."""
        return bool(self.unsaved) or self.barrier is not None

    def is_due(self, now: Instant, outbox: Outbox) -> bool:
        """Whether to hand over the next commit now.

        One at a time: what comes while one is under way makes the next. So one write to the disk,
        and one signature, carry all that came meanwhile. Rows that nobody waits for are patient.
        """
        waiting = outbox.rows_waiting
        if waiting >= ROWS_AT_ONCE:
            return True
        if not waiting or self.under_way:
            self.company_at = NEVER
            return False
        if self.company_at == NEVER:
            self.company_at = later(now, COMPANY_S)
        return outbox.is_urgent or now >= self.company_at

    def take(self, outbox: Outbox) -> list[Effect]:
        """Return the next commit, if it has rows."""
        self.company_at = NEVER
        outbox.is_urgent = False
        if not outbox.rows:
            return []
        number, rows = outbox.next_commit, tuple(outbox.rows)
        outbox.rows.clear()
        outbox.next_commit = CommitNumber(number + 1)
        self.under_way[number] = rows
        self._forget_superseded(rows)
        return [Commit(number, rows)]

    def handle_done(self, number: CommitNumber) -> CommitNumber | None:
        """Return up to where everything is on disk now; None while something older is not."""
        for known in [known for known in self.under_way if known <= number]:
            del self.under_way[known]
        if self.unsaved or (self.barrier is not None and number < self.barrier):
            return None
        self.barrier = None
        return number

    def handle_failed(self, now: Instant, number: CommitNumber) -> None:
        """Keep the rows for another try."""
        self.unsaved += self.under_way.pop(number, ())
        for later_rows in self.under_way.values():
            self._forget_superseded(later_rows)
        self.barrier = None
        self.retry_at = later(now, RETRY_S)

    def _forget_superseded(self, rows: tuple[Row, ...]) -> None:
        """An old value written after a newer one would win: drop it."""
        if self.unsaved:
            newer = {(row.kind, row.key) for row in rows}
            self.unsaved = [row for row in self.unsaved if (row.kind, row.key) not in newer]

    def handle_timeout(self, now: Instant, outbox: Outbox) -> None:
        """Try again what was not written, before anything newer."""
        if now < self.retry_at:
            return
        self.retry_at = NEVER
        outbox.rows[:0] = self.unsaved
        outbox.is_urgent = True
        self.unsaved = []
        self.barrier = outbox.next_commit

    def next_deadline(self) -> Instant:
        """Return when something is to be tried again, or has waited long enough for company."""
        return min(self.retry_at, self.company_at)
