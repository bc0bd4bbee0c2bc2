"""What nodes tell each other about links themselves."""

from dataclasses import dataclass
from typing import ClassVar

from mesh.core.crypto.suite import TAG_BYTES
from mesh.core.identity import NodeId
from mesh.core.links.session import HEADER_BYTES
from mesh.core.wire.codec import Binary, Layout
from mesh.core.wire.frame import PLAINTEXT_BYTES_MAX, Message

RELAY_OVERHEAD_BYTES = 64
RELAYED_PLAINTEXT_BYTES_MAX = PLAINTEXT_BYTES_MAX - RELAY_OVERHEAD_BYTES
RELAYED_BYTES_MAX = HEADER_BYTES + RELAYED_PLAINTEXT_BYTES_MAX + TAG_BYTES
"""What is passed on has to fit one more datagram, also where it came over a stream."""


@dataclass(frozen=True, slots=True)
class Relay(Message):
    """Please pass this sealed datagram on to the target: I can not reach it."""

    KIND: ClassVar[int] = 50
    LAYOUT: ClassVar[Layout] = (Binary(16), Binary(18, RELAYED_BYTES_MAX))
    target: NodeId
    datagram: bytes


@dataclass(frozen=True, slots=True)
class Relayed(Message):
    """A sealed datagram that its sender asked me to pass on to you."""

    KIND: ClassVar[int] = 51
    LAYOUT: ClassVar[Layout] = (Binary(18, RELAYED_BYTES_MAX),)
    datagram: bytes


@dataclass(frozen=True, slots=True)
class PathAsk(Message):
    """Please send me this token, which I send to one of your addresses only."""

    KIND: ClassVar[int] = 52
    LAYOUT: ClassVar[Layout] = (Binary(8),)
    token: bytes


@dataclass(frozen=True, slots=True)
class PathAnswer(Message):
    """I got this token from you: what you send to that address reaches me."""

    KIND: ClassVar[int] = 53
    LAYOUT: ClassVar[Layout] = (Binary(8),)
    token: bytes
