"""Timers of one membership: one due instant per key, cheap to move later.

Almost every timer here is pushed later again and again (an edge that stays healthy never reaches
its probe). So a key keeps its old place in the heap and is put back only once that place comes
up first: moving a timer later costs one dictionary write, and nobody ever scans all members.
"""

import heapq

from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant

HEAP_SLACK = 64

EDGE = b"e"
AGAIN = b"a"
DECIDE = b"d"
GRACE = b"g"
PUBLISH = b"p"
RANDOM = b"r"
REDIAL = b"l"
HEAL = b"h"
CUT = b"c"
REFUTE = b"f"
SWEEP = b"s"


def timer_key(kind: bytes, subject: NodeId) -> bytes:
    """Return the key of a timer of one kind (one byte) for one node."""
    return kind + subject


class Agenda:
    """What is due when; two keys due at one instant come in the order of their bytes."""

    def __init__(self) -> None:
        self._due: dict[bytes, Instant] = {}
        self._armed: dict[bytes, Instant] = {}
        self._heap: list[tuple[Instant, bytes]] = []

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: bytes, due: Instant) -> None:
        """Let a key be due then, and no longer at another instant."""
        self._due[key] = due
        armed = self._armed.get(key)
        if armed is None or due < armed:
            self._arm(key, due)

    def cancel(self, key: bytes) -> None:
        """Forget a key; unknown keys are ignored."""
        self._due.pop(key, None)

    def due(self, key: bytes) -> Instant:
        """Return when a key is due; NEVER when it is not set."""
        return self._due.get(key, NEVER)

    def next_instant(self) -> Instant:
        """Return when the first key is due; NEVER when idle."""
        heap = self._heap
        while heap:
            armed, key = heap[0]
            due = self._due.get(key)
            if due == armed:
                return armed
            if self._armed.get(key) != armed:
                heapq.heappop(heap)  # an earlier place took over
            elif due is None:
                heapq.heappop(heap)
                del self._armed[key]
            else:
                heapq.heapreplace(heap, (due, key))
                self._armed[key] = due
        return NEVER

    def take_due(self, instant: Instant) -> bytes | None:
        """Remove and return a key that is due at this instant or before."""
        if self.next_instant() > instant:
            return None
        _, key = heapq.heappop(self._heap)
        self._armed.pop(key, None)
        del self._due[key]
        return key

    def _arm(self, key: bytes, due: Instant) -> None:
        self._armed[key] = due
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 2 * len(self._armed) + HEAP_SLACK:
            self._heap = [(at, name) for name, at in self._armed.items()]
            heapq.heapify(self._heap)
