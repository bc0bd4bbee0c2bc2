"""TCP streams of a node: dialled and accepted, each with a bounded queue of what is to be sent.

For the node a stream is three inputs: opened, bytes, closed; closed is said exactly once, with a
word for the reason. A stream that the node closes still delivers what it was given to send: its
queue is flushed, the sending side ends, and the rest of what the peer says is read and thrown away
until the peer ends too. (Closing at once with unread bytes would reset the connection, and the
peer would lose what was on its way.)
"""

import errno
import socket
import sys
from collections import Counter, deque
from dataclasses import dataclass, field

import trio

from mesh.core.effects import StreamId
from mesh.core.identity import Address
from mesh.core.inputs import StreamClosed, StreamOpened, StreamReceived
from mesh.daemon.inbox import Inbox
from mesh.daemon.sockets import AddressBook, plain_address

ACCEPTED_FIRST = 2
"""Streams that peers dialled have even ids, those that the node dials odd ones."""
CHUNK_BYTES = 65_536
ACCEPT_PAUSE_S = 0.1
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

ENDED = "ended"
CLOSED = "closed"
RESET = "reset"
REFUSED = "refused"
TIMED_OUT = "timed_out"
UNREACHABLE = "unreachable"
OVERFLOW = "overflow"
TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """How much streams may hold on to."""

    queue_bytes_max: int = 4 * 1024 * 1024 + 256 * 1024
    """Unsent bytes of one stream: a full queue of the node, sealed; over it the stream ends."""
    streams_max: int = 384
    """Streams at once: more than the node keeps (64 of members, 128 of joins, 128 that have said
    nothing yet), as it closes before we have flushed. Which of too many go is for it to say."""
    dial_s: float = 5.0
    linger_s: float = 10.0
    """A stream that the node has closed may flush for so long."""
    unheard_s: float = 5.0
    """A stream ends when its peer's machine confirms, or makes room for, nothing for so long.

    TCP alone tries for a quarter of an hour, at ever greater intervals: a network that is back
    after ten seconds would be noticed after ten more. A new stream is dialled when it is needed.
    """


@dataclass(slots=True)
class Channel:
    """One stream between `open` or accept and its end."""

    id: StreamId
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    queue: deque[bytes] = field(default_factory=deque)
    queued_bytes: int = 0
    work: trio.Event = field(default_factory=trio.Event)
    is_up: bool = False
    is_closing: bool = False
    reason: str = ENDED

    def end(self, reason: str) -> None:
        """Stop at once, for this reason."""
        self.reason = reason
        self.scope.cancel()


