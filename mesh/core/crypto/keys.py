"""Public keys as they come in from outside: which are refused, and how people compare them.

Ed25519 has a few points that "verify" signatures nobody made: with a key of small order one
signature fits many messages, and OpenSSL accepts such keys. A key that has two spellings would be
two nodes. Both kinds are refused before a key is admitted to anything (RFC 8032, section 5.1.3,
and the list of small-order points in libsodium's `ge25519_has_small_order`).
"""

import base64
import hashlib

from mesh.core.crypto.suite import LinkKey, SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import PublicKey
from mesh.core.rng import Rng

KEY_BYTES = 32
FIELD_PRIME = 2**255 - 19
_SIGN_BIT = 1 << 255
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER_Y = frozenset((0, 1, FIELD_PRIME - 1, _ORDER_8_Y, FIELD_PRIME - _ORDER_8_Y))
"""The y coordinates of the eight points whose order divides 8; x and -x share one."""
FINGERPRINT_BYTES = 15
FINGERPRINT_GROUP = 4


def check_public_key(key: bytes) -> PublicKey:
    """Return an Ed25519 key that may be admitted; raises RemoteError(BAD_KEY) for any other.

    Whether the point lies on the curve is not asked: a key off the curve signs nothing, and every
    key has to sign before it is admitted.
    """
    if len(key) != KEY_BYTES:
        raise RemoteError(Refusal.BAD_KEY, f"{len(key)} bytes")
    y = int.from_bytes(key, "little") & ~_SIGN_BIT
    if y >= FIELD_PRIME:
        raise RemoteError(Refusal.BAD_KEY, "a coordinate that is not reduced")
    if y in SMALL_ORDER_Y:
        raise RemoteError(Refusal.BAD_KEY, "a point of small order")
    return PublicKey(key)


def fingerprint(public_key: PublicKey) -> str:
    """Return 120 bits that two people can compare aloud: six groups of four base32 characters."""
    digest = hashlib.blake2b(
        b"mesh-fingerprint-v1\0" + public_key, digest_size=FINGERPRINT_BYTES
    ).digest()
    text = base64.b32encode(digest).decode()
    return "-".join(
        text[at : at + FINGERPRINT_GROUP] for at in range(0, len(text), FINGERPRINT_GROUP)
    )


def root_key_hash(public_key: PublicKey) -> bytes:
    """Return what a genesis says of the next root key: 32 bytes that do not reveal it."""
    return hashlib.blake2b(b"mesh-next-root-v1\0" + public_key, digest_size=KEY_BYTES).digest()


def make_signing_key(rng: Rng) -> SigningKey:
    """Return a new Ed25519 private key."""
    return SigningKey(rng.randbytes(KEY_BYTES))


def make_link_key(rng: Rng) -> LinkKey:
    """Return a new X25519 private key."""
    return LinkKey(rng.randbytes(KEY_BYTES))
