"""A sealed byte stream between two nodes: for what is too large for datagrams.

    dialler -> acceptor:  "S", the 8-byte index of the dialler's link, 32 random bytes
    acceptor -> dialler:  32 random bytes
    then both ways:       (length: u32be, sealed(kind: u8, body))*

Each connection derives keys of its own from the link keys and both random strings, so a recorded
stream replayed to either side opens nothing.
"""

from dataclasses import dataclass, field

from mesh.core.crypto.suite import TAG_BYTES, Suite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.links.session import INDEX_BYTES, STREAM_LABEL, PairKeys, nonce_of

MARK = b"S"
RANDOM_BYTES = 32
OPENING_BYTES = len(MARK) + INDEX_BYTES + RANDOM_BYTES
LENGTH_BYTES = 4


@dataclass(slots=True)
class SealedStream:
    """One end of a stream after the random strings were exchanged."""

    suite: Suite
    send_key: bytes
    receive_key: bytes
    frame_bytes_max: int
    sent: int = 0
    received: int = 0
    buffer: bytearray = field(default_factory=bytearray)

    def seal(self, kind: int, body: bytes) -> bytes:
        """Return the bytes that carry one message."""
        plaintext = bytes((kind,)) + body
        length = (len(plaintext) + TAG_BYTES).to_bytes(LENGTH_BYTES, "big")
        sealed = self.suite.seal(self.send_key, nonce_of(self.sent), plaintext, length)
        self.sent += 1
        return length + sealed

    def receive_untrusted(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the messages that are complete now; raises RemoteError, then close it."""
        self.buffer += data
        messages = []
        while len(self.buffer) >= LENGTH_BYTES:
            header = bytes(self.buffer[:LENGTH_BYTES])
            length = int.from_bytes(header, "big")
            if not TAG_BYTES < length <= self.frame_bytes_max + TAG_BYTES + 1:
                raise RemoteError(Refusal.TOO_LARGE, f"a stream frame of {length} bytes")
            end = LENGTH_BYTES + length
            if len(self.buffer) < end:
                break
            sealed = bytes(self.buffer[LENGTH_BYTES:end])
            plaintext = self.suite.unseal(self.receive_key, nonce_of(self.received), sealed, header)
            if plaintext is None:
                raise RemoteError(Refusal.NOT_SEALED_FOR_US, "a stream frame")
            self.received += 1
            del self.buffer[:end]
            messages.append((plaintext[0], plaintext[1:]))
        return messages


def sealed_stream(
    suite: Suite, keys: PairKeys, dialler: bytes, acceptor: bytes, frame_bytes_max: int
) -> SealedStream:
    """Return a stream keyed by the link and the random strings of dialler and acceptor."""
    salt = dialler + acceptor
    send = suite.derive(keys.send_key, salt, STREAM_LABEL, 32)
    receive = suite.derive(keys.receive_key, salt, STREAM_LABEL, 32)
    return SealedStream(suite, send, receive, frame_bytes_max)