class Streams:
    """All streams of a node; the methods that are not async belong to the pump."""

    def __init__(
        self, listener: socket.socket, inbox: Inbox, bounds: StreamBounds | None = None
    ) -> None:
        """Take over a listening socket that does not block."""
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        self._family = listener.family
        self._book = AddressBook(listener.family)
        self._inbox = inbox
        self._bounds = bounds or StreamBounds()
        self._channels: dict[StreamId, Channel] = {}
        self._next_accepted = ACCEPTED_FIRST
        self._nursery: trio.Nursery | None = None
        self._ended = trio.lowlevel.ParkingLot()
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._channels)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and carry streams until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self._accept_all()

    def open(self, stream: StreamId, target: Address) -> None:
        """Dial a peer; the inbox hears of success or failure."""
        assert self._nursery is not None, "run() comes first"
        assert stream % 2 == 1, "even ids are for accepted streams"
        assert stream not in self._channels
        if len(self._channels) >= self._bounds.streams_max:
            self.counters["streams_refused"] += 1
            self._inbox.notice(StreamClosed(stream, TOO_MANY))
            return
        channel = self._channels[stream] = Channel(stream, reason=TIMED_OUT)
        channel.scope.deadline = trio.current_time() + self._bounds.dial_s
        self._nursery.start_soon(self._dial, channel, target)

    def send(self, stream: StreamId, data: bytes) -> None:
        """Append bytes; a stream whose queue grows past its bound is ended."""
        channel = self._channels.get(stream)
        if channel is None or channel.is_closing:
            return
        if channel.queued_bytes + len(data) > self._bounds.queue_bytes_max:
            self.counters["streams_overflowed"] += 1
            channel.is_closing = True
            channel.end(OVERFLOW)
            return
        channel.queue.append(data)
        channel.queued_bytes += len(data)
        channel.work.set()

    def close(self, stream: StreamId) -> None:
        """End a stream once what was sent has left; unknown ids are ignored."""
        channel = self._channels.get(stream)
        if channel is None or channel.is_closing:
            return
        channel.is_closing = True
        channel.reason = CLOSED
        if not channel.is_up:
            channel.scope.cancel()
        channel.scope.deadline = trio.current_time() + self._bounds.linger_s
        channel.work.set()

    async def flush(self, seconds: float) -> None:
        """Close all streams, and give what was sent so long to leave."""
        for stream in list(self._channels):
            self.close(stream)
        with trio.move_on_after(seconds):
            while self._channels:
                await self._ended.park()

    async def _accept_all(self) -> None:
        assert self._nursery is not None
        while True:
            try:
                accepted = await self._listener.accept()
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                self.counters["accepts_failed"] += 1
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            if len(self._channels) >= self._bounds.streams_max:
                self.counters["streams_refused"] += 1
                await trio.aclose_forcefully(accepted)
                continue
            channel = Channel(StreamId(self._next_accepted))
            self._next_accepted += 2
            self._channels[channel.id] = channel
            self._nursery.start_soon(self._carry_accepted, channel, accepted)

    async def _dial(self, channel: Channel, target: Address) -> None:
        with channel.scope:
            try:
                dialled = await self._connect(target)
            except ConnectionRefusedError:
                channel.reason = REFUSED
            except OSError:
                channel.reason = UNREACHABLE
            else:
                channel.scope.deadline = float("inf")
                channel.reason = ENDED
                await self._carry(channel, dialled, target, dialled_here=True)
        self._forget(channel)

    async def _connect(self, target: Address) -> trio.SocketStream:
        where = self._book.socket_address(target)
        if where is None:
            raise OSError(errno.EAFNOSUPPORT, str(target))
        made = trio.socket.socket(self._family, socket.SOCK_STREAM)
        try:
            await made.connect(where)
        except BaseException:
            made.close()
            raise
        return trio.SocketStream(made)

    async def _carry_accepted(self, channel: Channel, accepted: trio.SocketStream) -> None:
        with channel.scope:
            try:
                peer = plain_address(accepted.socket.getpeername())
            except OSError:
                # It has gone before it was looked at; the node need not hear of it.
                await trio.aclose_forcefully(accepted)
                self._remove(channel)
                return
            await self._carry(channel, accepted, peer, dialled_here=False)
        self._forget(channel)

    async def _carry(
        self, channel: Channel, stream: trio.SocketStream, peer: Address, *, dialled_here: bool
    ) -> None:
        """Move bytes both ways until either side ends; the stream is closed by then."""
        try:
            if sys.platform == "linux":
                unheard_ms = round(self._bounds.unheard_s * 1000)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unheard_ms)
            await self._inbox.put(StreamOpened(channel.id, peer, dialled_here))
            channel.is_up = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, channel, stream)
                await self._read(channel, stream)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _read(self, channel: Channel, stream: trio.SocketStream) -> None:
        try:
            while data := await stream.receive_some(CHUNK_BYTES):
                if not channel.is_closing:
                    await self._inbox.put(StreamReceived(channel.id, data))
        except trio.BrokenResourceError:
            if not channel.is_closing:
                channel.reason = RESET

    async def _write(self, channel: Channel, stream: trio.SocketStream) -> None:
        try:
            while True:
                if channel.queue:
                    await stream.send_all(_take_chunk(channel))
                elif channel.is_closing:
                    await stream.send_eof()
                    return
                else:
                    channel.work = trio.Event()
                    await channel.work.wait()
        except trio.BrokenResourceError:
            # The reader sees the same and says so, after what the peer had sent before.
            return

    def _forget(self, channel: Channel) -> None:
        self._remove(channel)
        self._inbox.notice(StreamClosed(channel.id, channel.reason))

    def _remove(self, channel: Channel) -> None:
        del self._channels[channel.id]
        self._ended.unpark_all()


def _take_chunk(channel: Channel) -> bytes:
    """Remove and return the head of the queue, small pieces together."""
    pieces = [channel.queue.popleft()]
    size = len(pieces[0])
    while channel.queue and size + len(channel.queue[0]) <= CHUNK_BYTES:
        pieces.append(channel.queue.popleft())
        size += len(pieces[-1])
    channel.queued_bytes -= size
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
