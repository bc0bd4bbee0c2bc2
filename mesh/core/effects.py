"""What a node wants done: a closed union that every driver performs in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NewType

from mesh.core.identity import Address, BlobId

StreamId = NewType("StreamId", int)
"""Odd ids are given by the node (it dials), even ids by the driver (it accepts)."""
ClientId = NewType("ClientId", int)
CommitNumber = NewType("CommitNumber", int)

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the durable log: the newest value per (kind, key) counts; None deletes."""

    kind: str
    key: bytes
    value: bytes | None


class SendDatagram(NamedTuple):
    """Send these bytes once; nobody promises that they arrive."""

    target: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Dial a peer; `StreamOpened` or `StreamClosed` with this id follows."""

    stream: StreamId
    target: Address


@dataclass(frozen=True, slots=True)
class SendStream:
    """Append these bytes to a stream."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close a stream once what was sent has left; unknown ids are ignored."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Commit:
    """Make these rows durable, then say `CommitDone(number)`; numbers rise by one."""

    number: CommitNumber
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer one request of a control client."""

    client: ClientId
    request: int
    result: Json


@dataclass(frozen=True, slots=True)
class ReplyError:
    """Refuse one request of a control client."""

    client: ClientId
    request: int
    name: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell watchers of a topic; with `client` set, tell that client only, watching or not."""

    topic: str
    body: Mapping[str, Json]
    client: ClientId | None = None


@dataclass(frozen=True, slots=True)
class ResolveSeeds:
    """Look up seed texts (`host:port`, `dns+name:port`, ...); `SeedsResolved` follows."""

    seeds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop the node: it has left, or must not go on."""

    reason: str
    hint: str = ""
    """What to do about it; empty when all went as asked."""
    again: bool = False
    """Start a node anew on what is on disk by then."""


@dataclass(frozen=True, slots=True)
class WriteBlob:
    """Put these bytes behind the first `offset` of a blob; `BlobWritten` follows."""

    blob: BlobId
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SealBlob:
    """See whether a blob is what its name says, and keep it durably; `BlobSealed` follows."""

    blob: BlobId
    size: int


@dataclass(frozen=True, slots=True)
class ReadBlob:
    """Read from a whole blob; `BlobRead` follows."""

    blob: BlobId
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class DropBlob:
    """Delete a blob, or what there is of it."""

    blob: BlobId


Network = SendDatagram | OpenStream | SendStream | CloseStream | ResolveSeeds
Local = Commit | Reply | ReplyError | Notify | Halt
Storage = WriteBlob | SealBlob | ReadBlob | DropBlob
Effect = Network | Local | Storage
