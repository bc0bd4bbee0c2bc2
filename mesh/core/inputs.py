"""What can happen to a node: a closed union, grouped by family; there is no other way in."""

from dataclasses import dataclass
from typing import NamedTuple

from mesh.core.commands import Command
from mesh.core.effects import ClientId, CommitNumber, StreamId
from mesh.core.identity import Address, BlobId


class DatagramReceived(NamedTuple):
    """Bytes came in from the network."""

    data: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class SeedsResolved:
    """What the seed texts stand for now; empty when nothing could be resolved."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream is up: dialled by us (`OpenStream`), or accepted from `peer`."""

    stream: StreamId
    peer: Address
    dialled: bool


@dataclass(frozen=True, slots=True)
class StreamReceived:
    """The next bytes of a stream, in order, cut anywhere."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream ended, failed, or could not be dialled; said once."""

    stream: StreamId
    reason: str


@dataclass(frozen=True, slots=True)
class CommitDone:
    """Everything up to this commit is on disk."""

    number: CommitNumber


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """This commit is not on disk (disk full, I/O error); later ones may succeed."""

    number: CommitNumber
    reason: str


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """A control client asks; exactly one `Reply` or `ReplyError` follows, now or later."""

    client: ClientId
    request: int
    command: Command
    uid: int = 0
    """The user behind the socket: request ids are remembered per user."""


@dataclass(frozen=True, slots=True)
class ClientGone:
    """A control client disconnected; its unanswered requests need no answer."""

    client: ClientId


@dataclass(frozen=True, slots=True)
class SuspendGap:
    """The host slept: the clock went on by this much while nothing ran."""

    gap_s: float


@dataclass(frozen=True, slots=True)
class LoopLag:
    """The driver was late: inputs waited this long before they were handled."""

    lag_s: float


@dataclass(frozen=True, slots=True)
class BlobWritten:
    """So many bytes of a blob are on the disk; they may be lost in a crash."""

    blob: BlobId
    have: int


@dataclass(frozen=True, slots=True)
class BlobSealed:
    """A blob is durable; or its bytes are not what its name says, and it is not."""

    blob: BlobId
    whole: bool


@dataclass(frozen=True, slots=True)
class BlobRead:
    """Bytes of a blob; None: they cannot be read."""

    blob: BlobId
    data: bytes | None


@dataclass(frozen=True, slots=True)
class BlobFailed:
    """A blob could not be written or sealed (disk full, I/O error)."""

    blob: BlobId
    reason: str


BlobInput = BlobWritten | BlobSealed | BlobRead | BlobFailed
StreamInput = StreamOpened | StreamReceived | StreamClosed
NetworkInput = DatagramReceived | SeedsResolved | StreamInput
LocalInput = CommitDone | CommitFailed | CommandReceived | ClientGone | SuspendGap | LoopLag
Input = NetworkInput | LocalInput | BlobInput
