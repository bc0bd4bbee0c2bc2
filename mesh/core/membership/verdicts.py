"""Checking a verdict: every accusation in it is rebuilt and verified before it counts.

A verdict carries only (key, signature) of each accusation; what was signed follows from the
verdict itself, since an accusation is always signed alone: leaf 0 of a batch of one.
"""

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import NodeId, PublicKey, node_id
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.membership.suspicion import SMALLEST_VOTE, accusers_needed
from mesh.core.wire.envelope import SignedFact, Verified, Verifier, leaf_hash

ACCUSATIONS_MAX = 9


def broken(detail: str) -> RemoteError:
    """Return the error for a fact that breaks a rule of membership."""
    return RemoteError(Refusal.BROKEN_RULE, detail)


def check_verdict(verdict: Verdict) -> None:
    """Raise RemoteError unless distinct accusers, enough of them and not the subject, speak."""
    accusers = accusers_of(verdict)
    if len(dict.fromkeys(accusers)) != len(accusers) or verdict.subject in accusers:
        raise broken("a verdict needs distinct accusers other than its subject")
    # How many observers there were is the author's word, so one liar could say that it was one.
    needed = 1 if verdict.local else accusers_needed(max(verdict.observers, SMALLEST_VOTE))
    if len(accusers) < needed:
        raise broken(f"{len(accusers)} of {verdict.observers} observers are no majority")


def accusers_of(verdict: Verdict) -> list[NodeId]:
    """Return who accuses in a verdict."""
    return [node_id(PublicKey(key)) for key, _ in verdict.accusations]


def check_accusations(verifier: Verifier, verdict: Verdict) -> None:
    """Raise RemoteError(BAD_SIGNATURE) unless every accusation was signed by its accuser."""
    accusation = Accusation(verdict.subject, verdict.boot, verdict.incarnation)
    payload = accusation.encode()
    for raw, signature in verdict.accusations:
        key = PublicKey(raw)
        id_ = leaf_hash(verifier.mesh, Accusation.CONTEXT, key, payload)
        verifier.check(SignedFact(id_, key, signature, 0, 1, (), Accusation.CONTEXT, payload))


def is_stronger(verdict: Verified[Verdict], than: Verified[Verdict]) -> bool:
    """Whether of two verdicts on one boot and incarnation the first is kept by everybody."""
    own, other = len(verdict.fact.accusations), len(than.fact.accusations)
    return (own, than.id) > (other, verdict.id)
