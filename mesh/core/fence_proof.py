"""A claim that proves itself: signed, with what makes it valid, back to the genesis of the mesh.

Picture the deeds of a house: each owner got it from the one before, for a reason that is among the
papers. A certificate holds the claim of a task's owner, the claim before it and why that one was
over, and so on to the first, with the spec, and the records that admitted everybody who speaks
there. A resource that knows nothing but the mesh id reads them as any node would (`record.derive`).

What it cannot learn offline is whether a greater token exists elsewhere, or whether somebody was
removed since: the first is what comparing tokens is for, the second needs a node. Papers of too
many owners do not fit; then the claim comes alone, and proves only that a member made it.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.exchange_facts import EXCHANGE_CONTEXTS, ExchangeFact
from mesh.core.claims.facts import CLAIM_CONTEXTS, Claim, Evidence, TaskFact
from mesh.core.claims.record import Record, derive, token_text
from mesh.core.claims.rules import check_fact
from mesh.core.claims.task_facts import ClaimFact, TaskFacts
from mesh.core.crypto.suite import Suite
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.evidence import EVIDENCE_CONTEXTS, check_evidence, evidence_of
from mesh.core.identity import FactId, MeshId, NodeId, PublicKey, task_text
from mesh.core.membership.facts import Verdict
from mesh.core.trust.records import TRUST_CONTEXTS, Certificate, Revocation
from mesh.core.trust.trust import Trust
from mesh.core.wire.codec import Binary, Layout, Many, pack, unpack_untrusted
from mesh.core.wire.envelope import (
    Contexts,
    Verified,
    Verifier,
    decode_signed_fact_untrusted,
)

PREFIX = "meshfence2:"
RECORDS_MAX = 96
FACTS_MAX = 96
"""Some thirty owners, one after the other."""
RECORD_BYTES_MAX = 2048
TEXT_MAX = 64 * 1024
PROOF_BYTES_MAX = 3 * (TEXT_MAX - len(PREFIX)) // 4 - 3
PROOF_LAYOUT: Layout = (
    Many(Binary(0, RECORD_BYTES_MAX), RECORDS_MAX),
    Many(Binary(0, RECORD_BYTES_MAX), FACTS_MAX),
)
GROUND_CONTEXTS: Contexts = CLAIM_CONTEXTS | EXCHANGE_CONTEXTS | EVIDENCE_CONTEXTS

Fetch = Callable[[FactId], Verified[Any] | None]


@dataclass(frozen=True, slots=True)
class FenceProof:
    """What a certificate proves."""

    task: str
    token: str
    node: NodeId
    agent: str
    is_whole: bool
    """Whether it proves that the claim is valid, and not only that a member made it."""


# ---- making one


def certificate_of(trust: Trust, record: Record, fetch: Fetch) -> str:
    """Return the certificate of whoever owns a task; `fetch` finds facts. Raises LocalError."""
    holder = record.holder
    if holder is None:
        raise LocalError(
            "no_owner",
            f"task {task_text(record.task)} belongs to nobody",
            "claim it first",
        )
    facts = grounds_of(holder.fact, fetch)
    records = None if facts is None else records_for(trust, facts)
    if facts is not None and records is not None:
        data = _packed(records, facts)
        if len(data) <= PROOF_BYTES_MAX:
            return _text(data)
    alone = (trust.genesis, *trust.rotations(), *trust.chain(holder.fact.signed.author))
    return _text(_packed(alone, [holder.fact]))


def grounds_of(claim: Verified[Claim], fetch: Fetch) -> list[Verified[Any]] | None:
    """Return all facts on which a claim rests, itself the last; None for too many, or a gap."""
    found: dict[FactId, Verified[Any]] = {}
    wanted = [claim.id]
    while wanted:
        id_ = wanted.pop()
        if id_ in found:
            continue
        verified = fetch(id_)
        if verified is None or len(found) >= FACTS_MAX:
            return None
        found[id_] = verified
        wanted += cited_by(verified.fact)
    return list(reversed(found.values()))


def cited_by(fact: Any) -> list[FactId]:  # noqa: ANN401  any fact
    """Return what has to be known for a fact to count."""
    if isinstance(fact, Claim):
        cited = (fact.spec, fact.supersedes, fact.because, fact.presence)
        return [id_ for id_ in cited if id_ is not None]
    if isinstance(fact, ClaimFact):
        return [fact.claim]
    if isinstance(fact, ExchangeFact):
        return [fact.cited]
    return []


def records_for(trust: Trust, facts: Iterable[Verified[Any]]) -> tuple[Verified[Any], ...] | None:
    """Return the records that admit everybody who speaks; None for too many, or a stranger."""
    keys: dict[PublicKey, None] = {}
    for verified in facts:
        if not isinstance(verified.fact, Revocation):
            keys[verified.signed.author] = None
        if isinstance(verified.fact, Verdict):
            keys |= {PublicKey(key): None for key, _ in verified.fact.accusations}
    records = {held.id: held for held in (trust.genesis, *trust.rotations())}
    for key in keys:
        chain = trust.chain(key) or _chain_of_former(trust, key)
        if not chain:
            return None
        records |= {held.id: held for held in (*chain, *trust.proof_of_admin(key))}
    return tuple(records.values()) if len(records) <= RECORDS_MAX else None


def _chain_of_former(trust: Trust, key: PublicKey) -> list[Verified[Any]]:
    """Return the records that once admitted somebody who was taken out since."""
    found: list[Verified[Any]] = []
    for held in trust.records():
        if isinstance(held.fact, Certificate) and held.fact.key == key:
            found += [*trust.proof_of_admin(held.signed.author), held]
    return found


def _packed(records: Iterable[Verified[Any]], facts: Iterable[Verified[Any]]) -> bytes:
    return pack(
        (
            tuple(held.signed.encode() for held in records),
            tuple(held.signed.encode() for held in facts),
        )
    )


def _text(data: bytes) -> str:
    return PREFIX + urlsafe_b64encode(data).rstrip(b"=").decode()


# ---- reading one


def decode_certificate_untrusted(text: str, mesh: MeshId, suite: Suite) -> FenceProof:
    """Return what a certificate proves in a mesh; raises RemoteError when it proves nothing."""
    records, facts = unpack_untrusted(_data_of(text), PROOF_LAYOUT)
    reader = _Reader(mesh, Verifier(suite, mesh), Trust(mesh))
    for record in records:
        signed = decode_signed_fact_untrusted(record, mesh)
        reader.trust.accept(reader.verifier.open_untrusted(signed, TRUST_CONTEXTS))
    if not reader.trust.founded or not facts:
        raise RemoteError(Refusal.NOT_ADMITTED, "it does not begin with the genesis of this mesh")
    for fact in facts:
        reader.take(fact)
    return reader.proof()


def _data_of(text: str) -> bytes:
    if not text.startswith(PREFIX) or len(text) > TEXT_MAX:
        raise RemoteError(Refusal.MALFORMED, "not a fence certificate")
    body = text.removeprefix(PREFIX)
    try:
        return urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except ValueError:
        raise RemoteError(Refusal.MALFORMED, "not base64") from None


@dataclass(slots=True)
class _Reader:
    """What the facts of one certificate add up to, for somebody who holds nothing else."""

    mesh: MeshId
    verifier: Verifier
    trust: Trust
    facts: list[Verified[TaskFact]] = field(default_factory=list)
    evidence: dict[FactId, Evidence] = field(default_factory=dict)

    def take(self, data: bytes) -> None:
        """Check one fact; raises RemoteError."""
        signed = decode_signed_fact_untrusted(data, self.mesh)
        verified = self.verifier.open_untrusted(signed, GROUND_CONTEXTS)
        if isinstance(verified.fact, Revocation):
            self.trust.accept(verified)
            if verified.fact.key not in self.trust.ranks.revoked:
                raise RemoteError(Refusal.NOT_ADMITTED, "nobody takes out whom it takes out")
        elif not self.trust.is_known(signed.author):
            raise RemoteError(Refusal.NOT_ADMITTED, "one of its authors is no member of this mesh")
        if isinstance(verified.fact, TaskFact):
            check_fact(verified, self.mesh)
            self.facts.append(verified)
        else:
            check_evidence(verified, self.verifier, self.trust.is_known)
            self.evidence[verified.id] = evidence_of(verified)

    def proof(self) -> FenceProof:
        """Return what the last fact, a claim, is worth; raises RemoteError."""
        last = self.facts[-1] if self.facts else None
        if last is None or not isinstance(last.fact, Claim):
            raise RemoteError(Refusal.MALFORMED, "it does not end with a claim")
        claim = Verified(last.fact, last.signed, last.author)
        if not self.trust.is_member(claim.signed.author):
            raise RemoteError(Refusal.NOT_ADMITTED, "its author is no member of this mesh")
        task = claim.fact.task
        if any(verified.fact.task != task for verified in self.facts):
            raise RemoteError(Refusal.BROKEN_RULE, "it is about several tasks")
        record = derive(TaskFacts(task, self.facts), self.evidence, self.trust.is_admin_id)
        is_whole = any(view.valid and view.fact.id == claim.id for view in record.claims)
        if not is_whole and len(self.facts) + len(self.evidence) > 1:
            raise RemoteError(Refusal.BROKEN_RULE, "its reasons do not add up to its claim")
        agent = claim.fact.agent
        return FenceProof(task_text(task), token_text(claim), claim.author, agent, is_whole)
