"""Sealed streams between members: opened on demand, closed when idle, bounded in number."""

from dataclasses import dataclass, field
from itertools import count

from mesh.core.effects import CloseStream, Effect, OpenStream, SendStream, StreamId
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.links.links import Links
from mesh.core.links.session import INDEX_BYTES
from mesh.core.links.stream import MARK, OPENING_BYTES, RANDOM_BYTES, SealedStream, sealed_stream
from mesh.core.outbox import BULK_BYTES_MAX
from mesh.core.params import LinkParams
from mesh.core.rng import Rng

QUEUE_BYTES_MAX = 4 * 1024 * 1024
FRAME_BYTES_MAX = BULK_BYTES_MAX + 1024


@dataclass(slots=True)
class Channel:
    """One stream: what has been said to open it, and what waits for that."""

    id: StreamId
    peer: NodeId | None
    dialled: bool
    used: Instant
    random: bytes
    sealed: SealedStream | None = None
    opening: bytearray = field(default_factory=bytearray)
    queue: list[tuple[int, bytes]] = field(default_factory=list)
    queued_bytes: int = 0
    up: bool = False


@dataclass(slots=True)
class Bulk:
    """All sealed streams of a node."""

    links: Links
    params: LinkParams
    rng: Rng
    ids: "count[int]"
    """Gives odd stream ids; shared with everything else that dials."""
    channels: dict[StreamId, Channel] = field(default_factory=dict)
    _by_peer: dict[NodeId, StreamId] = field(default_factory=dict)

    def send(self, now: Instant, bulk: dict[NodeId, list[tuple[int, bytes]]]) -> list[Effect]:
        """Return the effects that carry these messages; empties `bulk`."""
        effects: list[Effect] = []
        for peer, messages in bulk.items():
            address = self.links.address(peer)
            if address is None:
                continue
            known = self._by_peer.get(peer)
            channel = None if known is None else self.channels.get(known)
            if channel is None:
                effects += self.make_room(now)
                if not self.has_room():
                    continue
                channel = self._add(StreamId(next(self.ids)), peer, now, dialled=True)
                effects.append(OpenStream(channel.id, address))
            for kind, body in messages:
                effects += self._queue(channel, now, kind, body)
        bulk.clear()
        return effects

    def has_room(self) -> bool:
        """Whether one more stream may be opened or accepted."""
        return len(self.channels) < self.params.streams_max

    def make_room(self, now: Instant) -> list[Effect]:
        """Close the stream that has been idle longest, if one more would be too many.

        Those of which nobody knows yet whose they are go first.
        """
        if self.has_room():
            return []
        spare_s = self.params.stream_spare_s
        idle = [c for c in self.channels.values() if now >= later(c.used, spare_s)]
        if not idle:
            return []
        return self.close(min(idle, key=lambda c: (c.peer is not None, c.used)).id)

    def _add(
        self, stream: StreamId, peer: NodeId | None, now: Instant, *, dialled: bool
    ) -> Channel:
        channel = Channel(stream, peer, dialled, now, self.rng.randbytes(RANDOM_BYTES))
        self.channels[stream] = channel
        if peer is not None:
            self._by_peer[peer] = stream
        return channel

    def _queue(self, channel: Channel, now: Instant, kind: int, body: bytes) -> list[Effect]:
        channel.used = now
        if channel.sealed is not None:
            return [SendStream(channel.id, channel.sealed.seal(kind, body))]
        if channel.queued_bytes + len(body) <= QUEUE_BYTES_MAX:
            channel.queue.append((kind, body))
            channel.queued_bytes += len(body)
        return []

    def handle_opened(self, now: Instant, stream: StreamId) -> list[Effect]:
        """A stream that was dialled here is up: say whose it is."""
        channel = self.channels[stream]
        channel.used = now
        keys = None if channel.peer is None else self.links.keys(channel.peer)
        if keys is None:
            return self.close(stream)
        return [SendStream(stream, MARK + keys.send_index + channel.random)]

    def accept(self, now: Instant, stream: StreamId) -> None:
        """A stream that a peer dialled begins with our mark."""
        self._add(stream, None, now, dialled=False)

    def receive_untrusted(
        self, now: Instant, stream: StreamId, data: bytes
    ) -> tuple[NodeId | None, list[tuple[int, bytes]], list[Effect]]:
        """Return (peer, messages, effects); raises RemoteError, then the stream is to be closed."""
        channel = self.channels[stream]
        channel.used = now
        if channel.sealed is not None:
            return channel.peer, channel.sealed.receive_untrusted(data), []
        channel.opening += data
        effects = self._answer(channel) if channel.dialled else self._admit(channel)
        sealed = self.channels[stream].sealed if stream in self.channels else None
        if sealed is None:
            return None, [], effects
        rest = bytes(channel.opening)
        channel.opening.clear()
        effects += [SendStream(stream, sealed.seal(kind, body)) for kind, body in channel.queue]
        channel.queue.clear()
        return channel.peer, sealed.receive_untrusted(rest), effects

    def _answer(self, channel: Channel) -> list[Effect]:
        keys = None if channel.peer is None else self.links.keys(channel.peer)
        if len(channel.opening) >= RANDOM_BYTES and keys is not None:
            theirs = bytes(channel.opening[:RANDOM_BYTES])
            del channel.opening[:RANDOM_BYTES]
            channel.sealed = sealed_stream(
                self.links.suite, keys, channel.random, theirs, FRAME_BYTES_MAX
            )
        return []

    def _admit(self, channel: Channel) -> list[Effect]:
        if len(channel.opening) < OPENING_BYTES:
            return []
        index = bytes(channel.opening[1 : 1 + INDEX_BYTES])
        theirs = bytes(channel.opening[1 + INDEX_BYTES : OPENING_BYTES])
        del channel.opening[:OPENING_BYTES]
        peer = self.links.peer_by_index(index)
        keys = None if peer is None else self.links.keys(peer)
        if peer is None or keys is None:
            return self.close(channel.id)
        channel.peer = peer
        self._by_peer.setdefault(peer, channel.id)
        channel.sealed = sealed_stream(
            self.links.suite, keys, theirs, channel.random, FRAME_BYTES_MAX
        )
        return [SendStream(channel.id, channel.random)]

    def close(self, stream: StreamId) -> list[Effect]:
        """Close a stream of ours."""
        self.handle_closed(stream)
        return [CloseStream(stream)]

    def forget(self, peer: NodeId) -> list[Effect]:
        """Cut a peer off: its streams end, and nothing can be sealed to it any more."""
        self.links.forget(peer)
        streams = [channel.id for channel in self.channels.values() if channel.peer == peer]
        return [effect for stream in streams for effect in self.close(stream)]

    def handle_closed(self, stream: StreamId) -> NodeId | None:
        """A stream is gone, with what waited in it; returns whose it was, if that was known."""
        channel = self.channels.pop(stream, None)
        if channel is None or channel.peer is None:
            return None
        if self._by_peer.get(channel.peer) == stream:
            del self._by_peer[channel.peer]
        return channel.peer

    def handle_timeout(self, now: Instant) -> list[Effect]:
        """Close what has been idle too long."""
        idle = [
            channel.id
            for channel in self.channels.values()
            if now >= later(channel.used, self.params.stream_idle_s)
        ]
        return [effect for stream in idle for effect in self.close(stream)]

    def next_deadline(self) -> Instant:
        """Return when the next idle stream is to be closed."""
        if not self.channels:
            return NEVER
        used = min(channel.used for channel in self.channels.values())
        return later(used, self.params.stream_idle_s)
