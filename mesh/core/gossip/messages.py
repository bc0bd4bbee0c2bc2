"""The messages of gossip, packed by hand: they are many, and lists of ids want to be short."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.items import Item, decode_items_untrusted
from mesh.core.gossip.vocabulary import FAMILIES, WANTS, Family, Want
from mesh.core.lattice.fingerprint import Range
from mesh.core.wire.codec import refuse
from mesh.core.wire.frame import BODY_BYTES_MAX, Message

SHORT_BYTES = 8
FULL_BYTES = 32
PREFIX_DIGITS_MAX = 64
SECTION_HEADER_BYTES = 11
SECTION_BYTES_MAX = BODY_BYTES_MAX - 1 - SECTION_HEADER_BYTES
"""Facts of one part of a push that fits one datagram."""
ACK_ENTRY_BYTES = 8
ACK_ENTRIES_MAX = (BODY_BYTES_MAX - 1) // ACK_ENTRY_BYTES
NUMBER_BITS = 48
PARTS_MAX = 1 << 16
SECTION_HEAD = struct.Struct(">HIHBH")
ACK_ENTRY = struct.Struct(">HIH")
RANGE_HEAD = struct.Struct(">IQ")
LIST_HEAD = struct.Struct(">QBH")


class Reader:
    """Foreign bytes read from the front; asking for more than there is raises RemoteError."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        end = self.at + count
        if end > len(self.data):
            raise refuse("cut off")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self.data) - self.at)

    def uint(self, count: int) -> int:
        """Return an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(count), "big")

    def family(self) -> Family:
        """Return a family."""
        value = self.uint(1)
        if value >= len(FAMILIES):
            raise refuse("no such family")
        return FAMILIES[value]

    def prefix(self) -> str:
        """Return the hex digits of a range."""
        digits = self.uint(1)
        if digits > PREFIX_DIGITS_MAX:
            raise refuse("a prefix longer than an id")
        packed = self.take((digits + 1) // 2).hex()
        if digits & 1 and packed[-1] != "0":
            raise refuse("a prefix with a loose half byte")
        return packed[:digits]

    def ids(self, width: int) -> tuple[bytes, ...]:
        """Return all that is left as ids of one width."""
        data = self.rest()
        if len(data) % width:
            raise refuse("half an id")
        return tuple(data[at : at + width] for at in range(0, len(data), width))

    def width(self) -> int:
        """Return the width of ids."""
        width = self.uint(1)
        if width not in {SHORT_BYTES, FULL_BYTES}:
            raise refuse("ids are short or full")
        return width


def check_disjoint(prefixes: Sequence[str]) -> None:
    """Raise RemoteError unless prefixes rise and none contains another: work is done once."""
    for before, after in pairwise(prefixes):
        if after <= before or after.startswith(before):
            raise refuse("ranges that overlap")


def encode_prefix(prefix: str) -> bytes:
    """Return the hex digits of a range, two to a byte, after their number."""
    padded = prefix + "0" if len(prefix) & 1 else prefix
    return bytes((len(prefix),)) + bytes.fromhex(padded)


@dataclass(frozen=True, slots=True)
class Facts(Message):
    """Facts of one family, for whatever reason they are sent."""

    family: Family
    items: tuple[Item, ...]

    def encode(self) -> bytes:
        """Return family, items."""
        return bytes((self.family,)) + b"".join([item.encode() for item in self.items])

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        reader = Reader(data)
        return cls(reader.family(), tuple(decode_items_untrusted(reader.rest())))


@dataclass(frozen=True, slots=True)
class EagerFacts(Facts):
    """New facts, whole, to a few peers."""

    KIND: ClassVar[int] = 22


@dataclass(frozen=True, slots=True)
class PulledFacts(Facts):
    """Facts that the peer asked for after an announcement."""

    KIND: ClassVar[int] = 25


@dataclass(frozen=True, slots=True)
class ToldFacts(Facts):
    """Facts that the peer ought to know at once: they dominate something it just said."""

    KIND: ClassVar[int] = 26


@dataclass(frozen=True, slots=True)
class SyncFacts(Facts):
    """Facts that a reconciliation found the peer to lack."""

    KIND: ClassVar[int] = 33


class Section(NamedTuple):
    """One part of a numbered push, acknowledged as a whole."""

    number: int
    part: int
    want: Want
    items: tuple[Item, ...]

    def encode(self) -> bytes:
        """Return number, part, want, length, items."""
        items = b"".join([item.encode() for item in self.items])
        return b"".join(
            (
                self.number.to_bytes(6, "big"),
                self.part.to_bytes(2, "big"),
                self.want.to_bytes(1, "big"),
                len(items).to_bytes(2, "big"),
                items,
            )
        )


@dataclass(frozen=True, slots=True)
class Push(Message):
    """Parts of pushes that share a datagram."""

    KIND: ClassVar[int] = 20
    family: Family
    sections: tuple[Section, ...]

    def encode(self) -> bytes:
        """Return family, sections."""
        encoded = [section.encode() for section in self.sections]
        return bytes((self.family,)) + b"".join(encoded)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        reader = Reader(data)
        family = reader.family()
        sections = []
        while reader:
            high, low, part, want, size = SECTION_HEAD.unpack(reader.take(SECTION_HEADER_BYTES))
            if want >= len(WANTS):
                raise refuse("no such want")
            items = decode_items_untrusted(reader.take(size))
            if not items:
                raise refuse("a push of nothing")
            sections.append(Section(high << 32 | low, part, WANTS[want], tuple(items)))
        return cls(family, tuple(sections))


def pack_entry(number: int, part: int) -> bytes:
    """Return what names one part of a push."""
    return ACK_ENTRY.pack(number >> 32, number & 0xFFFFFFFF, part)


def unpack_entries(data: bytes) -> tuple[tuple[int, int], ...]:
    """Return the (number, part) of which these bytes are made."""
    return tuple((high << 32 | low, part) for high, low, part in ACK_ENTRY.iter_unpack(data))


@dataclass(frozen=True, slots=True)
class PushAck(Message):
    """These (number, part) of the peer's pushes are here; durable: and on disk.

    Where the peer wants a durable one, another says: here, but this is no copy.
    """

    KIND: ClassVar[int] = 21
    durable: bool
    entries: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        """Return durable, entries."""
        return bytes((self.durable,)) + b"".join(pack_entry(*entry) for entry in self.entries)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        if len(data) % ACK_ENTRY_BYTES != 1 or data[0] > 1 or len(data) > BODY_BYTES_MAX:
            raise refuse("not an acknowledgement")
        return cls(bool(data[0]), unpack_entries(data[1:]))


@dataclass(frozen=True, slots=True)
class PushObjection(Message):
    """This (number, part) of the peer's pushes is beaten here: it will be told by what.

    It may have to wait for that. What beats it may not be on this node's disk yet, and must not
    leave before.
    """

    KIND: ClassVar[int] = 27
    number: int
    part: int

    def encode(self) -> bytes:
        """Return number, part."""
        return pack_entry(self.number, self.part)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        if len(data) != ACK_ENTRY_BYTES:
            raise refuse("not an objection")
        ((number, part),) = unpack_entries(data)
        return cls(number, part)


@dataclass(frozen=True, slots=True)
class ShortIds(Message):
    """The first 8 bytes of the ids of some facts."""

    family: Family
    ids: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return family, ids."""
        return bytes((self.family,)) + b"".join(self.ids)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        if len(data) > BODY_BYTES_MAX:
            raise RemoteError(Refusal.TOO_LARGE, f"{len(data)} bytes of ids")
        reader = Reader(data)
        return cls(reader.family(), reader.ids(SHORT_BYTES))


