"""The cryptography a node uses, as one object, so that the simulator can stand in for it."""

from typing import NewType, Protocol

from mesh.core.identity import PublicKey

SigningKey = NewType("SigningKey", bytes)
"""32 bytes: the private half of an Ed25519 key."""

LinkKey = NewType("LinkKey", bytes)
"""32 bytes: the private half of an X25519 key."""

TAG_BYTES = 16
SIGNATURE_BYTES = 64


class Suite(Protocol):
    """Every primitive the core calls; all arguments and results are bytes."""

    def public_key(self, key: SigningKey) -> PublicKey:
        """Return the public half of a signing key."""
        ...

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        """Return a signature of 64 bytes."""
        ...

    def verify(self, public: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over this message."""
        ...

    def link_public(self, key: LinkKey) -> bytes:
        """Return the 32 public bytes of a link key."""
        ...

    def exchange(self, key: LinkKey, public: bytes) -> bytes:
        """Return 32 shared bytes; raises RemoteError(BAD_KEY) when they would be all zero."""
        ...

    def derive(self, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
        """Return `length` bytes by HKDF-SHA256."""
        ...

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return the ciphertext with its tag of 16 bytes (ChaCha20-Poly1305, 12-byte nonce)."""
        ...

    def unseal(self, key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
        """Return the plaintext, or None when the tag does not fit."""
        ...
