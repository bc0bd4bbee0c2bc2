"""What one datagram carries once it is unsealed: a few messages, each with kind and length.

    plaintext := echo: u8, (kind: u8, length: u16be, body)*      at most PLAINTEXT_BYTES_MAX

The echo says how long ago the sender last heard the receiver, in steps of `ECHO_STEP_S`; 255 means
never, or longer. It is what makes any datagram evidence that the path works in both directions.
"""

from dataclasses import dataclass
from typing import ClassVar

from mesh.core.errors import Refusal, RemoteError
from mesh.core.wire.codec import Record

DATAGRAM_BYTES_MAX = 1232
PLAINTEXT_BYTES_MAX = 1199
FRAME_HEADER_BYTES = 3
RELAY_BYTES = 64
"""Room for the second header, tag and target when a datagram travels inside another one."""
BODY_BYTES_MAX = PLAINTEXT_BYTES_MAX - 1 - FRAME_HEADER_BYTES - RELAY_BYTES
ECHO_STEP_S = 0.1
ECHO_NEVER = 255


@dataclass(frozen=True, slots=True)
class Message(Record):
    """Something one node tells another over a link: authenticated by the link, not signed."""

    KIND: ClassVar[int] = 0


def encode_frame(kind: int, body: bytes) -> bytes:
    """Return one frame."""
    return bytes((kind,)) + len(body).to_bytes(2, "big") + body


def encode_echo(age_s: float | None) -> int:
    """Return the echo byte for an age; rounded up, so that evidence is never too young."""
    if age_s is None:
        return ECHO_NEVER
    return min(ECHO_NEVER, int(age_s / ECHO_STEP_S) + 1)


def decode_echo(echo: int) -> float | None:
    """Return the age behind an echo byte in seconds; None for never."""
    return None if echo == ECHO_NEVER else echo * ECHO_STEP_S


def decode_frames_untrusted(plaintext: bytes) -> list[tuple[int, bytes]]:
    """Return (kind, body) of every frame after the echo byte; raises RemoteError when cut."""
    frames = []
    at = 1
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
