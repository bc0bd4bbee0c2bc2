"""Finished tasks with a dedupe key: a small stone stays for each until nobody can ask for it again.

The id of such a task is a hash, not a dot, so intervals cannot cover it. Whoever forgets it says
so in a `ForgetKey`, from which everybody computes the id again. While the stone stands, whoever
submits the key hears that the task is finished. It falls when `until_s` has passed on the wall
clock; by then the window is long over, so nobody submits under this id any more, and who comes
back later still and holds the task open does not begin it: it is set aside (`garbage`), or ended
as late (`scheduling.too_late_at`).

Anybody may say it. Whoever knows a key can end its task anyhow, by a spec and a cancel of its own.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, MeshId, NodeId, TaskId, keyed_task_id
from mesh.core.wire.codec import Layout, Text, Uint
from mesh.core.wire.envelope import Fact, Verified

KEEP_HIGH_S = 604_800
"""A stone stands for at most a week beyond its window, or beyond the moment at which it is set."""
STANDS_HIGH_S = KEEP_HIGH_S + 86_400
"""So far clocks may differ."""
UNTIL_HIGH_S = 253_402_300_799
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class ForgetKey(Fact):
    """The task of a key and window is over and forgotten. Author: any member."""

    CONTEXT: ClassVar[str] = "forget-key/1"
    LAYOUT: ClassVar[Layout] = (Text(64, 1), Text(64, 1), Uint(64), Uint(64))
    kind: str
    key: str
    window_end_s: int
    until_s: int
    """Wall time at which nobody needs to know this any more."""

    def task(self, mesh: MeshId) -> TaskId:
        """Return the id of the task."""
        return keyed_task_id(mesh, self.kind, self.key, self.window_end_s)


def check_forget_key(fact: ForgetKey) -> None:
    """Raise RemoteError(BROKEN_RULE) for a stone that falls within the window of its key."""
    if not fact.window_end_s <= fact.until_s <= UNTIL_HIGH_S:
        raise RemoteError(Refusal.BROKEN_RULE, "a key forgotten until before its window ends")


def check_until(fact: ForgetKey, wall: float) -> None:
    """Raise RemoteError for a stone that has fallen (EXPIRED), or stands too long (OVER_CAP).

    Both pass: it may be offered again when the clock has been put right, or has come closer.
    """
    if fact.until_s <= wall:
        raise RemoteError(Refusal.EXPIRED, "its time is over on the clock of this machine")
    if fact.until_s > max(fact.window_end_s, wall) + STANDS_HIGH_S:
        raise RemoteError(Refusal.OVER_CAP, "a key forgotten for longer than a week")


class Keyed:
    """The stones that stand: a set of facts, at most `high` of one author."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, dict[FactId, Verified[ForgetKey]]] = {}
        self._counts: dict[NodeId, int] = {}
        self._by_end: list[tuple[int, TaskId, FactId]] = []

    def __contains__(self, task: TaskId) -> bool:
        return task in self._tasks

    def __len__(self) -> int:
        return len(self._by_end)

    def facts(self, task: TaskId) -> tuple[Verified[ForgetKey], ...]:
        """Return the facts that say that a task is forgotten."""
        return tuple(self._tasks.get(task, {}).values())

    def has_room(self, author: NodeId, high: int) -> bool:
        """Whether one more of an author finds room."""
        return self._counts.get(author, 0) < high

    def add(self, task: TaskId, verified: Verified[Any]) -> None:
        """Set a stone; one that stands already changes nothing."""
        known = self._tasks.setdefault(task, {})
        if verified.id in known:
            return
        known[verified.id] = verified
        self._counts[verified.author] = self._counts.get(verified.author, 0) + 1
        heapq.heappush(self._by_end, (verified.fact.until_s, task, verified.id))

    def first_end_s(self) -> int | None:
        """Return when the next stone falls, in wall time."""
        return self._by_end[0][0] if self._by_end else None

    def first_over(self, wall: float) -> FactId | None:
        """Return a fact whose time is over."""
        return self._by_end[0][2] if self._by_end and self._by_end[0][0] <= wall else None

    def drop_first(self) -> None:
        """Let the stone fall whose time is over first."""
        _, task, id_ = heapq.heappop(self._by_end)
        known = self._tasks[task]
        author = known.pop(id_).author
        if not known:
            del self._tasks[task]
        self._uncount(author)

    def _uncount(self, author: NodeId) -> None:
        left = self._counts.pop(author) - 1
        if left:
            self._counts[author] = left

    def withdraw(self, gone: Mapping[FactId, TaskId]) -> None:
        """Let stones fall whose authors count no more."""
        for id_, task in gone.items():
            known = self._tasks.get(task, {})
            if id_ in known:
                self._uncount(known.pop(id_).author)
                if not known:
                    del self._tasks[task]
        if gone:
            self._by_end = [entry for entry in self._by_end if entry[2] not in gone]
            heapq.heapify(self._by_end)
