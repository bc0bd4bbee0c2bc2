"""What a single fact about a task must satisfy, whatever else is known: the context-free rules.

A fact that breaks one of these is wrong for everybody and for ever, so it is refused. What depends
on other facts (is the claim valid, does this author count) is never refused here: it would make
the outcome depend on the order of arrival. `record.derive` decides that instead.
"""

import hashlib
from typing import Any

from mesh.core.claims.allocation import LOT_BITS, claim_rank
from mesh.core.claims.exchange_facts import Offer
from mesh.core.claims.facts import (
    LEFT_BYTES_MAX,
    Allocation,
    Attempt,
    AttemptKind,
    Blob,
    Cancel,
    CancelReason,
    Claim,
    ParentPolicy,
    Progress,
    ProgressState,
    Result,
    Spec,
)
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId, keyed_task_id
from mesh.core.wire.envelope import Verified

CREATOR_BYTES = 16
MS = 1000
DIGEST_BYTES = 32
PROGRESS_STATES = tuple(int(state) for state in ProgressState)
ATTEMPT_KINDS = tuple(int(kind) for kind in AttemptKind)
CANCEL_REASONS = tuple(int(reason) for reason in CancelReason)
PARENT_POLICIES = tuple(int(policy) for policy in ParentPolicy)
ALLOCATIONS = tuple(int(allocation) for allocation in Allocation)


def check_fact(verified: Verified[Any], mesh: MeshId) -> None:
    """Raise RemoteError(BROKEN_RULE or AUTHOR_MISMATCH) when a task fact can never count."""
    fact = verified.fact
    if isinstance(fact, Spec):
        _check_spec(verified, mesh)
    elif isinstance(fact, Claim):
        _check_claim(verified)
    elif isinstance(fact, Cancel):
        _require(fact.reason in CANCEL_REASONS, f"no reason to cancel {fact.reason}")
    elif isinstance(fact, Progress):
        _require(fact.state in PROGRESS_STATES, f"no progress state {fact.state}")
        _check_left(fact.checkpoint_blob, fact.checkpoint)
    elif isinstance(fact, Offer):
        _check_left(fact.context_blob, fact.context)
    elif isinstance(fact, Attempt):
        _require(fact.kind in ATTEMPT_KINDS, f"no kind of attempt {fact.kind}")
    elif isinstance(fact, Result):
        _check_result(fact)


def _check_spec(verified: Verified[Spec], mesh: MeshId) -> None:
    spec = verified.fact
    if spec.dedupe is not None:
        key, end_ms = spec.dedupe
        _require(end_ms % MS == 0, "a window that ends between two seconds")
        keyed = keyed_task_id(mesh, spec.kind, key, end_ms // MS)
        _require(spec.task == keyed, "a task id that is not its key's")
    elif spec.task[:CREATOR_BYTES] != verified.author:
        raise RemoteError(Refusal.AUTHOR_MISMATCH, "a task id that names another creator")
    _require(spec.max_attempts >= 1, "a task without an attempt")
    _require(spec.blob is None or not spec.payload, "a payload beside a blob")
    _require(spec.task not in spec.parents, "a task that waits for itself")
    _require(spec.parent_policy in PARENT_POLICIES, f"no parent policy {spec.parent_policy}")
    _require(spec.allocation in ALLOCATIONS, f"no allocation {spec.allocation}")
    _require(spec.limit is None or spec.limit[1] >= 1, "a limit without a slot")


def _check_left(blob: Blob | None, inline: bytes) -> None:
    if blob is not None:
        _require(not inline, "bytes beside a blob")
        _require(1 <= blob[1] <= LEFT_BYTES_MAX, f"a blob of {blob[1]} bytes for what is left")


def _check_result(result: Result) -> None:
    if result.size is None:
        digest = hashlib.blake2b(result.output, digest_size=DIGEST_BYTES).digest()
        _require(result.digest == digest, "the digest is not the output's")
    else:
        _require(result.size >= 1, "a blob of no bytes")
        _require(not result.output, "an output beside a blob")


def _check_claim(verified: Verified[Claim]) -> None:
    claim = verified.fact
    _require(claim.epoch >= 1, "epochs start at 1")
    cites = (claim.supersedes is not None, claim.because is not None)
    first = claim.epoch == 1
    _require(cites == (not first, not first), "exactly the epochs above 1 supersede, with a reason")
    rank = claim_rank(claim.task, claim.epoch, verified.author)
    lot = claim.rank % (1 << LOT_BITS)
    _require(lot == rank, "a rank whose lot is not the hash of task, epoch and node")


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise RemoteError(Refusal.BROKEN_RULE, rule)
