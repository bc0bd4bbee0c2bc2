"""The performer: one effect in, one action on the world out; none of them waits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

from mesh.core.effects import (
    ClientId,
    CloseStream,
    Commit,
    DropBlob,
    Effect,
    Halt,
    Json,
    Network,
    Notify,
    OpenStream,
    ReadBlob,
    Reply,
    ReplyError,
    ResolveSeeds,
    SealBlob,
    SendDatagram,
    SendStream,
    WriteBlob,
)
from mesh.core.errors import LocalError
from mesh.daemon.blob_files import BlobFiles
from mesh.daemon.resolver import Resolver
from mesh.daemon.streams import Streams
from mesh.daemon.udp import UdpPort
from mesh.storage.writer import Writer


class Answers(Protocol):
    """Whoever talks to control clients; nothing here may block, and unknown clients are ignored."""

    def reply(self, client: ClientId, request: int, result: Json) -> None:
        """Answer one request."""
        ...

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        """Refuse one request."""
        ...

    def notify(self, topic: str, body: Mapping[str, Json], client: ClientId | None) -> None:
        """Tell the watchers of a topic; with `client`, that client only."""
        ...


class NoAnswers:
    """Stands where nobody can connect."""

    def reply(self, client: ClientId, request: int, result: Json) -> None:
        """Ignore it."""

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        """Ignore it."""

    def notify(self, topic: str, body: Mapping[str, Json], client: ClientId | None) -> None:
        """Ignore it."""


@dataclass(slots=True)
class Performer:
    """Knows who does what."""

    udp: UdpPort
    streams: Streams
    resolver: Resolver
    writer: Writer
    blobs: BlobFiles
    answers: Answers
    halt: Callable[[str, str, bool], None]

    def perform(self, effect: Effect) -> None:
        """Carry out one effect, or hand it to whoever does."""
        match effect:
            case Commit():
                self.writer.put(effect)
            case Reply():
                self.answers.reply(effect.client, effect.request, effect.result)
            case ReplyError():
                error = LocalError(effect.name, effect.message, effect.hint)
                self.answers.refuse(effect.client, effect.request, error)
            case Notify():
                self.answers.notify(effect.topic, effect.body, effect.client)
            case Halt():
                self.halt(effect.reason, effect.hint, effect.again)
            case WriteBlob() | SealBlob() | ReadBlob() | DropBlob():
                self.blobs.put(effect)
            case _:
                self._perform_network(effect)

    def _perform_network(self, effect: Network) -> None:
        match effect:
            case SendDatagram():
                self.udp.send(effect.target, effect.data)
            case OpenStream():
                self.streams.open(effect.stream, effect.target)
            case SendStream():
                self.streams.send(effect.stream, effect.data)
            case CloseStream():
                self.streams.close(effect.stream)
            case ResolveSeeds():
                self.resolver.request(effect.seeds)
            case _:
                assert_never(effect)
