"""Many deadlines, one `next`: each has a name, and setting a name again moves its deadline.

A heap keeps them in order. A deadline that moved or was cancelled stays in the heap as a dead
entry until it surfaces; once dead entries outnumber the living, the heap is built anew, so its size
is at most twice the number of names.
"""

import heapq
from dataclasses import dataclass, field

from mesh.core.instants import NEVER, Instant

DEAD_ENTRIES_FREE = 64


TimerName = tuple[str, bytes | int | str]
"""What is due: a purpose, and whom it concerns; a plain tuple, for most are only cancelled."""


@dataclass(slots=True)
class Timers:
    """Named deadlines."""

    _heap: list[tuple[Instant, int, TimerName]] = field(default_factory=list)
    _live: dict[TimerName, tuple[Instant, int]] = field(default_factory=dict)
    _serial: int = 0

    def __len__(self) -> int:
        return len(self._live)

    def set(self, name: TimerName, at: Instant) -> None:
        """Make a name due at an instant, and no longer when it was due before."""
        if at == NEVER:
            self.cancel(name)
            return
        if self._live.get(name, (None, 0))[0] == at:
            return
        self._serial += 1
        self._live[name] = (at, self._serial)
        heapq.heappush(self._heap, (at, self._serial, name))
        if len(self._heap) > 2 * len(self._live) + DEAD_ENTRIES_FREE:
            self._heap = [(at, serial, name) for name, (at, serial) in self._live.items()]
            heapq.heapify(self._heap)

    def cancel(self, name: TimerName) -> None:
        """Forget a name; unknown ones are ignored."""
        self._live.pop(name, None)

    def due_at(self, name: TimerName) -> Instant:
        """Return when a name is due; never, when it is not set."""
        return self._live.get(name, (NEVER, 0))[0]

    def next_deadline(self) -> Instant:
        """Return when the first is due; never, when there is none."""
        if not self._heap:
            return NEVER
        self._drop_dead()
        return self._heap[0][0] if self._heap else NEVER

    def take_due(self, now: Instant) -> TimerName | None:
        """Remove and return one name that is due."""
        self._drop_dead()
        if not self._heap or self._heap[0][0] > now:
            return None
        name = heapq.heappop(self._heap)[2]
        del self._live[name]
        return name

    def _drop_dead(self) -> None:
        while self._heap and self._live.get(self._heap[0][2], (None, 0))[1] != self._heap[0][1]:
            heapq.heappop(self._heap)
