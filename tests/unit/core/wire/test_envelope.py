"""Batches: signed once, split into facts that prove themselves alone."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId, PublicKey
from mesh.core.trust.records import TRUST_CONTEXTS, Admin
from mesh.core.wire.envelope import (
    Verifier,
    author_of,
    decode_batch_untrusted,
    decode_signed_fact_untrusted,
    encode_batch,
)

MESH = MeshId(b"m" * 32)
SUITE = RealSuite()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 33, 64])
def test_each_fact_of_a_batch_proves_itself_alone(count: int) -> None:
    author = author_of(SUITE, SigningKey(b"k" * 32), Verifier(SUITE, MESH))
    facts = [Admin(PublicKey(bytes([i]) * 32)) for i in range(count)]
    signed = author.sign(facts)
    stranger = Verifier(SUITE, MESH)
    for verified in signed:
        alone = decode_signed_fact_untrusted(verified.signed.encode(), MESH)
        assert stranger.open_untrusted(alone, TRUST_CONTEXTS) == verified
    assert stranger.verifications == 1
    together = decode_batch_untrusted(encode_batch([v.signed for v in signed]), MESH)
    assert list(together) == [v.signed for v in signed]


def test_a_fact_of_another_mesh_is_refused() -> None:
    author = author_of(SUITE, SigningKey(b"k" * 32), Verifier(SUITE, MESH))
    data = author.sign([Admin(PublicKey(b"a" * 32))])[0].signed.encode()
    other = MeshId(b"o" * 32)
    with pytest.raises(RemoteError) as refused:
        Verifier(SUITE, other).check(decode_signed_fact_untrusted(data, other))
    assert refused.value.refusal is Refusal.BAD_SIGNATURE
