"""What a single fact about a task must satisfy, whatever else is known: the context-free rules.

A fact that breaks one of these is wrong for everybody and for ever, so it is refused. What depends
on other facts (is the claim valid, does this author count) is never refused here: it would make
the outcome depend on the order of arrival. `record.derive` decides that instead.
"""

import hashlib
from typing import Any

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import (
    Attempt,
    AttemptKind,
    Claim,
    Progress,
    ProgressState,
    Result,
    Spec,
)
from mesh.core.errors import Refusal, RemoteError
from mesh.core.wire.envelope import Verified

CREATOR_BYTES = 16
DIGEST_BYTES = 32
PROGRESS_STATES = tuple(int(state) for state in ProgressState)
ATTEMPT_KINDS = tuple(int(kind) for kind in AttemptKind)


def check_fact(verified: Verified[Any]) -> None:
    """Raise RemoteError(BROKEN_RULE or AUTHOR_MISMATCH) when a task fact can never count."""
    fact = verified.fact
    if isinstance(fact, Spec):
        _check_spec(verified)
    elif isinstance(fact, Claim):
        _check_claim(verified)
    elif isinstance(fact, Progress):
        _require(fact.state in PROGRESS_STATES, f"no progress state {fact.state}")
    elif isinstance(fact, Attempt):
        _require(fact.kind in ATTEMPT_KINDS, f"no kind of attempt {fact.kind}")
    elif isinstance(fact, Result):
        digest = hashlib.blake2b(fact.output, digest_size=DIGEST_BYTES).digest()
        _require(fact.digest == digest, "the digest is not the output's")


def _check_spec(verified: Verified[Spec]) -> None:
    if verified.fact.task[:CREATOR_BYTES] != verified.author:
        raise RemoteError(Refusal.AUTHOR_MISMATCH, "a task id that names another creator")
    _require(verified.fact.max_attempts >= 1, "a task without an attempt")


def _check_claim(verified: Verified[Claim]) -> None:
    claim = verified.fact
    _require(claim.epoch >= 1, "epochs start at 1")
    cites = (claim.supersedes is not None, claim.because is not None)
    first = claim.epoch == 1
    _require(cites == (not first, not first), "exactly the epochs above 1 supersede, with a reason")
    rank = claim_rank(claim.task, claim.epoch, verified.author)
    _require(claim.rank == rank, "a rank that is not the hash of task, epoch and node")


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise RemoteError(Refusal.BROKEN_RULE, rule)
