"""A fingerprint of everything that happened in a world: the same seed gives the same one."""

import hashlib
import struct

CHUNKS_MAX = 2048
KINDS = ("datagram", "timer", "call", "input", "start", "effect")
"""What each kind of event is called, by its number."""
HEADER = struct.Struct("<dBHI")


class Trace:
    """Hashes the raw bytes of every event, in order; bytes are gathered so that hashing is rare."""

    __slots__ = ("_chunks", "_hash", "events")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._hash = hashlib.sha256()
        self.events = 0

    def note(self, at_s: float, kind: int, host: int, data: bytes) -> None:
        """Add one event: when, of which kind, at which host, with which bytes."""
        self.events += 1
        chunks = self._chunks
        chunks.append(HEADER.pack(at_s, kind, host, len(data)))
        chunks.append(data)
        if len(chunks) >= CHUNKS_MAX:
            self._flush()

    def digest(self) -> str:
        """Return the fingerprint so far, 32 hex digits."""
        self._flush()
        return self._hash.hexdigest()[:32]

    def _flush(self) -> None:
        self._hash.update(b"".join(self._chunks))
        self._chunks.clear()
