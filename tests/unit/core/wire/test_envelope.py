"""Batches: signed once, split into facts that prove themselves alone."""

from dataclasses import replace
from typing import Any

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, MeshId, PublicKey
from mesh.core.trust.records import TRUST_CONTEXTS, Admin
from mesh.core.wire.codec import pack
from mesh.core.wire.envelope import (
    BATCH_FACTS_MAX,
    PAYLOAD_BYTES_MAX,
    ROOT_CONTEXT,
    VERIFIED_ROOTS_MAX,
    Fact,
    Verified,
    Verifier,
    author_of,
    decode_batch_untrusted,
    decode_signed_fact_untrusted,
    encode_batch,
    leaf_hash,
    merkle_levels,
    merkle_path,
    merkle_root,
    pre_authentication,
    root_payload,
    sign_batch,
)
from tests.unit.core.wire.layouts import CONTEXTS, extremes

MESH = MeshId(b"m" * 32)
SUITE = RealSuite()
KEY = SigningKey(b"k" * 32)


def signed_by(key: SigningKey, facts: list[Fact]) -> list[Verified[Any]]:
    return author_of(SUITE, key, Verifier(SUITE, MESH)).sign(facts)


def smallest(kind: type[Fact]) -> Fact:
    return kind(*extremes(kind.LAYOUT, large=False))


def refusal_of(verified: Verified[Any], **changes: Any) -> Refusal:  # noqa: ANN401  any field
    """Return why a fact is refused that came in with some of its fields changed."""
    data = replace(verified.signed, **changes).encode()
    with pytest.raises(RemoteError) as refused:
        Verifier(SUITE, MESH).open_untrusted(decode_signed_fact_untrusted(data, MESH), CONTEXTS)
    return refused.value.refusal


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


@pytest.mark.parametrize("kind", CONTEXTS.values(), ids=lambda kind: kind.__name__)
def test_a_fact_without_its_payload_is_said_in_the_same_bytes(kind: type[Fact]) -> None:
    facts = [kind(*extremes(kind.LAYOUT, large=large)) for large in (False, True)]
    for fact in facts:
        if len(fact.encode()) > PAYLOAD_BYTES_MAX:
            continue  # no fact may have the most of everything
        data = signed_by(KEY, [fact])[0].signed.encode()
        signed = decode_signed_fact_untrusted(data, MESH)
        verified = Verifier(SUITE, MESH).open_untrusted(signed, CONTEXTS)
        verified.shed_payload()
        assert signed.body is verified.fact
        assert signed.encode() == data
        again = Verifier(SUITE, MESH).open_untrusted(signed, CONTEXTS)
        assert again.fact is verified.fact, "it is not decoded twice"


def test_a_fact_without_its_payload_proves_itself_all_the_same() -> None:
    (mine,) = signed_by(KEY, [Admin(PublicKey(b"a" * 32))])
    mine.shed_payload()
    forged = replace(mine.signed, signature=bytes(64))
    with pytest.raises(RemoteError):
        Verifier(SUITE, MESH).open_untrusted(forged, CONTEXTS)


def test_facts_of_a_batch_that_travel_alone_share_what_proves_them() -> None:
    mine = signed_by(KEY, [Admin(PublicKey(bytes([i]) * 32)) for i in range(4)])
    alone = [decode_signed_fact_untrusted(verified.signed.encode(), MESH) for verified in mine]
    assert alone[0].signature is alone[1].signature
    assert alone[0].path[0] is alone[1].id
    assert alone[0].path[1] is alone[1].path[1]


def test_a_fact_of_another_mesh_is_refused() -> None:
    author = author_of(SUITE, SigningKey(b"k" * 32), Verifier(SUITE, MESH))
    data = author.sign([Admin(PublicKey(b"a" * 32))])[0].signed.encode()
    other = MeshId(b"o" * 32)
    with pytest.raises(RemoteError) as refused:
        Verifier(SUITE, other).check(decode_signed_fact_untrusted(data, other))
    assert refused.value.refusal is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("kind", CONTEXTS.values(), ids=lambda kind: kind.__name__)
