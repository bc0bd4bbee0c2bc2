"""The tasks that may be claimed, per kind and most urgent first, sorted while they come and go.

Each kind has a sorted list cut into blocks, so that a change moves a few hundred entries at most,
however many tasks wait.
"""

from bisect import bisect_left, insort
from itertools import chain, islice
from typing import Any

from mesh.core.identity import TaskId

BLOCK_KEYS_MAX = 512

Key = tuple[int, TaskId]
"""(wall milliseconds that `scheduling.order_key` makes of a spec, task): who goes before whom."""
Place = tuple[int, TaskId, *tuple[Any, ...]]
"""A key with whatever the keeper of a list wants to know of a task: nothing more is compared."""


class _Queue:
    """The sorted keys of one kind."""

    __slots__ = ("blocks", "lasts")

    def __init__(self) -> None:
        self.blocks: list[list[Place]] = []
        self.lasts: list[Place] = []

    def add(self, key: Place) -> None:
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

    def remove(self, key: Place) -> None:
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


class Backlog:
    """Keys by kind; the caller says once when a task becomes claimable and once when not."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    def __len__(self) -> int:
        return sum(len(block) for queue in self._queues.values() for block in queue.blocks)

    def add(self, kind: str, key: Place) -> None:
        """Put in a key that is not there."""
        self._queues.setdefault(kind, _Queue()).add(key)

    def remove(self, kind: str, key: Place) -> None:
        """Take out a key that is there."""
        queue = self._queues[kind]
        queue.remove(key)
        if not queue.blocks:
            del self._queues[kind]

    def first(self, kind: str, count: int) -> list[Place]:
        """Return the first keys of a kind, in order."""
        queue = self._queues.get(kind)
        return [] if queue is None else list(islice(chain.from_iterable(queue.blocks), count))
