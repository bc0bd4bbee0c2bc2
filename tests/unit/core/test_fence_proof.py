"""A claim that proves itself offline: what counts, and what does not."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.exchange_facts import Accept, Offer, Release
from mesh.core.claims.facts import Claim, Progress, ProgressState, Spec
from mesh.core.claims.record import Record, derive, is_token, token_text
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.errors import LocalError, RemoteError
from mesh.core.evidence import EVIDENCE_CONTEXTS, evidence_of
from mesh.core.fence_proof import (
    FACTS_MAX,
    PREFIX,
    PROOF_LAYOUT,
    certificate_of,
    decode_certificate_untrusted,
)
from mesh.core.identity import Boot, FactId, Incarnation, MeshId, dot_task_id, task_text
from mesh.core.membership.facts import Accusation, Leave, Verdict
from mesh.core.trust.trust import Trust
from mesh.core.wire.codec import pack, unpack_untrusted
from mesh.core.wire.envelope import Fact, Verified
from tests.unit.core.trust.stage import SUITE, Stage

STAGE = Stage()
NAMES = ("b", "c", "d", "e")
TRUST = STAGE.trust([STAGE.certificate(name) for name in NAMES])
BOOT = Boot(7)
Facts = list[Verified[Any]]


def sign(by: str, fact: Fact) -> Verified[Any]:
    return STAGE.sign(by, fact)


TASK = dot_task_id(STAGE.author("a").id, BOOT, 1)
SPEC = sign("a", Spec(TASK, "build", b"payload", 0, 3, 0, None, b""))


def claim_by(
    name: str, before: Verified[Any] | None = None, because: Verified[Any] | None = None
) -> Verified[Any]:
    epoch = 1 if before is None else before.fact.epoch + 1
    rank = claim_rank(TASK, epoch, STAGE.author(name).id)
    supersedes = None if before is None else before.id
    reason = None if because is None else because.id
    return sign(
        name, Claim(TASK, SPEC.id, epoch, rank, BOOT, "bot", b"12345678", supersedes, reason)
    )


def released(claim: Verified[Any], by: str) -> Verified[Any]:
    return sign(by, Progress(TASK, claim.id, BOOT, 1, ProgressState.RELEASED, b""))


def verdict_on(name: str, accusers: Sequence[str], *, observers: int) -> Verified[Any]:
    subject = STAGE.author(name).id
    said = [sign(by, Accusation(subject, BOOT, Incarnation(0))).signed for by in accusers]
    signatures = tuple(sorted((signed.author, signed.signature) for signed in said))
    return sign(accusers[0], Verdict(subject, BOOT, Incarnation(0), observers, False, signatures))


def record_of(facts: Facts) -> Record:
    told = [fact for fact in facts if fact.signed.context not in EVIDENCE_CONTEXTS]
    evidence = {fact.id: evidence_of(fact) for fact in facts if fact not in told}
    return derive(TaskFacts(TASK, told), evidence, TRUST.is_admin_id)


def certificate(facts: Facts, trust: Trust = TRUST) -> str:
    held: dict[FactId, Verified[Any]] = {fact.id: fact for fact in facts}
    return certificate_of(trust, record_of(facts), held.get)


def by_hand(claim: Verified[Any], *facts: Verified[Any], names: Sequence[str] = NAMES) -> str:
    """Return a certificate that no honest node makes."""
    records = [*STAGE.founded.records, *(STAGE.certificate(name) for name in names)]
    data = pack(
        tuple(tuple(each.signed.encode() for each in s) for s in (records, [*facts, claim]))
    )
    return PREFIX + urlsafe_b64encode(data).rstrip(b"=").decode()


def parts_of(text: str) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    data = urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
    records, facts = unpack_untrusted(data, PROOF_LAYOUT)
    return records, facts


def stories() -> dict[str, Facts]:
    """Return by name all facts of a task that has changed hands, its owner's claim the last."""
    first = claim_by("b")
    gone = released(first, "b")
    dead = verdict_on("b", ("c", "d", "e"), observers=4)
    left = sign("b", Leave(BOOT, Incarnation(0)))
    forced = sign("a", Release(TASK, first.id, None, b"stuck"))
    offer = sign("b", Offer(TASK, first.id, BOOT, 1, STAGE.author("c").id, "", b"{}"))
    accept = sign("c", Accept(TASK, offer.id, BOOT, "bot"))
    second = claim_by("c", first, dead)
    again = released(second, "c")
    return {
        "first": [SPEC, first],
        "released": [SPEC, first, gone, claim_by("c", first, gone)],
        "dead": [SPEC, first, dead, second],
        "left": [SPEC, first, left, claim_by("d", first, left)],
        "forced": [SPEC, first, forced, claim_by("d", first, forced)],
        "handed over": [SPEC, first, offer, accept, claim_by("c", first, accept)],
        "twice": [SPEC, first, dead, second, again, claim_by("d", second, again)],
    }


