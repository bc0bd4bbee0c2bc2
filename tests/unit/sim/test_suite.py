"""The stand-in suite: it must tell what the real one tells."""

import pytest

from mesh.core.crypto.suite import SIGNATURE_BYTES, TAG_BYTES, LinkKey, SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import PublicKey
from mesh.sim.suite import SimSuite

KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)


def test_a_signature_holds_for_its_key_and_message_only() -> None:
    suite = SimSuite()
    signature = suite.sign(KEY, b"message")
    assert len(signature) == SIGNATURE_BYTES
    assert suite.verify(suite.public_key(KEY), signature, b"message")
    assert not suite.verify(suite.public_key(KEY), signature, b"massage")
    assert not suite.verify(suite.public_key(OTHER), signature, b"message")
    assert not suite.verify(PublicKey(b"s" * 32), signature, b"message")
    assert not suite.verify(suite.public_key(KEY), signature[:-1] + b"x", b"message")


def test_two_worlds_agree_about_bytes() -> None:
    one, other = SimSuite(), SimSuite()
    assert one.sign(KEY, b"m") == other.sign(KEY, b"m")
    assert one.link_public(LinkKey(b"l" * 32)) == other.link_public(LinkKey(b"l" * 32))


def test_an_exchange_is_the_same_from_both_sides_and_no_other() -> None:
    suite = SimSuite()
    ours, theirs, third = (LinkKey(bytes([i]) * 32) for i in (1, 2, 3))
    shared = suite.exchange(ours, suite.link_public(theirs))
    assert shared == suite.exchange(theirs, suite.link_public(ours))
    assert shared != suite.exchange(ours, suite.link_public(third))
    assert len(shared) == 32


@pytest.mark.parametrize("public", [bytes(32), b"short"])
def test_a_weak_public_half_is_refused(public: bytes) -> None:
    with pytest.raises(RemoteError) as refused:
        SimSuite().exchange(LinkKey(b"l" * 32), public)
    assert refused.value.refusal is Refusal.BAD_KEY


def test_derived_bytes_depend_on_every_argument() -> None:
    suite = SimSuite()
    derived = suite.derive(b"ab", b"c", b"d", 80)
    assert len(derived) == 80
    for arguments in [(b"a", b"bc", b"d"), (b"ab", b"", b"cd"), (b"ab", b"c", b"e")]:
        assert suite.derive(*arguments, 80) != derived


@pytest.mark.parametrize("strict", [False, True])
def test_a_seal_opens_only_unchanged(strict: bool) -> None:
    suite = SimSuite(strict=strict)
    key, nonce, text = bytes(range(32)), b"n" * 12, b"some plaintext"
    sealed = suite.seal(key, nonce, text, b"header")
    assert len(sealed) == len(text) + TAG_BYTES
    assert suite.unseal(key, nonce, sealed, b"header") == text
    assert suite.unseal(key, nonce, sealed, b"hoader") is None
    assert suite.unseal(key, b"m" * 12, sealed, b"header") is None
    assert suite.unseal(key[::-1], nonce, sealed, b"header") is None
    assert suite.unseal(key, nonce, b"short", b"header") is None
    for bit in range(8 * len(sealed)):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        assert suite.unseal(key, nonce, bytes(damaged), b"header") is None
