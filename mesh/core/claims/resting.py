"""Tasks that rest: part of what there is to know of them has just come, and the rest may follow.

Who comes back from behind a split, or late, hears of all that happened by reconciliation: of a
task, of its claims, of how far the work is, one fact after the other. In between, a task that
somebody has long begun looks as if nobody had it, and a claim on it might outrank the owner's. So
whatever facts come in that way, their tasks are not claimed here until no such fact has come for a
while. A node that starts knows its tasks as they were when it ended: all of them rest first.

It is no part of what makes a claim valid: an honest claimant holds back, that is all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mesh.core.identity import TaskId
from mesh.core.instants import Instant, Now, later
from mesh.core.params import ClaimParams

RESTS_AT_START = 4
"""Until a node that starts has met the others and heard the first of what it has missed."""
RESTS_MAX = 20
"""However long facts go on coming in, a task rests no longer than so many times the usual."""
LONG_AGO = Instant(float("-inf"))


@dataclass(slots=True)
class Resting:
    """Which tasks rest, and until when."""

    params: ClaimParams
    _since: dict[TaskId, Instant] = field(default_factory=dict)
    _until: Instant = LONG_AGO
    """When all of them have rested, if nothing more comes."""

    def begin(self, now: Now, tasks: Iterable[TaskId]) -> None:
        """The node starts and knows these tasks from before."""
        self._since = dict.fromkeys(tasks, now.instant)
        self._until = later(now.instant, RESTS_AT_START * self.params.sync_rest_s)

    def note(self, now: Now, task: TaskId) -> None:
        """A fact about a task came, and others about it are on their way or may be."""
        self._forget_rested(now)
        self._until = max(self._until, later(now.instant, self.params.sync_rest_s))
        self._since.setdefault(task, now.instant)

    def until(self, now: Now, task: TaskId) -> Instant:
        """Return until when a task rests, as far as is known now; long ago when it does not."""
        self._forget_rested(now)
        since = self._since.get(task)
        if since is None:
            return LONG_AGO
        return min(self._until, later(since, RESTS_MAX * self.params.sync_rest_s))

    def _forget_rested(self, now: Now) -> None:
        if self._since and now.instant >= self._until:
            self._since.clear()

    def forget(self, task: TaskId) -> None:
        """A task is let go of."""
        self._since.pop(task, None)
