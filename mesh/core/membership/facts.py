"""The signed facts about who is here."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from mesh.core.identity import Address, Boot, Incarnation, NodeId
from mesh.core.wire.codec import Binary, Flag, Group, Layout, Many, Text, Uint
from mesh.core.wire.envelope import Contexts, Fact

ADDRESSES_MAX = 4
TAGS_MAX = 16
KINDS_MAX = 32


@dataclass(frozen=True, slots=True)
class Presence(Fact):
    """A node says: I am here, under this boot and incarnation; the greatest pair counts."""

    CONTEXT: ClassVar[str] = "presence/1"
    LAYOUT: ClassVar[Layout] = (
        Uint(64),
        Uint(32),
        Many(Group((Text(64, 1), Uint(16))), ADDRESSES_MAX),
        Binary(32),
        Uint(8),
        Text(64, 1),
        Many(Group((Text(32, 1), Text(64))), TAGS_MAX),
        Many(Text(64, 1), KINDS_MAX),
    )
    boot: Boot
    incarnation: Incarnation
    addresses: tuple[Address, ...]
    link_key: bytes
    protocol: int
    name: str
    tags: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    """Task kinds for which an agent waits here."""

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the presence behind foreign bytes; raises RemoteError and nothing else."""
        presence = super(Presence, cls).decode_untrusted(data)
        addresses = tuple(Address(host, port) for host, port in presence.addresses)
        return replace(presence, addresses=addresses)


@dataclass(frozen=True, slots=True)
class Accusation(Fact):
    """An observer says: I cannot reach the subject under this boot and incarnation."""

    CONTEXT: ClassVar[str] = "accusation/1"
    LAYOUT: ClassVar[Layout] = (Binary(16), Uint(64), Uint(32))
    subject: NodeId
    boot: Boot
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Verdict(Fact):
    """The subject is down: its accusations as (accuser's key, signature), all to be verified.

    `observers` is k, how many observers that are not themselves down the author counted;
    `local` says that no majority stood behind it (few observers, or nobody left to vouch).
    """

    CONTEXT: ClassVar[str] = "verdict/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(16),
        Uint(64),
        Uint(32),
        Uint(8),
        Flag(),
        Many(Group((Binary(32), Binary(64))), 9),
    )
    subject: NodeId
    boot: Boot
    incarnation: Incarnation
    observers: int
    local: bool
    accusations: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Leave(Fact):
    """A node says goodbye: this boot and all before it are over."""

    CONTEXT: ClassVar[str] = "leave/1"
    LAYOUT: ClassVar[Layout] = (Uint(64), Uint(32))
    boot: Boot
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Twin(Fact):
    """A node says: my key lives twice; I run in `boot`, and somebody has signed `rival`."""

    CONTEXT: ClassVar[str] = "twin/1"
    URGENT: ClassVar[bool] = True
    LAYOUT: ClassVar[Layout] = (Uint(64), Uint(64))
    boot: Boot
    rival: Boot


MEMBERSHIP_CONTEXTS: Contexts = {
    kind.CONTEXT: kind for kind in (Presence, Accusation, Verdict, Leave, Twin)
}
