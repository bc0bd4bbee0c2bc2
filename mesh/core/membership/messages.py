"""What nodes tell each other about being reachable: authenticated by the link, not signed.

A ping and its answer are nearly all the traffic of an idle mesh, so they are packed by hand:
sequence u32, digest of the membership facts u64, digest of the task facts u64, big-endian.
"""

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, Incarnation, NodeId
from mesh.core.wire.codec import Binary, Layout, Uint
from mesh.core.wire.frame import Message

BEAT = struct.Struct(">IQQ")
encode_beat = BEAT.pack
"""Returns the body of a ping or an answer: its sequence, and both digests."""
ACCUSATION_BYTES_MAX = 320


@dataclass(frozen=True, slots=True)
class Beat(Message):
    """The shape that a ping and its answer share."""

    sequence: int
    digest_members: int
    digest_tasks: int

    def encode(self) -> bytes:
        """Return the packed bytes."""
        return encode_beat(self.sequence, self.digest_members, self.digest_tasks)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError."""
        if len(data) != BEAT.size:
            raise RemoteError(Refusal.MALFORMED, f"not {BEAT.size} bytes")
        return cls(*BEAT.unpack(data))


@dataclass(frozen=True, slots=True)
class Ping(Beat):
    """Do you hear me?"""

    KIND: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Ack(Beat):
    """I heard the ping with this sequence."""

    KIND: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Accuse(Message):
    """My signed accusation (a batch of one), for the subject and its other observers only."""

    KIND: ClassVar[int] = 3
    LAYOUT: ClassVar[Layout] = (Binary(1, ACCUSATION_BYTES_MAX),)
    signed: bytes


@dataclass(frozen=True, slots=True)
class Remark(Message):
    """The shape of what one node tells another about a third under one boot and incarnation."""

    LAYOUT: ClassVar[Layout] = (Binary(16), Uint(64), Uint(32))
    subject: NodeId
    boot: Boot
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Vouch(Remark):
    """I reach the subject, both ways, just now."""

    KIND: ClassVar[int] = 4


@dataclass(frozen=True, slots=True)
class Withdraw(Remark):
    """I take my accusation back: others reach the subject, only my edge to it is broken."""

    KIND: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Ask(Remark):
    """Do you reach the subject? I do not, and nobody is accused; answered by `Vouch` or not."""

    KIND: ClassVar[int] = 6
