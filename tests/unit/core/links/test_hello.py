"""HELLO: nothing but silence for who does not know the mesh, never more out than in."""

import hashlib
from dataclasses import replace

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId, PublicKey
from mesh.core.links.hello import (
    ANSWER,
    ASK,
    HELLO_BYTES,
    VERSION_HELLO,
    decode_hello_untrusted,
    encode_hello,
)
from mesh.core.trust.records import Admin
from mesh.core.wire.codec import pack
from mesh.core.wire.envelope import Verifier, author_of

MESH = MeshId(b"m" * 32)
AUTHOR = author_of(RealSuite(), SigningKey(b"k" * 32), Verifier(RealSuite(), MESH))
FACT = AUTHOR.sign([Admin(PublicKey(b"a" * 32))])[0].signed


@pytest.mark.parametrize("kind", [ASK, ANSWER])
def test_a_greeting_has_one_size_whatever_it_says(kind: int) -> None:
    for facts in ([], [FACT.encode()], [FACT.encode()] * 4):
        data = encode_hello(MESH, kind, facts)
        assert len(data) == HELLO_BYTES
        assert decode_hello_untrusted(MESH, data) == (kind, [FACT] * len(facts))


def test_a_scanner_without_the_mesh_id_is_not_understood() -> None:
    data = encode_hello(MeshId(b"x" * 32), ASK, [FACT.encode()])
    with pytest.raises(RemoteError) as refused:
        decode_hello_untrusted(MESH, data)
    assert refused.value.refusal is Refusal.WRONG_MESH


@pytest.mark.parametrize("cut", [0, 1, 16, 17, 600, HELLO_BYTES - 1])
def test_a_cut_greeting_is_refused(cut: int) -> None:
    with pytest.raises(RemoteError):
        decode_hello_untrusted(MESH, encode_hello(MESH, ASK, [FACT.encode()])[:cut])


def test_each_changed_byte_is_noticed() -> None:
    data = encode_hello(MESH, ASK, [FACT.encode()])
    for place in range(1, HELLO_BYTES, 7):
        forged = data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
        with pytest.raises(RemoteError):
            decode_hello_untrusted(MESH, forged)


def test_a_length_beyond_the_datagram_is_a_second_spelling() -> None:
    room = HELLO_BYTES - 1 - 16 - 2
    first = replace(FACT, body=b"p" * 300).encode()
    fixed = len(pack((ASK, (first, replace(FACT, body=b"p" * 600).encode()))))
    filling = replace(FACT, body=b"p" * (600 + room - fixed)).encode()
    body = pack((ASK, (first, filling)))
    assert len(body) == room
    for length, is_right in ((room, True), (room + 1, False), (0xFFFF, False)):
        rest = length.to_bytes(2, "big") + body
        check = hashlib.blake2b(rest, digest_size=16, key=MESH).digest()
        data = bytes((VERSION_HELLO,)) + check + rest
        if is_right:
            assert len(decode_hello_untrusted(MESH, data)[1]) == 2
        else:
            with pytest.raises(RemoteError):
                decode_hello_untrusted(MESH, data)
