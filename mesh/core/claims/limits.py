"""A limit per key: of all tasks with the key only so many run at once.

Picture a rack of numbered hooks, one per slot. Whoever claims a task hangs its claim on a free hook
in the same fact. When two claims meet on one hook, the one whose work has begun stays; if neither
has begun, the greater lot stays, and the other owner gives its task back, which costs no attempt.
So the limit is exact as long as claimants hear of each other before they start, which the settle
window is for. On two sides of a split both may have begun: both go on, and the excess is shown.

Hooks never decide whether a claim counts. They tell honest owners whether to go ahead.
"""

from dataclasses import dataclass, field

from mesh.core.claims.backlog import Backlog, Key
from mesh.core.claims.facts import Claim, Spec
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.claims.scheduling import order_key
from mesh.core.claims.table import Table
from mesh.core.identity import NodeId, TaskId
from mesh.core.wire.envelope import Verified

OPEN_AHEAD = 8
"""So many tasks of a key are listed beyond the free slots; the others wait their turn unlisted."""

Standing = tuple[bool, int, NodeId, TaskId]


def standing(record: Record) -> Standing:
    """Return what decides between two claims on one slot; the greater stays."""
    assert record.owner is not None
    claim = record.owner.fact
    return record.owner.started, claim.fact.rank, claim.author, record.task


def slot_of(record: Record) -> int | None:
    """Return the slot that a task takes up: the one its owner claimed, while it is worked on."""
    if record.owner is None or not record.is_worked_on:
        return None
    return record.owner.fact.fact.slot


def holders(table: Table, key: str) -> dict[int, list[Record]]:
    """Return the tasks on each slot of a key, the one that stays first."""
    found: dict[int, list[Record]] = {}
    for task in table.limited_by(key):
        record = table.record(task)
        slot = None if record is None else slot_of(record)
        if record is not None and slot is not None:
            found.setdefault(slot, []).append(record)
    for records in found.values():
        records.sort(key=standing, reverse=True)
    return found


def free_slots(table: Table, spec: Spec) -> list[int]:
    """Return the slots of a task's limit on which no other hangs; empty without a limit.

    Its own counts as free: whoever takes over from a dead owner takes its slot as well.
    """
    if spec.limit is None:
        return []
    key, slots = spec.limit
    taken = {
        slot: None
        for slot, records in holders(table, key).items()
        if any(record.task != spec.task for record in records)
    }
    return [slot for slot in range(slots) if slot not in taken]


def rival(table: Table, record: Record) -> Record | None:
    """Return the task that stays on a slot instead of this one; None: this one stays."""
    if record.spec is None or record.spec.fact.limit is None or record.owner is None:
        return None
    slot = slot_of(record)
    if slot is None or record.owner.started:
        return None
    first = holders(table, record.spec.fact.limit[0])[slot][0]
    return None if first.task == record.task else first


def outhung(table: Table, verified: Verified[Claim]) -> list[Record]:
    """Return the tasks of others that a claim has just pushed off its slot."""
    record = table.record(verified.fact.task)
    if record is None or record.spec is None or record.spec.fact.limit is None:
        return []
    slot = slot_of(record)
    if slot is None or record.owner is None or record.owner.fact.id != verified.id:
        return []
    first, *others = holders(table, record.spec.fact.limit[0])[slot]
    if first.task != record.task:
        return []
    return [other for other in others if other.owner is not None and not other.owner.started]


def running(table: Table, key: str) -> int:
    """Return how many tasks of a key are at work."""
    records = [record for on_slot in holders(table, key).values() for record in on_slot]
    return sum(record.owner is not None and record.owner.started for record in records)


@dataclass(slots=True)
class Limits:
    """Which tasks of limited keys this node lists, so that thousands may wait for one slot."""

    ledger: Ledger
    _waiting: Backlog = field(default_factory=Backlog)
    _places: dict[TaskId, tuple[str, Key]] = field(default_factory=dict)
    _listed: dict[str, dict[TaskId, None]] = field(default_factory=dict)
    _key_of: dict[TaskId, str] = field(default_factory=dict)
    """Of the listed ones."""
    _passed_on: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    """Of each key the slots taken and the tasks listed when others were last looked at."""

    def admit(self, task: TaskId, spec: Spec) -> bool:
        """Whether to list a task that may be claimed as far as all else goes."""
        if spec.limit is None:
            return True
        key = spec.limit[0]
        listed = self._listed.get(key, {})
        free = len(free_slots(self.ledger.parts.table, spec))
        has_room = task in listed or len(listed) < free + OPEN_AHEAD
        if free and (has_room or self.ledger.waiters.of_task(task)):
            self._stop_waiting(task)
            self._listed.setdefault(key, {})[task] = None
            self._key_of[task] = key
            return True
        self.forget(task)
        place = (key, order_key(task, spec, self.ledger.parts.params))
        self._places[task] = place
        self._waiting.add(*place)
        return False

    def forget(self, task: TaskId) -> None:
        """A task is not to be listed, or is let go of."""
        if not self._places and not self._key_of:
            return
        self._stop_waiting(task)
        key = self._key_of.pop(task, None)
        if key is not None:
            del self._listed[key][task]
            if not self._listed[key]:
                del self._listed[key]

    def _stop_waiting(self, task: TaskId) -> None:
        place = self._places.pop(task, None)
        if place is not None:
            self._waiting.remove(*place)

    def touched_by(self, record: Record) -> list[TaskId]:
        """Return the tasks to look at again because a slot of their key may have changed hands."""
        if record.spec is None or record.spec.fact.limit is None:
            return []
        spec = record.spec.fact
        assert spec.limit is not None
        key, slots = spec.limit
        listed = self._listed.get(key, {})
        taken = tuple(sorted(holders(self.ledger.parts.table, key)))
        if self._passed_on.get(key) == (taken, len(listed)):
            return []
        self._passed_on[key] = (taken, len(listed))
        if not taken and not listed and not self._waiting.first(key, 1):
            del self._passed_on[key]
        free = slots - sum(slot < slots for slot in taken)
        if free <= 0:
            return [task for task in listed if task != record.task]
        room = max(0, free + OPEN_AHEAD - len(listed))
        return [task for _, task in self._waiting.first(key, room) if task != record.task]
