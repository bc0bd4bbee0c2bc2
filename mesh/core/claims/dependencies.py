"""Tasks that wait for others: which, whether there is hope, and who is to hear of an end.

A task names its parents by id when it is submitted, and only ids that are known then. So what
people submit cannot run in circles; only two submits of keyed tasks on two sides of a split can
make a circle, which is found when the sides meet, and ended.
"""

from dataclasses import dataclass, field

from mesh.core.claims.facts import ParentPolicy, Spec
from mesh.core.claims.record import Record
from mesh.core.claims.table import Table
from mesh.core.claims.views import TERMINAL
from mesh.core.identity import FactId, TaskId
from mesh.core.snapshot import TaskState

ANCESTORS_MAX = 4096
"""So many are looked at to find a circle; one through more of them is left to its deadline."""


def blocking(table: Table, spec: Spec) -> list[tuple[TaskId, TaskState | None]]:
    """Return the parents that still hold a task back, with their state; None: not known here."""
    found: list[tuple[TaskId, TaskState | None]] = []
    for parent in spec.parents:
        record = table.record(parent)
        if record is None and parent in table.forgotten:
            continue
        state = None if record is None or record.spec is None else record.state
        if state is TaskState.COMPLETED:
            continue
        if spec.parent_policy == ParentPolicy.RUN and state in TERMINAL:
            continue
        found.append((parent, state))
    return found


def is_hopeless(table: Table, spec: Spec) -> bool:
    """Whether a parent has ended without a result, and the task shall then not be done."""
    return spec.parent_policy == ParentPolicy.CANCEL and any(
        state in TERMINAL for _, state in blocking(table, spec)
    )


def reaches(table: Table, parents: tuple[TaskId, ...], task: TaskId) -> bool:
    """Whether a task is among the parents, their parents, and so on."""
    seen: dict[TaskId, None] = dict.fromkeys(parents)
    to_visit = list(seen)
    while to_visit and len(seen) <= ANCESTORS_MAX:
        if task in seen:
            return True
        record = table.record(to_visit.pop())
        if record is None or record.spec is None:
            continue
        for parent in record.spec.fact.parents:
            if parent not in seen:
                seen[parent] = None
                to_visit.append(parent)
    return task in seen


def is_circular(table: Table, spec: Spec) -> bool:
    """Whether a task waits for itself; only keyed tasks can, their ids being known beforehand."""
    return spec.dedupe is not None and reaches(table, spec.parents, spec.task)


@dataclass(slots=True)
class Dependents:
    """What of each parent was passed on already: how it ended, and what itself it waits for."""

    table: Table
    _passed_on: dict[TaskId, tuple[TaskState, FactId | None]] = field(default_factory=dict)

    def forget(self, task: TaskId) -> None:
        """A task is let go of."""
        self._passed_on.pop(task, None)

    def touched_by(self, record: Record) -> tuple[TaskId, ...]:
        """Return the tasks to look at again because of what is new about this one."""
        children = self.table.children_of(record.task)
        state = record.state if record.state in TERMINAL else TaskState.SUBMITTED
        spec = None if record.spec is None else record.spec.id
        if not children or self._passed_on.get(record.task) == (state, spec):
            return ()
        self._passed_on[record.task] = (state, spec)
        return children
