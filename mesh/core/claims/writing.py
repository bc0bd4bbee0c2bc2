"""What agents and clients write: submit, start, complete, fail, release, cancel."""

from dataclasses import dataclass, field, replace
from hashlib import blake2b

from mesh.core.claims.exchange_facts import Release
from mesh.core.claims.facts import (
    ERROR_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    Attempt,
    AttemptKind,
    Blob,
    Cancel,
    Progress,
    ProgressState,
    Result,
    Spec,
    TaskFact,
)
from mesh.core.claims.ledger import Ledger, task_name, wall_ms
from mesh.core.claims.record import Record, token_key, token_text
from mesh.core.claims.refusals import (
    already_finished,
    claim_lost,
    lost_body,
    not_settled,
    not_submitted_here,
)
from mesh.core.claims.requests import Answer, Asker
from mesh.core.claims.sessions import NOTHING_UNSAID, Holding, Phase, Unsaid
from mesh.core.claims.settle import Copies
from mesh.core.claims.submitting import Submitting, same_work
from mesh.core.claims.texts import cut_text, entered_base64
from mesh.core.claims.views import TERMINAL
from mesh.core.commands import (
    TaskCancel,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskReopen,
    TaskStart,
    TaskSubmit,
    TaskWrite,
)
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.gossip.vocabulary import PushNumber, Want
from mesh.core.identity import BlobId, FactId, NodeId, TaskId, task_text
from mesh.core.instants import Now, later
from mesh.core.snapshot import TaskState


@dataclass(slots=True)
class Write:
    """A durable write that its client waits for."""

    asker: Asker
    task: TaskId
    body: dict[str, Json]
    copies: Copies
    spec: FactId | None = None
    """What a submit has put into the table; None: the write was a completion."""


