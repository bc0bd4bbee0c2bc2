"""What the parts of the desk share: they publish here, wait for commits here, and answer here."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mesh.core.claims.board import Board
from mesh.core.claims.exchange_views import announcement
from mesh.core.claims.facts import Blob, Capability, Claim, Evidence, Spec, TaskFact
from mesh.core.claims.record import Record, nobody
from mesh.core.claims.refusals import forgotten
from mesh.core.claims.requests import Answer, Asker, Requests
from mesh.core.claims.resting import Resting
from mesh.core.claims.sessions import Holding, Phase, Sessions
from mesh.core.claims.settle import Samples
from mesh.core.claims.table import Table
from mesh.core.claims.takeover import Ended, Graces
from mesh.core.claims.timers import Timers
from mesh.core.claims.views import TERMINAL, Shown, Views
from mesh.core.claims.waiters import Waiters
from mesh.core.effects import CommitNumber, Json
from mesh.core.errors import LocalError, RemoteError
from mesh.core.gossip.vocabulary import Family, PushNumber, Want
from mesh.core.identity import BlobId, Boot, FactId, NodeId, TaskId, parse_task_text, task_text
from mesh.core.instants import Now, WallTime
from mesh.core.outbox import Outbox
from mesh.core.params import ClaimParams
from mesh.core.rng import Rng
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Author, Verified

RESERVE_SHARE = 10
"""Of the facts that one author may have, one in so many is left for starts, results and ends."""


class Liveness(Protocol):
    """What the desk wants to know of membership; the node answers it."""

    def alive(self) -> tuple[NodeId, ...]:
        """Return the peers that live, without this node."""
        ...

    def status(self, node: NodeId) -> Status | None:
        """Return what is believed of a node."""
        ...

    def ended(self, node: NodeId, boot: Boot) -> Ended | None:
        """Return what proves that this boot of a node is over."""
        ...

    def missing(self) -> bool:
        """Whether some member is expected back: neither alive, nor dead, nor gone for good."""
        ...

    def name(self, node: NodeId) -> str:
        """Return the name of a node for people."""
        ...

    def nodes_for(self, kind: str) -> tuple[NodeId, ...]:
        """Return the alive nodes on which an agent waits for a kind."""
        ...

    def tags(self, node: NodeId) -> tuple[Capability, ...]:
        """Return the tags of a node, as it says itself."""
        ...

    def own_presence(self) -> tuple[Verified[Any], Evidence]:
        """Return what proves this node's tags, and what it says to the claim table."""
        ...


class TaskGossip(Protocol):
    """The slice of gossip that the desk uses."""

    def holds(self, family: Family, id_: FactId) -> bool:
        """Whether a fact is held."""
        ...

    def publish(
        self, now: Now, family: Family, facts: Sequence[Verified[Any]], want: Want = Want.NOTHING
    ) -> PushNumber:
        """Hold, commit and then spread facts."""
        ...

    def drop(self, family: Family, id_: FactId) -> None:
        """Let go of a dominated fact; it is not taken in again."""
        ...

    def forget(self, family: Family, ids: Iterable[FactId]) -> bool:
        """Let go of facts that are over; False while one of them is on its way to the disk."""
        ...

    def tell(self, now: Now, peer: NodeId, family: Family, ids: Sequence[FactId]) -> None:
        """Send held facts to one peer at once."""
        ...


class TaskBlobs(Protocol):
    """What tasks want of blobs."""

    def has(self, blob: BlobId) -> bool:
        """Whether a blob is here as a whole."""
        ...

    def size(self, blob: BlobId) -> int:
        """Return the size of a blob that is here; raises LocalError."""
        ...

    def want(
        self, now: Now, task: TaskId, named: tuple[BlobId, int], preferred: tuple[NodeId, ...]
    ) -> None:
        """See to it that a blob comes here, and stays as long as the task."""
        ...

    def use(self, task: TaskId, blob: BlobId) -> None:
        """Keep a blob as long as the task, where it is here."""
        ...

    def disuse(self, now: Now, task: TaskId, blob: BlobId) -> None:
        """A task names another blob instead: it may go."""
        ...

    def release(self, now: Now, task: TaskId) -> None:
        """A task is let go of."""
        ...

    def keep(self, now: Now, data: bytes) -> BlobId:
        """Store the bytes of a client, which takes a moment; raises LocalError."""
        ...