@dataclass(frozen=True, slots=True)
class Have(ShortIds):
    """New facts are here: who lacks one may ask for it."""

    KIND: ClassVar[int] = 23


@dataclass(frozen=True, slots=True)
class Pull(ShortIds):
    """Please send these announced facts."""

    KIND: ClassVar[int] = 24


def encode_range(range_: Range) -> bytes:
    """Return prefix, size, fingerprint."""
    return encode_prefix(range_.prefix) + RANGE_HEAD.pack(range_.size, range_.fingerprint)


@dataclass(frozen=True, slots=True)
class SyncRanges(Message):
    """What the sender holds below some prefixes: how many facts, and their fingerprint."""

    KIND: ClassVar[int] = 30
    family: Family
    ranges: tuple[Range, ...]

    def encode(self) -> bytes:
        """Return family, ranges."""
        return bytes((self.family,)) + b"".join([encode_range(r) for r in self.ranges])

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        reader = Reader(data)
        family = reader.family()
        ranges = []
        while reader:
            prefix = reader.prefix()
            ranges.append(Range(prefix, *RANGE_HEAD.unpack(reader.take(RANGE_HEAD.size))))
        check_disjoint([range_.prefix for range_ in ranges])
        return cls(family, tuple(ranges))


class IdList(NamedTuple):
    """Everything the sender holds below one prefix: ids cut to `width` bytes."""

    prefix: str
    fingerprint: int
    width: int
    ids: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return prefix, fingerprint, width, number of ids, ids."""
        head = LIST_HEAD.pack(self.fingerprint, self.width, len(self.ids))
        return encode_prefix(self.prefix) + head + b"".join(self.ids)


@dataclass(frozen=True, slots=True)
class SyncIds(Message):
    """All ids below some prefixes: what is not listed, the sender lacks."""

    KIND: ClassVar[int] = 31
    family: Family
    lists: tuple[IdList, ...]

    def encode(self) -> bytes:
        """Return family, lists."""
        return bytes((self.family,)) + b"".join([listed.encode() for listed in self.lists])

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        reader = Reader(data)
        family = reader.family()
        lists = []
        while reader:
            prefix, fingerprint, width = reader.prefix(), reader.uint(8), reader.width()
            ids = Reader(reader.take(reader.uint(2) * width)).ids(width)
            start = prefix[: width * 2]
            if not all(id_.hex().startswith(start) for id_ in ids):
                raise refuse("an id outside its range")
            lists.append(IdList(prefix, fingerprint, width, ids))
        check_disjoint([listed.prefix for listed in lists])
        return cls(family, tuple(lists))


@dataclass(frozen=True, slots=True)
class SyncWant(Message):
    """Please send these facts, which the peer's list named and the sender lacks."""

    KIND: ClassVar[int] = 32
    family: Family
    width: int
    ids: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return family, width, ids."""
        return bytes((self.family, self.width)) + b"".join(self.ids)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the message behind foreign bytes; raises RemoteError and nothing else."""
        reader = Reader(data)
        family, width = reader.family(), reader.width()
        return cls(family, width, reader.ids(width))
