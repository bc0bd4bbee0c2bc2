"""Ed25519, X25519, HKDF and ChaCha20-Poly1305 from the `cryptography` package."""

import functools

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.core.crypto.suite import LinkKey, SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import PublicKey

KEY_CACHE_MAX = 1024


@functools.lru_cache(maxsize=KEY_CACHE_MAX)
def _signer(key: SigningKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(key)


@functools.lru_cache(maxsize=KEY_CACHE_MAX)
def _cipher(key: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key)


class RealSuite:
    """The primitives that every real node uses."""

    def public_key(self, key: SigningKey) -> PublicKey:
        """Return the public half of a signing key."""
        return PublicKey(_signer(key).public_key().public_bytes_raw())

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        """Return a signature of 64 bytes."""
        return _signer(key).sign(message)

    def verify(self, public: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over this message."""
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def link_public(self, key: LinkKey) -> bytes:
        """Return the 32 public bytes of a link key."""
        return X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()

    def exchange(self, key: LinkKey, public: bytes) -> bytes:
        """Return 32 shared bytes; raises RemoteError(BAD_KEY) when they would be all zero."""
        try:
            theirs = X25519PublicKey.from_public_bytes(public)
            return X25519PrivateKey.from_private_bytes(key).exchange(theirs)
        except ValueError:
            raise RemoteError(Refusal.BAD_KEY, "X25519 gave no shared secret") from None

    def derive(self, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
        """Return `length` bytes by HKDF-SHA256."""
        return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return the ciphertext with its tag of 16 bytes."""
        return _cipher(key).encrypt(nonce, plaintext, associated)

    def unseal(self, key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
        """Return the plaintext, or None when the tag does not fit."""
        try:
            return _cipher(key).decrypt(nonce, sealed, associated)
        except InvalidTag:
            return None
