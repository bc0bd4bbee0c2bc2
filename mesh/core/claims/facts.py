"""The signed facts about tasks: immutable, one author each; the table is what they add up to."""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from mesh.core.identity import Boot, FactId, NodeId, TaskId
from mesh.core.wire.codec import Binary, Layout, Maybe, Text, Uint
from mesh.core.wire.envelope import Contexts, Fact

PAYLOAD_BYTES_MAX = 700
ERROR_BYTES_MAX = 600
NOTE_BYTES_MAX = 64


class ProgressState(IntEnum):
    """What the owner says about its work."""

    STARTED = 1
    RUNNING = 2
    SUSPENDED = 3
    RELEASED = 4


class AttemptKind(IntEnum):
    """How an attempt ended without a result."""

    FAILED = 1
    DECLINED = 2
    TIMED_OUT = 3
    LOST = 4


@dataclass(frozen=True, slots=True)
class TaskFact(Fact):
    """Anything said about one task; `task` is always the first field."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Spec(TaskFact):
    """There is something to do. Author: the node of the submitter (the id's creator)."""

    CONTEXT: ClassVar[str] = "spec/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Text(64, 1),
        Binary(0, PAYLOAD_BYTES_MAX),
        Uint(64),
        Uint(8),
        Uint(32),
        Maybe(Uint(32)),
        Binary(0, NOTE_BYTES_MAX),
    )
    kind: str
    payload: bytes
    created_ms: int
    """Wall time at the submitter, for display only."""
    max_attempts: int
    backoff_ms: int
    orphan_grace_ms: int | None
    note: bytes


@dataclass(frozen=True, slots=True)
class Claim(TaskFact):
    """The author's node wants to own the task; the greatest (epoch, rank, node, nonce) owns it.

    For epoch > 1 `supersedes` is the claim of epoch - 1 that ended, and `because` the fact that
    ended it.
    """

    CONTEXT: ClassVar[str] = "claim/1"
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
    )
    spec: FactId
    epoch: int
    rank: int
    boot: Boot
    agent: str
    nonce: bytes
    supersedes: FactId | None
    because: FactId | None


@dataclass(frozen=True, slots=True)
class Progress(TaskFact):
    """How the work on a claim goes; the greatest (boot, number) counts. Author: the claim's."""

    CONTEXT: ClassVar[str] = "progress/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Uint(64),
        Uint(32),
        Uint(8),
        Binary(0, 256),
    )
    claim: FactId
    boot: Boot
    number: int
    state: int
    note: bytes


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
    """The work is done. Author: the claim's. `digest` is BLAKE2b-256 of the output."""

    CONTEXT: ClassVar[str] = "result/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Binary(0, PAYLOAD_BYTES_MAX),
        Binary(32),
    )
    claim: FactId
    output: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Cancel(TaskFact):
    """Nobody shall do it. Author: the spec's, a claim's, or an admin."""

    CONTEXT: ClassVar[str] = "cancel/1"
    LAYOUT: ClassVar[Layout] = (Binary(28), Binary(32))
    spec: FactId


CLAIM_CONTEXTS: Contexts = {
    kind.CONTEXT: kind for kind in (Spec, Claim, Progress, Attempt, Result, Cancel)
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """A membership fact as claims see it: all boots of `subject` up to `ended_boot` are over.

    Made by the node from a verified leave, verdict or newer presence; `id` is that fact's id.
    """

    id: FactId
    subject: NodeId
    ended_boot: Boot
    local: bool
    kind: str
    """`left`, `verdict` or `restarted`."""
