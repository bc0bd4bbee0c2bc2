"""Which tasks a client asks to see."""

from collections.abc import Callable
from dataclasses import dataclass

from mesh.core.claims.record import Record
from mesh.core.claims.views import Shown
from mesh.core.commands import TaskList
from mesh.core.errors import LocalError
from mesh.core.identity import NodeId
from mesh.core.snapshot import TaskState

MS = 1000
DEAD_LETTER = {"dead": TaskState.FAILED.value}
"""Another word for a state: the tasks whose attempts are used up."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The wishes of one `task.list`; raises LocalError for a state that no task ever has."""

    wanted: TaskList
    now_ms: int
    name: Callable[[NodeId], str]

    def __post_init__(self) -> None:
        state = self.state
        if state is not None and state not in set(TaskState):
            raise LocalError(
                "unknown_state",
                f"no task is ever {self.wanted.state!r}",
                f"ask for one of {', '.join(TaskState)}",
            )

    @property
    def state(self) -> str | None:
        """The wanted state, by its own name: dead letters are failed tasks."""
        return DEAD_LETTER.get(self.wanted.state or "", self.wanted.state)

    def shows(self, record: Record, shown: Shown | None) -> bool:
        """Whether a task is among those that are asked for."""
        wanted, spec = self.wanted, record.spec
        if spec is None:
            return False
        if wanted.kind is not None and spec.fact.kind != wanted.kind:
            return False
        if self.state is not None and record.state.value != self.state:
            return False
        if wanted.duplicates and record.starts <= 1 and not record.superseded:
            return False
        return self._is_recent(record, shown) and self._has_owner(record) and self._has_key(record)

    def _is_recent(self, record: Record, shown: Shown | None) -> bool:
        if self.wanted.since_s is None:
            return True
        assert record.spec is not None
        changed_ms = record.spec.fact.created_ms if shown is None else shown.updated_ms
        return changed_ms >= self.now_ms - self.wanted.since_s * MS

    def _has_owner(self, record: Record) -> bool:
        """Whether the owner is the wanted node, by name or the start of its id, or agent."""
        wanted, owner = self.wanted.owner, record.owner
        if wanted is None:
            return True
        if owner is None or record.state is not TaskState.WORKING:
            return False
        node = owner.fact.author
        is_node = self.name(node) == wanted or node.hex().startswith(wanted)
        return is_node or owner.fact.fact.agent == wanted

    def _has_key(self, record: Record) -> bool:
        """Whether the key of its limit, or its dedupe key, is the wanted one."""
        if self.wanted.key is None:
            return True
        assert record.spec is not None
        spec = record.spec.fact
        return self.wanted.key in [pair[0] for pair in (spec.limit, spec.dedupe) if pair]
