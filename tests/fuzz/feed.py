"""Bytes read as choices: a fuzzer's input becomes numbers, texts and values of a layout."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mesh.core.wire.codec import Binary, Flag, Group, Kind, Layout, Many, Maybe, Text, Uint

Item = TypeVar("Item")
MANY_MAX = 5


@dataclass(slots=True)
class Known:
    """What occurred before, so that drawn values often fit it."""

    binaries: dict[int, list[bytes]] = field(default_factory=dict)
    """By length."""
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def note(self, *values: bytes) -> None:
        """Remember binaries, the newest 64 of each length."""
        for value in values:
            known = self.binaries.setdefault(len(value), [])
            if value not in known:
                known.append(value)
                del known[:-64]


class Feed:
    """An input from its front to its end; behind the end there are only zeros."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self, count: int) -> bytes:
        """Return the next bytes, padded with zeros."""
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken.ljust(count, b"\0")

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def uint(self, count: int) -> int:
        """Return an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(count), "big")

    def chunk(self) -> bytes:
        """Return some of what is left, as many bytes as the next two say."""
        count = self.uint(2)
        return self.take(min(count, max(0, len(self.data) - self.at)))

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(max(0, len(self.data) - self.at))

    def choice(self, items: Sequence[Item]) -> Item:
        """Return one item."""
        return items[self.byte() % len(items)]

    def value(self, kind: Kind, known: Known) -> Any:  # noqa: ANN401  whatever the layout says
        """Return a value that a layout admits, most often one that is known."""
        match kind:
            case Uint(bits):
                return self._number(bits, known)
            case Flag():
                return bool(self.byte() & 1)
            case Binary(low, high):
                return self._binary(low, low if high is None else high, known)
            case Text(high, low):
                return self._text(low, high, known)
            case Maybe(inner):
                return self.value(inner, known) if self.byte() & 1 else None
            case Many(inner, high):
                count = self.byte() % (min(high, MANY_MAX) + 1)
                return tuple(self.value(inner, known) for _ in range(count))
            case Group(inner):
                return self.values(inner, known)
            case _:
                raise AssertionError(kind)

    def values(self, layout: Layout, known: Known) -> tuple[Any, ...]:
        """Return the fields of a layout."""
        return tuple(self.value(kind, known) for kind in layout)

    def _number(self, bits: int, known: Known) -> int:
        how = self.byte()
        if how < 128:
            return how & ((1 << bits) - 1)
        if how < 224 and known.numbers:
            near = self.choice(known.numbers) + how % 3 - 1
            return max(0, near) & ((1 << bits) - 1)
        return ((1 << bits) - 1) if how >= 250 else self.uint(8) & ((1 << bits) - 1)

    def _binary(self, low: int, high: int, known: Known) -> bytes:
        candidates = known.binaries.get(low, []) if low == high else []
        if candidates and self.byte() < 224:
            return self.choice(candidates)
        count = low + self.byte() % (high - low + 1)
        return self.take(count)

    def _text(self, low: int, high: int, known: Known) -> str:
        fitting = [text for text in known.texts if low <= len(text.encode()) <= high]
        if fitting and self.byte() < 224:
            return self.choice(fitting)
        text = self.take(low + self.byte() % (min(high, 24) - low + 1)).decode(errors="replace")
        while len(text.encode()) > high:
            text = text[:-1]
        text = "".join(c if c.isprintable() else "?" for c in text)
        return text or "x" * low
