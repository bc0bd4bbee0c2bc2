"""What travels while a machine joins: frames, messages, and the channel that seals them.

    frame := length: u16be, kind: u8, body        length counts kind and body, at most 16 KiB

Strictly in turn: hello, answer, request, grant. Both sides hash everything sent so far (the
*transcript*) and derive keys from an ephemeral X25519 exchange and the ticket's key. Whoever does
not know the ticket can read nothing behind the hello, and has told nothing either. This is SIGMA
with a pre-shared key (Krawczyk 2003): identities and signatures travel inside the sealed part.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from mesh.core.crypto.keys import make_link_key
from mesh.core.crypto.suite import SIGNATURE_BYTES, TAG_BYTES, Suite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId, PublicKey
from mesh.core.rng import Rng
from mesh.core.trust.names import NAME
from mesh.core.trust.ranks import ADMINS_MAX
from mesh.core.trust.tickets import TicketId
from mesh.core.wire.codec import Binary, Flag, Layout, Many, Record, Text, Uint

JOIN_VERSION = 1
FRAME_BYTES_MAX = 16_384
LENGTH_BYTES = 2
RECORD_BYTES_MAX = 1_500
RECORDS_MAX = 64
ROTATIONS_TOLD_MAX = 8
CONTACTS_MAX = 8
GRANT_BYTES_MAX = FRAME_BYTES_MAX - 1 - TAG_BYTES
RANDOM_BYTES = 32
KEY_BYTES = 32
NO_TICKET = TicketId(bytes(16))
NO_MARK = bytes(16)
NO_PSK = bytes(32)
ANSWER_CONTEXT = b"join-answer/1"
REQUEST_CONTEXT = b"join-request/1"


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    ANSWER = 2
    REQUEST = 3
    GRANT = 4
    REFUSAL = 5
    """Sealed: it comes from the issuer."""
    TURNED_AWAY = 6
    """In the open, before there are keys: anybody on the way could have said it."""


@dataclass(frozen=True, slots=True)
class JoinHello(Record):
    """Joiner to issuer: which ticket, and half of a key exchange.

    `mark` proves nothing and hides the mesh id from others; it lets the issuer say at once that
    the joiner looks for another mesh. Zeros where there is no ticket, or no mesh id.
    """

    LAYOUT: ClassVar[Layout] = (Uint(8), Binary(16), Binary(16), Binary(32), Binary(RANDOM_BYTES))
    version: int
    ticket: TicketId
    mark: bytes
    ephemeral: bytes
    random: bytes


@dataclass(frozen=True, slots=True)
class JoinAnswer(Record):
    """Issuer to joiner: the other half, and a sealed `Introduction`."""

    LAYOUT: ClassVar[Layout] = (Binary(32), Binary(RANDOM_BYTES), Binary(0, FRAME_BYTES_MAX - 128))
    ephemeral: bytes
    random: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Introduction(Record):
    """Who the issuer is and what its mesh is; `signature` is over the transcript."""

    LAYOUT: ClassVar[Layout] = (
        Binary(32),
        Binary(SIGNATURE_BYTES),
        Binary(1, RECORD_BYTES_MAX),
        Many(Binary(1, RECORD_BYTES_MAX), ADMINS_MAX + ROTATIONS_TOLD_MAX),
    )
    issuer: PublicKey
    signature: bytes
    genesis: bytes
    admins: tuple[bytes, ...]
    """The admins, and the latest of the rotations that led to who is root now."""


@dataclass(frozen=True, slots=True)
class JoinRequest(Record):
    """Joiner to issuer, sealed: who wants to take part; `signature` is over the transcript."""

    LAYOUT: ClassVar[Layout] = (Binary(32), Flag(), NAME, Binary(SIGNATURE_BYTES))
    key: PublicKey
    wants_admin: bool
    name: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class JoinGrant(Record):
    """Issuer to joiner, sealed: trust records, and presences of nodes to talk to (opaque here)."""

    LAYOUT: ClassVar[Layout] = (
        Many(Binary(1, RECORD_BYTES_MAX), RECORDS_MAX),
        Many(Binary(1, RECORD_BYTES_MAX), CONTACTS_MAX),
    )
    records: tuple[bytes, ...]
    contacts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class JoinRefusal(Record):
    """Issuer to joiner: why not; the text of a `Refusal`."""

    LAYOUT: ClassVar[Layout] = (Text(32, 1),)
    reason: str


def mesh_mark(mesh: MeshId, random: bytes) -> bytes:
    """Return 16 bytes in which only those who know the mesh id recognise the mesh."""
    return hashlib.blake2b(b"mesh-join-mark-v1\0" + random, digest_size=16, key=mesh).digest()


def encode_join_frame(kind: Kind, body: bytes) -> bytes:
    """Return one frame."""
    assert len(body) < FRAME_BYTES_MAX
    return (1 + len(body)).to_bytes(LENGTH_BYTES, "big") + bytes((kind,)) + body


class FrameReader:
    """Bytes of a stream until they are one frame; never holds more than that."""

    def __init__(self) -> None:
        self._held = b""

    def take(self, data: bytes) -> tuple[int, bytes] | None:
        """Return (kind, body) once the frame is whole; raises RemoteError for more than one.

        The exchange goes in turn, so nobody has anything to send behind a frame.
        """
        held = self._held + data
        if len(held) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(held[:LENGTH_BYTES], "big")
            if not LENGTH_BYTES < end <= LENGTH_BYTES + FRAME_BYTES_MAX:
                raise RemoteError(Refusal.TOO_LARGE, f"a frame of {end - LENGTH_BYTES} bytes")
            if len(held) > end:
                raise RemoteError(Refusal.MALFORMED, "bytes behind a frame")
            if len(held) == end:
                self._held = b""
                return held[LENGTH_BYTES], held[LENGTH_BYTES + 1 :]
        self._held = held
        return None


class Channel:
    """One side of the exchange: ephemeral key, transcript, and the two directional keys."""

    def __init__(self, suite: Suite, rng: Rng) -> None:
        self._suite = suite
        self._ephemeral = make_link_key(rng)
        self._send_key = self._receive_key = b""
        self._sent = self._received = 0
        self.random = rng.randbytes(RANDOM_BYTES)
        self.transcript = hashlib.blake2b(b"mesh-join-v1\0", digest_size=32).digest()

    @property
    def ephemeral(self) -> bytes:
        """The public half of this side's key for this one exchange."""
        return self._suite.link_public(self._ephemeral)

    def mix(self, part: bytes) -> None:
        """Add to the transcript what both sides have seen."""
        self.transcript = hashlib.blake2b(self.transcript + part, digest_size=32).digest()

    def agree(self, theirs: bytes, psk: bytes, *, issuer: bool) -> None:
        """Derive the keys; raises RemoteError(BAD_KEY) for an ephemeral key that yields zeros."""
        shared = self._suite.exchange(self._ephemeral, theirs)
        keys = self._suite.derive(shared + psk, self.transcript, b"mesh/join/1", 2 * KEY_BYTES)
        by_issuer, by_joiner = keys[:KEY_BYTES], keys[KEY_BYTES:]
        self._send_key, self._receive_key = (
            (by_issuer, by_joiner) if issuer else (by_joiner, by_issuer)
        )

    def seal(self, kind: Kind, record: Record) -> bytes:
        """Return a sealed record, bound to its kind and to everything before it."""
        nonce = self._sent.to_bytes(12, "big")
        self._sent += 1
        associated = self.transcript + bytes((kind,))
        sealed = self._suite.seal(self._send_key, nonce, record.encode(), associated)
        self.mix(sealed)
        return sealed

    def unseal_untrusted(self, kind: Kind, sealed: bytes) -> bytes:
        """Return what the other side sealed; raises RemoteError(NOT_SEALED_FOR_US)."""
        nonce = self._received.to_bytes(12, "big")
        self._received += 1
        associated = self.transcript + bytes((kind,))
        plaintext = self._suite.unseal(self._receive_key, nonce, sealed, associated)
        if plaintext is None:
            raise RemoteError(Refusal.NOT_SEALED_FOR_US, f"{kind.name.lower()} does not unseal")
        self.mix(sealed)
        return plaintext
