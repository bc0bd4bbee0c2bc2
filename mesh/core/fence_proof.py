"""A claim that proves itself: signed, with the certificates from its author back to the genesis.

A resource that knows nothing but the mesh id can check, offline, that a member of this mesh has
claimed this task under this token; then it compares the token with the greatest it has seen. What
it cannot learn offline is whether a greater token exists elsewhere, or whether the member was
removed since: the first is what the comparison is for, the second needs a node.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from mesh.core.claims.facts import Claim
from mesh.core.claims.record import Record, token_text
from mesh.core.claims.rules import check_fact
from mesh.core.crypto.suite import Suite
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import MeshId, NodeId, node_id, task_text
from mesh.core.trust.records import TRUST_CONTEXTS
from mesh.core.trust.trust import Trust
from mesh.core.wire.codec import Binary, Layout, Many, pack, unpack_untrusted
from mesh.core.wire.envelope import Verifier, decode_signed_fact_untrusted

PREFIX = "meshfence1:"
RECORDS_MAX = 24
RECORD_BYTES_MAX = 2048
TEXT_MAX = 64 * 1024
PROOF_LAYOUT: Layout = (Many(Binary(0, RECORD_BYTES_MAX), RECORDS_MAX), Binary(0, RECORD_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class FenceProof:
    """What a certificate proves."""

    task: str
    token: str
    node: NodeId
    agent: str


def certificate_of(trust: Trust, record: Record) -> str:
    """Return the certificate of whoever owns a task; raises LocalError."""
    holder = record.holder
    if holder is None:
        raise LocalError(
            "no_owner",
            f"task {task_text(record.task)} belongs to nobody",
            "claim it first",
        )
    claim = holder.fact
    records = (trust.genesis, *trust.rotations(), *trust.chain(claim.signed.author))
    proof = pack((tuple(held.signed.encode() for held in records), claim.signed.encode()))
    return PREFIX + urlsafe_b64encode(proof).rstrip(b"=").decode()


def decode_certificate_untrusted(text: str, mesh: MeshId, suite: Suite) -> FenceProof:
    """Return what a certificate proves in a mesh; raises RemoteError when it proves nothing."""
    if not text.startswith(PREFIX) or len(text) > TEXT_MAX:
        raise RemoteError(Refusal.MALFORMED, "not a fence certificate")
    body = text.removeprefix(PREFIX)
    try:
        data = urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except ValueError:
        raise RemoteError(Refusal.MALFORMED, "not base64") from None
    records, signed_claim = unpack_untrusted(data, PROOF_LAYOUT)
    trust, verifier = Trust(mesh), Verifier(suite, mesh)
    for record in records:
        signed = decode_signed_fact_untrusted(record, mesh)
        trust.accept(verifier.open_untrusted(signed, TRUST_CONTEXTS))
    signed = decode_signed_fact_untrusted(signed_claim, mesh)
    claim = verifier.open_untrusted(signed, {Claim.CONTEXT: Claim})
    check_fact(claim, mesh)
    if not trust.founded or not trust.is_member(signed.author):
        raise RemoteError(Refusal.NOT_ADMITTED, "its author is no member of this mesh")
    author = node_id(signed.author)
    return FenceProof(task_text(claim.fact.task), token_text(claim), author, claim.fact.agent)
