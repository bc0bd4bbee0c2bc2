"""The writer: one thread that makes commits durable, as many at once as have come together.

There is no timer. While one transaction is on its way to the disk, the next commits gather; they
become the next transaction the moment it has ended. Alone, a commit waits for nobody; under load
the groups grow by themselves, and with them what one fsync carries.

The loop that hands commits in is woken by a callback and takes the results when it likes: the
greatest number done, and each failure by its number, in the order of the numbers.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mesh.core.effects import Commit, CommitNumber
from mesh.core.inputs import CommitDone, CommitFailed
from mesh.storage.log import Log, LogError

Outcome = CommitDone | CommitFailed

QUEUE_FULL = "queue_full"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class WriterBounds:
    """How much may wait for the disk; what comes on top fails at once."""

    commits_max: int = 8192
    bytes_max: int = 64 * 1024 * 1024


def commit_bytes(commit: Commit) -> int:
    """Return what a commit weighs in the queue."""
    return sum(len(row.key) + len(row.value or b"") for row in commit.rows)


class Writer:
    """Owns the log from `start` to `close`; every method is for the loop's thread."""

    def __init__(
        self, log: Log, wake: Callable[[], None], bounds: WriterBounds | None = None
    ) -> None:
        """`wake` is called in the writer's thread after each group; it must not block or raise."""
        self._log = log
        self._wake = wake
        self._bounds = bounds or WriterBounds()
        self._condition = threading.Condition()
        self._queue: deque[Commit] = deque()
        self._queued_bytes = 0
        self._under_way = 0
        self._outcomes: list[Outcome] = []
        self._closing = False
        self._crash: BaseException | None = None
        self._groups = 0
        self._thread = threading.Thread(target=self._run, name="mesh-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, commit: Commit) -> None:
        """Queue a commit; one that finds the queue full has failed at once, with `queue_full`."""
        size = commit_bytes(commit)
        with self._condition:
            waiting = len(self._queue) + self._under_way
            # Alone, any commit may pass: its own size is bounded where it is made.
            is_full = waiting >= self._bounds.commits_max or (
                waiting > 0 and self._queued_bytes + size > self._bounds.bytes_max
            )
            if not is_full and not self._closing:
                self._queue.append(commit)
                self._queued_bytes += size
                self._condition.notify()
                return
            reason = CLOSED if self._closing else QUEUE_FULL
            self._outcomes.append(CommitFailed(commit.number, reason))
        self._wake()

    def take_outcomes(self) -> list[Outcome]:
        """Return what has been decided since the last call; raises what crashed the thread."""
        with self._condition:
            if self._crash is not None:
                raise RuntimeError("the writer has crashed") from self._crash
            outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def counters(self) -> dict[str, int]:
        """Return figures for status."""
        with self._condition:
            return {
                "log_groups": self._groups,
                "log_waiting": len(self._queue) + self._under_way,
                "log_waiting_bytes": self._queued_bytes,
                "log_rows_quarantined": self._log.quarantined_count,
                "log_compactions_failed": self._log.compactions_failed,
            }

    def close(self) -> None:
        """Commit what is queued and end the thread; blocks as long as the disk needs."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                self._decide(self._write(group), group)
                self._wake()
                self._log.compact()
        except BaseException as error:  # noqa: BLE001  handed to the loop, which raises it
            with self._condition:
                self._crash = error
            self._wake()

    def _next_group(self) -> list[Commit]:
        """Wait for commits and take them all; empty once there will be no more."""
        with self._condition:
            while not self._queue and not self._closing:
                self._condition.wait()
            group = list(self._queue)
            self._queue.clear()
            self._under_way = len(group)
            return group

    def _write(self, group: list[Commit]) -> LogError | None:
        try:
            self._log.append([row for commit in group for row in commit.rows])
        except LogError as error:
            return error
        return None

    def _decide(self, error: LogError | None, group: list[Commit]) -> None:
        with self._condition:
            self._groups += 1
            self._under_way = 0
            self._queued_bytes -= sum(commit_bytes(commit) for commit in group)
            if error is not None:
                self._outcomes += [CommitFailed(commit.number, str(error)) for commit in group]
                return
            # One that says "up to here" stands for its predecessors, unless a failure lies between.
            done = CommitDone(CommitNumber(max(commit.number for commit in group)))
            if self._outcomes and isinstance(self._outcomes[-1], CommitDone):
                self._outcomes[-1] = done
            else:
                self._outcomes.append(done)