def one() -> int:
    """Return how many observers are a majority where nothing is known of any."""
    return 1


@dataclass(slots=True)
class DeskParts:
    """What a `Desk` is made of."""

    author: Author
    boot: Boot
    table: Table
    gossip: TaskGossip
    liveness: Liveness
    params: ClaimParams
    rng: Rng
    outbox: Outbox
    blobs: TaskBlobs
    orphan_grace_s: float = 15.0
    """From membership: how long the claims of a dead node rest, unless the task says otherwise."""
    is_admin: Callable[[NodeId], bool] = nobody
    """Who may cancel what others submitted."""
    was_admin: Callable[[NodeId], bool] = nobody
    """Who is an admin or was one: its words of what is forgotten count for good."""
    majority: Callable[[], int] = one
    """How many observers of a node would make a verdict if everybody admitted were here."""


@dataclass(slots=True)
class CommitWait:
    """Something to do once a commit is on disk, or to say when it failed."""

    number: CommitNumber
    done: Callable[[Now], None]
    failed: Callable[[Now, LocalError], None]


@dataclass(slots=True)
class Ledger:
    """The state of a desk, and the few things that every part of it does."""

    parts: DeskParts
    timers: Timers = field(default_factory=Timers)
    board: Board = field(default_factory=Board)
    counts: dict[str, int] = field(default_factory=dict)
    shown: dict[TaskId, Shown] = field(default_factory=dict)
    changed: dict[TaskId, None] = field(default_factory=dict)
    """Tasks whose record may differ from what was acted on: looked at before the turn ends."""
    begun: dict[TaskId, None] = field(default_factory=dict)
    """Tasks that may be started here as of this turn: the limits of their claims begin to count."""
    stirred: dict[str, None] = field(default_factory=dict)
    """Kinds for which a waiter and an open task may now meet."""
    sightings: dict[FactId, int] = field(default_factory=dict)
    commit_waits: deque[CommitWait] = field(default_factory=deque)
    under_way: int = 0
    """Durable writes that wait for copies."""
    disk_error: LocalError | None = None
    """Why nothing can be promised now: a commit failed, and is not yet made up for."""
    forgetters: list[Callable[[TaskId], object]] = field(default_factory=list)
    """What each part of the desk does when a task is let go of, so that nothing of it is left."""
    asked: dict[FactId, TaskId] = field(default_factory=dict)
    """Open questions of this node."""
    stopped: LocalError | None = None
    """Why this node takes no work any more."""
    self_id: NodeId = field(init=False)
    """This node."""
    samples: Samples = field(init=False)
    sessions: Sessions = field(init=False)
    requests: Requests = field(init=False)
    waiters: Waiters = field(init=False)
    views: Views = field(init=False)
    resting: Resting = field(init=False)

    def __post_init__(self) -> None:
        params = self.parts.params
        self.self_id = self.parts.author.id
        self.samples = Samples(params)
        self.sessions = Sessions(params)
        self.requests = Requests(params)
        self.waiters = Waiters(params)
        self.views = Views(self.parts.liveness.name)
        self.resting = Resting(params)
        self.forgetters.append(self.resting.forget)

    @property
    def graces(self) -> Graces:
        """How long ended nodes keep their claims."""
        return Graces(self.parts.orphan_grace_s, self.parts.params.resume_grace_s)

    def count(self, name: str, by: int = 1) -> None:
        """Count one event, or add to a sum."""
        self.counts[name] = self.counts.get(name, 0) + by

    def publish(
        self,
        now: Now,
        facts: Sequence[TaskFact],
        want: Want = Want.NOTHING,
        cited: Sequence[Verified[Any]] = (),
    ) -> tuple[PushNumber, list[Verified[Any]]]:
        """Count own facts in the table, and spread them once they are signed and on disk.

        What they cite goes ahead of them in the same push: a receipt stands for both. Raises
        LocalError, with nothing changed, when the table has no room.
        """
        self._check_facts_left(facts)
        verified: list[Verified[Any]] = [self.parts.author.draft(fact) for fact in facts]
        for place, fact in enumerate(verified):
            try:
                self.mark(self.parts.table.add(fact))
            except RemoteError as full:
                if place:
                    self.parts.gossip.publish(now, Family.TASKS, verified[:place], want)
                raise table_full(full) from None
            self.sight(now, fact)
        push = self.parts.gossip.publish(now, Family.TASKS, [*cited, *verified], want)
        return push, verified

    def said_already(self, fact: TaskFact) -> bool:
        """Whether this node has said exactly this before."""
        id_ = self.parts.author.draft(fact).id
        return self.parts.gossip.holds(Family.TASKS, id_)

    def _check_facts_left(self, facts: Sequence[TaskFact]) -> None:
        """Begin nothing new while there is just enough room to end what was begun."""
        high = self.parts.params.facts_per_author_max
        if self.parts.table.facts_left(self.self_id) > high // RESERVE_SHARE:
            return
        if any(isinstance(fact, Spec | Claim) for fact in facts):
            raise LocalError(
                "table_full",
                f"this node has used its room for facts, {high} with a reserve for ends",
                "submit and claim on another node; what is under way here can be finished",
            )

    def take_evidence(self, evidence: Evidence) -> None:
        """Count the membership fact that a claim will cite; it is published with the claim."""
        try:
            self.mark(self.parts.table.add_evidence(evidence))
        except RemoteError as full:
            raise table_full(full) from None

    def rest_at_start(self, now: Now) -> None:
        """Leave alone for a while what is remembered as not over, if there are others to ask."""
        if self.parts.liveness.alive():
            tasks = self.parts.table.tasks()
            self.resting.begin(now, [task for task in tasks if not self.known(task).is_over])

    def mark(self, tasks: Iterable[TaskId]) -> None:
        """Have a second look at these tasks before the turn ends."""
        self.changed.update(dict.fromkeys(tasks))

    def sight(self, now: Now, fact: Verified[Any]) -> None:
        """Remember when a fact was first seen here."""
        id_ = fact.signed.id
        if id_ in self.sightings:
            return
        heard = announcement(fact)
        if heard is not None:
            self.parts.outbox.notify(*heard)
        self.sightings[id_] = wall_ms(now)
        if len(self.sightings) > self.parts.params.sightings_max:
            del self.sightings[next(iter(self.sightings))]

    def after_commit(
        self,
        number: CommitNumber,
        done: Callable[[Now], None],
        failed: Callable[[Now, LocalError], None],
    ) -> None:
        """Do something once a commit is on disk, or something else once that has failed."""
        self.commit_waits.append(CommitWait(number, done, failed))

    def once_on_disk(self, number: CommitNumber, done: Callable[[Now], None]) -> None:
        """Do something once a commit is on disk, whichever of its tries that is.

        For what counts already and is tried again: to refuse it would be as untrue as to confirm.
        """

        def again(_now: Now, _error: LocalError) -> None:
            self.once_on_disk(self.parts.outbox.commit(), done)

        self.after_commit(number, done, again)

    def answer(self, now: Now, asker: Asker, result: Json) -> None:
        """Answer a request, and everybody who sent the same."""
        self._conclude(now, asker, Answer(result))

    def refuse(self, now: Now, asker: Asker, error: LocalError, *, had_effect: bool) -> None:
        """Refuse a request; one without effect may be tried again under the same id."""
        if had_effect:
            self._conclude(now, asker, Answer.of_error(error))
            return
        askers, rows = self.requests.forget(asker.key)
        if rows:
            self.parts.outbox.commit(*rows)
        for one in (asker, *askers):
            self.parts.outbox.refuse(one.client, one.request, error)

    def abandon(self, asker: Asker) -> None:
        """Whoever asked is gone and nothing was done: the same request may be made anew."""
        gone = LocalError(
            "first_asker_gone",
            "the connection that asked first is gone, and with it its wish",
            "ask again; the same request id may be used",
        )
        askers, rows = self.requests.forget(asker.key)
        if rows:
            self.parts.outbox.commit(*rows)
        for one in askers:
            self.parts.outbox.refuse(one.client, one.request, gone)

    def _conclude(self, now: Now, asker: Asker, answer: Answer) -> None:
        askers, rows = self.requests.finish(now, asker.key, answer)
        if rows:
            self.parts.outbox.commit(*rows)
        for one in (asker, *askers):
            self.reply(one, answer)

    def reply(self, asker: Asker, answer: Answer) -> None:
        """Send an answer to one client."""
        error = answer.as_error()
        if error is None:
            self.parts.outbox.reply(asker.client, asker.request, answer.result)
        else:
            self.parts.outbox.refuse(asker.client, asker.request, error)

    def blob(self, digest: str | None, *, beside: str) -> tuple[BlobId, int] | None:
        """Return the blob that a client names, with its size; raises LocalError if not here."""
        if digest is None:
            return None
        if beside:
            raise LocalError(
                "two_payloads", "bytes and a blob at once", "give either the bytes or the blob"
            )
        try:
            blob = BlobId(bytes.fromhex(digest))
        except ValueError:
            raise LocalError(
                "bad_digest", f"{digest!r} is no digest", "take it from the answer of blob.put"
            ) from None
        return blob, self.parts.blobs.size(blob)

    def left_blob(self, digest: str | None, what: str, *, beside: str) -> Blob | None:
        """Return the blob with what is left to the next owner; raises LocalError."""
        blob, bytes_max = self.blob(digest, beside=beside), self.parts.params.left_bytes_max
        if blob is not None and blob[1] > bytes_max:
            raise LocalError(
                f"{what}_too_large",
                f"the {what} is {blob[1]} bytes, at most {bytes_max} fit",
                "keep it short, and name a place where the rest can be read",
            )
        return blob

    def check_room(self) -> None:
        """Raise LocalError when too many requests are under way."""
        self.waiters.check_room(len(self.commit_waits) + self.under_way)

    def check_disk(self) -> None:
        """Raise LocalError while the disk fails: what cannot be kept is not begun."""
        if self.disk_error is not None:
            raise self.disk_error

    def record(self, text: str) -> Record:
        """Return the record of a task as a client names it; raises LocalError(not_found)."""
        try:
            task = parse_task_text(text)
        except (ValueError, OverflowError):
            raise LocalError(
                "not_found", f"{text!r} is not a task id", "take one from `mesh task list`"
            ) from None
        record = self.parts.table.record(task)
        if record is None and task in self.parts.table.forgotten:
            raise forgotten(text)
        if record is None or record.spec is None:
            raise LocalError(
                "not_found",
                f"no task {text} is known here",
                "look at `mesh task list`; a task submitted elsewhere takes a moment to arrive",
            )
        return record

    def known(self, task: TaskId) -> Record:
        """Return the record of a task that is in the table."""
        record = self.parts.table.record(task)
        assert record is not None
        return record

    def is_owner(self, holding: Holding) -> bool:
        """Whether the table says that a claim of this node owns its task, unended."""
        record = self.parts.table.record(holding.task)
        if record is None or record.owner is None or record.state in TERMINAL:
            return False
        owner = record.owner
        return owner.fact.signed.id == holding.claim.signed.id and owner.ended_by is None

    def note_copies(self, task: TaskId, copies: int) -> None:
        """Remember on how many disks a task is known to be."""
        shown = self.shown.get(task)
        if shown is not None and shown.copies < copies:
            self.shown[task] = Shown(
                shown.state, shown.claim, shown.winner, shown.updated_ms, copies
            )

    def close_holding(self, holding: Holding, phase: Phase) -> None:
        """End a claim of this node on disk and in memory; somebody may use its room."""
        client = holding.client
        self.parts.outbox.commit(self.sessions.close(holding, phase))
        session = None if client is None else self.sessions.session(client)
        if session is not None:
            self.stirred.update(self.waiters.kinds_of_client(session.client))


def table_full(error: RemoteError) -> LocalError:
    """Return the error for a fact that the table has no room for."""
    return LocalError(
        "table_full",
        f"the claim table is full: {error.detail}",
        "wait until finished tasks are forgotten",
    )


def wall_ms(now: Now) -> int:
    """Return the wall time in milliseconds, for display."""
    return _milliseconds(now.wall)


@functools.lru_cache(maxsize=1)
def _milliseconds(wall: WallTime) -> int:
    """Return the same object for all that is noted in one turn: much of it is kept."""
    return min(max(int(wall * 1000), 0), (1 << 64) - 1)


def task_name(holding: Holding) -> str:
    """Return the id of a claim's task as clients see it."""
    return task_text(holding.task)
