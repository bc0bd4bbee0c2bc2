"""Garbage: finished tasks are kept for a while, then forgotten by everybody, and for ever.

Each creator clears up behind itself. Now and then it looks through the finished tasks, oldest
first; those that were kept long enough, or are too many, and that nobody waits for, it blackens in
its strip (`forgotten`). For a creator that is gone an admin does it. Nothing is forgotten while a
member is missing that will be expected back: it might hold the task open, and have no way to learn
how it ended.

Everybody who hears of a black dot lets go of what is held about it. One thing is never taken on
trust: a task that looks open here is not just dropped because its creator says that it is over. It
is not run again either. It is set aside, counted and listed as a `forget_conflict`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.facts import Spec
from mesh.core.claims.forgotten import (
    EXCEPTIONS_MAX,
    AnyForget,
    Blackened,
    Forget,
    ForgetBoots,
    check_forget,
    dot_of,
    pages_of,
    steps_of,
)
from mesh.core.claims.keyed import UNTIL_HIGH_S, ForgetKey, check_forget_key, check_until
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.claims.refusals import forgotten, withdrawn
from mesh.core.claims.retention import Retention
from mesh.core.claims.scheduling import MS, instant_of
from mesh.core.claims.set_aside import SetAside
from mesh.core.effects import Json
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import Boot, FactId, NodeId, TaskId, dot_task_id, task_text
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.lattice.interval_set import IntervalSet
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Verified

SWEEP_TASKS_MAX = 20_000
"""Forgotten in one turn: some 100 ms for whoever has to let go of them."""
UNPROVEN_MAX = 1024
SWEEP_KEYS_MAX = 200
"""Dedupe keys forgotten in one turn: each takes a fact of its own."""
CLAIM_TIMERS = ("run", "silent", "report")
GARBAGE = ("garbage", 0)
GONE = (Status.DEAD, Status.LEFT, None)


@dataclass(slots=True)
class Garbage:
    """What is over at this node, since when, and what of it is to be let go of."""

    ledger: Ledger
    aside: SetAside = field(init=False)
    retention: Retention = field(init=False)
    _black: dict[TaskId, None] = field(default_factory=dict)
    """Forgotten tasks of which something is still held."""
    _needless: dict[FactId, None] = field(default_factory=dict)
    """Facts covered by newer ones that were still on their way to the disk."""
    _unproven: dict[FactId, Verified[Any]] = field(default_factory=dict)
    """By authors who are neither the creator nor, as far as is known here, an admin."""
    _started: Instant = NEVER
    _looked: Instant = Instant(float("-inf"))
    """When it was last looked whether everybody is here."""
    _whole_since: Instant = NEVER
    """Since when everybody was here whenever it was looked."""

    def __post_init__(self) -> None:
        self.aside = SetAside(self.ledger.parts.params.set_aside_max)
        self.retention = Retention(self.ledger.parts.params)

    def restore(self, verified: Verified[Any]) -> bool:
        """Take back a fact from disk; false when it says nothing that others do not say."""
        if isinstance(verified.fact, ForgetKey):
            check_forget_key(verified.fact)
            self._add_key(verified)
            return True
        check_forget(verified.fact)
        return self._add(verified) is not None

    def restore_rows(self, rows: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take back what was set aside, and since when what is over has been so."""
        self.aside.restore(rows)
        self.retention.restore(rows)

    def start(self, now: Now) -> None:
        """Begin; what is black and held all the same is let go of soon."""
        self._started = now.instant
        stale_rows = self.retention.start(now, self._is_over)
        self.ledger.parts.outbox.keep(*stale_rows)
        black = self.ledger.parts.table.forgotten
        self._black = {task: None for task in self.ledger.parts.table.tasks() if task in black}
        stale = [task for task in self.ledger.parts.table.tasks() if self._is_stale(now, task)]
        self._black |= dict.fromkeys(stale)
        self._let_go(now)

    def _is_over(self, task: TaskId) -> bool:
        record = self.ledger.parts.table.record(task)
        return record is not None and record.is_over

    def _is_stale(self, now: Now, task: TaskId) -> bool:
        """Whether a task looks open here although the stone of its key may have fallen already.

        Then this node was away for that long.
        """
        spec = self._spec_of_key(task)
        if spec is None or self.ledger.known(task).is_over:
            return False
        assert spec.fact.dedupe is not None
        return spec.fact.dedupe[1] / MS + self.ledger.parts.params.key_keep_s <= now.wall

    # --- what is heard

    def accept(self, now: Now, verified: Verified[Any]) -> bool:
        """Whether to keep a foreign fact; raises RemoteError(BROKEN_RULE, OVER_CAP)."""
        if isinstance(verified.fact, ForgetKey):
            return self._accept_key(now, verified)
        check_forget(verified.fact)
        self.ledger.parts.table.forgotten.check_room(verified)
        if len(self._unproven) >= UNPROVEN_MAX and not self._counts(verified):
            raise RemoteError(Refusal.OVER_CAP, f"{UNPROVEN_MAX} facts by whoever may not forget")
        return self._take(now, verified)

    def _take(self, now: Now, verified: Verified[Any]) -> bool:
        before = self.ledger.parts.table.forgotten.of(verified.fact.creator)
        needless = self._add(verified)
        if needless is None:
            return False
        if verified.id in self._unproven:
            return True
        self._drop_needless(needless)
        self._blacken(verified.fact, before)
        self._let_go(now)
        return True

    def _accept_key(self, now: Now, verified: Verified[ForgetKey]) -> bool:
        check_forget_key(verified.fact)
        check_until(verified.fact, now.wall)
        if not self._has_room(verified.author):
            raise RemoteError(Refusal.OVER_CAP, "too many forgotten keys of one author")
        self._add_key(verified)
        self._let_go(now)
        return True

    def _has_room(self, author: NodeId) -> bool:
        high = self.ledger.parts.params.forgotten_keys_max
        return self.ledger.parts.table.forgotten.keyed.has_room(author, high)

    def _add_key(self, verified: Verified[ForgetKey]) -> None:
        table = self.ledger.parts.table
        task = verified.fact.task(table.mesh)
        table.forgotten.keyed.add(task, verified)
        if table.record(task) is not None:
            self._black[task] = None

    def withdraw(self, gone: Iterable[Verified[Any]]) -> None:
        """Some facts count nowhere any more: what they alone say is black no longer.

        What this node has dropped for their sake comes back from whoever still has it.
        """
        table, dots = self.ledger.parts.table, []
        keys: dict[FactId, TaskId] = {}
        for verified in gone:
            self._unproven.pop(verified.id, None)
            if isinstance(verified.fact, ForgetKey):
                keys[verified.id] = verified.fact.task(table.mesh)
            elif isinstance(verified.fact, AnyForget):
                dots.append(verified)
        table.forgotten.withdraw(dots)
        table.forgotten.keyed.withdraw(keys)
        self._black = {task: None for task in self._black if task in table.forgotten}

    def recheck(self, now: Now) -> None:
        """The set of admins has changed."""
        black = self.ledger.parts.table.forgotten
        held = [fact for creator in black.creators() for fact in black.facts(creator)]
        unfounded = [verified for verified in held if not self._counts(verified)]
        self.withdraw(unfounded)
        unproven, self._unproven = self._unproven, {fact.id: fact for fact in unfounded}
        for verified in unproven.values():
            self._take(now, verified)

    def remind(self, now: Now, task: TaskId, relay: NodeId) -> None:
        """Somebody brought a forgotten task: tell by what it is known to be over."""
        black = self.ledger.parts.table.forgotten
        facts: tuple[Verified[Any], ...] = black.keyed.facts(task) or black.facts(dot_of(task)[0])
        self.ledger.count("forget_reminders")
        self.ledger.parts.gossip.tell(now, relay, Family.TASKS, [fact.id for fact in facts])

    def _add(self, verified: Verified[Any]) -> list[Verified[Any]] | None:
        forgotten_ = self.ledger.parts.table.forgotten
        if not self._counts(verified):
            self._unproven[verified.id] = verified
            return []
        if forgotten_.is_needless(verified):
            return None
        return forgotten_.add(verified)

    def _counts(self, verified: Verified[Any]) -> bool:
        # What is dropped comes not back, so a word that counted somewhere has to count everywhere,
        # also where its author's rank had ended before it arrived.
        author = verified.author
        return author == verified.fact.creator or self.ledger.parts.was_admin(author)

    def _drop_needless(self, needless: Iterable[Verified[Any]]) -> None:
        for verified in needless:
            self._needless[verified.id] = None
        gossip = self.ledger.parts.gossip
        for id_ in list(self._needless):
            if gossip.forget(Family.TASKS, [id_]):
                # Dropped as well, so that it is known for needless when it comes again.
                gossip.drop(Family.TASKS, id_)
                del self._needless[id_]

    def _blacken(self, fact: AnyForget, before: Blackened) -> None:
        """Note which of the tasks that are held have just become black."""
        table = self.ledger.parts.table
        if isinstance(fact, Forget):
            numbers = fact.numbers()
            if len(numbers) <= 2 * len(table):
                known = before.boots.get(fact.boot, IntervalSet())
                for first, last in numbers.runs():
                    for number in range(first, last + 1):
                        if number not in known:
                            task = dot_task_id(fact.creator, fact.boot, number)
                            if table.record(task) is not None:
                                self._black[task] = None
                return
        for task in table.tasks():
            if task[:16] == fact.creator and task in table.forgotten:
                self._black[task] = None

    def prune(self, now: Now, task: TaskId) -> None:
        """Let go of words on the progress of a task that newer ones have made needless."""
        needless = self.ledger.parts.table.superseded(task)
        if needless:
            self.ledger.mark(self.ledger.parts.table.withdraw(needless))
            for verified in needless:
                self.ledger.sightings.pop(verified.id, None)
            self._drop_needless(needless)
            self._wake(now)

    # --- letting go

    def note_over(self, now: Now, record: Record) -> None:
        """A task is finished."""
        row = self.retention.note(now, record.task)
        if row is None:
            return
        self.ledger.parts.outbox.keep(row)
        if now.instant > self._started:
            self.ledger.count("tasks_over")
        if record.task in self.ledger.parts.table.forgotten:
            self._black[record.task] = None
        self._wake(now)

    def _let_go(self, now: Now) -> None:
        for task in list(self._black):
            record = self.ledger.parts.table.record(task)
            if record is None or self._release(now, record):
                del self._black[task]
        self._wake(now)

    def _release(self, now: Now, record: Record) -> bool:
        """Let go of a forgotten task; false while somebody here works on it, or writes of it."""
        ledger, task = self.ledger, record.task
        if ledger.sessions.of_task(task):
            return False
        facts = [verified.id for verified in ledger.parts.table.facts_of(task)]
        if not ledger.parts.gossip.forget(Family.TASKS, facts):
            return False
        if not record.is_over and record.spec is not None:
            ledger.count("forget_conflicts")
            ledger.parts.outbox.keep(*self.aside.add(record.spec, now))
            ledger.parts.outbox.notify("task.forget_conflict", {"task": task_text(task)})
        ledger.parts.gossip.forget(Family.TASKS, ledger.parts.table.forget(task))
        self._clear(now, task, facts, forgotten(task_text(task)))
        ledger.count("forgotten")
        return True

    def note_open(self, task: TaskId) -> None:
        """A task is not over, or not any more: what ended it may have been withdrawn."""
        row = self.retention.forget(task)
        self.ledger.parts.outbox.keep(*(() if row is None else (row,)))

    def note_gone(self, now: Now, task: TaskId) -> None:
        """Nothing is held about a task any more: whoever has said it counts no longer."""
        self._clear(now, task, (), withdrawn(task_text(task)))
        self.ledger.mark(self.ledger.parts.table.children_of(task))

    def _clear(self, now: Now, task: TaskId, facts: Iterable[FactId], why: LocalError) -> None:
        """Leave nothing behind in what the parts of the desk remember of a task."""
        ledger = self.ledger
        self.note_open(task)
        for waiter in ledger.waiters.of_task(task):
            ledger.waiters.take(waiter.number)
            ledger.refuse(now, waiter.asker, why, had_effect=False)
        for id_ in facts:
            ledger.sightings.pop(id_, None)
        ledger.parts.blobs.release(now, task)
        ledger.shown.pop(task, None)
        ledger.changed.pop(task, None)
        for key in ledger.sessions.keys_of(task):
            for purpose in CLAIM_TIMERS:
                ledger.timers.cancel((purpose, key))
        ledger.sessions.forget_task(task)
        ledger.board.close(task)
        ledger.board.watch(task, None)
        ledger.board.forget_retry(task)
        for purpose in ("open", "bury", "end"):
            ledger.timers.cancel((purpose, task))
        for forget in ledger.forgetters:
            forget(task)

    # --- clearing up

    def handle_due(self, now: Now) -> None:
        """Look through what is finished."""
        self._drop_needless(())
        self._let_go(now)
        self._forget_boots(now)
        self._drop_keys(now)
        if self._is_whole(now.instant) and self.ledger.disk_error is None:
            for (creator, boot), numbers in self._due(now).items():
                self._forget(now, creator, boot, IntervalSet.of(numbers))
            self._forget_keys(now)
        self._let_go(now)
        self._wake(now)

    def _is_whole(self, instant: Instant) -> bool:
        """Whether everybody has been here for long enough to have heard what is over.

        Who was suspected until a moment ago may have missed it, and nothing was noticed to be
        amiss that would bring it.
        """
        params = self.ledger.parts.params
        is_old = instant > later(self._looked, 2 * params.forget_every_s)
        self._looked = instant
        if self.ledger.parts.liveness.missing():
            self._whole_since = NEVER
        elif self._whole_since == NEVER or is_old:
            self._whole_since = instant
        return instant >= later(self._whole_since, params.forget_settle_s)

    def _wake(self, now: Now) -> None:
        params, timers = self.ledger.parts.params, self.ledger.timers
        soon = later(now.instant, params.forget_every_s)
        if self._black or self._needless or len(self.retention) > params.finished_max:
            due = soon
        else:
            due = max(soon, self.retention.next_due(now))
        key_end_s = self.ledger.parts.table.forgotten.keyed.first_end_s()
        if key_end_s is not None:
            due = min(due, max(soon, instant_of(now, key_end_s * MS)))
        known = timers.due_at(GARBAGE)
        if known <= now.instant or due < known:
            timers.set(GARBAGE, due)

    def _due(self, now: Now) -> dict[tuple[NodeId, Boot], list[int]]:
        """Return the dots of finished tasks that this node is to forget, by creator and boot."""
        found: dict[tuple[NodeId, Boot], list[int]] = {}
        ripe = list(self.retention.ripe(now, SWEEP_TASKS_MAX))
        deputies: dict[NodeId, bool] = {}
        for task in ripe:
            if self._spec_of_key(task) is not None:
                continue
            creator, boot, number = dot_of(task)
            if creator not in deputies:
                deputies[creator] = self._clears_up_for(creator)
            if deputies[creator] and self._is_left_alone(task):
                found.setdefault((creator, boot), []).append(number)
        return found

    def _clears_up_for(self, creator: NodeId) -> bool:
        """Whether this node made the tasks, or is the first admin here and their creator is gone.

        A dedupe key has no creator; whoever signed its spec counts as one.
        """
        ledger = self.ledger
        liveness = ledger.parts.liveness
        if creator == ledger.self_id:
            return True
        if not ledger.parts.is_admin(ledger.self_id) or liveness.status(creator) not in GONE:
            return False
        return all(
            ledger.self_id < peer for peer in liveness.alive() if ledger.parts.is_admin(peer)
        )

    def _is_left_alone(self, task: TaskId) -> bool:
        ledger = self.ledger
        record = ledger.parts.table.record(task)
        if record is None or not record.is_over or record.spec is None:
            return False
        if ledger.sessions.of_task(task) or ledger.waiters.of_task(task):
            return False
        return all(ledger.known(child).is_over for child in ledger.parts.table.children_of(task))

    def _forget(self, now: Now, creator: NodeId, boot: Boot, numbers: IntervalSet) -> None:
        black = self.ledger.parts.table.forgotten.of(creator)
        if boot < black.floor:
            left = [dot for dot in black.exceptions if dot[0] != boot or dot[1] not in numbers]
            self._say(now, ForgetBoots(creator, black.floor, tuple(sorted(left))))
            return
        numbers = numbers.join(black.boots.get(boot, IntervalSet())).join(IntervalSet.of((0,)))
        for page in pages_of(numbers):
            fact = Forget(creator, boot, steps_of(page))
            if not black.covers(fact):
                self._say(now, fact)

    def _spec_of_key(self, task: TaskId) -> Verified[Spec] | None:
        """Return the spec of a task with a dedupe key."""
        record = self.ledger.parts.table.record(task)
        spec = None if record is None else record.spec
        return spec if spec is not None and spec.fact.dedupe is not None else None

    def _forget_keys(self, now: Now) -> None:
        """Set a stone for each task with a dedupe key that is to be forgotten here."""
        made = 0
        for task in list(self.retention.ripe(now, SWEEP_TASKS_MAX)):
            spec = self._spec_of_key(task)
            if spec is None or not self._clears_up_for(spec.author):
                continue
            if made == SWEEP_KEYS_MAX or not self._has_room(self.ledger.self_id):
                return
            if self._is_left_alone(task) and task not in self._black:
                made += self._forget_key(now, spec.fact)

    def _forget_key(self, now: Now, spec: Spec) -> bool:
        assert spec.dedupe is not None
        parts, end_s = self.ledger.parts, spec.dedupe[1] // MS
        until_s = max(end_s, int(now.wall)) + round(parts.params.key_keep_s)
        if until_s > UNTIL_HIGH_S:
            return False
        fact = ForgetKey(spec.kind, spec.dedupe[0], end_s, until_s)
        verified: Verified[Any] = parts.author.draft(fact)
        self._add_key(verified)
        parts.gossip.publish(now, Family.TASKS, [verified])
        return True

    def _drop_keys(self, now: Now) -> None:
        """Let the stones fall whose time is over."""
        keyed = self.ledger.parts.table.forgotten.keyed
        while (id_ := keyed.first_over(now.wall)) is not None:
            if not self.ledger.parts.gossip.forget(Family.TASKS, [id_]):
                return
            keyed.drop_first()

    def _forget_boots(self, now: Now) -> None:
        """Let the boots before this one collapse, once what peers hold of them has come back."""
        ledger = self.ledger
        params, own = ledger.parts.params, ledger.self_id
        black = ledger.parts.table.forgotten.of(own)
        if not any(boot < ledger.parts.boot for boot in black.boots):
            return
        ready = later(self._started, params.forget_boots_s)
        if now.instant < ready or ledger.parts.liveness.missing():
            return
        held = [dot_of(task) for task in ledger.parts.table.tasks()]
        dots = sorted((boot, n) for maker, boot, n in held if maker == own)
        open_ = tuple(dot for dot in dots if dot[0] < ledger.parts.boot and dot not in black)
        if len(open_) <= EXCEPTIONS_MAX:
            self._say(now, ForgetBoots(own, ledger.parts.boot, open_))

    def _say(self, now: Now, fact: AnyForget) -> None:
        parts = self.ledger.parts
        before = parts.table.forgotten.of(fact.creator)
        verified: Verified[Any] = parts.author.draft(fact)
        needless = parts.table.forgotten.add(verified)
        parts.gossip.publish(now, Family.TASKS, [verified])
        self._drop_needless(needless)
        self._blacken(fact, before)

    # --- looking

    def conflicts(self) -> list[Json]:
        """Return what was set aside, for people."""
        return self.aside.views(self.ledger.views)

    def counters(self) -> dict[str, int]:
        """Return how much there is."""
        forgotten_ = self.ledger.parts.table.forgotten
        runs = sum(forgotten_.of(creator).cost for creator in forgotten_.creators())
        return {
            "finished_kept": len(self.retention),
            "forgotten_runs": runs,
            "forgotten_keys": len(forgotten_.keyed),
            "set_aside": len(self.aside),
        }