def test_a_fact_under_any_other_label_is_refused(kind: type[Fact]) -> None:
    (verified,) = signed_by(KEY, [smallest(kind)])
    for context in CONTEXTS:
        if context != kind.CONTEXT:
            assert refusal_of(verified, context=context) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, context=ROOT_CONTEXT.decode()) is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("kind", CONTEXTS.values(), ids=lambda kind: kind.__name__)
def test_a_fact_of_any_type_of_another_mesh_is_refused(kind: type[Fact]) -> None:
    (verified,) = signed_by(KEY, [smallest(kind)])
    other = MeshId(b"o" * 32)
    signed = decode_signed_fact_untrusted(verified.signed.encode(), other)
    assert signed.id != verified.id
    with pytest.raises(RemoteError) as refused:
        Verifier(SUITE, other).open_untrusted(signed, CONTEXTS)
    assert refused.value.refusal is Refusal.BAD_SIGNATURE


def test_no_part_of_a_signed_fact_can_be_changed() -> None:
    facts: list[Fact] = [Admin(PublicKey(bytes((i,)) * 32)) for i in range(5)]
    verified = signed_by(KEY, facts)[2]
    signed = verified.signed
    other = SUITE.public_key(SigningKey(b"o" * 32))
    assert refusal_of(verified, author=other) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, signature=bytes(64)) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, body=facts[3].encode()) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, path=signed.path[::-1]) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, index=3) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, count=6) is Refusal.BAD_SIGNATURE
    assert refusal_of(verified, index=5) is Refusal.MALFORMED
    assert refusal_of(verified, count=0) is Refusal.MALFORMED
    assert refusal_of(verified, count=BATCH_FACTS_MAX + 1) is Refusal.MALFORMED
    assert refusal_of(verified, path=signed.path[:-1]) is Refusal.MALFORMED
    assert refusal_of(verified, path=(*signed.path, b"h" * 32)) is Refusal.MALFORMED


def test_a_root_is_no_leaf_and_a_node_is_no_leaf() -> None:
    # Else the hash of two facts could be passed off as a third one.
    facts: list[Fact] = [Admin(PublicKey(bytes((i,)) * 32)) for i in range(4)]
    signed = [verified.signed for verified in signed_by(KEY, facts)]
    levels = merkle_levels([fact.id for fact in signed])
    alone = replace(signed[0], id=FactId(levels[1][0]), index=0, count=2, path=(levels[1][1],))
    with pytest.raises(RemoteError) as refused:
        Verifier(SUITE, MESH).check(alone)
    assert refused.value.refusal is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("count", range(1, BATCH_FACTS_MAX + 1))
def test_every_path_leads_to_the_root_and_only_from_its_place(count: int) -> None:
    leaves = [bytes((i,)) * 32 for i in range(count)]
    levels = merkle_levels(leaves)
    for i, leaf in enumerate(leaves):
        path = merkle_path(levels, i)
        assert merkle_root(leaf, i, count, path) == levels[-1][0]
        if count > 1:
            assert merkle_root(leaves[i - 1], i, count, path) != levels[-1][0]


def test_the_payload_has_a_bound() -> None:
    author = SUITE.public_key(KEY)
    fields = author, bytes(64), 0, 1, (), "x/1"
    decode_signed_fact_untrusted(pack((*fields, bytes(PAYLOAD_BYTES_MAX))), MESH)
    with pytest.raises(RemoteError):
        decode_signed_fact_untrusted(pack((*fields, bytes(PAYLOAD_BYTES_MAX + 1))), MESH)


