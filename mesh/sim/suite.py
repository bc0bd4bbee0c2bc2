"""A cheap stand-in for the cryptography: it tells honest bytes from others, and hides nothing.

A signature is a keyed BLAKE2b whose key only the suite can look up; a shared secret is a hash of
the two public halves; a seal adds a checksum. Nothing here withstands an attacker who knows how it
works: an attacker inside the simulator is handed keys of its own and this suite, like everybody.
"""

import hashlib
from zlib import crc32

from mesh.core.crypto.suite import SIGNATURE_BYTES, TAG_BYTES, LinkKey, SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import PublicKey

KEY_BYTES = 32
DIGEST_BYTES = 32
SIGNATURE_PADDING = bytes(SIGNATURE_BYTES - DIGEST_BYTES)
KEY_MARK_BYTES = 8
CHECKSUM_BYTES = 4
SEAL_PADDING = bytes(TAG_BYTES - KEY_MARK_BYTES - CHECKSUM_BYTES)


class SimSuite:
    """The primitives of one world; with `strict`, seals cover everything by a keyed hash."""

    __slots__ = ("_links", "_private", "_public", "_strict", "signatures", "verifications")

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._private: dict[PublicKey, SigningKey] = {}
        self._public: dict[SigningKey, PublicKey] = {}
        self._links: dict[LinkKey, bytes] = {}
        self.signatures = 0
        self.verifications = 0

    def public_key(self, key: SigningKey) -> PublicKey:
        """Return the public half of a signing key; the suite remembers the pair."""
        public = self._public.get(key)
        if public is None:
            assert len(key) == KEY_BYTES
            digest = hashlib.blake2b(key, digest_size=KEY_BYTES, person=b"sim-signing").digest()
            public = PublicKey(digest)
            self._public[key] = public
            self._private[public] = key
        return public

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        """Return a signature of 64 bytes, the same one for the same message."""
        self.public_key(key)
        self.signatures += 1
        return self._signature(key, message)

    def verify(self, public: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over this message."""
        self.verifications += 1
        key = self._private.get(public)
        return key is not None and signature == self._signature(key, message)

    def link_public(self, key: LinkKey) -> bytes:
        """Return the 32 public bytes of a link key."""
        public = self._links.get(key)
        if public is None:
            public = hashlib.blake2b(key, digest_size=KEY_BYTES, person=b"sim-link").digest()
            self._links[key] = public
        return public

    def exchange(self, key: LinkKey, public: bytes) -> bytes:
        """Return 32 shared bytes, the same on both sides; raises RemoteError(BAD_KEY) for zeros."""
        if len(public) != KEY_BYTES or not any(public):
            raise RemoteError(Refusal.BAD_KEY, "no shared secret")
        pair = b"".join(sorted((self.link_public(key), public)))
        return hashlib.blake2b(pair, digest_size=KEY_BYTES, person=b"sim-exchange").digest()

    def derive(self, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
        """Return `length` bytes that depend on every argument."""
        parts = [len(part).to_bytes(4, "big") + part for part in (secret, salt, info)]
        return hashlib.shake_256(b"".join(parts)).digest(length)

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return the plaintext followed by a tag of 16 bytes."""
        return plaintext + self._tag(key, nonce, plaintext, associated)

    def unseal(self, key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
        """Return the plaintext, or None when the tag does not fit."""
        plaintext = sealed[:-TAG_BYTES]
        if sealed[-TAG_BYTES:] != self._tag(key, nonce, plaintext, associated):
            return None
        return plaintext

    def _signature(self, key: SigningKey, message: bytes) -> bytes:
        digest = hashlib.blake2b(message, digest_size=DIGEST_BYTES, key=key).digest()
        return digest + SIGNATURE_PADDING

    def _tag(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        if self._strict:
            bound = nonce + len(associated).to_bytes(4, "big") + associated
            return hashlib.blake2b(bound + plaintext, digest_size=TAG_BYTES, key=key).digest()
        # A checksum costs a quarter of a hash and still sees every flipped bit.
        checksum = crc32(plaintext, crc32(nonce + associated))
        return key[:KEY_MARK_BYTES] + checksum.to_bytes(CHECKSUM_BYTES, "big") + SEAL_PADDING
