"""What one datagram carries once it is unsealed: a few messages, each with kind and length.

plaintext := (kind: u8, length: u16be, body)*        at most PLAINTEXT_BYTES_MAX
"""

from dataclasses import dataclass
from typing import ClassVar

from mesh.core.errors import Refusal, RemoteError
from mesh.core.wire.codec import Record

DATAGRAM_BYTES_MAX = 1232
PLAINTEXT_BYTES_MAX = 1199
FRAME_HEADER_BYTES = 3
BODY_BYTES_MAX = PLAINTEXT_BYTES_MAX - FRAME_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Message(Record):
    """Something one node tells another over a link: authenticated by the link, not signed."""

    KIND: ClassVar[int] = 0


def encode_frame(kind: int, body: bytes) -> bytes:
    """Return one frame."""
    return bytes((kind,)) + len(body).to_bytes(2, "big") + body


def decode_frames_untrusted(plaintext: bytes) -> list[tuple[int, bytes]]:
    """Return (kind, body) of every frame; raises RemoteError on a cut or empty plaintext."""
    frames = []
    at = 0
    while at < len(plaintext):
        body = at + FRAME_HEADER_BYTES
        end = body + int.from_bytes(plaintext[at + 1 : body], "big")
        if body > len(plaintext) or end > len(plaintext):
            raise RemoteError(Refusal.MALFORMED, "a frame is cut off")
        frames.append((plaintext[at], plaintext[body:end]))
        at = end
    if not frames:
        raise RemoteError(Refusal.MALFORMED, "no frame")
    return frames