@dataclass(slots=True)
class Writing:
    """The writes of this node, until they are durable and answered."""

    ledger: Ledger
    submitting: Submitting = field(init=False)
    _writes: dict[PushNumber, Write] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.submitting = Submitting(self.ledger)

    # --- tasks

    def submit(self, now: Now, asker: Asker, command: TaskSubmit) -> None:
        """Put a new task into the table."""
        self.ledger.check_room()
        spec = self.submitting.draft(now, command)
        if self.submitting.is_forgotten(spec):
            self._join_forgotten(now, asker, command, spec)
            return
        if self.submitting.is_known(spec):
            self._join(now, asker, command, spec)
            return
        self.put_in(now, asker, command, spec, {"task": task_text(spec.task)})

    def put_in(
        self,
        now: Now,
        asker: Asker,
        command: TaskSubmit | TaskReopen,
        spec: Spec,
        body: dict[str, Json],
    ) -> None:
        """Publish the spec of a new task, and answer once it has its copies."""
        want = self.want(command.copies)
        push, (fact,) = self.ledger.publish(now, [spec], want)
        self.submitting.count()
        self.ledger.count("submitted")
        self.ledger.requests.begin(now, asker.key, command)
        wanted = command.copies if want is Want.DURABLE else 1
        copies = self.copies(now, push, wanted, spec.blob)
        self.await_copies(Write(asker, spec.task, body, copies, fact.id))

    def _join(self, now: Now, asker: Asker, command: TaskSubmit, spec: Spec) -> None:
        """Answer with the task that stands under the same key already."""
        self.ledger.count("deduplicated")
        self.submitting.note_joined(spec)
        held = self.ledger.known(spec.task)
        body: dict[str, Json] = {
            "task": task_text(spec.task),
            "joined": True,
            "differs": held.spec is not None and not same_work(held.spec.fact, spec),
            "copies": 1,
        }
        self.answer_after_commit(now, asker, command, body)

    def _join_forgotten(self, now: Now, asker: Asker, command: TaskSubmit, spec: Spec) -> None:
        """Answer that the task under this key is finished already, and nobody keeps it."""
        self.ledger.count("deduplicated")
        body: dict[str, Json] = {
            "task": task_text(spec.task),
            "joined": True,
            "differs": False,
            "forgotten": True,
            "copies": 1,
        }
        self.answer_after_commit(now, asker, command, body)

    def cancel(self, now: Now, asker: Asker, command: TaskCancel) -> None:
        """Say that nobody shall do a task any more."""
        self.ledger.check_room()
        record = self.ledger.record(command.task)
        if record.state in TERMINAL:
            raise already_finished(record)
        assert record.spec is not None
        facts: list[TaskFact] = [Cancel(record.task, record.spec.id)]
        if not self._may_cancel(record):
            if not self.submitting.has_joined(record.task):
                raise not_submitted_here(record)
            # Whoever submits may cancel. That this node did, under a key, has not been said yet.
            facts.insert(0, replace(record.spec.fact, created_ms=wall_ms(now)))
        self.ledger.publish(now, facts)
        self.ledger.count("canceled")
        self.answer_after_commit(
            now, asker, command, {"task": command.task, "state": TaskState.CANCELED.value}
        )

    def _may_cancel(self, record: Record) -> bool:
        mine = self.ledger.self_id
        specs = () if record.spec is None else (record.spec, *record.others)
        if any(spec.author == mine for spec in specs) or self.ledger.parts.is_admin(mine):
            return True
        return any(view.valid and view.fact.author == mine for view in record.claims)

    # --- claims

    def start(self, now: Now, asker: Asker, command: TaskStart) -> None:
        """Say that work begins; said again, nothing is added."""
        self.ledger.check_room()
        holding = self.holding(command.handle)
        body: dict[str, Json] = {
            "task": task_name(holding),
            "token": token_text(holding.claim),
            "started": True,
        }
        if not holding.started:
            self.ledger.publish(now, self.start_facts(holding))
            self.ledger.count("started")
            holding.started = True
        self.answer_after_commit(now, asker, command, body)

    def complete(self, now: Now, asker: Asker, command: TaskComplete) -> None:
        """Write the result; the handle has served."""
        self.ledger.check_room()
        bytes_max = min(self.ledger.parts.params.payload_bytes_max, PAYLOAD_BYTES_MAX)
        output = entered_base64(command.output, bytes_max, "output")
        holding = self.ledger.sessions.find(command.handle)
        is_late = self._is_late(holding)
        digest = blake2b(output, digest_size=32).digest()
        blob = self.ledger.blob(command.blob, beside=command.output)
        result = Result(holding.task, holding.claim.id, output, digest)
        if blob is not None:
            digest = blob[0]
            result = Result(holding.task, holding.claim.id, b"", digest, blob[1])
        want = self.want(command.copies)
        facts: list[TaskFact] = [*self.start_facts(holding), result]
        push, _ = self.ledger.publish(now, facts, want)
        holding.started = True
        self.ledger.count("completed")
        self.ledger.requests.begin(now, asker.key, command)
        self.end(holding)
        body: dict[str, Json] = {
            "task": task_name(holding),
            "token": token_text(holding.claim),
            "digest": digest.hex(),
        }
        if is_late:
            body["late"] = True
        wanted = command.copies if want is Want.DURABLE else 1
        copies = self.copies(now, push, wanted, blob)
        self.await_copies(Write(asker, holding.task, body, copies))

    def _is_late(self, holding: Holding) -> bool:
        """Whether a completion comes from an outranked token; raises LocalError if it is refused.

        Work that is done is worth keeping: it counts as long as no completion of a greater token
        is known.
        """
        record = self.ledger.known(holding.task)
        if holding.phase is Phase.SETTLING:
            raise not_settled(record)
        if holding.phase is Phase.ENDED or record.state is TaskState.CANCELED:
            raise already_finished(record)
        if record.winner is not None:
            best = next(v.fact for v in record.claims if v.fact.id == record.winner.fact.claim)
            if token_key(best) >= token_key(holding.claim):
                raise already_finished(record)
        if not any(view.valid and view.fact.id == holding.claim.id for view in record.claims):
            raise claim_lost(record, self.ledger.parts.liveness.name)
        return not self.ledger.is_owner(holding)

    def fail(self, now: Now, asker: Asker, command: TaskFail) -> None:
        """End an attempt without a result."""
        self.ledger.check_room()
        holding = self.holding(command.handle)
        error = cut_text(command.error, ERROR_BYTES_MAX, "error")
        attempt = Attempt(holding.task, holding.claim.id, AttemptKind.FAILED, error)
        self.ledger.publish(now, [*self.unsaid_facts(holding), attempt])
        self.ledger.count("failed")
        self.end(holding)
        record = self.ledger.known(holding.task)
        body: dict[str, Json] = {"task": task_name(holding), "state": record.state.value}
        self.answer_after_commit(now, asker, command, body)

    def release(self, now: Now, asker: Asker, command: TaskRelease) -> None:
        """Give a task back."""
        self.ledger.check_room()
        holding = self.holding(command.handle, may_settle=True)
        put_off = None
        if command.put_off_s is not None:
            put_off = wall_ms(now) + round(command.put_off_s * 1000)
        self.give_up(now, holding, put_off_ms=put_off)
        body: dict[str, Json] = {"task": task_name(holding), "released": True}
        self.answer_after_commit(now, asker, command, body)

    def give_up(
        self, now: Now, holding: Holding, *, lost: bool = False, put_off_ms: int | None = None
    ) -> None:
        """End a claim without an attempt, or as lost when work on it had begun."""
        fact: TaskFact
        ahead = self.unsaid_facts(holding) if holding.unsaid is not None else []
        if lost and holding.started:
            fact = Attempt(holding.task, holding.claim.id, AttemptKind.LOST, b"")
            self.ledger.count("attempts_lost")
        elif put_off_ms is not None:
            fact = Release(holding.task, holding.claim.id, put_off_ms, b"")
            self.ledger.count("put_off")
        else:
            fact = self.progress(holding, ProgressState.RELEASED)
            self.ledger.count("released")
        self.ledger.publish(now, [*ahead, fact])
        askers, holding.askers = holding.askers, []
        record = self.ledger.known(holding.task)
        for asker in askers:
            error = claim_lost(record, self.ledger.parts.liveness.name)
            self.ledger.refuse(now, asker, error, had_effect=True)
        self.end(holding)

    def time_out(self, now: Now, holding: Holding, error: str) -> None:
        """End an attempt that took too long; its agent is told to stop, and may be late."""
        end = Attempt(holding.task, holding.claim.id, AttemptKind.TIMED_OUT, error.encode())
        client = holding.client
        self.ledger.publish(now, [*self.unsaid_facts(holding), end])
        holding.started = True
        self.ledger.count("timed_out")
        self.ledger.timers.cancel(("grace", holding.key))
        self.ledger.close_holding(holding, Phase.LOST)
        record = self.ledger.known(holding.task)
        body = lost_body(record, token_text(holding.claim), "timed_out")
        if client is not None:
            self.ledger.parts.outbox.notify("task.lost", body, client)
        self.ledger.parts.outbox.notify("task.lost", body)

    def end(self, holding: Holding) -> None:
        """Close the handle of a claim that is over by its own agent's word."""
        self.ledger.timers.cancel(("settle", holding.key))
        self.ledger.timers.cancel(("grace", holding.key))
        if holding.phase is Phase.LOST:
            holding.phase = Phase.ENDED
        else:
            self.ledger.close_holding(holding, Phase.ENDED)

    def progress(
        self, holding: Holding, state: ProgressState, said: Unsaid = NOTHING_UNSAID
    ) -> Progress:
        """Return the next word on a claim in this boot."""
        number, boot = holding.next_number(), self.ledger.parts.boot
        return Progress(holding.task, holding.claim.id, boot, number, state, *said)

    def start_facts(self, holding: Holding) -> list[TaskFact]:
        """Return the start that was never said: whoever ends an attempt has begun it."""
        return [] if holding.started else [self.progress(holding, ProgressState.STARTED)]

    def unsaid_facts(self, holding: Holding) -> list[TaskFact]:
        """Return a start that was never said, and a report that waits for its turn."""
        unsaid, holding.unsaid = holding.unsaid, None
        started = self.start_facts(holding)
        if unsaid is None:
            return started
        return [*started, self.progress(holding, ProgressState.RUNNING, unsaid)]

    def holding(self, handle: str, *, may_settle: bool = False) -> Holding:
        """Return the claim behind a handle that may be written on; raises LocalError."""
        holding = self.ledger.sessions.find(handle)
        record = self.ledger.known(holding.task)
        if holding.phase is Phase.SETTLING and not may_settle:
            raise not_settled(record)
        if not holding.is_live and record.state in TERMINAL:
            raise already_finished(record)
        if holding.phase is Phase.ENDED:
            raise LocalError(
                "already_finished",
                f"this claim on task {task_text(holding.task)} was ended with this handle",
                "claim the task again to go on with it",
            )
        if holding.phase is Phase.LOST:
            raise claim_lost(record, self.ledger.parts.liveness.name)
        return holding

    # --- answers

    def want(self, copies: int) -> Want:
        """Return whether peers are to confirm that they have a write on disk."""
        return Want.DURABLE if copies > 1 and self.ledger.parts.liveness.alive() else Want.NOTHING

    def copies(self, now: Now, push: PushNumber, wanted: int, blob: Blob | None) -> Copies:
        """Return the wait for so many copies of a push, and of the blob that it names."""
        params = self.ledger.parts.params
        wait_s = params.copies_wait_s if blob is None else params.blob_copies_wait_s
        has_bytes = blob is None or self.ledger.parts.blobs.has(BlobId(blob[0]))
        return Copies(push, wanted, later(now.instant, wait_s), has_bytes)

    def answer_after_commit(
        self,
        now: Now,
        asker: Asker,
        command: TaskWrite,
        body: dict[str, Json],
    ) -> None:
        """Answer a write once it is on this node's disk."""
        self.ledger.requests.begin(now, asker.key, command)
        outbox, waits = self.ledger.parts.outbox, self.ledger.commit_waits
        number = outbox.commit(*self.ledger.requests.expect(asker.key, Answer(body)))
        if not outbox.rows_waiting:
            # Nothing new to write: what was said before may still be on its way to the disk.
            if not waits:
                self.ledger.answer(now, asker, body)
                return
            number = waits[-1].number
        self.ledger.once_on_disk(number, lambda now: self.ledger.answer(now, asker, body))

    def await_copies(self, write: Write) -> None:
        """Answer a write once it has its copies, or has waited long enough for them."""
        ledger = self.ledger
        push = write.copies.push
        rows = ledger.requests.expect(write.asker.key, Answer(write.body | {"copies": 1}))
        number = ledger.parts.outbox.commit(*rows)
        self._writes[push] = write
        ledger.under_way = len(self._writes)
        ledger.timers.set(("copies", push), write.copies.deadline)
        if write.spec is None:
            ledger.once_on_disk(number, lambda now: self._committed(now, push))
            return
        spec = write.spec
        ledger.after_commit(
            number,
            lambda now: self._committed(now, push),
            lambda now, error: self._withdraw(now, push, spec, error),
        )

    def _committed(self, now: Now, push: PushNumber) -> None:
        write = self._writes[push]
        write.copies.committed = True
        self.check_copies(now, push)

    def _withdraw(self, now: Now, push: PushNumber, spec: FactId, error: LocalError) -> None:
        """Refuse a submit that the disk did not take, and see to it that nobody does the task.

        Its rows are tried again: without a cancel it would be done, and done again for the client
        that submits it again.
        """
        write = self._forget(push)
        try:
            self.ledger.publish(now, [Cancel(write.task, spec)])
        except LocalError:
            self.ledger.count("cancels_without_room")
        self.ledger.refuse(now, write.asker, error, had_effect=False)

    def handle_acknowledged(
        self, now: Now, push: PushNumber, peer: NodeId, *, durable: bool
    ) -> None:
        """A peer has a write on its disk, or says that it is no copy of it."""
        write = self._writes.get(push)
        if write is not None:
            write.copies.acknowledge(peer, durable=durable)
            self.check_copies(now, push)

    def check_all(self, now: Now) -> None:
        """Look at all writes again: somebody who was waited for may be gone."""
        for push in list(self._writes):
            self.check_copies(now, push)

    def check_copies(self, now: Now, push: PushNumber) -> None:
        """Answer a write if it has its copies, or waited long enough for them."""
        write = self._writes.get(push)
        alive = self.ledger.parts.liveness.alive()
        if write is None or not write.copies.is_over(now.instant, alive):
            return
        self._forget(push)
        copies = max(1, write.copies.count)
        self.ledger.note_copies(write.task, copies)
        self.ledger.answer(now, write.asker, write.body | {"copies": copies})

    def _forget(self, push: PushNumber) -> Write:
        write = self._writes.pop(push)
        self.ledger.under_way = len(self._writes)
        self.ledger.timers.cancel(("copies", push))
        return write
