"""Streams of a member: the first byte of an accepted one says which part of the node it is for."""

from typing import assert_never

from mesh.core.effects import CloseStream, Effect, StreamId
from mesh.core.errors import RemoteError
from mesh.core.inputs import StreamClosed, StreamInput, StreamOpened, StreamReceived
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.links.stream import MARK
from mesh.core.node.admissions import Admissions
from mesh.core.node.entry import JOIN_MARK
from mesh.core.node.join_relays import RELAYED_JOIN_MARK
from mesh.core.node.participant import Participant

UNREAD_STREAMS_MAX = 128


class Doorway:
    """Where streams come in; who says nothing for long is sent away."""

    def __init__(self, participant: Participant, admissions: Admissions) -> None:
        self.participant = participant
        self.admissions = admissions
        self.unread: dict[StreamId, Instant] = {}
        """Streams that were accepted and have not said yet what they are for, and since when."""

    def handle(self, now: Now, event: StreamInput) -> None:
        """Take what happened to a stream."""
        match event:
            case StreamOpened(stream, _, dialled):
                self._handle_opened(now, stream, dialled=dialled)
            case StreamReceived(stream, data):
                try:
                    self._receive(now, stream, data)
                except RemoteError as error:
                    self._close(stream)
                    self.participant.refuse(error)
                    self._forget(now, stream)
            case StreamClosed(stream):
                self.unread.pop(stream, None)
                self._forget(now, stream)
            case _:
                assert_never(event)

    def next_deadline(self) -> Instant:
        """Return when the oldest stream that says nothing is closed: they are few, and wanted."""
        if not self.unread:
            return NEVER
        idle_s = self.participant.params.links.stream_idle_s
        return later(next(iter(self.unread.values())), idle_s)

    def close_silent(self, instant: Instant) -> None:
        """Close the streams that have said nothing for too long."""
        self._close_silent(instant, self.participant.params.links.stream_idle_s)

    def _close_silent(self, instant: Instant, patience_s: float) -> None:
        while self.unread:
            stream, opened = next(iter(self.unread.items()))
            if instant < later(opened, patience_s):
                return
            del self.unread[stream]
            self._close(stream)

    def _handle_opened(self, now: Now, stream: StreamId, *, dialled: bool) -> None:
        if not dialled:
            if len(self.unread) >= UNREAD_STREAMS_MAX:
                self._close_silent(now.instant, self.participant.params.links.stream_spare_s)
            if len(self.unread) < UNREAD_STREAMS_MAX:
                self.unread[stream] = now.instant
            else:
                self._close(stream)
        elif stream in self.participant.bulk.channels:
            self._extend(self.participant.bulk.handle_opened(now.instant, stream))
        elif self.admissions.relays.owns(stream):
            self._extend(self.admissions.relays.handle_opened(stream))

    def _receive(self, now: Now, stream: StreamId, data: bytes) -> None:
        participant, bulk = self.participant, self.participant.bulk
        if stream in self.unread:
            del self.unread[stream]
            if data[:1] == MARK:
                self._accept_bulk(now, stream)
            elif data[:1] in {JOIN_MARK, RELAYED_JOIN_MARK}:
                self.admissions.accept(now, stream, relayed=data[:1] == RELAYED_JOIN_MARK)
                data = data[1:]
            else:
                self._close(stream)
        if self.admissions.owns(stream):
            self._extend(self.admissions.receive_untrusted(now, stream, data))
        elif stream in bulk.channels:
            peer, messages, effects = bulk.receive_untrusted(now.instant, stream, data)
            self._extend(effects)
            for kind, body in messages:
                assert peer is not None
                self._extend(participant.receive_message(now, peer, kind, body))

    def _accept_bulk(self, now: Now, stream: StreamId) -> None:
        bulk = self.participant.bulk
        self._extend(bulk.make_room(now.instant))
        if bulk.has_room():
            bulk.accept(now.instant, stream)
        else:
            self._close(stream)

    def _forget(self, now: Now, stream: StreamId) -> None:
        peer = self.participant.bulk.handle_closed(stream)
        if peer is not None:
            self.participant.blobs.handle_cut(now, peer)
        self.admissions.handle_closed(stream)

    def _close(self, stream: StreamId) -> None:
        self.participant.outbox.put(CloseStream(stream))

    def _extend(self, effects: list[Effect]) -> None:
        self.participant.outbox.effects += effects