def test_a_batch_has_between_1_and_64_facts() -> None:
    body = ("x/1", b"")
    prefix = bytes(32), bytes(64)
    assert len(decode_batch_untrusted(pack((*prefix, (body,) * 64)), MESH)) == BATCH_FACTS_MAX
    for bodies in ((), (body,) * 65):
        with pytest.raises(RemoteError):
            decode_batch_untrusted(pack((*prefix, bodies)), MESH)
    for count in (0, 65):
        with pytest.raises(AssertionError):
            sign_batch(SUITE, KEY, MESH, [Admin(PublicKey(bytes(32)))] * count)


def test_a_signature_is_checked_before_the_payload_is_decoded() -> None:
    (verified,) = signed_by(KEY, [Admin(PublicKey(b"a" * 32))])
    assert refusal_of(verified, body=b"junk") is Refusal.BAD_SIGNATURE
    leaf = leaf_hash(MESH, "admin/1", verified.signed.author, b"junk")
    payload = root_payload(merkle_root(leaf, 0, 1, ()), 1)
    message = pre_authentication(MESH, ROOT_CONTEXT, verified.signed.author, payload)
    signature = SUITE.sign(KEY, message)
    assert refusal_of(verified, body=b"junk", signature=signature) is Refusal.MALFORMED


def test_a_context_nobody_knows_is_told_apart_from_a_forgery() -> None:
    class Later(Admin):
        CONTEXT = "admin/2"

    (verified,) = signed_by(KEY, [Later(PublicKey(b"a" * 32))])
    assert refusal_of(verified) is Refusal.UNKNOWN_CONTEXT


def test_the_memory_of_verified_roots_is_bounded() -> None:
    verifier = Verifier(SUITE, MESH)
    (verified,) = signed_by(KEY, [Admin(PublicKey(b"a" * 32))])
    verifier.check(verified.signed)
    for number in range(VERIFIED_ROOTS_MAX):
        verifier.trust(replace(verified.signed, signature=number.to_bytes(64, "big")))
    assert len(verifier._roots) == VERIFIED_ROOTS_MAX
    assert verifier.verifications == 1
    verifier.check(verified.signed)
    assert verifier.verifications == 2, "the oldest was forgotten, and is checked again"


def test_a_remembered_signature_vouches_for_its_own_batch_only() -> None:
    verifier = Verifier(SUITE, MESH)
    first, second = (
        signed_by(KEY, [Admin(PublicKey(name * 32))])[0].signed for name in (b"a", b"b")
    )
    verifier.check(first)
    with pytest.raises(RemoteError):
        verifier.check(replace(second, signature=first.signature))


@pytest.mark.parametrize(("count", "batch_max"), [(1, 64), (5, 2), (7, 64), (70, 64)])
def test_drafts_become_facts_that_prove_themselves_alone(count: int, batch_max: int) -> None:
    author = author_of(SUITE, KEY, Verifier(SUITE, MESH))
    facts = [Admin(PublicKey(bytes([i]) * 32)) for i in range(count)]
    drafts = [author.draft(fact) for fact in facts]
    ids = [verified.id for verified in drafts]
    author.sign_drafts([verified.signed for verified in drafts], batch_max)
    reader = Verifier(SUITE, MESH)
    for fact, draft, id_ in zip(facts, drafts, ids, strict=True):
        alone = decode_signed_fact_untrusted(draft.signed.encode(), MESH)
        assert reader.open_untrusted(alone, TRUST_CONTEXTS) == Verified(fact, alone, author.id)
        assert draft.id == id_ == alone.id
    assert reader.verifications == -(-count // batch_max)
    author.verifier.check(drafts[-1].signed)
    assert author.verifier.verifications == 0, "own batches are known"


def test_a_draft_neither_leaves_nor_is_signed_twice() -> None:
    author = author_of(SUITE, KEY, Verifier(SUITE, MESH))
    draft = author.draft(Admin(PublicKey(bytes(32)))).signed
    with pytest.raises(AssertionError, match="draft"):
        draft.encode()
    author.sign_drafts([draft])
    with pytest.raises(AssertionError):
        author.sign_drafts([draft])
