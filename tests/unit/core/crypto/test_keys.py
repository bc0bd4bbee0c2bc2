"""Keys that are refused, and what people compare."""

import random

import pytest

from mesh.core.crypto.keys import (
    FIELD_PRIME,
    SMALL_ORDER_Y,
    check_public_key,
    fingerprint,
    make_link_key,
    make_signing_key,
    root_key_hash,
)
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import PublicKey

# libsodium, ge25519_has_small_order: the points of small order, then their unreduced spellings.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
IDENTITY = SMALL_ORDER[1]


def with_sign(text: str) -> str:
    return text[:-2] + f"{int(text[-2:], 16) | 0x80:02x}"


@pytest.mark.parametrize("text", SMALL_ORDER + [with_sign(text) for text in SMALL_ORDER])
def test_a_point_of_small_order_is_refused(text: str) -> None:
    with pytest.raises(RemoteError) as refused:
        check_public_key(bytes.fromhex(text))
    assert refused.value.refusal is Refusal.BAD_KEY


def test_the_coordinates_are_those_of_the_curve() -> None:
    # Doubling a point of order 8 gives y = 0; with -x^2 + y^2 = 1 + d x^2 y^2 that is:
    d = -121665 * pow(121666, -1, FIELD_PRIME)
    order_8 = sorted(SMALL_ORDER_Y - {0, 1, FIELD_PRIME - 1})
    assert len(order_8) == 2
    assert all((d * y**4 + 2 * y**2 - 1) % FIELD_PRIME == 0 for y in order_8)


def test_openssl_accepts_the_identity_for_any_message() -> None:
    # The reason for the check: this is what would get through without it.
    identity = PublicKey(bytes.fromhex(IDENTITY))
    signature = identity + bytes(32)
    assert RealSuite().verify(identity, signature, b"whatever")


@pytest.mark.parametrize("y", range(FIELD_PRIME, 2**255))
def test_a_second_spelling_of_a_point_is_refused(y: int) -> None:
    with pytest.raises(RemoteError) as refused:
        check_public_key(y.to_bytes(32, "little"))
    assert refused.value.refusal is Refusal.BAD_KEY


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(RemoteError) as refused:
        check_public_key(b"k" * length)
    assert refused.value.refusal is Refusal.BAD_KEY


def test_ordinary_keys_are_accepted() -> None:
    rng = random.Random(1)
    for _ in range(50):
        key = RealSuite().public_key(make_signing_key(rng))
        assert check_public_key(key) == key
    assert check_public_key((FIELD_PRIME - 2).to_bytes(32, "little"))
    assert check_public_key((2).to_bytes(32, "little"))


def test_a_fingerprint_is_short_and_depends_on_the_whole_key() -> None:
    key = RealSuite().public_key(SigningKey(b"k" * 32))
    text = fingerprint(key)
    assert [len(group) for group in text.split("-")] == [4] * 6
    flipped = [bytes((*key[:at], key[at] ^ 1, *key[at + 1 :])) for at in range(32)]
    assert len({text, *(fingerprint(PublicKey(other)) for other in flipped)}) == 33


def test_new_keys_come_from_the_chance_that_was_handed_in() -> None:
    assert make_signing_key(random.Random(5)) == make_signing_key(random.Random(5))
    assert make_signing_key(random.Random(5)) == random.Random(5).randbytes(32)
    assert make_link_key(random.Random(6)) == random.Random(6).randbytes(32)


def test_the_hash_of_the_next_root_key_hides_it() -> None:
    key = PublicKey(b"n" * 32)
    assert len(root_key_hash(key)) == 32
    assert root_key_hash(key) not in {key, root_key_hash(PublicKey(b"m" * 32))}
