"""Which tasks may be claimed here and now, found by kind; and which foreign owners are watched.

Kept up to date task by task as records change, so that nobody ever looks at all tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from mesh.core.identity import Boot, FactId, NodeId, TaskId
from mesh.core.instants import Instant


class OwnerSession(NamedTuple):
    """One run of a node that owns tasks."""

    node: NodeId
    boot: Boot


@dataclass(slots=True)
class Board:
    """The open tasks of each kind, oldest first, with the instant since when they are open."""

    _open: dict[str, dict[TaskId, Instant]] = field(default_factory=dict)
    _kind_of: dict[TaskId, str] = field(default_factory=dict)
    _owners: dict[OwnerSession, dict[TaskId, None]] = field(default_factory=dict)
    _owner_of: dict[TaskId, OwnerSession] = field(default_factory=dict)
    _retry_at: dict[TaskId, tuple[FactId, Instant]] = field(default_factory=dict)

    def open(self, task: TaskId, kind: str, since: Instant) -> bool:
        """List a task; false when it was listed already."""
        if task in self._kind_of:
            return False
        self._kind_of[task] = kind
        self._open.setdefault(kind, {})[task] = since
        return True

    def close(self, task: TaskId) -> None:
        """Take a task off the list."""
        kind = self._kind_of.pop(task, None)
        if kind is not None:
            del self._open[kind][task]
            if not self._open[kind]:
                del self._open[kind]

    def open_since(self, task: TaskId) -> Instant | None:
        """Return since when a task is open, or None."""
        kind = self._kind_of.get(task)
        return None if kind is None else self._open[kind][task]

    def candidates(self, kind: str, count: int) -> list[tuple[TaskId, Instant]]:
        """Return the first open tasks of a kind."""
        return list(islice(self._open.get(kind, {}).items(), count))

    def watch(self, task: TaskId, owner: OwnerSession | None) -> None:
        """Remember on whose life a task depends; None: on nobody's."""
        before = self._owner_of.get(task)
        if before == owner:
            return
        if before is not None:
            del self._owner_of[task]
            del self._owners[before][task]
            if not self._owners[before]:
                del self._owners[before]
        if owner is not None:
            self._owner_of[task] = owner
            self._owners.setdefault(owner, {})[task] = None

    def owners(self) -> list[OwnerSession]:
        """Return every run of a node on which a task depends."""
        return list(self._owners)

    def tasks_of(self, owner: OwnerSession) -> Iterator[TaskId]:
        """Return the tasks that depend on it."""
        return iter(list(self._owners.get(owner, ())))

    def retry_at(self, task: TaskId, claim: FactId, first_sight: Instant) -> Instant:
        """Return when a failed claim's task is open again: counted from its first sight."""
        known = self._retry_at.get(task)
        if known is None or known[0] != claim:
            known = self._retry_at[task] = (claim, first_sight)
        return known[1]

    def forget_retry(self, task: TaskId) -> None:
        """Forget a failure whose task went on."""
        self._retry_at.pop(task, None)
