"""What nodes tell each other about blobs, over sealed streams only."""

from dataclasses import dataclass
from typing import ClassVar

from mesh.core.identity import BlobId
from mesh.core.wire.codec import Binary, Layout, Uint
from mesh.core.wire.frame import Message

PART_BYTES_MAX = 57_344
"""With its header it fills a frame of a sealed stream."""


@dataclass(frozen=True, slots=True)
class BlobAsk(Message):
    """Please send me these bytes of a blob, in order."""

    KIND: ClassVar[int] = 60
    LAYOUT: ClassVar[Layout] = (Binary(32), Uint(40), Uint(32))
    blob: BlobId
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class BlobPart(Message):
    """Some bytes of a blob; `size` is that of the whole."""

    KIND: ClassVar[int] = 61
    LAYOUT: ClassVar[Layout] = (Binary(32), Uint(40), Uint(40), Binary(1, PART_BYTES_MAX))
    blob: BlobId
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobLacking(Message):
    """I do not hold this blob, or not these bytes of it."""

    KIND: ClassVar[int] = 62
    LAYOUT: ClassVar[Layout] = (Binary(32),)
    blob: BlobId
