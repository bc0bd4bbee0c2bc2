"""How the work goes: reports for everybody to see, and what becomes of a worker that says nothing.

A report is a fact and is kept, so a claim may make only so many: the first go out at once, and
later ones wait until their claim has grown older by a thirty-second of its age. A report that waits
is replaced by the next, and goes out before the claim ends in any case.

A task may limit how long its owner is silent. The owner's own node counts that on its own clock and
writes the attempt down as timed out; nobody else ever takes a task because time has passed. While
the owner waits for an answer, while its host sleeps, and before its node may let it start, the
limit does not run.
"""

import json
from dataclasses import dataclass, field

from mesh.core.claims.facts import (
    CHECKPOINT_BYTES_MAX,
    ERROR_BYTES_MAX,
    Attempt,
    AttemptKind,
    Blob,
    TaskFact,
)
from mesh.core.claims.ledger import Ledger, task_name
from mesh.core.claims.record import Record, token_text
from mesh.core.claims.requests import Asker
from mesh.core.claims.sessions import Holding, Phase, Unsaid
from mesh.core.claims.texts import cut_text, entered_base64, entered_bytes
from mesh.core.claims.writing import Write, Writing
from mesh.core.commands import TaskDecline, TaskProgress
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.gossip.vocabulary import Want
from mesh.core.identity import BlobId
from mesh.core.instants import Instant, Now, later

REPORTS_FREE = 64
AGE_SHARE = 32
ROOM_SHARE = 4
"""One in so many of the facts that an author may have about a task is kept for its ends."""
NOTE_BYTES_MAX = 256
NO_CHECKPOINT = (b"", None)
RETRY_S = 1.0
MS = 1000
SILENT = "its worker has reported no progress for {:g} s"


@dataclass(slots=True)
class Watch:
    """One claim under way: since when, how many reports, and when it was last heard of."""

    since: Instant
    heard: Instant
    reports: int = 0
    said: Instant | None = None


