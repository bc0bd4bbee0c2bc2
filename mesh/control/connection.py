"""One client of the control socket: what it may do, what it waits for, what is still to be sent.

Lines go straight to the kernel while it takes them. When it does not, because the client reads
slowly, they wait in a queue with a bound; beyond it the client is told `lagged` in place of what
it missed, gets a moment to read that, and is dropped. Nobody else waits for it.
"""

import select
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from mesh.control.access import Access, Credentials
from mesh.control.framing import (
    RequestId,
    bundle_line,
    error_line,
    event_line,
    result_line,
)
from mesh.control.messages import matches
from mesh.core.effects import ClientId, Json
from mesh.core.errors import LocalError

LAGGED_TOPIC = "lagged"
RECEIVE_BYTES = 65_536
QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""What may wait for one slow client; a line that waits alone may be of any size."""
HANGUP_CHECK_S = 0.1


@dataclass(slots=True)
class Bundle:
    """The answers to requests that came on one line, until they leave on one, in their order."""

    size: int
    lines: dict[int, bytes] = field(default_factory=dict)

    def add(self, at: int, line: bytes) -> bytes | None:
        """Put in one answer; returns the line to send once all are there."""
        self.lines[at] = line
        if len(self.lines) < self.size:
            return None
        return bundle_line([self.lines[each] for each in range(self.size)])


class Place(NamedTuple):
    """Where an answer belongs that does not leave alone."""

    bundle: Bundle
    at: int


class Pending(NamedTuple):
    """A request under way: the client's id for it, and its place if it came in a bundle."""

    id: RequestId
    place: Place | None


class Connection:
    """A connected client; the lines for it are bounded by `queue_max`."""

    def __init__(
        self,
        id_: ClientId,
        sock: socket.socket,
        credentials: Credentials,
        access: Access,
        queue_max: int,
    ) -> None:
        self.id = id_
        self.credentials = credentials
        self.access = access
        self.topics: tuple[str, ...] = ()
        self.pending: dict[int, Pending] = {}
        """The requests under way by their numbers."""
        self.reading = trio.CancelScope()
        self.has_lagged = False
        self._sock = sock
        self._queue_max = queue_max
        self._queue: deque[bytes | memoryview] = deque()
        self._queued_bytes = 0
        self._broken = False
        self._filled = trio.Event()
        self._emptied = trio.Event()
        self._requests = 0

    # --- requests

    def expect(self, id_: RequestId, place: Place | None = None) -> int:
        """Return the number under which the node will answer a request."""
        self._requests += 1
        self.pending[self._requests] = Pending(id_, place)
        return self._requests

    def reply(self, request: int, result: Json) -> None:
        """Answer a request that is under way."""
        pending = self.pending.pop(request)
        self.answer(result_line(pending.id, result), pending.place)

    def refuse(self, request: int, error: LocalError) -> None:
        """Refuse a request that is under way."""
        pending = self.pending.pop(request)
        self.answer(error_line(pending.id, error), pending.place)

    def answer(self, line: bytes, place: Place | None) -> None:
        """Send the answer to a request, in a bundle once the others are there too."""
        whole = line if place is None else place.bundle.add(place.at, line)
        if whole is not None:
            self.send(whole)

    def is_watching(self, topic: str) -> bool:
        """Whether the client wants to hear of a topic."""
        return any(matches(pattern, topic) for pattern in self.topics)

    # --- bytes out

    def send(self, line: bytes) -> None:
        """Send a line, or queue it; never blocks."""
        if self.has_lagged or self._broken:
            return
        sent = 0 if self._queue else self._give_to_kernel(line)
        if sent == len(line):
            return
        is_full = len(self._queue) >= self._queue_max
        if is_full or (self._queue and self._queued_bytes + len(line) > QUEUE_BYTES_MAX):
            self._lag()
            return
        # A view: what is left of a long line is not copied each time a little of it leaves.
        self._queue.append(memoryview(line)[sent:] if sent else line)
        self._queued_bytes += len(line) - sent
        self._filled.set()

    def _lag(self) -> None:
        # What is at the front may be half sent: its rest must still go out.
        front = self._queue.popleft()
        missed = len(self._queue) + 1
        body: Mapping[str, Json] = {
            "missed": missed,
            "hint": "read faster, or watch fewer topics; then connect again",
        }
        self._queue.clear()
        self._queue.extend((front, event_line(LAGGED_TOPIC, body)))
        self._queued_bytes = sum(map(len, self._queue))
        self.has_lagged = True
        self.reading.cancel()

    def _give_to_kernel(self, line: bytes | memoryview) -> int:
        try:
            return self._sock.send(line, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._break()
            return len(line)

    def _break(self) -> None:
        self._broken = True
        self._queue.clear()
        self._queued_bytes = 0
        self.reading.cancel()

    async def write(self) -> None:
        """Send what is queued whenever the client has read; runs until cancelled."""
        while True:
            while not self._queue:
                self._emptied.set()
                self._filled = trio.Event()
                await self._filled.wait()
            self._emptied = trio.Event()
            await trio.lowlevel.wait_writable(self._sock)
            while self._queue:
                line = self._queue[0]
                sent = self._give_to_kernel(line)
                if self._broken:
                    break
                self._queued_bytes -= sent
                if sent < len(line):
                    self._queue[0] = memoryview(line)[sent:]
                    break
                self._queue.popleft()

    async def drained(self, seconds: float) -> None:
        """Return once everything is sent, or after so long."""
        with trio.move_on_after(seconds):
            while self._queue:
                await self._emptied.wait()

    # --- bytes in

    async def receive(self) -> bytes:
        """Return the next bytes; none when the client will send no more."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return b""

    async def wait_answered(self) -> None:
        """Return once a client that has closed its sending half has all its answers, or is gone.

        `printf ... | nc -U SOCKET` closes that half at once and then reads.
        """
        poll = select.poll()
        poll.register(self._sock, 0)
        while (self.pending or self._queue) and not (self._broken or poll.poll(0)):  # noqa: ASYNC110  the kernel has no event for it
            await trio.sleep(HANGUP_CHECK_S)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
