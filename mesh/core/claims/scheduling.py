"""When a task may begin and when it is too late: order, wall times, and what it waits for.

Picture a queue in which a higher priority stands further ahead by a fixed time: one step of it is
worth so many seconds of waiting. So the order follows from the spec alone, nobody has to re-sort a
queue that grows older, and what waits long enough comes before anything newer, whatever its
priority.

Wall times are for people: they delay a task, or end it. They never decide who owns one.
"""

from mesh.core.claims.backlog import Key
from mesh.core.claims.facts import CancelReason, Spec
from mesh.core.claims.record import Record
from mesh.core.identity import TaskId
from mesh.core.instants import Instant, Now, later
from mesh.core.params import ClaimParams
from mesh.core.snapshot import TaskState

MS = 1000


def order_key(task: TaskId, spec: Spec, params: ClaimParams) -> Key:
    """Return a task's place among those that may be claimed; the least goes first."""
    ready_ms = max(spec.created_ms, spec.not_before_ms or 0)
    if not spec.priority:
        return ready_ms, task  # the spec's own number, not another one as large
    return ready_ms - spec.priority * round(params.priority_step_s * MS), task


def instant_of(now: Now, wall_ms: int) -> Instant:
    """Return the instant at which the wall clock will show a time, if nobody sets it meanwhile."""
    return later(now.instant, wall_ms / MS - now.wall)


def ready_at(now: Now, spec: Spec) -> Instant:
    """Return from when on a task may be claimed, as far as its not-before goes."""
    return now.instant if spec.not_before_ms is None else instant_of(now, spec.not_before_ms)


def too_late_at(
    now: Now, record: Record, params: ClaimParams
) -> tuple[Instant, CancelReason] | None:
    """Return when a task's time is up, and which limit says so; None: never, as things stand.

    A task with a dedupe key has a deadline in any case: later, nobody may know any more that it is
    finished and forgotten.
    """
    assert record.spec is not None
    spec = record.spec.fact
    ends = []
    if spec.deadline_ms is not None:
        ends.append((instant_of(now, spec.deadline_ms), CancelReason.DEADLINE))
    if spec.dedupe is not None:
        end_ms = spec.dedupe[1] + round(params.key_keep_s * MS)
        ends.append((instant_of(now, end_ms), CancelReason.DEADLINE))
    is_waiting = record.state is TaskState.SUBMITTED and not record.starts
    if spec.queue_ttl_ms is not None and is_waiting:
        end_ms = spec.created_ms + spec.queue_ttl_ms
        ends.append((instant_of(now, end_ms), CancelReason.QUEUE_TTL))
    return min(ends, default=None)
