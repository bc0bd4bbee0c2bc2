"""The claim table: every task fact that is held, the record of each task, and some indexes.

Adding a fact only files it and marks its task; records and indexes are brought up to date when
somebody asks. What a fact adds up to with others is decided in `record.derive` alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mesh.core.claims.exchange_facts import Release
from mesh.core.claims.facts import Cancel, Claim, Evidence, Progress, TaskFact
from mesh.core.claims.forgotten import FORGETS_MAX, Forgotten
from mesh.core.claims.held_back import HeldBack
from mesh.core.claims.pruning import superseded
from mesh.core.claims.record import Record, derive, history
from mesh.core.claims.rules import check_fact
from mesh.core.claims.task_facts import TaskFacts, ground_of
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, MeshId, NodeId, TaskId
from mesh.core.params import ClaimParams
from mesh.core.wire.envelope import Verified


def _reason(verified: Verified[Any]) -> FactId | None:
    return verified.fact.because if isinstance(verified.fact, Claim) else None


def _cites(verified: Verified[Any], gone: Mapping[FactId, None]) -> bool:
    fact = verified.fact
    return isinstance(fact, Claim) and (fact.because in gone or fact.presence in gone)


class _Entry(TaskFacts):
    """One task: its facts, and its record once asked for."""

    __slots__ = ("record",)

    def __init__(self, task: TaskId) -> None:
        super().__init__(task)
        self.record: Record | None = None
        """Of before the last change, by which it stands in the indexes, while that is not read."""


_Place = TypeVar("_Place")
_Standing = tuple[NodeId | None, str | None, tuple[TaskId, ...]]
"""Where a task is in the indexes: under its owner and its limited key, and below its parents."""
_NOWHERE: _Standing = (None, None, ())


def _standing(record: Record) -> _Standing:
    spec = record.spec
    parents = () if spec is None else spec.fact.parents
    if not record.is_worked_on:
        return None, None, parents
    assert record.owner is not None
    assert spec is not None
    key = None if spec.fact.limit is None else spec.fact.limit[0]
    return record.owner.fact.author, key, parents


def _move(
    index: dict[_Place, dict[TaskId, None]],
    task: TaskId,
    before: _Place | None,
    now: _Place | None,
) -> None:
    """Move a task from one place of an index to another; None is no place."""
    if before is not None:
        filed = index[before]
        del filed[task]
        if not filed:
            del index[before]
    if now is not None:
        index.setdefault(now, {})[task] = None


class Table:
    """All tasks that one node knows of.

    Bounds: `tasks_max` tasks and as many pieces of evidence, `facts_per_author_max` facts of one
    author in all and `held_back_max` of them waiting for what they are about,
    `task_facts_per_author_max` about one task and `claims_per_epoch_max` claims in one epoch.
    Beyond a bound the newest is refused. What one author may say it has reached first in its own
    table, so an honest author is refused by itself and never by half of the mesh.
    """

    def __init__(
        self, mesh: MeshId, params: ClaimParams, is_admin: Callable[[NodeId], bool]
    ) -> None:
        self.mesh = mesh
        self._params = params
        self._is_admin = is_admin
        self._entries: dict[TaskId, _Entry] = {}
        self._evidence: dict[FactId, Evidence] = {}
        self._counts: dict[NodeId, int] = {}
        self._held_back = HeldBack(params.held_back_max)
        self._stale: dict[TaskId, _Entry] = {}
        self._owned: dict[NodeId, dict[TaskId, None]] = {}
        self._limited: dict[str, dict[TaskId, None]] = {}
        self._children: dict[TaskId, dict[TaskId, None]] = {}
        self._with_cancels: dict[TaskId, None] = {}
        self._reasons: dict[FactId, int] = {}
        """How many held claims cite a piece of evidence, or anything else, as their reason."""
        self.forgotten = Forgotten()

    # ---- facts

    def check(self, verified: Verified[TaskFact]) -> None:
        """Raise RemoteError(BROKEN_RULE or AUTHOR_MISMATCH) when a fact can never count."""
        check_fact(verified, self.mesh)

    def add(self, verified: Verified[Any]) -> tuple[TaskId, ...]:
        """Hold a checked fact; return the tasks whose record may have changed.

        A fact that is held already changes nothing. Raises RemoteError(OVER_CAP), and FORGOTTEN
        for a task that is over and of which nothing is held any more.
        """
        return self._add(verified, bounded=True)

    def restore(self, verified: Verified[Any]) -> None:
        """Hold a checked fact from this node's own disk; raises RemoteError(OVER_CAP).

        Rows come back in any order, so more facts than `held_back_max` may wait meanwhile.
        """
        self._add(verified, bounded=False)

    def add_evidence(self, evidence: Evidence) -> tuple[TaskId, ...]:
        """Hold what proves that boots of a node are over; return the tasks that cite it.

        Raises RemoteError(OVER_CAP), except for evidence that a held claim waits for.
        """
        known = self._evidence.get(evidence.id)
        if known is not None:
            assert known == evidence
            return ()
        if len(self._evidence) >= self._params.tasks_max and not any(
            isinstance(waiter.fact, Claim) and waiter.fact.because == evidence.id
            for waiter in self._held_back.waiters(evidence.id)
        ):
            raise RemoteError(Refusal.OVER_CAP, "no room for evidence that no claim cites")
        self._evidence[evidence.id] = evidence
        return self._release_waiters(evidence.id)

    def evidence(self, id_: FactId) -> Evidence | None:
        """Return the evidence with this id, when it is held."""
        return self._evidence.get(id_)

    def with_cancels(self) -> tuple[TaskId, ...]:
        """Return the tasks with a word that counts or not by its author's rank."""
        return tuple(self._with_cancels)

    def recheck(self, tasks: Iterable[TaskId]) -> list[TaskId]:
        """Read tasks again after the set of admins has changed; return those that it changed."""
        changed = []
        for task in tasks:
            entry = self._entries.get(task)
            if entry is None:
                continue
            before = self.record(task)
            self._mark(entry)
            if self.record(task) != before:
                changed.append(task)
        return changed

    def withdraw(self, gone: Iterable[Verified[Any]]) -> list[TaskId]:
        """Let go of facts whose authors count no more; return the tasks touched.

        What others have said stays, and waits again for what it cites.
        """
        by_task: dict[TaskId, dict[FactId, None]] = {}
        for verified in gone:
            by_task.setdefault(verified.fact.task, {})[verified.id] = None
        for task, ids in by_task.items():
            if task in self._entries:
                self._withdraw_from(self._entries[task], ids)
        return list(by_task)

    def withdraw_evidence(
        self, gone: Mapping[FactId, None], tasks: Iterable[TaskId]
    ) -> list[TaskId]:
        """Let go of evidence; return those of these tasks that cite it."""
        for id_ in gone:
            self._evidence.pop(id_, None)
        touched = []
        for task in tasks:
            entry = self._entries.get(task)
            if entry is not None and any(_cites(fact, gone) for fact in entry):
                touched.append(task)
                self._withdraw_from(entry, {})
        return touched

    def _withdraw_from(self, entry: _Entry, gone: Mapping[FactId, None]) -> None:
        task = entry.task
        for verified in entry:
            if verified.id in gone:
                self._counts[verified.author] -= 1
                self._drop_reason(verified)
                if self._held_back.waits(verified.id):
                    self._held_back.release(verified)
        entry.withdraw(gone)
        for verified in entry:
            missing = entry.missing(verified, self._evidence)
            if missing and self._held_back.waits(verified.id):
                # It may wait for more than before.
                self._held_back.release(verified)
            if missing:
                self._held_back.hold(verified, missing)
        self._mark(entry)
        if not entry:
            self._derive(entry)
            del self._entries[task]
            self._with_cancels.pop(task, None)

    def forget(self, task: TaskId) -> tuple[FactId, ...]:
        """Let go of a task; return the evidence that was held for its sake alone, now gone too."""
        entry = self._entries[task]
        reasons: dict[FactId, None] = {}
        for verified in entry:
            reason = _reason(verified)
            if reason is not None:
                reasons[reason] = None
        self._withdraw_from(entry, {verified.id: None for verified in entry})
        idle = [id_ for id_ in reasons if id_ in self._evidence and id_ not in self._reasons]
        for id_ in idle:
            del self._evidence[id_]
        return tuple(idle)

    def __len__(self) -> int:
        """Return how many tasks are held."""
        return len(self._entries)

    # ---- reading

    def record(self, task: TaskId) -> Record | None:
        """Return what the facts about a task add up to; None when none is held."""
        entry = self._entries.get(task)
        if entry is None:
            return None
        record = entry.record
        return self._derive(entry) if record is None or task in self._stale else record

    def tasks(self) -> Iterator[TaskId]:
        """Return all tasks in the order in which they were first heard of."""
        return iter(tuple(self._entries))

    def facts_of(self, task: TaskId) -> tuple[Verified[Any], ...]:
        """Return the facts about a task: specs, each claim with what cites it by token, cancels."""
        entry = self._entries.get(task)
        return history(entry) if entry else ()

    def holds(self, verified: Verified[Any]) -> bool:
        """Whether a fact about a task is held."""
        entry = self._entries.get(verified.fact.task)
        return entry is not None and verified.id in entry

    def waiting(self) -> tuple[Verified[Any], ...]:
        """Return the facts that wait for what they cite."""
        return self._held_back.all()

    def superseded(self, task: TaskId) -> list[Verified[Progress]]:
        """Return what is held about a task and need not be."""
        entry = self._entries.get(task)
        return [] if entry is None else superseded(entry)

    def owned_by(self, node: NodeId) -> Iterator[TaskId]:
        """Return the tasks in state working whose owner is this node."""
        self._refresh()
        return iter(tuple(self._owned.get(node, ())))

    def children_of(self, task: TaskId) -> tuple[TaskId, ...]:
        """Return the tasks whose effective spec waits for this one."""
        self._refresh()
        return tuple(self._children.get(task, ()))

    def limited_by(self, key: str) -> tuple[TaskId, ...]:
        """Return the tasks in state working that take up a slot of a key."""
        self._refresh()
        return tuple(self._limited.get(key, ()))

    def facts_left(self, author: NodeId) -> int:
        """Return how many more facts of one author find room."""
        return self._params.facts_per_author_max - self._counts.get(author, 0)

    def task_room(self, task: TaskId, author: NodeId) -> int:
        """Return how many more facts of one author about one task find room."""
        entry = self._entries.get(task)
        said = 0 if entry is None else entry.count_of(author)
        return self._params.task_facts_per_author_max - said

    def sizes(self) -> tuple[tuple[str, int, int], ...]:
        """Return (name, entries, cap) of what is bounded in all, and of the author with most."""
        high, most = self._params.tasks_max, max(self._counts.values(), default=0)
        return (
            ("tasks", len(self._entries), high),
            ("evidence", len(self._evidence), high),
            ("facts of one author", most, self._params.facts_per_author_max),
            ("forgets of one author", self.forgotten.most, FORGETS_MAX),
        )

    # ---- filing

    def _add(self, verified: Verified[Any], *, bounded: bool) -> tuple[TaskId, ...]:
        id_, task, author = verified.signed.id, verified.fact.task, verified.author
        entry = self._entries.get(task)
        if entry is None:
            if bounded and task in self.forgotten:
                raise RemoteError(Refusal.FORGOTTEN, "a task that is over and forgotten")
            if len(self._entries) >= self._params.tasks_max:
                raise RemoteError(Refusal.OVER_CAP, f"{self._params.tasks_max} tasks are held")
            entry = _Entry(task)
        elif id_ in entry:
            return ()
        self._check_room(verified, entry)
        missing = entry.missing(verified, self._evidence)
        if missing:
            if bounded and ground_of(verified.fact) in missing:
                self._held_back.check_room(author)
            self._held_back.hold(verified, missing)
        self._entries[task] = entry
        self._counts[author] = self._counts.get(author, 0) + 1
        entry.add(verified)
        self._index(verified)
        self._mark(entry)
        self._release_waiters(id_)
        return (task,)

    def _index(self, verified: Verified[Any]) -> None:
        fact = verified.fact
        if isinstance(fact, Cancel | Release):
            self._with_cancels[fact.task] = None
        elif isinstance(fact, Claim) and fact.because is not None:
            self._reasons[fact.because] = self._reasons.get(fact.because, 0) + 1

    def _drop_reason(self, verified: Verified[Any]) -> None:
        reason = _reason(verified)
        if reason is not None:
            left = self._reasons.pop(reason) - 1
            if left:
                self._reasons[reason] = left

    def _check_room(self, verified: Verified[Any], facts: TaskFacts) -> None:
        author, fact, params = verified.author, verified.fact, self._params
        if self._counts.get(author, 0) >= params.facts_per_author_max:
            raise RemoteError(Refusal.OVER_CAP, "too many facts of one author")
        if facts.count_of(author) >= params.task_facts_per_author_max:
            raise RemoteError(Refusal.OVER_CAP, "too many facts of one author about one task")
        if not isinstance(fact, Claim):
            return
        if facts.claims_of(author, fact.epoch) >= params.claims_per_epoch_max:
            raise RemoteError(Refusal.OVER_CAP, "too many claims of one author in one epoch")

    def _release_waiters(self, cited: FactId) -> tuple[TaskId, ...]:
        """Count the facts that lacked only this one; return the tasks that it may change."""
        touched: dict[TaskId, None] = {}
        for waiter in self._held_back.waiters(cited):
            entry = self._entries[waiter.fact.task]
            lacking = entry.missing(waiter, self._evidence)
            if cited in lacking:
                continue
            self._held_back.release(waiter)
            if lacking:
                self._held_back.hold(waiter, lacking)
            self._mark(entry)
            touched[entry.task] = None
        return tuple(touched)

    # ---- records and indexes

    def _mark(self, entry: _Entry) -> None:
        self._stale[entry.task] = entry

    def _refresh(self) -> None:
        # A new dict each time: walking one that was large once costs its largest size.
        stale, self._stale = self._stale, {}
        for entry in stale.values():
            self._derive(entry)

    def _derive(self, entry: _Entry) -> Record:
        before = _NOWHERE if entry.record is None else _standing(entry.record)
        record = entry.record = derive(entry, self._evidence, self._is_admin)
        self._stale.pop(entry.task, None)
        now = _standing(record)
        if now != before:
            self._file(entry.task, before, now)
        return record

    def _file(self, task: TaskId, before: _Standing, now: _Standing) -> None:
        if before[0] != now[0]:
            _move(self._owned, task, before[0], now[0])
        if before[1] != now[1]:
            _move(self._limited, task, before[1], now[1])
        if before[2] != now[2]:
            for parent in dict.fromkeys(before[2]):
                _move(self._children, task, parent, None)
            for parent in dict.fromkeys(now[2]):
                _move(self._children, task, None, parent)
