"""When may a claim of somebody else be superseded: never because time has passed, always by a fact.

The claims of a node that left or was removed are free at once. After a verdict its agents may still
live, so there is a grace; a node that came back gets a grace in which its agents re-attach. A
released or failed claim needs none of this: its own fact is the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from mesh.core.claims.exchange_facts import Release
from mesh.core.claims.facts import AttemptKind, Evidence, Spec
from mesh.core.claims.record import ClaimView
from mesh.core.identity import Boot, FactId, NodeId, TaskId
from mesh.core.instants import Instant, later
from mesh.core.params import ClaimParams
from mesh.core.wire.envelope import Verified

JITTER_SHARE = 0.25
BACKOFF_DOUBLINGS_MAX = 32


class Ended(Protocol):
    """What membership knows about the end of a node's boot, with the fact that proves it."""

    @property
    def fact(self) -> Verified[Any]:
        """The leave, the verdict, the newer presence or the revocation."""
        ...

    @property
    def subject(self) -> NodeId:
        """Whose boots are over."""
        ...

    @property
    def ended_boot(self) -> Boot:
        """This boot and all before it are over."""
        ...

    @property
    def kind(self) -> str:
        """`left`, `verdict`, `restarted` or `revoked`."""
        ...

    @property
    def since(self) -> Instant:
        """When this node learned of it."""
        ...


@dataclass(frozen=True, slots=True)
class Graces:
    """How long the agents of an ended node keep their claims."""

    orphan_s: float
    """After a verdict, unless the task says otherwise."""
    resume_s: float
    """After a restart."""


def session_boot(view: ClaimView) -> Boot:
    """Return the boot in which the claim was last known to live: of its claim or its progress."""
    boot = view.fact.fact.boot
    return boot if view.progress is None else max(boot, view.progress.fact.boot)


def free_at(ended: Ended, spec: Spec, graces: Graces) -> Instant:
    """Return when a claim may be superseded whose owner's boot has ended."""
    if ended.kind in {"left", "revoked"}:
        return ended.since
    if ended.kind == "restarted":
        return later(ended.since, graces.resume_s)
    own_ms = spec.orphan_grace_ms
    return later(ended.since, graces.orphan_s if own_ms is None else own_ms / 1000)


def evidence_of(ended: Ended) -> Evidence:
    """Return the reason as the table wants it: what the fact says, which is the same everywhere."""
    fact = ended.fact.fact
    return Evidence(
        ended.fact.id,
        ended.subject,
        ended.ended_boot,
        local=getattr(fact, "local", False),
        kind=ended.kind,
        tags=getattr(fact, "tags", ()),
        accusers=len(getattr(fact, "accusations", ())),
    )


def retry_delay_s(view: ClaimView, spec: Spec, attempts_used: int, params: ClaimParams) -> float:
    """Return the wait before the next attempt: doubled each time, with a jitter all compute alike.

    Only failures cost a wait; an attempt that was lost or declined says nothing about the task.
    """
    attempt = view.attempt
    if attempt is None or attempt.fact.kind not in {AttemptKind.FAILED, AttemptKind.TIMED_OUT}:
        return 0.0
    doublings = min(max(attempts_used, 1) - 1, BACKOFF_DOUBLINGS_MAX)
    delay_s = spec.backoff_ms / 1000 * float(1 << doublings)
    spread = 1 - JITTER_SHARE * jitter(view.fact.fact.task, view.fact.fact.epoch)
    return min(delay_s, params.backoff_high_s) * spread


def decline_delay_s(
    views: Sequence[ClaimView], node: NodeId, spec: Spec, params: ClaimParams
) -> float:
    """Return how long a node leaves a declined task to the others: doubled with each decline there.

    Whoever has not declined it may have it at once.
    """
    declined = [
        view
        for view in views
        if view.valid
        and view.attempt is not None
        and view.attempt.fact.kind == AttemptKind.DECLINED
    ]
    own = sum(view.fact.author == node for view in declined)
    if not own or declined[-1].fact.id != views[-1].fact.id:
        return 0.0
    doublings = min(own - 1, BACKOFF_DOUBLINGS_MAX)
    last = declined[-1].fact.fact
    spread = 1 - JITTER_SHARE * jitter(last.task, last.epoch)
    return min(spec.backoff_ms / 1000 * float(1 << doublings), params.backoff_high_s) * spread


def put_off_s(releases: Sequence[Verified[Release]], claim: FactId, wall_s: float) -> float:
    """Return how long a task rests that its owner has put off when it gave it back."""
    until_ms = [
        release.fact.not_before_ms
        for release in releases
        if release.fact.claim == claim and release.fact.not_before_ms is not None
    ]
    return max(max(until_ms, default=0) / 1000 - wall_s, 0.0)


def jitter(task: TaskId, epoch: int) -> float:
    """Return a number in [0, 1) that depends on the task and the epoch alone."""
    digest = blake2b(b"mesh-backoff-v1\0" + task + epoch.to_bytes(4, "big"), digest_size=4)
    return int.from_bytes(digest.digest(), "big") / 2**32
