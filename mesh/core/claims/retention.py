"""Since when what is finished has been finished: its age goes on counting when a node starts again.

While a node runs, its own clock says how old something is, and nobody can set that one. Over a
restart only the wall clock is left, so for each finished task its time stands on disk. A machine
may begin with a wrong wall clock and put it right a little later: for some minutes after a start
the walls of earlier boots are not believed, and one that runs behind makes nothing younger than it
was seen to be.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from mesh.core.effects import Row
from mesh.core.identity import TaskId
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.params import ClaimParams

OVER_ROW = "over"
WALL_BYTES = 8


@dataclass(slots=True)
class Retention:
    """Finished tasks, oldest first."""

    params: ClaimParams
    _over: dict[TaskId, Instant] = field(default_factory=dict)
    """Since when this boot has known that a task is finished."""
    _ended: dict[TaskId, int] = field(default_factory=dict)
    """The wall time at which an earlier boot saw it, in seconds."""
    _believes_walls: Instant = NEVER

    def __len__(self) -> int:
        return len(self._over)

    def __contains__(self, task: TaskId) -> bool:
        return task in self._over

    def restore(self, rows: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take back what the disk holds."""
        for task, wall in rows.get(OVER_ROW, {}).items():
            if len(wall) == WALL_BYTES:
                self._ended[TaskId(task)] = int.from_bytes(wall, "big")

    def start(self, now: Now, is_over: Callable[[TaskId], bool]) -> list[Row]:
        """Begin with what earlier boots saw finished; return the rows that are good for nothing."""
        self._believes_walls = later(now.instant, self.params.retention_calm_s)
        ended = sorted((wall, task) for task, wall in self._ended.items())
        self._ended = {task: wall for wall, task in ended if is_over(task)}
        self._over = dict.fromkeys(self._ended, now.instant)
        return [Row(OVER_ROW, task, None) for _, task in ended if task not in self._ended]

    def note(self, now: Now, task: TaskId) -> Row | None:
        """A task is finished; return what to write if that is news."""
        if task in self._over:
            return None
        self._over[task] = now.instant
        return Row(OVER_ROW, task, max(0, int(now.wall)).to_bytes(WALL_BYTES, "big"))

    def forget(self, task: TaskId) -> Row | None:
        """A task is let go of; return what to write if it was finished."""
        self._ended.pop(task, None)
        return None if self._over.pop(task, None) is None else Row(OVER_ROW, task, None)

    def next_due(self, now: Now) -> Instant:
        """Return when the oldest has been kept for long enough."""
        oldest = next(iter(self._over), None)
        if oldest is None:
            return NEVER
        return self._kept_until(now, oldest, self.params.retention_s)

    def ripe(self, now: Now, high: int) -> Iterator[TaskId]:
        """Return up to so many that were kept for long enough, or that are too many."""
        return islice(self._ripe(now), high)

    def _ripe(self, now: Now) -> Iterator[TaskId]:
        excess = len(self._over) - self.params.finished_max
        for place, task in enumerate(self._over):
            kept_s = self.params.forget_settle_s if place < excess else self.params.retention_s
            if now.instant < self._kept_until(now, task, kept_s):
                return
            yield task

    def _kept_until(self, now: Now, task: TaskId, kept_s: float) -> Instant:
        until, ended = later(self._over[task], kept_s), self._ended.get(task)
        if ended is None:
            return until
        by_wall = later(now.instant, ended + kept_s - now.wall)
        return min(until, max(by_wall, self._believes_walls))
