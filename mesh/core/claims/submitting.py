"""From what a client asks for to the spec that is signed: every limit checked, every time dated."""

from dataclasses import dataclass, field, replace

from mesh.core.claims.dependencies import reaches
from mesh.core.claims.facts import (
    CAPABILITIES_MAX,
    NOTE_BYTES_MAX,
    PARENTS_MAX,
    PAYLOAD_BYTES_MAX,
    Allocation,
    Capability,
    ParentPolicy,
    Spec,
    shared_kind,
    shared_length,
)
from mesh.core.claims.ledger import Ledger, wall_ms
from mesh.core.claims.record import Record
from mesh.core.claims.texts import entered_base64, entered_bytes, entered_ms, entered_text
from mesh.core.commands import TaskSubmit
from mesh.core.errors import LocalError
from mesh.core.identity import TaskId, dot_task_id, keyed_task_id, parse_task_text, task_text
from mesh.core.instants import Now, wall_text

MS = 1000
MS_MAX = (1 << 32) - 1
WALL_S_MAX = 253_402_300_799.0
"""The end of the year 9999."""
TEXT_BYTES_MAX = 64
TAG_BYTES_MAX = 32
DRAFTS_MAX = 1024
"""Specs kept of tasks that others have submitted first."""
POLICIES = {"cancel": ParentPolicy.CANCEL, "run": ParentPolicy.RUN, "wait": ParentPolicy.WAIT}
ALLOCATIONS = {
    "pull": Allocation.PULL,
    "offered": Allocation.OFFERED,
    "auction": Allocation.AUCTION,
}


