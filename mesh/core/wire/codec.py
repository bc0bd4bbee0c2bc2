"""Canonical bytes: positional msgpack arrays, decoded by a declared layout and nothing else.

Two honest nodes must never disagree about bytes, so a value has exactly one encoding: a decoder
walks the declared layout and then demands `packb(decoded) == received`. Maps, floats, extension
types, negative integers and over-long integers cannot get through. Depth is counted from the
outermost array, which has depth 1; `DEPTH_MAX` is 4.
"""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import msgpack

from mesh.core.errors import Refusal, RemoteError

DEPTH_MAX = 4
Value = None | bool | int | bytes | str | tuple["Value", ...]


class Kind(Protocol):
    """One admissible shape of a field."""

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        ...


def refuse(detail: str) -> RemoteError:
    """Return the error for bytes that do not have the declared shape."""
    return RemoteError(Refusal.MALFORMED, detail)


@dataclass(frozen=True, slots=True, eq=False)
class Uint:
    """An unsigned integer below 2**bits."""

    bits: int = 64

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        if type(value) is not int or not 0 <= value < 1 << self.bits:
            raise refuse(f"not an unsigned {self.bits}-bit integer")


@dataclass(frozen=True, slots=True, eq=False)
class Flag:
    """True or false."""

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        if type(value) is not bool:
            raise refuse("not a boolean")


@dataclass(frozen=True, slots=True, eq=False)
class Binary:
    """Between `low` and `high` bytes; exactly `low` when `high` is left out."""

    low: int
    high: int | None = None

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        high = self.low if self.high is None else self.high
        if type(value) is not bytes or not self.low <= len(value) <= high:
            raise refuse(f"not {self.low}..{high} bytes")


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """At most `high` bytes of UTF-8 without control characters."""

    high: int
    low: int = 0

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        if type(value) is not str or not self.low <= len(value.encode()) <= self.high:
            raise refuse(f"not a text of {self.low}..{self.high} bytes")
        if not value.isprintable() and has_control_characters(value):
            raise refuse("a control character in a text")


@dataclass(frozen=True, slots=True, eq=False)
class Maybe:
    """Nil, or the inner kind."""

    inner: Kind

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        if value is not None:
            self.inner.check(value)


@dataclass(frozen=True, slots=True, eq=False)
class Many:
    """An array of at most `high` values of one kind."""

    inner: Kind
    high: int

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        if type(value) is not tuple or len(value) > self.high:
            raise refuse(f"not an array of at most {self.high}")
        for item in value:
            self.inner.check(item)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A nested array of exactly these kinds."""

    inner: tuple[Kind, ...]

    def check(self, value: object) -> None:
        """Raise RemoteError unless the value has this shape."""
        check_layout(value, self.inner)


Layout = tuple[Kind, ...]


def check_layout(value: object, layout: Layout) -> None:
    """Raise RemoteError unless the value is an array of exactly this layout."""
    if type(value) is not tuple or len(value) != len(layout):
        raise refuse(f"not an array of {len(layout)} fields")
    for item, kind in zip(value, layout, strict=True):
        kind.check(item)


def has_control_characters(text: str) -> bool:
    """Whether a text holds C0, DEL or C1 characters; the same under every Unicode version."""
    return any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text)


def normalise_text(text: str) -> str:
    """Return the NFC form: applied where a text enters the mesh, never on receipt."""
    return unicodedata.normalize("NFC", text)


def pack(value: Sequence[Value]) -> bytes:
    """Return the one encoding of a value made of tuples, bytes, texts, integers, flags and nil."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


@functools.lru_cache(maxsize=256)
def longest_array(layout: Layout) -> int:
    """Return the greatest number of items that any array of a layout may have."""
    longest = len(layout)
    for kind in layout:
        inner = kind.inner if isinstance(kind, Maybe) else kind
        if isinstance(inner, Many):
            longest = max(longest, inner.high, longest_array((inner.inner,)))
        elif isinstance(inner, Group):
            longest = max(longest, longest_array(inner.inner))
    return longest


def unpack_untrusted(data: bytes, layout: Layout) -> tuple[Any, ...]:
    """Return the fields of foreign bytes; raises RemoteError unless they have this layout."""
    # A header of three bytes may announce an array as long as the data, a thousand deep, and the
    # decoder allocates each at once: 16 kB would cost 130 MB.
    try:
        value = msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_array_len=longest_array(layout),
            max_ext_len=0,
            max_map_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as wrong:
        raise refuse(f"not msgpack: {type(wrong).__name__}") from None
    check_layout(value, layout)
    if pack(value) != data:
        raise RemoteError(Refusal.NOT_CANONICAL, "not the shortest encoding")
    fields_: tuple[Any, ...] = value
    return fields_


@dataclass(frozen=True, slots=True)
class Record:
    """A dataclass whose fields, in order, are the layout of its bytes."""

    LAYOUT: ClassVar[Layout] = ()

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        names: tuple[str, ...] = self.__match_args__
        return pack([getattr(self, name) for name in names])

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the record behind foreign bytes; raises RemoteError and nothing else."""
        return cls(*unpack_untrusted(data, cls.LAYOUT))
