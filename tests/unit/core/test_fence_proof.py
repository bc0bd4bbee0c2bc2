"""A claim that proves itself offline: what counts, and what does not."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Spec
from mesh.core.claims.record import Record, derive, token_text
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import LocalError, RemoteError
from mesh.core.fence_proof import PREFIX, certificate_of, decode_certificate_untrusted
from mesh.core.identity import Boot, MeshId, dot_task_id, task_text
from mesh.core.trust.founding import MeshPlan, found
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Author, Verified, Verifier, author_of

SUITE = RealSuite()
NODE_KEY, STRANGER_KEY = SigningKey(b"n" * 32), SigningKey(b"s" * 32)


def mesh_of(name: str) -> tuple[Trust, Author]:
    """Return a mesh of one node."""
    plan = MeshPlan(name, "local", False, 1_700_000_000, b"c" * 16, b"h" * 32)
    founded = found(SUITE, SigningKey(b"r" * 32), NODE_KEY, plan)
    trust = Trust(founded.mesh)
    for record in founded.records:
        assert trust.accept(record)
    return trust, author_of(SUITE, NODE_KEY, Verifier(SUITE, founded.mesh))


TRUST, NODE = mesh_of("ours")
SPEC = NODE.sign([Spec(dot_task_id(NODE.id, Boot(1), 1), "build", b"", 0, 3, 0, None, b"")])[0]


def claim_by(author: Author) -> Verified[Claim]:
    rank = claim_rank(SPEC.fact.task, 1, author.id)
    fact = Claim(SPEC.fact.task, SPEC.id, 1, rank, Boot(1), "bot", b"12345678", None, None)
    return author.sign([fact])[0]


def record_of(*claims: Verified[Claim]) -> Record:
    return derive(TaskFacts(SPEC.fact.task, (SPEC, *claims)), {})


def test_a_certificate_proves_who_owns_what_to_somebody_who_knows_the_mesh_id_alone() -> None:
    claim = claim_by(NODE)
    text = certificate_of(TRUST, record_of(claim))
    proof = decode_certificate_untrusted(text, TRUST.mesh, SUITE)
    assert proof.task == task_text(SPEC.fact.task)
    assert proof.token == token_text(claim)
    assert (proof.node, proof.agent) == (NODE.id, "bot")


def test_nobody_owns_nothing_to_prove() -> None:
    with pytest.raises(LocalError, match="belongs to nobody"):
        certificate_of(TRUST, record_of())


def test_another_mesh_proves_nothing_here() -> None:
    text = certificate_of(TRUST, record_of(claim_by(NODE)))
    with pytest.raises(RemoteError):
        decode_certificate_untrusted(text, mesh_of("theirs")[0].mesh, SUITE)


def test_a_stranger_proves_nothing() -> None:
    stranger = author_of(SUITE, STRANGER_KEY, Verifier(SUITE, TRUST.mesh))
    text = certificate_of(TRUST, record_of(claim_by(stranger)))
    with pytest.raises(RemoteError, match="not_admitted"):
        decode_certificate_untrusted(text, TRUST.mesh, SUITE)


@pytest.mark.parametrize(
    "text", ["", "meshfence2:abc", PREFIX, PREFIX + "%%%", PREFIX + "AAAA", "m" * 70_000]
)
def test_garbage_proves_nothing(text: str) -> None:
    with pytest.raises(RemoteError):
        decode_certificate_untrusted(text, MeshId(bytes(32)), SUITE)


def test_no_byte_of_a_certificate_may_change() -> None:
    text = certificate_of(TRUST, record_of(claim_by(NODE)))
    data = urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        other = PREFIX + urlsafe_b64encode(changed).rstrip(b"=").decode()
        with pytest.raises(RemoteError):
            decode_certificate_untrusted(other, TRUST.mesh, SUITE)