STORIES = stories()


@pytest.mark.parametrize("name", STORIES)
def test_a_certificate_proves_its_claim_to_somebody_who_knows_the_mesh_id_alone(name: str) -> None:
    facts = STORIES[name]
    proof = decode_certificate_untrusted(certificate(facts), STAGE.mesh, SUITE)
    assert proof.is_whole
    assert proof.task == task_text(TASK)
    assert proof.token == token_text(facts[-1])
    assert is_token(proof.token)
    assert (proof.node, proof.agent) == (facts[-1].author, "bot")


def test_what_has_nothing_to_do_with_the_claim_is_left_out() -> None:
    first = claim_by("b")
    noise = [
        sign("b", Progress(TASK, first.id, BOOT, n, ProgressState.RUNNING, b"")) for n in range(9)
    ]
    _, facts = parts_of(certificate([SPEC, first, *noise]))
    assert len(facts) == 2


@pytest.mark.parametrize("name", [name for name in STORIES if name != "first"])
def test_without_one_of_its_reasons_it_proves_nothing(name: str) -> None:
    records, facts = parts_of(certificate(STORIES[name]))
    for at in range(len(facts)):
        fewer = tuple(fact for place, fact in enumerate(facts) if place != at)
        text = PREFIX + urlsafe_b64encode(pack((records, fewer))).rstrip(b"=").decode()
        if at == len(facts) - 1:
            continue  # what is left may end with a claim of its own
        with pytest.raises(RemoteError):
            decode_certificate_untrusted(text, STAGE.mesh, SUITE)


def test_a_member_that_lies_about_its_right_proves_nothing() -> None:
    first = claim_by("b")
    mine = released(claim_by("e"), "e")
    weak = verdict_on("b", ("e",), observers=1)
    for because in (mine, weak, sign("e", Release(TASK, first.id, None, b"mine now"))):
        with pytest.raises(RemoteError):
            decode_certificate_untrusted(
                by_hand(claim_by("e", first, because), SPEC, first, because), STAGE.mesh, SUITE
            )
    jump = sign("e", replace(claim_by("e", first, mine).fact, epoch=900))
    with pytest.raises(RemoteError):
        decode_certificate_untrusted(by_hand(jump, SPEC, first, mine), STAGE.mesh, SUITE)
    other = sign("a", replace(SPEC.fact, task=dot_task_id(STAGE.author("a").id, BOOT, 2)))
    with pytest.raises(RemoteError, match="several tasks"):
        decode_certificate_untrusted(by_hand(first, SPEC, other), STAGE.mesh, SUITE)
    with pytest.raises(RemoteError, match="end with a claim"):
        decode_certificate_untrusted(by_hand(SPEC, first), STAGE.mesh, SUITE)


def test_a_claim_alone_proves_a_member_and_nothing_else() -> None:
    proof = decode_certificate_untrusted(by_hand(claim_by("b")), STAGE.mesh, SUITE)
    assert not proof.is_whole
    assert proof.node == STAGE.author("b").id