@dataclass(slots=True)
class Submitting:
    """Drafts specs in this node's name."""

    ledger: Ledger
    _last_number: int = 0
    _joined: dict[TaskId, None] = field(default_factory=dict)
    """Tasks of others that were submitted here again, under the same key."""
    _drafts: dict[TaskId, Spec] = field(default_factory=dict)
    """What was asked for when joining them, should they go with whoever submitted them first."""

    def draft(self, now: Now, command: TaskSubmit) -> Spec:
        """Return the spec that a client asks for; raises LocalError for what cannot be."""
        ledger = self.ledger
        bytes_max = min(ledger.parts.params.payload_bytes_max, PAYLOAD_BYTES_MAX)
        kind = shared_kind(entered_text(command.kind, TEXT_BYTES_MAX, "kind"))
        dedupe = self._dedupe(now, command)
        task = self._task(kind, dedupe)
        not_before_ms = _wall_limit(command.not_before, "not_before")
        deadline_ms = _wall_limit(command.deadline, "deadline")
        blob = self.ledger.blob(command.blob, beside=command.payload)
        _check_times(now, not_before_ms, deadline_ms)
        self._check_key_end(dedupe, not_before_ms)
        return Spec(
            task=task,
            kind=kind,
            payload=entered_base64(command.payload, bytes_max, "payload"),
            blob=blob,
            created_ms=wall_ms(now),
            max_attempts=command.max_attempts,
            backoff_ms=shared_length(min(round(command.backoff_s * MS), MS_MAX)),
            orphan_grace_ms=_length(command.orphan_grace_s, "orphan_grace_s"),
            note=_note(command.note),
            priority=command.priority,
            not_before_ms=not_before_ms,
            deadline_ms=deadline_ms,
            queue_ttl_ms=_length(command.queue_ttl_s, "queue_ttl_s"),
            run_limit_ms=_length(command.run_limit_s, "run_limit_s"),
            progress_limit_ms=entered_ms(command.progress_limit_s, "progress_limit_s"),
            parents=self._parents(task, command.after),
            parent_policy=POLICIES[command.on_parent_failure],
            limit=_limit(command.limit),
            dedupe=dedupe,
            requires=_capabilities(command.requires, "requires"),
            prefers=_capabilities(command.prefers, "prefers"),
            allocation=ALLOCATIONS[command.allocation],
            verify=command.verify,
            bid_window_ms=_length(command.bid_window_s, "bid_window_s") or 0,
        )

    def next_task(self) -> TaskId:
        """Return the next id that nobody has used; `count` uses it up."""
        number = self._last_number + 1
        return dot_task_id(self.ledger.self_id, self.ledger.parts.boot, number)

    def is_known(self, spec: Spec) -> bool:
        """Whether the key of a draft stands for a task that is known here."""
        if spec.dedupe is None:
            return False
        record = self.ledger.parts.table.record(spec.task)
        return record is not None and record.spec is not None

    def is_forgotten(self, spec: Spec) -> bool:
        """Whether the key of a draft stands for a task that is finished and forgotten."""
        return spec.dedupe is not None and spec.task in self.ledger.parts.table.forgotten

    def note_joined(self, draft: Spec) -> None:
        """A task that was there already is submitted here as well."""
        self._joined[draft.task] = None
        self._drafts[draft.task] = draft
        if len(self._drafts) > DRAFTS_MAX:
            del self._drafts[next(iter(self._drafts))]

    def has_joined(self, task: TaskId) -> bool:
        """Whether a client of this node has submitted a task that was there already."""
        return task in self._joined

    def forget(self, task: TaskId) -> None:
        """A task is let go of."""
        self._joined.pop(task, None)
        self._drafts.pop(task, None)

    def look_up(self, now: Now, task: TaskId) -> Record | None:
        """Return the record of a task; one that this node has joined, it submits when that goes.

        Whoever submitted it first was removed. A client here was told that it is submitted.
        """
        table = self.ledger.parts.table
        record = table.record(task)
        draft = None if record is not None and record.spec else self._drafts.pop(task, None)
        if draft is None:
            return record
        try:
            self.ledger.publish(now, [draft])
        except LocalError:
            self.ledger.count("joined_without_room")
        return table.record(task)

    def count(self) -> None:
        """A draft was published: its number is used up."""
        self._last_number += 1

    def _task(self, kind: str, dedupe: tuple[str, int] | None) -> TaskId:
        if dedupe is None:
            return self.next_task()
        key, end_ms = dedupe
        return keyed_task_id(self.ledger.parts.table.mesh, kind, key, end_ms // MS)

    def _dedupe(self, now: Now, command: TaskSubmit) -> tuple[str, int] | None:
        if command.dedupe is None:
            return None
        key = entered_text(command.dedupe, TEXT_BYTES_MAX, "dedupe")
        window_s = max(round(command.dedupe_window_s), 1)
        end_s = (int(now.wall) // window_s + 1) * window_s
        return key, end_s * MS

    def _check_key_end(self, dedupe: tuple[str, int] | None, not_before_ms: int | None) -> None:
        """Refuse what would be canceled as late before it may begin: keys are not kept for ever."""
        if dedupe is None or not_before_ms is None:
            return
        key_keep_s = self.ledger.parts.params.key_keep_s
        if not_before_ms >= dedupe[1] + key_keep_s * MS:
            raise LocalError(
                "never_due",
                f"a task with a dedupe key ends {key_keep_s / 86_400:g} days after its window,"
                " and may not begin before that",
                "give an earlier not_before, or a longer dedupe window",
            )

    def _parents(self, task: TaskId, names: tuple[str, ...]) -> tuple[TaskId, ...]:
        if len(names) > PARENTS_MAX:
            raise LocalError(
                "too_many_parents",
                f"after: {len(names)} tasks, at most {PARENTS_MAX} can be waited for",
                "let tasks in between wait for some of them each",
            )
        parents = dict.fromkeys(self._parent(name) for name in names)
        if reaches(self.ledger.parts.table, tuple(parents), task):
            raise LocalError(
                "circular",
                f"task {task_text(task)} would wait for itself",
                "leave out the task in `after` that waits for this one",
            )
        return tuple(parents)

    def _parent(self, name: str) -> TaskId:
        table = self.ledger.parts.table
        try:
            task = parse_task_text(name)
        except (ValueError, OverflowError):
            task = None
        record = None if task is None else table.record(task)
        if task is None or record is None or record.spec is None:
            raise LocalError(
                "no_parent",
                f"after: no task {name[:96]!r} is known here",
                "name tasks that exist; one submitted elsewhere takes a moment to arrive",
            )
        return task


def same_work(one: Spec, other: Spec) -> bool:
    """Whether two specs under one key ask for the same work, whatever they say about time."""
    return _work(one) == _work(other)


def _work(spec: Spec) -> Spec:
    return replace(spec, created_ms=0, not_before_ms=None, deadline_ms=None, note=b"")


def _wall_limit(given: float | None, what: str) -> int | None:
    """Return a wall time in milliseconds."""
    if given is None:
        return None
    if not 0 <= given <= WALL_S_MAX:
        raise LocalError(
            "bad_time",
            f"{what}: {given:g} is no time before the year 10000",
            "give seconds since 1970",
        )
    return round(given * MS)


def _check_times(now: Now, not_before_ms: int | None, deadline_ms: int | None) -> None:
    if deadline_ms is None:
        return
    if deadline_ms <= wall_ms(now):
        raise LocalError(
            "deadline_passed",
            f"deadline: {wall_text(deadline_ms / MS)} is over, it is {wall_text(now.wall)} here",
            "give a later deadline, or look at the clock of this machine",
        )
    if not_before_ms is not None and not_before_ms >= deadline_ms:
        raise LocalError(
            "never_due",
            "the task may not begin before its deadline",
            "give a not_before that is earlier than the deadline",
        )


def _length(given_s: float | None, what: str) -> int | None:
    """Return a length of time in milliseconds, at least one."""
    if given_s is None:
        return None
    if given_s * MS > MS_MAX:
        name = "grace_too_long" if what == "orphan_grace_s" else "time_too_long"
        raise LocalError(name, f"{what}: at most {MS_MAX // MS} fit", "give a shorter time")
    return round(given_s * MS)


def _note(text: str) -> bytes:
    note = entered_bytes(text, "note")
    if len(note) > NOTE_BYTES_MAX:
        raise LocalError(
            "text_too_long",
            f"note: {len(note)} bytes of UTF-8, at most {NOTE_BYTES_MAX} fit",
            "give a shorter note",
        )
    return note


def _limit(given: tuple[str, int] | None) -> tuple[str, int] | None:
    if given is None:
        return None
    return entered_text(given[0], TEXT_BYTES_MAX, "limit"), given[1]


def _capabilities(given: dict[str, str], what: str) -> tuple[Capability, ...]:
    if len(given) > CAPABILITIES_MAX:
        raise LocalError(
            "too_many_capabilities",
            f"{what}: {len(given)} tags, at most {CAPABILITIES_MAX} fit",
            "name fewer tags; one tag may stand for several",
        )
    pairs = {
        entered_text(tag, TAG_BYTES_MAX, what): entered_bytes(value, what).decode()
        for tag, value in given.items()
    }
    for value in pairs.values():
        if value:
            entered_text(value, TEXT_BYTES_MAX, what)
    return tuple(sorted(pairs.items()))
