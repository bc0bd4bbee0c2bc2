"""Commits under way: numbers them, and keeps what a failing disk did not take.

"Done up to n" must stay true when a commit in the middle failed: the rows of a failed commit are
tried again after a pause, and until they are on disk no later commit counts as done.
"""

from dataclasses import dataclass, field

from mesh.core.effects import Commit, CommitNumber, Effect, Row
from mesh.core.instants import NEVER, Instant, later
from mesh.core.outbox import Outbox

RETRY_S = 1.0


@dataclass(slots=True)
class Commits:
    """What was handed to the writer and what it has said of it."""

    under_way: dict[CommitNumber, tuple[Row, ...]] = field(default_factory=dict)
    unsaved: list[Row] = field(default_factory=list)
    retry_at: Instant = NEVER
    barrier: CommitNumber | None = None
    """The commit that carries the unsaved rows again; nothing after it is done before it is."""

    @property
    def failing(self) -> bool:
        """Whether something could not be written and still is not."""
        return bool(self.unsaved) or self.barrier is not None

    def take(self, outbox: Outbox) -> list[Effect]:
        """Return the commit of this input, if it has rows."""
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
        self.unsaved = []
        self.barrier = outbox.next_commit
