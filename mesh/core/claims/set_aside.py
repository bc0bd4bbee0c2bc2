"""Tasks that their creator has forgotten although they look open here: kept, shown, never run.

That happens to a node that was away while a task was done and forgotten; it also happens when a
creator forgets what it should not have. The difference is for people to see.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mesh.core.claims.exchange_views import moment
from mesh.core.claims.facts import Spec
from mesh.core.claims.views import Views, output_view
from mesh.core.effects import Json, Row
from mesh.core.identity import NodeId, TaskId, task_text
from mesh.core.instants import Now
from mesh.core.wire.envelope import Verified

ASIDE_ROW = "aside"
STATE = "forget_conflict"


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What was to be done, by whose wish, and when it was set aside."""

    kind: str
    payload: bytes
    author: bytes
    created_ms: int
    aside_ms: int


@dataclass(slots=True)
class SetAside:
    """At most `high` tasks; the oldest beyond are dropped."""

    high: int
    unreadable: int = 0
    _kept: dict[TaskId, Kept] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._kept)

    def restore(self, rows: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take back what the disk holds."""
        for key, value in rows.get(ASIDE_ROW, {}).items():
            try:
                self._kept[TaskId(key)] = msgspec.msgpack.decode(value, type=Kept)
            except msgspec.MsgspecError:
                self.unreadable += 1

    def add(self, spec: Verified[Spec], now: Now) -> list[Row]:
        """Keep a task; returns the rows to write."""
        fact = spec.fact
        wall_ms = max(0, int(now.wall * 1000))
        kept = Kept(fact.kind, fact.payload, spec.author, fact.created_ms, wall_ms)
        self._kept[fact.task] = kept
        rows = [Row(ASIDE_ROW, fact.task, msgspec.msgpack.encode(kept))]
        if len(self._kept) > self.high:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            rows.append(Row(ASIDE_ROW, oldest, None))
        return rows

    def views(self, views: Views) -> list[Json]:
        """Return all of them, oldest first."""
        return [self._view(task, kept, views) for task, kept in self._kept.items()]

    def _view(self, task: TaskId, kept: Kept, views: Views) -> dict[str, Any]:
        payload = output_view(kept.payload)
        return {
            "id": task_text(task),
            "kind": kept.kind,
            "state": STATE,
            "payload": payload["output"],
            "text": payload["text"],
            "by": kept.author.hex(),
            "name": views.name(NodeId(kept.author)),
            "created_at": moment(kept.created_ms),
            "updated_at": moment(kept.aside_ms),
        }
