"""Which tasks may be claimed here and now, found by kind; and which foreign owners are watched.

Kept up to date task by task as records change, so that nobody ever looks at all tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.core.claims.backlog import Backlog, Key, Place
from mesh.core.identity import Boot, FactId, NodeId, TaskId
from mesh.core.instants import Instant


class OwnerSession(NamedTuple):
    """One run of a node that owns tasks."""

    node: NodeId
    boot: Boot


_Listed = tuple[int, TaskId, str, Instant]
"""The key of a task, its kind, and since when it is open."""


@dataclass(slots=True)
class Board:
    """The open tasks of each kind, most urgent first, with the instant since when they are open."""

    _open: Backlog = field(default_factory=Backlog)
    _places: dict[TaskId, _Listed] = field(default_factory=dict)
    _owners: dict[OwnerSession, dict[TaskId, None]] = field(default_factory=dict)
    _owner_of: dict[TaskId, OwnerSession] = field(default_factory=dict)
    _retry_at: dict[TaskId, tuple[FactId, Instant]] = field(default_factory=dict)

    def open(self, kind: str, key: Key, since: Instant) -> bool:
        """List a task at its place in the order; false when it was listed there already."""
        order, task = key
        place = self._places.get(task)
        if place is not None:
            if place[0] == order and place[2] == kind:
                return False
            since = place[3]
            self.close(task)
        self._places[task] = place = (order, task, kind, since)
        self._open.add(kind, place)
        return True

    def close(self, task: TaskId) -> None:
        """Take a task off the list."""
        place = self._places.pop(task, None)
        if place is not None:
            self._open.remove(place[2], place)

    def open_since(self, task: TaskId) -> Instant | None:
        """Return since when a task is open, or None."""
        place = self._places.get(task)
        return None if place is None else place[3]

    def candidates(self, kind: str, count: int) -> list[Place]:
        """Return the places of the first open tasks of a kind, in order."""
        return self._open.first(kind, count)

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
