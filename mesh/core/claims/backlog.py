"""The tasks that may be claimed, per kind and oldest first, kept sorted while they come and go.

Each kind has a sorted list cut into blocks, so that a change moves a few hundred entries at most,
however many tasks wait. Walking it is safe while it changes: a walk copies one block at a time and
finds its place again by the last key that it has seen.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from mesh.core.identity import TaskId

BLOCK_KEYS_MAX = 512

Key = tuple[int, TaskId]
"""(when the task was made in wall milliseconds, task): the order in which tasks are handed out."""


class _Queue:
    """The sorted keys of one kind."""

    __slots__ = ("blocks", "lasts")

    def __init__(self) -> None:
        self.blocks: list[list[Key]] = []
        self.lasts: list[Key] = []

    def add(self, key: Key) -> None:
        if not self.blocks:
            self.blocks.append([key])
            self.lasts.append(key)
            return
        at = min(bisect_left(self.lasts, key), len(self.blocks) - 1)
        block = self.blocks[at]
        insort(block, key)
        if len(block) > BLOCK_KEYS_MAX:
            half = len(block) // 2
            self.blocks.insert(at, block[:half])
            self.lasts.insert(at, block[half - 1])
            del block[:half]
            at += 1
        self.lasts[at] = block[-1]

    def remove(self, key: Key) -> None:
        at = bisect_left(self.lasts, key)
        block = self.blocks[at]
        place = bisect_left(block, key)
        assert block[place] == key
        del block[place]
        if block:
            self.lasts[at] = block[-1]
        else:
            del self.blocks[at]
            del self.lasts[at]

    def walk(self) -> Iterator[Key]:
        part = self.blocks[0][:] if self.blocks else []
        while part:
            yield from part
            last = part[-1]
            at = bisect_right(self.lasts, last)
            block = self.blocks[at] if at < len(self.blocks) else []
            part = block[bisect_right(block, last) :]


class Backlog:
    """Keys by kind; the caller says once when a task becomes claimable and once when not."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    def __len__(self) -> int:
        return sum(len(block) for queue in self._queues.values() for block in queue.blocks)

    def add(self, kind: str, key: Key) -> None:
        """Put in a key that is not there."""
        self._queues.setdefault(kind, _Queue()).add(key)

    def remove(self, kind: str, key: Key) -> None:
        """Take out a key that is there."""
        queue = self._queues[kind]
        queue.remove(key)
        if not queue.blocks:
            del self._queues[kind]

    def walk(self, kinds: tuple[str, ...]) -> Iterator[TaskId]:
        """Return the tasks of some kinds, oldest first; those that leave meanwhile may appear."""
        queues = [self._queues[kind] for kind in dict.fromkeys(kinds) if kind in self._queues]
        keys = queues[0].walk() if len(queues) == 1 else heapq.merge(*(q.walk() for q in queues))
        return (task for _, task in keys)
