"""The pump's inbox: bounded, fed by sockets, clients and streams, and emptied by the pump alone.

There are three ways in. Datagrams are offered: what finds no room stays in the kernel's buffer,
which drops when it is full. Clients and streams put, and wait while it is full: they feel it as
backpressure. Notices (a stream has ended, names were resolved) are always let in: each is the one
answer to something the node asked for, so their number is bounded where that is.

And there are three lanes. One chunk of a stream may hold hundreds of facts, and a node that was
away for long gets thousands of chunks; a client's question and a ping are not to wait behind them.
So each turn takes clients and datagrams first, and of streams no more than one full chunk.

Datagrams may not use the last quarter: a flood from the network keeps no client out.
"""

from collections import deque
from collections.abc import Callable, Sequence

import trio

from mesh.core.inputs import (
    ClientGone,
    CommandReceived,
    Input,
    StreamClosed,
    StreamInput,
    StreamOpened,
    StreamReceived,
)
from mesh.core.instants import Instant

CAPACITY = 4096
STREAM_BYTES_MAX = 1 << 20
"""Of streams; what is beyond waits in the kernel, and slows down who sends."""
STREAM_BYTES_PER_TURN = 65_536
"""Taken at once; that is some 200 facts to verify, or tens of milliseconds."""

Lane = deque[tuple[Instant, Input]]


class Inbox:
    """Inputs that wait for the pump, each with the instant at which it came."""

    def __init__(self, instant: Callable[[], Instant], capacity: int = CAPACITY) -> None:
        self._instant = instant
        self._capacity = capacity
        self._offered_max = max(1, capacity * 3 // 4)
        self._clients: Lane = deque()
        self._network: Lane = deque()
        self._streams: Lane = deque()
        self._stream_bytes = 0
        self._count = 0
        """Of all lanes: asked for far more often than it changes."""
        self._filled = trio.Event()
        self._senders = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return self._count

    @property
    def room(self) -> int:
        """How many inputs may be offered now."""
        return max(0, self._offered_max - self._count)

    def offer(self, inputs: Sequence[Input]) -> int:
        """Take as many as there is room for; returns how many. Whoever offers sees to the rest."""
        taken = inputs[: self.room]
        for each in taken:
            self._file(each)
        return len(taken)

    async def wait_room(self) -> None:
        """Wait until something may be offered."""
        while not self.room:
            await self._senders.park()

    async def put(self, each: Input) -> None:
        """Add one input, waiting while the inbox is full, or the lane of streams."""
        is_stream = isinstance(each, StreamInput)
        while len(self) >= self._capacity or (is_stream and self._stream_bytes >= STREAM_BYTES_MAX):
            await self._senders.park()
        self.notice(each)

    def notice(self, each: Input) -> None:
        """Add an input whose number is bounded by what the node asked for."""
        self._file(each)
        self._filled.set()

    def _file(self, each: Input) -> None:
        entry = (self._instant(), each)
        self._count += 1
        match each:
            case CommandReceived() | ClientGone():
                self._clients.append(entry)
            case StreamReceived(_, data):
                self._streams.append(entry)
                self._stream_bytes += len(data)
            case StreamOpened() | StreamClosed():
                self._streams.append(entry)
            case _:
                self._network.append(entry)

    def wake(self) -> None:
        """Let the pump look around though nothing came in."""
        self._filled.set()

    async def wait(self) -> None:
        """Return once something is there, or at a wake-up."""
        if not self._count and not self._filled.is_set():
            await self._filled.wait()
        else:
            await trio.lowlevel.checkpoint()
        self._filled = trio.Event()

    def take(self, limit: int) -> list[Input]:
        """Remove and return the oldest inputs: at most so many of each lane."""
        if not self._count:
            return []
        taken = self._take(self._clients, limit)
        taken += self._take(self._network, limit)
        if self._streams:
            taken += self._take_streams(limit)
        self._count -= len(taken)
        self._senders.unpark_all()
        return taken

    def oldest(self) -> Instant | None:
        """Return when the first of those that wait came in; streams are there to wait."""
        return min((lane[0][0] for lane in (self._clients, self._network) if lane), default=None)

    def _take(self, lane: Lane, count: int) -> list[Input]:
        return [lane.popleft()[1] for _ in range(min(count, len(lane)))] if lane else []

    def _take_streams(self, count: int) -> list[Input]:
        taken: list[Input] = []
        size = 0
        while self._streams and len(taken) < count:
            each = self._streams[0][1]
            more = len(each.data) if isinstance(each, StreamReceived) else 0
            if size and size + more > STREAM_BYTES_PER_TURN:
                break
            self._streams.popleft()
            size += more
            taken.append(each)
        self._stream_bytes -= size
        return taken
