"""HELLO: how a node shows itself to one that does not know its presence yet.

    datagram := 2: u8, check: 16 bytes, kind: u8, length: u16be, body, zeros up to HELLO_BYTES

The check is a hash keyed by the mesh id over everything behind it: who does not know the mesh id
gets no answer at all. The body carries signed facts only (presence, certificate, admin record), so
nothing in it is believed because of who sent it. An answer is never longer than the question.
"""

import hashlib
import hmac
from collections.abc import Sequence

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId
from mesh.core.wire.codec import Binary, Many, Uint, pack, unpack_untrusted
from mesh.core.wire.envelope import SignedFact, decode_signed_fact_untrusted

VERSION_HELLO = 2
HELLO_BYTES = 1200
ASK = 1
ANSWER = 2
FACTS_MAX = 4
_LAYOUT = (Uint(8), Many(Binary(1, 1000), FACTS_MAX))
_CHECK_BYTES = 16


def _check(mesh: MeshId, rest: bytes) -> bytes:
    return hashlib.blake2b(rest, digest_size=_CHECK_BYTES, key=mesh).digest()


def encode_hello(mesh: MeshId, kind: int, facts: Sequence[bytes]) -> bytes:
    """Return a HELLO of exactly HELLO_BYTES; `facts` are encoded signed facts."""
    body = pack((kind, tuple(facts)))
    rest = len(body).to_bytes(2, "big") + body
    room = HELLO_BYTES - 1 - _CHECK_BYTES
    assert len(rest) <= room, "presence and certificates must fit one HELLO"
    rest += bytes(room - len(rest))
    return bytes((VERSION_HELLO,)) + _check(mesh, rest) + rest


def decode_hello_untrusted(mesh: MeshId, data: bytes) -> tuple[int, list[SignedFact]]:
    """Return (kind, facts not yet verified); raises RemoteError."""
    check, rest = data[1 : 1 + _CHECK_BYTES], data[1 + _CHECK_BYTES :]
    if len(data) != HELLO_BYTES or not hmac.compare_digest(check, _check(mesh, rest)):
        raise RemoteError(Refusal.WRONG_MESH, "a greeting that is not keyed by this mesh")
    length = int.from_bytes(rest[:2], "big")
    if 2 + length > len(rest) or any(rest[2 + length :]):
        raise RemoteError(Refusal.NOT_CANONICAL, "a wrong length, or padding that is not zero")
    kind, facts = unpack_untrusted(rest[2 : 2 + length], _LAYOUT)
    if kind not in {ASK, ANSWER}:
        raise RemoteError(Refusal.MALFORMED, "neither question nor answer")
    return kind, [decode_signed_fact_untrusted(fact, mesh) for fact in facts]
