"""The pump's inbox: bounded, fed by sockets, clients and streams, and emptied by the pump alone.

There are three ways in. Datagrams are offered: what finds no room stays in the kernel's buffer,
which drops when it is full. Clients and streams put, and wait while it is full: they feel it as
backpressure. Notices (a stream has ended, names were resolved) are always let in: each is the one
answer to something the node asked for, so their number is bounded where that is.

Datagrams may not use the last quarter: a flood from the network keeps no client out.
"""

from collections import deque
from collections.abc import Callable, Sequence

import trio

from mesh.core.inputs import Input
from mesh.core.instants import Instant

CAPACITY = 4096


class Inbox:
    """Inputs that wait for the pump, each with the instant at which it came."""

    def __init__(self, instant: Callable[[], Instant], capacity: int = CAPACITY) -> None:
        self._instant = instant
        self._capacity = capacity
        self._offered_max = max(1, capacity * 3 // 4)
        self._waiting: deque[tuple[Instant, Input]] = deque()
        self._filled = trio.Event()
        self._senders = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many inputs may be offered now."""
        return max(0, self._offered_max - len(self._waiting))

    def offer(self, inputs: Sequence[Input]) -> int:
        """Take as many as there is room for; returns how many."""
        taken = inputs[: self.room]
        if taken:
            now = self._instant()
            self._waiting.extend((now, each) for each in taken)
            self._filled.set()
        return len(taken)

    async def wait_room(self) -> None:
        """Wait until something may be offered."""
        while not self.room:
            await self._senders.park()

    async def put(self, each: Input) -> None:
        """Add one input, waiting while the inbox is full."""
        while len(self._waiting) >= self._capacity:
            await self._senders.park()
        self.notice(each)

    def notice(self, each: Input) -> None:
        """Add an input whose number is bounded by what the node asked for."""
        self._waiting.append((self._instant(), each))
        self._filled.set()

    def wake(self) -> None:
        """Let the pump look around though nothing came in."""
        self._filled.set()

    async def wait(self, seconds: float) -> None:
        """Return once something is there, at a wake-up, or after so long."""
        if not self._waiting and not self._filled.is_set():
            with trio.move_on_after(max(0.0, seconds)):
                await self._filled.wait()
        else:
            await trio.lowlevel.checkpoint()
        self._filled = trio.Event()

    def take(self, limit: int) -> list[Input]:
        """Remove and return the oldest inputs."""
        count = min(limit, len(self._waiting))
        taken = [self._waiting.popleft()[1] for _ in range(count)]
        if taken:
            self._senders.unpark_all()
        return taken

    def oldest(self) -> Instant | None:
        """Return when the first of those that wait came in."""
        return self._waiting[0][0] if self._waiting else None