def test_papers_of_too_many_owners_are_left_at_home() -> None:
    facts: Facts = [SPEC, claim_by("b")]
    while len(facts) <= FACTS_MAX:
        name = "bc"[facts[-1].fact.epoch % 2]
        gone = released(facts[-1], "cb"[facts[-1].fact.epoch % 2])
        facts += [gone, claim_by(name, facts[-1], gone)]
    text = certificate(facts)
    proof = decode_certificate_untrusted(text, STAGE.mesh, SUITE)
    assert (proof.is_whole, proof.token) == (False, token_text(facts[-1]))
    fewer = facts[:60]
    assert decode_certificate_untrusted(certificate(fewer), STAGE.mesh, SUITE).is_whole
    assert len(certificate(fewer)) < 65_536


def test_what_is_not_held_here_any_more_leaves_the_claim_alone() -> None:
    facts = STORIES["dead"]
    held = {fact.id: fact for fact in facts if fact is not facts[2]}
    text = certificate_of(TRUST, record_of(facts), held.get)
    assert not decode_certificate_untrusted(text, STAGE.mesh, SUITE).is_whole


def test_who_was_taken_out_may_have_been_an_owner_before() -> None:
    first = claim_by("b")
    taken_out = STAGE.revocation("b")
    trust = STAGE.trust([*(STAGE.certificate(name) for name in NAMES), taken_out])
    assert not trust.is_member(first.signed.author)
    facts = [SPEC, first, taken_out, claim_by("c", first, taken_out)]
    proof = decode_certificate_untrusted(certificate(facts, trust), STAGE.mesh, SUITE)
    assert (proof.is_whole, proof.node) == (True, STAGE.author("c").id)
    forged = STAGE.revocation("b", by="e")
    with pytest.raises(RemoteError, match="takes out"):
        decode_certificate_untrusted(
            by_hand(claim_by("e", first, forged), SPEC, first, forged), STAGE.mesh, SUITE
        )


def test_nobody_owns_nothing_to_prove() -> None:
    with pytest.raises(LocalError, match="belongs to nobody"):
        certificate([SPEC])


def test_another_mesh_proves_nothing_here() -> None:
    with pytest.raises(RemoteError):
        decode_certificate_untrusted(
            certificate(STORIES["first"]), Stage(name="theirs").mesh, SUITE
        )


def test_a_stranger_proves_nothing() -> None:
    for facts in ([SPEC, claim_by("x")], [claim_by("x")]):
        text = by_hand(facts[-1], *facts[:-1])
        with pytest.raises(RemoteError, match="not_admitted"):
            decode_certificate_untrusted(text, STAGE.mesh, SUITE)


@pytest.mark.parametrize(
    "text",
    ["", "meshfence1:abc", PREFIX, PREFIX + "%%%", PREFIX + "AAAA", PREFIX + "kpCQ", "m" * 70_000],
)
def test_garbage_proves_nothing(text: str) -> None:
    with pytest.raises(RemoteError):
        decode_certificate_untrusted(text, MeshId(bytes(32)), SUITE)


def test_no_byte_of_a_certificate_may_change() -> None:
    text = certificate(STORIES["released"])
    data = urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
    for at in range(0, len(data), 23):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        other = PREFIX + urlsafe_b64encode(changed).rstrip(b"=").decode()
        with pytest.raises(RemoteError):
            decode_certificate_untrusted(other, STAGE.mesh, SUITE)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (token_text(STORIES["first"][-1]), True),
        (token_text(STORIES["first"][-1]).upper(), False),
        (token_text(STORIES["first"][-1])[:-1], False),
        (token_text(STORIES["first"][-1]) + "\n", False),
        ("7", False),
    ],
)
def test_only_whole_tokens_compare_as_tokens_do(text: str, is_one: bool) -> None:
    assert is_token(text) is is_one
