"""The signed facts about tasks: immutable, one author each; the table is what they add up to."""

import functools
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from mesh.core.identity import Boot, FactId, NodeId, TaskId
from mesh.core.wire.codec import (
    Binary,
    Group,
    Kind,
    Layout,
    Many,
    Maybe,
    Text,
    Uint,
    unpack_untrusted,
)
from mesh.core.wire.envelope import Contexts, Fact

PAYLOAD_BYTES_MAX = 700
ERROR_BYTES_MAX = 600
NOTE_BYTES_MAX = 64
CHECKPOINT_BYTES_MAX = 512
LEFT_BYTES_MAX = 65_536
"""A checkpoint or a context in a blob: nodes that did not ask for it fetch it."""
PARENTS_MAX = 16
CAPABILITIES_MAX = 8
KINDS_SHARED_MAX = 1024
LENGTHS_SHARED_MAX = 64

BLOB: Kind = Maybe(Group((Binary(32), Uint(40))))
"""(BLAKE2b-256 of the content, its size in bytes): what is too large to stand in a fact."""
CAPABILITIES: Kind = Many(Group((Text(32, 1), Text(64))), CAPABILITIES_MAX)
"""(tag, value) pairs, compared with the tags in a node's presence."""

Blob = tuple[bytes, int]
Capability = tuple[str, str]


@functools.lru_cache(maxsize=KINDS_SHARED_MAX)
def shared_kind(kind: str) -> str:
    """Return a kind as the same object for all tasks of that kind."""
    return kind


@functools.lru_cache(maxsize=LENGTHS_SHARED_MAX)
def shared_length(length_ms: int) -> int:
    """Return a length of time as the same object for all tasks: most take what is usual."""
    return length_ms


class ProgressState(IntEnum):
    """What the owner says about its work."""

    STARTED = 1
    RUNNING = 2
    SUSPENDED = 3
    RELEASED = 4


class Allocation(IntEnum):
    """Who among the willing gets a task."""

    PULL = 0
    OFFERED = 1
    AUCTION = 2


class ParentPolicy(IntEnum):
    """What becomes of a task when one that it waits for ends without a result."""

    CANCEL = 0
    RUN = 1
    WAIT = 2


class AttemptKind(IntEnum):
    """How an attempt ended without a result."""

    FAILED = 1
    DECLINED = 2
    TIMED_OUT = 3
    LOST = 4


class CancelReason(IntEnum):
    """Why nobody shall do a task any more."""

    ASKED = 0
    """Somebody wanted it so."""
    DEADLINE = 1
    QUEUE_TTL = 2
    PARENT = 3
    """A task that it waits for ended without a result."""
    CIRCLE = 4
    """It waits for itself."""


@dataclass(frozen=True, slots=True)
class TaskFact(Fact):
    """Anything said about one task; `task` is always the first field."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Spec(TaskFact):
    """There is something to do. Author: the node of the submitter (the id's creator).

    Times that end in `_ms` and say "wall" are wall clock since 1970 and only ever delay or end a
    task for people's sake; they never decide who owns it.
    """

    CONTEXT: ClassVar[str] = "spec/2"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Text(64, 1),
        Binary(0, PAYLOAD_BYTES_MAX),
        Uint(64),
        Uint(8),
        Uint(32),
        Maybe(Uint(32)),
        Binary(0, NOTE_BYTES_MAX),
        BLOB,
        Uint(8),
        Maybe(Uint(64)),
        Maybe(Uint(64)),
        Maybe(Uint(32)),
        Maybe(Uint(32)),
        Maybe(Uint(32)),
        Many(Binary(28), PARENTS_MAX),
        Uint(8),
        Maybe(Group((Text(64, 1), Uint(16)))),
        Maybe(Group((Text(64, 1), Uint(64)))),
        CAPABILITIES,
        CAPABILITIES,
        Uint(8),
        Uint(32),
        Uint(8),
        Maybe(Binary(28)),
    )
    kind: str
    payload: bytes
    created_ms: int
    """Wall time at the submitter, for display only."""
    max_attempts: int
    backoff_ms: int
    orphan_grace_ms: int | None
    note: bytes
    blob: Blob | None = None
    """The payload, where it is too large for `payload`."""
    priority: int = 0
    """Higher goes first."""
    not_before_ms: int | None = None
    """Wall."""
    deadline_ms: int | None = None
    """Wall: not begun after it, and given up at it."""
    queue_ttl_ms: int | None = None
    """How long it may wait for its first start after `created_ms`."""
    run_limit_ms: int | None = None
    """How long one attempt may take."""
    progress_limit_ms: int | None = None
    """How long an owner may be silent before its attempt counts as timed out."""
    parents: tuple[TaskId, ...] = ()
    """Tasks that must be over first."""
    parent_policy: int = ParentPolicy.CANCEL
    limit: tuple[str, int] | None = None
    """(key, slots): of all tasks with this key so many run at once."""
    dedupe: tuple[str, int] | None = None
    """(key, end of its window in wall ms): one task per key and window."""
    requires: tuple[Capability, ...] = ()
    prefers: tuple[Capability, ...] = ()
    allocation: int = Allocation.PULL
    bid_window_ms: int = 0
    """How long bids are awaited in an auction."""
    verify: int = 0
    """How many other agents must accept a result before it counts."""
    reopens: TaskId | None = None
    """The ended task that an operator opened again as this one."""

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Return the fact behind foreign bytes; what many tasks have alike is one object."""
        task, kind, payload, created_ms, max_attempts, backoff_ms, *rest = unpack_untrusted(
            data, cls.LAYOUT
        )
        backoff_ms = shared_length(backoff_ms)
        return cls(task, shared_kind(kind), payload, created_ms, max_attempts, backoff_ms, *rest)


@dataclass(frozen=True, slots=True)
class Claim(TaskFact):
    """The author's node wants to own the task; the greatest (epoch, rank, node, nonce) owns it.

    For epoch > 1 `supersedes` is the claim of epoch - 1 that ended, and `because` the fact that
    ended it.
    """

    CONTEXT: ClassVar[str] = "claim/2"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Uint(32),
        Uint(64),
        Uint(64),
        Text(64, 1),
        Binary(8),
        Maybe(Binary(32)),
        Maybe(Binary(32)),
        Maybe(Binary(32)),
        Maybe(Uint(16)),
    )
    spec: FactId
    epoch: int
    rank: int
    boot: Boot
    agent: str
    nonce: bytes
    supersedes: FactId | None
    because: FactId | None
    presence: FactId | None = None
    """The claimant's presence whose tags meet what the spec requires."""
    slot: int | None = None
    """Which of the slots of the spec's limit is claimed along with the task."""


