"""The desk: what local clients and agents ask of the claim table, and what they are told.

Everything that changes a record marks its task; before a turn ends, the desk looks at the marked
tasks, lets losers go, wakes those who wait, and matches agents with open tasks, until nothing is
left to do. So the rules are written once, whether a fact came from a client or from a peer.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.core.claims.auction import Auctions
from mesh.core.claims.board import OwnerSession
from mesh.core.claims.burying import Burying
from mesh.core.claims.claiming import Claiming
from mesh.core.claims.dependencies import Dependents
from mesh.core.claims.dominance import counts, dominating_ids, outraced, pushed_off
from mesh.core.claims.ending import Ending
from mesh.core.claims.exchanging import Exchanging
from mesh.core.claims.facts import Progress
from mesh.core.claims.fencing import fence_view
from mesh.core.claims.garbage import Garbage
from mesh.core.claims.ledger import DeskParts, Ledger, Liveness, TaskGossip, wall_ms
from mesh.core.claims.limits import Limits
from mesh.core.claims.lodging import Lodging
from mesh.core.claims.openings import Openings
from mesh.core.claims.payloads import Payloads
from mesh.core.claims.queries import Queries
from mesh.core.claims.record import Record, token_text
from mesh.core.claims.refusals import not_durable
from mesh.core.claims.requests import REQUEST_ROW, Answer, Asker, request_key
from mesh.core.claims.returning import Returning
from mesh.core.claims.running import Running
from mesh.core.claims.sessions import KINDS_ADVERTISED_MAX, Session
from mesh.core.claims.texts import entered_text
from mesh.core.claims.timers import TimerName
from mesh.core.claims.views import TERMINAL, Shown
from mesh.core.claims.waking import Gated, Waking
from mesh.core.claims.writing import Writing
from mesh.core.commands import (
    AgentAttach,
    Command,
    ExchangeWrite,
    TaskAccept,
    TaskAwaitAnswer,
    TaskBid,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskFence,
    TaskHistory,
    TaskList,
    TaskRelease,
    TaskResume,
    TaskShow,
    TaskStart,
    TaskSubmit,
    TaskWait,
)
from mesh.core.effects import ClientId, CommitNumber
from mesh.core.errors import LocalError
from mesh.core.gossip.vocabulary import Family, PushNumber
from mesh.core.identity import BlobId, NodeId, TaskId, task_text
from mesh.core.inputs import CommandReceived
from mesh.core.instants import Instant, Now
from mesh.core.wire.envelope import Verified

__all__ = ["Desk", "DeskParts", "Liveness", "TaskGossip"]

NAME_BYTES_MAX = 64
REQUESTS: TimerName = ("requests", 0)
Closing = TaskComplete | TaskFail | TaskRelease | TaskCancel
Idempotent = TaskSubmit | TaskClaim | Closing | ExchangeWrite
Durable = Idempotent | TaskStart | TaskResume


class Desk:
    """What local clients and agents ask of the claim table."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._ledger = Ledger(parts)
        self._limits = Limits(self._ledger)
        self._payloads = Payloads(self._ledger)
        self._auctions = Auctions(self._ledger)
        openings = Openings(self._ledger, self._limits, self._auctions, self._payloads)
        self.handle_reconciled = self._ledger.resting.note
        """A fact about a task comes by reconciliation, and others about it may follow."""
        self.handle_bid = self._auctions.hear
        """A claim on a task came as it was made, and not by reconciliation."""
        self._claiming = Claiming(self._ledger, openings)
        self._writing = Writing(self._ledger)
        self._burying = Burying(self._ledger, openings)
        self._ending = Ending(self._ledger, openings)
        self._running = Running(self._ledger, self._writing)
        self._dependents = Dependents(parts.table)
        self._returning = Returning(self._ledger, self._claiming, self._writing)
        self._waking = Waking(self._ledger, self._claiming, self._writing, self._do)
        self.garbage = Garbage(self._ledger)
        self._ledger.forgetters += [
            self._dependents.forget,
            self._ending.forget,
            self._auctions.forget,
            self._limits.forget,
            self._payloads.forget,
            self._writing.submitting.forget,
        ]
        self._queries = Queries(self._ledger, self.garbage)
        self._exchanging = Exchanging(self._ledger, self._claiming, self._writing)
        self._lodging = Lodging(self._ledger, self._do, self._part)
        self._ends_known: dict[OwnerSession, tuple[str, Instant]] = {}
        self._started = False
        self._kinds: tuple[str, ...] = ()

    # --- life

    def restore(self, rows: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take the handles and answers of earlier boots; the table is restored by the node."""
        self._ledger.requests.restore(rows.get(REQUEST_ROW, {}))
        self._returning.restore(rows)
        self.garbage.restore_rows(rows)

    def start(self, now: Now) -> None:
        """Begin: the graces of restored claims run from here on; later calls do nothing."""
        if self._started:
            return
        self._started = True
        for task in self._parts.table.tasks():
            self._show(now, self._ledger.known(task), silent=True)
            self._ledger.changed[task] = None
        self._ledger.rest_at_start(now)
        stale = self._ledger.requests.start(now)
        if stale:
            self._parts.outbox.commit(*stale)
        self._returning.start(now)
        self.garbage.start(now)
        self._finish(now)

    # --- inputs

    def handle_command(self, now: Now, received: CommandReceived) -> None:
        """Do what a client asks; exactly one answer follows, now or later."""
        self.start(now)
        command = received.command
        request_id = getattr(command, "request_id", None)
        key = b"" if request_id is None else request_key(received.uid, request_id)
        self._lodging.take(now, Asker(received.client, received.request, key), command)
        self._finish(now)

    def _do(self, now: Now, asker: Asker, command: Command) -> None:
        try:
            if isinstance(command, Idempotent) and self._is_repeated(now, asker, command):
                pass
            elif not self._write(now, asker, command):
                self._ask(now, asker, command)
        except LocalError as error:
            self._ledger.count("refused")
            self._ledger.reply(asker, Answer.of_error(error))

    def handle_client_gone(self, now: Now, client: ClientId) -> None:
        """A connection is gone; its claims rest until they are resumed."""
        self.start(now)
        self._lodging.handle_client_gone(now, client)
        self._finish(now)

    def _part(self, now: Now, client: ClientId) -> None:
        self._waking.forget_client(client)
        self._returning.handle_client_gone(now, client)

    def handle_kept(self, now: Now, kept: Mapping[BlobId, LocalError | None]) -> None:
        """Bytes that clients gave with their requests are on the disk, or cannot be stored."""
        self.start(now)
        self._lodging.handle_kept(now, kept)
        self._finish(now)

    def handle_fact(self, now: Now, verified: Verified[Any], relay: NodeId | None) -> None:
        """A fact was added to the table; if it is beaten, whoever brought it is told by what."""
        self.start(now)
        self._ledger.sight(now, verified)
        if relay is None or verified.author == self._ledger.self_id:
            return
        ids = dominating_ids(self._parts.table, verified)
        if ids:
            self._ledger.count("dominating_replies")
            self._parts.gossip.tell(now, relay, Family.TASKS, ids)
            return
        if isinstance(verified.fact, Progress) and not counts(self._parts.table, verified):
            # It speaks of a claim that is still to come. (Claims without their task do no harm.)
            self._ledger.resting.note(now, verified.fact.task)
        beaten = outraced(self._parts.table, verified)
        if beaten is not None and beaten[0] in self._parts.liveness.alive():
            self._ledger.count("outraced_told")
            self._parts.gossip.tell(now, beaten[0], Family.TASKS, beaten[1])
        for node, facts in pushed_off(self._parts.table, verified):
            if node in self._parts.liveness.alive():
                self._parts.gossip.tell(now, node, Family.TASKS, facts)

    def handle_changed(self, now: Now, tasks: Iterable[TaskId]) -> None:
        """The records of these tasks may have changed."""
        self.start(now)
        self._ledger.mark(tasks)
        self._finish(now)

    def handle_acknowledged(self, now: Now, push: PushNumber, peer: NodeId, durable: bool) -> None:
        """A peer has everything of one push, on its disk if `durable`."""
        self.start(now)
        self._claiming.handle_acknowledged(now, push, peer)
        self._waking.handle_acknowledged(now, push, peer)
        self._writing.handle_acknowledged(now, push, peer, durable=durable)
        self._finish(now)

    def handle_objected(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        """A peer knows of something greater than one push, and will tell."""
        self.start(now)
        self._claiming.handle_objected(now, push, peer)
        self._finish(now)

    def handle_committed(self, now: Now, number: CommitNumber) -> None:
        """Everything up to this commit is on disk."""
        self.start(now)
        self._ledger.disk_error = None
        waits = self._ledger.commit_waits
        while waits and waits[0].number <= number:
            waits.popleft().done(now)
        self._finish(now)

    def handle_commit_failed(self, now: Now, number: CommitNumber, reason: str) -> None:
        """This commit is not on disk: who waits for it is told so."""
        self.start(now)
        error = self._ledger.disk_error = not_durable(reason)
        waits = self._ledger.commit_waits
        failed = [wait for wait in waits if wait.number == number]
        self._ledger.commit_waits = deque(wait for wait in waits if wait.number != number)
        for wait in failed:
            wait.failed(now, error)
        self._finish(now)

    def handle_members_changed(self, now: Now) -> None:
        """Somebody came, went, or waits for other kinds."""
        self.start(now)
        ledger, before = self._ledger, self._ends_known
        self._ends_known = {}
        for owner in ledger.board.owners():
            ended = self._parts.liveness.ended(owner.node, owner.boot)
            if ended is not None:
                self._ends_known[owner] = (ended.kind, ended.since)
            if self._ends_known.get(owner) != before.get(owner):
                ledger.mark(ledger.board.tasks_of(owner))
        for holding in ledger.sessions.live():
            self._claiming.check_settled(now, holding)
        self._writing.check_all(now)
        self._waking.check(now)
        ledger.stirred.update(ledger.waiters.kinds())
        self._finish(now)

    def stop_claiming(self, now: Now, why: LocalError) -> None:
        """This node takes no work any more; what it has begun it may finish."""
        self.start(now)
        self._claiming.stop(now, why)
        self._finish(now)

    def handle_suspend(self, now: Now) -> None:
        """The host slept: claims are suspended until the mesh has been heard again."""
        self.start(now)
        self._waking.handle_suspend(now)
        self._exchanging.reporting.handle_suspend(now)
        self._finish(now)

    def handle_timeout(self, now: Now) -> None:
        """Do what is due."""
        self.start(now)
        while (due := self._ledger.timers.take_due(now.instant)) is not None:
            self._handle_due(now, due)
            self._finish(now)

    def next_deadline(self) -> Instant:
        """Return when something is due next."""
        return self._ledger.timers.next_deadline() if self._started else Instant(0.0)

    # --- outputs

    def record(self, task: str) -> Record:
        """Return the record of a task as a client names it; raises LocalError(not_found)."""
        return self._ledger.record(task)

    def waiting_kinds(self) -> tuple[str, ...]:
        """Return the kinds of task for which an agent waits here, as of the last input."""
        return self._kinds

    def _look_who_waits(self) -> None:
        kinds = self._ledger.sessions.waiting_kinds() | self._ledger.waiters.kinds()
        self._kinds = tuple(sorted(kinds)[:KINDS_ADVERTISED_MAX]) if kinds else ()

    def counters(self) -> dict[str, int]:
        """Return what happened so far, and what is under way."""
        ledger = self._ledger
        return (
            ledger.counts
            | self.garbage.counters()
            | {
                "claims_held": len(ledger.sessions),
                "requests_kept": len(ledger.requests),
                "requests_unreadable": ledger.requests.unreadable,
                "waiting": len(ledger.waiters),
                "settle_window_us": round(ledger.samples.window_s() * 1_000_000),
            }
        )

    # --- turns

    def _is_repeated(self, now: Now, asker: Asker, command: Idempotent) -> bool:
        if not asker.key:
            return False
        requests = self._ledger.requests
        if requests.pending(asker, command):
            return True
        answer = requests.answered(asker, command)
        if answer is None:
            return False
        self._ledger.count("repeated")
        if isinstance(command, TaskClaim | TaskAccept) and isinstance(answer.result, dict):
            handle = str(answer.result["handle"])
            if self._ledger.sessions.is_live(handle):
                self._returning.resume(now, asker, handle)
                return True
            answer = Answer(answer.result | {"state": "ended"})
        self._ledger.reply(asker, answer)
        return True

    def _write(self, now: Now, asker: Asker, command: Command) -> bool:
        if isinstance(command, Durable):
            self._ledger.check_disk()
        if isinstance(command, Gated) and self._claiming.gated:
            self._waking.defer(asker, command)
            return True
        match command:
            case TaskSubmit():
                self._writing.submit(now, asker, command)
            case TaskClaim():
                self._claiming.claim(now, asker, command)
            case TaskStart():
                self._writing.start(now, asker, command)
            case TaskComplete():
                self._writing.complete(now, asker, command)
            case TaskFail():
                self._writing.fail(now, asker, command)
            case TaskRelease():
                self._writing.release(now, asker, command)
            case TaskCancel():
                self._writing.cancel(now, asker, command)
            case _:
                return self._exchanging.write(now, asker, command)
        return True

    def _ask(self, now: Now, asker: Asker, command: Command) -> None:
        match command:
            case AgentAttach():
                self._attach(now, asker, command)
            case TaskBid():
                self._claiming.bid(now, asker, command)
            case TaskResume():
                self._returning.resume(now, asker, command.handle)
            case TaskWait():
                self._queries.wait(now, asker, command)
            case TaskShow() | TaskList() | TaskHistory():
                self._ledger.answer(now, asker, self._queries.look(now, command))
            case TaskAwaitAnswer():
                self._exchanging.asking.wait(now, asker, command)
            case TaskFence():
                record = self._ledger.record(command.task)
                self._ledger.answer(now, asker, fence_view(record, command.token))
            case _:
                raise AssertionError(f"{type(command).__name__} is not for the desk")

    def _attach(self, now: Now, asker: Asker, command: AgentAttach) -> None:
        name = entered_text(command.name, NAME_BYTES_MAX, "name")
        kinds = tuple(entered_text(kind, NAME_BYTES_MAX, "kind") for kind in command.kinds)
        session = Session(asker.client, name, tuple(dict.fromkeys(kinds)), command.capacity)
        self._ledger.sessions.attach(session)
        self._ledger.stirred.update(self._ledger.waiters.kinds_of_client(asker.client))
        self._ledger.answer(now, asker, {"agent": name})

    def _handle_due(self, now: Now, due: TimerName) -> None:
        subject: Any
        purpose, subject = due
        match purpose:
            case "open":
                self._claiming.evaluate(now, subject)
            case "kind":
                self._ledger.stirred[subject] = None
            case "claim":
                self._claiming.handle_claim_deadline(now, subject)
            case "wait":
                self._queries.handle_wait_over(now, subject)
            case "settle":
                self._claiming.handle_settle_over(now, subject)
            case "untrack":
                self._claiming.handle_push_old(now, subject)
            case "copies":
                self._writing.check_copies(now, subject)
            case "bury":
                self._burying.handle_due(now, subject)
            case _:
                self._handle_grace_due(now, due)

    def _handle_grace_due(self, now: Now, due: TimerName) -> None:
        subject: Any
        purpose, subject = due
        match purpose:
            case "grace":
                self._returning.handle_grace_over(now, subject)
            case "end":
                self._ending.handle_due(now, subject)
            case "run":
                self._running.handle_due(now, subject)
            case "round":
                self._waking.handle_round_over(now)
            case "requests":
                rows = self._ledger.requests.drop_old(now.instant)
                self._parts.outbox.commit(*rows)
            case "garbage":
                self.garbage.handle_due(now)
            case _:
                self._exchanging.handle_due(now, due)

    def _finish(self, now: Now) -> None:
        """Look at what changed until nothing is left to do."""
        ledger = self._ledger
        while ledger.changed or self._claiming.has_work():
            changed, ledger.changed = ledger.changed, {}
            for task in changed:
                self._look_at(now, task)
            if not ledger.changed:
                self._claiming.match(now)
        begun, ledger.begun = ledger.begun, {}
        for task in begun:
            record = self._parts.table.record(task)
            if record is not None:
                self._look_at_limits(now, record)
        ledger.timers.set(REQUESTS, ledger.requests.next_deadline())
        self._look_who_waits()
        self._payloads.fetch(now)

    def _look_at(self, now: Now, task: TaskId) -> None:
        ledger, record = self._ledger, self._writing.submitting.look_up(now, task)
        if record is None:
            self.garbage.note_gone(now, task)
            return
        self._payloads.evaluate(now, record)
        self._claiming.evaluate(now, task)
        self._burying.evaluate(now, record)
        self._ending.evaluate(now, record)
        if ledger.sessions.holds(task):
            self._claiming.check_lost(now, task)
        self._claiming.check_slots(now, record)
        ledger.mark(self._limits.touched_by(record))
        ledger.mark(self._dependents.touched_by(record))
        self._look_at_limits(now, record)
        self._show(now, record, silent=False)
        self.garbage.prune(now, task)
        if record.state in TERMINAL:
            self._claiming.refuse_finished(now, record)
            self._queries.answer_finished(now, record)
            self.garbage.note_over(now, record)
        else:
            self.garbage.note_open(task)

    def _look_at_limits(self, now: Now, record: Record) -> None:
        if self._ledger.sessions.holds(record.task):
            self._running.evaluate(now, record)
        self._exchanging.evaluate(now, record)

    def _show(self, now: Now, record: Record, *, silent: bool) -> None:
        """Tell the watchers what is new about a task."""
        if record.spec is None:
            return
        ledger = self._ledger
        before = ledger.shown.get(record.task)
        claim = None if record.owner is None else record.owner.fact.signed.id
        winner = None if record.winner is None else record.winner.id
        updated_ms = record.spec.fact.created_ms if silent else wall_ms(now)
        copies = 1
        if before is not None:
            copies = before.copies
            if (before.state, before.claim, before.winner) == (record.state, claim, winner):
                return
        ledger.shown[record.task] = Shown(record.state, claim, winner, updated_ms, copies)
        if silent:
            return
        self._parts.outbox.notify("task", ledger.views.change(record))
        if before is not None and before.winner is not None and record.winner is not None:
            by = record.winner.author.hex()
            body = {"task": task_text(record.task), "by": by, "token": self._winning(record)}
            self._parts.outbox.notify("task.result_superseded", body)

    def _winning(self, record: Record) -> str:
        assert record.winner is not None
        claim = record.winner.fact.claim
        return next(token_text(v.fact) for v in record.claims if v.fact.id == claim)
