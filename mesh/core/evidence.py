"""Facts of trust and membership as the claim table wants them: proofs that boots are over.

A claim above epoch 1 says why the one before it is over. Where the reason is not a word about the
task it is one of these: a node has left, was restarted, was declared dead, or was taken out.
"""

from collections.abc import Callable
from typing import Any

from mesh.core.claims.facts import Evidence
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, PublicKey, node_id
from mesh.core.membership.facts import Leave, Presence, Verdict
from mesh.core.membership.verdicts import check_accusations, check_verdict
from mesh.core.trust.records import Revocation
from mesh.core.wire.envelope import Contexts, Verified, Verifier

EVERY_BOOT = Boot((1 << 64) - 1)
EVIDENCE_CONTEXTS: Contexts = {
    kind.CONTEXT: kind for kind in (Presence, Verdict, Leave, Revocation)
}


def check_evidence(
    verified: Verified[Any], verifier: Verifier, is_known: Callable[[PublicKey], bool]
) -> None:
    """Raise RemoteError unless a fact proves by itself what it says."""
    if not isinstance(verified.fact, Verdict):
        return
    check_verdict(verified.fact)
    for key, _ in verified.fact.accusations:
        if not is_known(PublicKey(key)):
            raise RemoteError(Refusal.NOT_ADMITTED, key.hex()[:16])
    check_accusations(verifier, verified.fact)


def evidence_of(verified: Verified[Any]) -> Evidence:
    """Return what a fact of trust or membership proves about the boots of its subject."""
    fact = verified.fact
    if isinstance(fact, Revocation):
        return Evidence(verified.id, node_id(fact.key), EVERY_BOOT, local=False, kind="revoked")
    if isinstance(fact, Leave):
        return Evidence(verified.id, verified.author, fact.boot, local=False, kind="left")
    if isinstance(fact, Verdict):
        accusers = len(fact.accusations)
        return Evidence(verified.id, fact.subject, fact.boot, fact.local, "verdict", (), accusers)
    assert isinstance(fact, Presence)
    ended = Boot(fact.boot - 1)
    return Evidence(
        verified.id, verified.author, ended, local=False, kind="restarted", tags=fact.tags
    )
