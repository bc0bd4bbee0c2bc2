"""The primitives against published vectors, and how they fail."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import TAG_BYTES, LinkKey, SigningKey, Suite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import PublicKey

SUITE: Suite = RealSuite()


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def test_ed25519_of_rfc_8032() -> None:
    # Section 7.1, test 2.
    key = SigningKey(unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    public = unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = unhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert SUITE.public_key(key) == public
    assert SUITE.sign(key, b"\x72") == signature
    assert SUITE.verify(PublicKey(public), signature, b"\x72")


def test_a_signature_of_something_else_does_not_verify() -> None:
    key = SigningKey(b"k" * 32)
    public, signature = SUITE.public_key(key), SUITE.sign(key, b"message")
    assert not SUITE.verify(public, signature, b"massage")
    assert not SUITE.verify(public, signature[:-1], b"message")
    assert not SUITE.verify(PublicKey(b"short"), signature, b"message")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not SUITE.verify(public, signature[:32] + scalar.to_bytes(32, "little"), b"message")


def test_x25519_of_rfc_7748() -> None:
    # Section 6.1: Bob's private key, Alice's public key, and what they share.
    bob = LinkKey(unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    alice = unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    shared = unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    public = unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    assert SUITE.link_public(bob) == public
    assert SUITE.exchange(bob, alice) == shared


@pytest.mark.parametrize("public", [bytes(32), (1).to_bytes(32, "little"), b"short"])
def test_no_shared_secret_without_a_usable_point(public: bytes) -> None:
    with pytest.raises(RemoteError) as refused:
        SUITE.exchange(LinkKey(b"k" * 32), public)
    assert refused.value.refusal is Refusal.BAD_KEY


def test_hkdf_of_rfc_5869() -> None:
    # Appendix A.1.
    made = SUITE.derive(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert made.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_what_is_sealed_opens_for_the_same_key_nonce_and_context_only() -> None:
    key, nonce = b"k" * 32, bytes(12)
    sealed = SUITE.seal(key, nonce, b"plain", b"context")
    assert len(sealed) == len(b"plain") + TAG_BYTES
    assert SUITE.unseal(key, nonce, sealed, b"context") == b"plain"
    assert SUITE.unseal(b"o" * 32, nonce, sealed, b"context") is None
    assert SUITE.unseal(key, b"n" * 12, sealed, b"context") is None
    assert SUITE.unseal(key, nonce, sealed, b"another") is None
    assert SUITE.unseal(key, nonce, sealed[:-1], b"context") is None
