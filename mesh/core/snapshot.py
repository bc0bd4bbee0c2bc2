"""Plain data about a node, for status, checkers and traces; reading it changes nothing."""

from dataclasses import dataclass
from enum import StrEnum

from mesh.core.identity import Address, Boot, FactId, Incarnation, NodeId, TaskId


class Status(StrEnum):
    """What one node believes of another."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DOWN = "down"
    DEAD = "dead"
    LEFT = "left"


class TaskState(StrEnum):
    """The words of the A2A protocol for the life of a task."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input-required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member as one node sees it."""

    id: NodeId
    name: str
    address: Address
    status: Status
    boot: Boot
    incarnation: Incarnation
    rtt_s: float | None
    tags: tuple[tuple[str, str], ...]
    is_self: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task as one node sees it; equal fact sets give equal views."""

    id: TaskId
    kind: str
    state: TaskState
    owner: NodeId | None
    agent: str
    token: str
    epoch: int
    starts: int
    attempts_used: int
    outcome: str | None
    result_token: str
    result_digest: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One node at one moment."""

    id: NodeId
    boot: Boot
    members: tuple[MemberView, ...]
    tasks: tuple[TaskView, ...]
    member_facts: tuple[FactId, ...]
    task_facts: tuple[FactId, ...]
    isolated: bool
    table_sizes: tuple[tuple[str, int, int], ...]
    """(name of the table, entries, cap)."""