@dataclass(slots=True)
class Reporting:
    """The reports of this node's claims, and the limits to their silence."""

    ledger: Ledger
    writing: Writing
    _watches: dict[bytes, Watch] = field(default_factory=dict)
    _watches_high: int = REPORTS_FREE
    """Beyond so many, those of claims that are over are dropped."""

    # --- what agents say

    def report(self, now: Now, asker: Asker, command: TaskProgress) -> None:
        """Take down how the work goes."""
        ledger = self.ledger
        ledger.check_room()
        note = note_of(command)
        checkpoint = self._checkpoint(command)
        is_kept = checkpoint != NO_CHECKPOINT
        holding = self.writing.holding(command.handle)
        watch = self._watch(now, holding)
        self._heard(now, holding, watch)
        if holding.unsaid is not None and not is_kept:
            checkpoint = (holding.unsaid.checkpoint, holding.unsaid.blob)
        body: dict[str, Json] = {"task": task_name(holding), "token": token_text(holding.claim)}
        due = self._due(now, holding, watch)
        if due is None or due > now.instant:
            self._hold_on_to(now, holding, checkpoint[1])
            holding.unsaid = Unsaid(note, *checkpoint)
            if due is not None:
                ledger.timers.set(("report", holding.key), due)
            held = body | {"published": False}
            self.writing.answer_after_commit(now, asker, command, held)
            return
        holding.unsaid = Unsaid(note, *checkpoint)
        want = self.writing.want(command.copies) if is_kept else Want.NOTHING
        push, _ = ledger.publish(now, self._say(now, holding, watch), want)
        body["published"] = True
        if not is_kept:
            self.writing.answer_after_commit(now, asker, command, body)
            return
        ledger.requests.begin(now, asker.key, command)
        wanted = command.copies if want is Want.DURABLE else 1
        copies = self.writing.copies(now, push, wanted, checkpoint[1])
        self.writing.await_copies(Write(asker, holding.task, body, copies))

    def _checkpoint(self, command: TaskProgress) -> tuple[bytes, Blob | None]:
        """Return the bytes or the blob that a later attempt may go on from; raises LocalError."""
        given = command.checkpoint or ""
        blob = self.ledger.left_blob(command.checkpoint_blob, "checkpoint", beside=given)
        return entered_base64(given, CHECKPOINT_BYTES_MAX, "checkpoint"), blob

    def _hold_on_to(self, now: Now, holding: Holding, blob: Blob | None) -> None:
        """Keep the blob of a report that waits, in place of the one that it replaces."""
        before = None if holding.unsaid is None else holding.unsaid.blob
        if before is not None and before != blob:
            self.ledger.parts.blobs.disuse(now, holding.task, BlobId(before[0]))
        if blob is not None:
            self.ledger.parts.blobs.use(holding.task, BlobId(blob[0]))

    def _say(self, now: Now, holding: Holding, watch: Watch) -> list[TaskFact]:
        facts = self.writing.unsaid_facts(holding)
        holding.started = True
        watch.reports += 1
        watch.said = now.instant
        self.ledger.count("reports")
        return facts

    def _due(self, now: Now, holding: Holding, watch: Watch) -> Instant | None:
        """Return when the next report may go out; None: not before the claim ends."""
        params, table = self.ledger.parts.params, self.ledger.parts.table
        reserve = params.task_facts_per_author_max // ROOM_SHARE
        if table.task_room(holding.task, self.ledger.self_id) <= reserve:
            return None
        if watch.said is None or watch.reports < REPORTS_FREE:
            return now.instant
        return later(watch.said, (watch.said - watch.since) / AGE_SHARE)

    def handle_report_due(self, now: Now, key: bytes) -> None:
        """A report that has waited goes out."""
        holding = self.ledger.sessions.get(key)
        watch = self._watches.get(key)
        if holding is None or watch is None or not holding.is_live or holding.unsaid is None:
            return
        try:
            self.ledger.publish(now, self._say(now, holding, watch))
        except LocalError:
            self.ledger.count("reports_without_room")

    def decline(self, now: Now, asker: Asker, command: TaskDecline) -> None:
        """Give a task back as not for this agent; costs no attempt."""
        ledger = self.ledger
        ledger.check_room()
        holding = self.writing.holding(command.handle, may_settle=True)
        reason = cut_text(command.reason, ERROR_BYTES_MAX, "reason")
        end = Attempt(holding.task, holding.claim.id, AttemptKind.DECLINED, reason)
        ledger.publish(now, [end])
        ledger.count("declined")
        self.writing.end(holding)
        state = ledger.known(holding.task).state.value
        body: dict[str, Json] = {"task": task_name(holding), "state": state}
        self.writing.answer_after_commit(now, asker, command, body)

    # --- silence

    def evaluate(self, now: Now, record: Record) -> None:
        """Begin to count for claims that may start, and anew for those that wait for an answer."""
        for holding in self.ledger.sessions.of_task(record.task):
            if holding.phase is not Phase.OWNED:
                continue
            watch = self._watches.get(holding.key)
            if watch is None:
                self._watch(now, holding)
            elif _asks(record, holding):
                self._heard(now, holding, watch)

    def handle_suspend(self, now: Now) -> None:
        """The host slept, and its workers with it."""
        for key, watch in list(self._watches.items()):
            holding = self.ledger.sessions.get(key)
            if holding is not None and holding.is_live:
                self._heard(now, holding, watch)

    def _watch(self, now: Now, holding: Holding) -> Watch:
        watch = self._watches.get(holding.key)
        if watch is None:
            watch = self._watches[holding.key] = Watch(now.instant, now.instant)
            self._forget_ended()
            self._heard(now, holding, watch)
        return watch

    def _forget_ended(self) -> None:
        """Drop what was kept of claims that are over, once they are the most."""
        if len(self._watches) > self._watches_high:
            keys = {holding.key: None for holding in self.ledger.sessions.live()}
            self._watches = {key: kept for key, kept in self._watches.items() if key in keys}
            self._watches_high = 2 * len(self._watches) + REPORTS_FREE

    def _heard(self, now: Now, holding: Holding, watch: Watch) -> None:
        watch.heard = now.instant
        limit_s = _limit_s(self.ledger.known(holding.task))
        if limit_s is not None:
            self.ledger.timers.set(("silent", holding.key), later(now.instant, limit_s))

    def handle_silence(self, now: Now, key: bytes) -> None:
        """A worker has been silent for as long as it may."""
        holding, watch = self.ledger.sessions.get(key), self._watches.get(key)
        if holding is None or watch is None or holding.phase is not Phase.OWNED:
            return
        record = self.ledger.known(holding.task)
        limit_s = _limit_s(record)
        if limit_s is None or not self.ledger.is_owner(holding):
            return
        if holding.suspended or _asks(record, holding):
            self._heard(now, holding, watch)
            return
        try:
            self.writing.time_out(now, holding, SILENT.format(limit_s))
        except LocalError:
            again = later(now.instant, RETRY_S)
            self.ledger.timers.set(("silent", key), again)


def _limit_s(record: Record) -> float | None:
    limit_ms = None if record.spec is None else record.spec.fact.progress_limit_ms
    return None if limit_ms is None else limit_ms / MS


def _asks(record: Record, holding: Holding) -> bool:
    return bool(record.exchange.open_questions(holding.claim.id))


def note_of(command: TaskProgress) -> bytes:
    """Return a report as it stands in a fact; raises LocalError when it is too long."""
    if command.done is not None and command.total is not None and command.done > command.total:
        raise LocalError(
            "bad_progress",
            f"{command.done} of {command.total} are done",
            "give a total that is not less than what is done",
        )
    entered_bytes(command.note, "note")
    fields = {
        "note": command.note or None,
        "done": command.done,
        "total": command.total,
        "percent": command.percent,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return b""
    data = json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > NOTE_BYTES_MAX:
        raise LocalError(
            "text_too_long",
            f"note: {len(data)} bytes with its numbers, at most {NOTE_BYTES_MAX} fit",
            "give a shorter note",
        )
    return data
