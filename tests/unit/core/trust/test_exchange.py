"""Frames of the join exchange, and the channel that seals them."""

import random

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId
from mesh.core.trust.exchange import (
    FRAME_BYTES_MAX,
    NO_PSK,
    Channel,
    FrameReader,
    JoinRefusal,
    Kind,
    encode_join_frame,
    mesh_mark,
)
from tests.unit.core.trust.stage import SUITE

REFUSAL = JoinRefusal("expired")


def pair(joiner_psk: bytes = NO_PSK, issuer_psk: bytes = NO_PSK) -> tuple[Channel, Channel]:
    """Return both sides with keys, joiner first."""
    joiner, issuer = Channel(SUITE, random.Random(1)), Channel(SUITE, random.Random(2))
    for channel in (joiner, issuer):
        channel.mix(b"hello")
    joiner.agree(issuer.ephemeral, joiner_psk, issuer=False)
    issuer.agree(joiner.ephemeral, issuer_psk, issuer=True)
    return joiner, issuer


def refusal_of(channel: Channel, kind: Kind, sealed: bytes) -> Refusal:
    with pytest.raises(RemoteError) as refused:
        channel.unseal_untrusted(kind, sealed)
    return refused.value.refusal


# ---- frames


def test_a_frame_may_be_cut_anywhere() -> None:
    frame = encode_join_frame(Kind.GRANT, b"body")
    assert frame == b"\x00\x05\x04body"
    for cut in range(len(frame)):
        reader = FrameReader()
        assert reader.take(frame[:cut]) is None
        assert reader.take(frame[cut:]) == (Kind.GRANT, b"body")
        assert reader.take(b"") is None


def test_a_frame_has_at_most_16_kib() -> None:
    whole = encode_join_frame(Kind.GRANT, bytes(FRAME_BYTES_MAX - 1))
    assert len(whole) == 2 + FRAME_BYTES_MAX
    assert FrameReader().take(whole) == (Kind.GRANT, bytes(FRAME_BYTES_MAX - 1))
    with pytest.raises(RemoteError) as refused:
        FrameReader().take((FRAME_BYTES_MAX + 1).to_bytes(2, "big"))
    assert refused.value.refusal is Refusal.TOO_LARGE
    with pytest.raises(AssertionError):
        encode_join_frame(Kind.GRANT, bytes(FRAME_BYTES_MAX))


def test_a_frame_without_a_kind_is_refused() -> None:
    with pytest.raises(RemoteError):
        FrameReader().take(b"\x00\x00")


def test_nothing_may_follow_a_frame() -> None:
    with pytest.raises(RemoteError) as refused:
        FrameReader().take(encode_join_frame(Kind.HELLO, b"x") + b"\x00")
    assert refused.value.refusal is Refusal.MALFORMED


# ---- channel


def test_both_directions_open_on_the_other_side() -> None:
    joiner, issuer = pair()
    for _ in range(3):
        sealed = issuer.seal(Kind.ANSWER, REFUSAL)
        assert joiner.unseal_untrusted(Kind.ANSWER, sealed) == REFUSAL.encode()
        sealed = joiner.seal(Kind.REQUEST, REFUSAL)
        assert issuer.unseal_untrusted(Kind.REQUEST, sealed) == REFUSAL.encode()
        assert joiner.transcript == issuer.transcript


def test_another_psk_opens_nothing() -> None:
    joiner, issuer = pair(b"p" * 32, b"q" * 32)
    sealed = issuer.seal(Kind.ANSWER, REFUSAL)
    assert refusal_of(joiner, Kind.ANSWER, sealed) is Refusal.NOT_SEALED_FOR_US


def test_a_seal_is_bound_to_its_kind_its_direction_and_what_came_before() -> None:
    joiner, issuer = pair()
    sealed = issuer.seal(Kind.REFUSAL, REFUSAL)
    assert refusal_of(joiner, Kind.GRANT, sealed) is Refusal.NOT_SEALED_FOR_US
    joiner, issuer = pair()
    assert refusal_of(issuer, Kind.REFUSAL, sealed) is Refusal.NOT_SEALED_FOR_US
    joiner, issuer = pair()
    joiner.mix(b"something the issuer has not seen")
    assert refusal_of(joiner, Kind.REFUSAL, sealed) is Refusal.NOT_SEALED_FOR_US


def test_a_seal_opens_once() -> None:
    joiner, issuer = pair()
    sealed = issuer.seal(Kind.ANSWER, REFUSAL)
    joiner.unseal_untrusted(Kind.ANSWER, sealed)
    assert refusal_of(joiner, Kind.ANSWER, sealed) is Refusal.NOT_SEALED_FOR_US


def test_the_transcript_tells_where_one_part_ends() -> None:
    one, other = Channel(SUITE, random.Random(1)), Channel(SUITE, random.Random(1))
    one.mix(b"ab")
    one.mix(b"c")
    other.mix(b"a")
    other.mix(b"bc")
    assert one.transcript != other.transcript


def test_an_ephemeral_key_that_shares_nothing_is_refused() -> None:
    with pytest.raises(RemoteError) as refused:
        Channel(SUITE, random.Random(1)).agree(bytes(32), NO_PSK, issuer=True)
    assert refused.value.refusal is Refusal.BAD_KEY


def test_a_mark_is_recognised_by_those_who_know_the_mesh() -> None:
    mesh, other = MeshId(b"m" * 32), MeshId(b"o" * 32)
    assert mesh_mark(mesh, b"r" * 32) == mesh_mark(mesh, b"r" * 32)
    assert mesh_mark(mesh, b"r" * 32) != mesh_mark(other, b"r" * 32)
    assert mesh_mark(mesh, b"r" * 32) != mesh_mark(mesh, b"s" * 32)