@dataclass(frozen=True, slots=True)
class Progress(TaskFact):
    """How the work on a claim goes; the greatest (boot, number) counts. Author: the claim's."""

    CONTEXT: ClassVar[str] = "progress/2"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Uint(64),
        Uint(32),
        Uint(8),
        Binary(0, 256),
        Binary(0, CHECKPOINT_BYTES_MAX),
        BLOB,
    )
    claim: FactId
    boot: Boot
    number: int
    state: int
    note: bytes
    checkpoint: bytes = b""
    """Where a later attempt may go on from; kept beyond the claim."""
    checkpoint_blob: Blob | None = None


@dataclass(frozen=True, slots=True)
class Attempt(TaskFact):
    """An attempt ended without a result. Author: the claim's."""

    CONTEXT: ClassVar[str] = "attempt/1"
    LAYOUT: ClassVar[Layout] = (Binary(28), Binary(32), Uint(8), Binary(0, ERROR_BYTES_MAX))
    claim: FactId
    kind: int
    error: bytes


@dataclass(frozen=True, slots=True)
class Result(TaskFact):
    """The work is done. Author: the claim's. `digest` is BLAKE2b-256 of the output.

    What is too large for `output` is held as a blob: then `output` is empty, and `digest` and
    `size` name the content.
    """

    CONTEXT: ClassVar[str] = "result/2"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Binary(0, PAYLOAD_BYTES_MAX),
        Binary(32),
        Maybe(Uint(40)),
    )
    claim: FactId
    output: bytes
    digest: bytes
    size: int | None = None
    """Bytes of the blob; None: the output stands in the fact."""


@dataclass(frozen=True, slots=True)
class Cancel(TaskFact):
    """Nobody shall do it. Author: the spec's, a claim's, or an admin."""

    CONTEXT: ClassVar[str] = "cancel/2"
    LAYOUT: ClassVar[Layout] = (Binary(28), Binary(32), Uint(8))
    spec: FactId
    reason: int = CancelReason.ASKED


CLAIM_CONTEXTS: Contexts = {
    kind.CONTEXT: kind for kind in (Spec, Claim, Progress, Attempt, Result, Cancel)
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """A membership fact as claims see it: all boots of `subject` up to `ended_boot` are over.

    Made by the node from a verified leave, verdict, newer presence or revocation; `id` is that
    fact's id.
    """

    id: FactId
    subject: NodeId
    ended_boot: Boot
    local: bool
    """Whether it says itself that no majority stands behind it."""
    kind: str
    """`left`, `verdict`, `restarted` or `revoked`."""
    tags: tuple[Capability, ...] = ()
    """Of a presence: what its author says it has."""
    accusers: int = 0
    """Of a verdict: how many members have signed it."""
