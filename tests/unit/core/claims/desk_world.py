"""Desks in virtual time: real tables and signatures, a fake gossip with delay and loss."""

import heapq
import random
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from mesh.core.claims.desk import Desk, DeskParts
from mesh.core.claims.facts import Evidence, TaskFact
from mesh.core.claims.table import Table
from mesh.core.commands import AgentAttach, Command, TaskClaim, TaskShow, TaskSubmit
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import ClientId, CommitNumber, Json, Notify, Reply, ReplyError, Row
from mesh.core.errors import LocalError, RemoteError
from mesh.core.gossip.vocabulary import Family, PushNumber, Want
from mesh.core.identity import Address, BlobId, Boot, FactId, Incarnation, MeshId, NodeId, TaskId
from mesh.core.inputs import CommandReceived
from mesh.core.instants import NEVER, Instant, Now, WallTime
from mesh.core.membership.facts import Leave, Presence
from mesh.core.outbox import Outbox
from mesh.core.params import ClaimParams
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Verified, Verifier, author_of

MESH = MeshId(b"m" * 32)
SUITE = RealSuite()
COMMIT_S = 0.001
RESEND_S = 0.05
PUSH_TRIES = 4
WALL = 1_700_000_000.0
FIRST_BOOT = Boot(1)
PARAMS = ClaimParams()
Loose = Any
"""JSON, or the fields of a command: tests look into it, and fail where it is something else."""


@dataclass
class Ended:
    fact: Verified[Any]
    subject: NodeId
    ended_boot: Boot
    local: bool
    kind: str
    since: Instant


@dataclass
class FakeLiveness:
    """What one node believes; the world sets it."""

    world: "World"
    me: "Place"
    ends: dict[NodeId, Ended] = field(default_factory=dict)

    def alive(self) -> tuple[NodeId, ...]:
        return tuple(p.id for p in self.world.places if p is not self.me and self._sees(p))

    def _sees(self, other: "Place") -> bool:
        return other.is_up and self.world.connected(self.me, other)

    def status(self, node: NodeId) -> Status | None:
        return Status.ALIVE if node in self.alive() else Status.DOWN

    def ended(self, node: NodeId, boot: Boot) -> Ended | None:
        ended = self.ends.get(node)
        return ended if ended is not None and ended.ended_boot >= boot else None

    def missing(self) -> bool:
        return False

    def name(self, node: NodeId) -> str:
        return next((p.name for p in self.world.places if p.id == node), node.hex())

    def tags(self, node: NodeId) -> tuple[tuple[str, str], ...]:
        return next((p.tags for p in self.world.places if p.id == node), ())

    def own_presence(self) -> tuple[Verified[Any], Evidence]:
        me = self.me
        address = (Address("127.0.0.1", 1),)
        fact = Presence(me.boot, Incarnation(1), address, bytes(32), 1, me.name, me.tags, ())
        presence = me.author.sign([fact])[0]
        return presence, evidence_of(presence)

    def nodes_for(self, kind: str) -> tuple[NodeId, ...]:
        if not self.world.staggers:
            return (self.me.id,)
        willing = [p for p in self.world.places if p is self.me or self._sees(p)]
        return tuple(p.id for p in willing if kind in p.desk.waiting_kinds())


@dataclass
class FakeGossip:
    """Pushes facts to every alive peer, resends them, and acknowledges."""

    world: "World"
    me: "Place"
    held: dict[FactId, Verified[Any]] = field(default_factory=dict)
    last_push: int = 0
    waiting: list[tuple[CommitNumber, PushNumber, list[Verified[Any]], Want]] = field(
        default_factory=list
    )
    told: list[tuple[NodeId, tuple[FactId, ...]]] = field(default_factory=list)
    published: list[Verified[Any]] = field(default_factory=list)

    def holds(self, family: Family, id_: FactId) -> bool:
        assert family is Family.TASKS
        return id_ in self.held

    def publish(
        self, now: Now, family: Family, facts: Sequence[Verified[Any]], want: Want = Want.NOTHING
    ) -> PushNumber:
        del now
        assert family is Family.TASKS
        self.last_push += 1
        push = PushNumber(self.last_push)
        drafts = [fact.signed for fact in facts if not fact.signed.signature]
        self.me.author.sign_drafts(drafts)
        for fact in facts:
            assert fact.id not in self.held or not isinstance(fact.fact, TaskFact), "twice"
            self.held[fact.id] = fact
            self.published.append(fact)
        number = self.me.outbox.commit(*(fact_row(fact) for fact in facts))
        self.waiting.append((number, push, list(facts), want))
        return push

    def drop(self, family: Family, id_: FactId) -> None:
        assert family is Family.TASKS
        self.held.pop(id_, None)
        self.me.on_disk.pop(id_, None)

    def forget(self, family: Family, ids: Iterable[FactId]) -> bool:
        held = [id_ for id_ in ids if id_ in self.held]
        unwritten = [fact.id for _, _, facts, _ in self.waiting for fact in facts]
        if any(id_ in unwritten for id_ in held):
            return False
        for id_ in held:
            self.drop(family, id_)
        return True

    def tell(self, now: Now, peer: NodeId, family: Family, ids: Sequence[FactId]) -> None:
        del now, family
        self.told.append((peer, tuple(ids)))
        facts = [self.held[id_] for id_ in ids]
        target = self.world.place_of(peer)
        if self.me.bundle is not None and target is self.me.relay:
            self.me.bundle.extend(facts)  # shares the datagram of the acknowledgement
            return
        self.world.deliver(self.me, target, lambda: target.receive(facts, self.me, None))

    def handle_committed(self, number: CommitNumber) -> None:
        ready = [item for item in self.waiting if item[0] <= number]
        self.waiting = [item for item in self.waiting if item[0] > number]
        for _, push, facts, want in ready:
            for peer in self.me.liveness.alive():
                self._send(self.world.place_of(peer), push, facts, want, PUSH_TRIES)

    def _send(
        self, to: "Place", push: PushNumber, facts: list[Verified[Any]], want: Want, tries: int
    ) -> None:
        me = self.me
        if (push, to.id) in me.acked or tries == 0:
            return
        self.world.deliver(me, to, lambda: to.receive(facts, me, (push, want)))
        again = self.world.now + RESEND_S
        self.world.at(again, lambda: self._send(to, push, facts, want, tries - 1))


class FakeBlobs:
    """A shelf with what a test puts on it, to which nothing comes by itself."""

    def __init__(self) -> None:
        self.here: dict[BlobId, int] = {}
        self.wanted: dict[BlobId, NodeId] = {}
        """Blob -> the first that is to be asked for it."""
        self.kept: dict[BlobId, TaskId] = {}
        self.slow: dict[BlobId, int] | None = None
        """When it is a dict: what is given to be stored gets there, and no further by itself."""

    def keep(self, now: Now, data: bytes) -> BlobId:
        del now
        blob = BlobId(blake2b(data, digest_size=32).digest())
        (self.here if self.slow is None else self.slow)[blob] = len(data)
        return blob

    def has(self, blob: BlobId) -> bool:
        return blob in self.here

    def size(self, blob: BlobId) -> int:
        if blob not in self.here:
            raise LocalError("blob_not_here", blob.hex(), "put it in")
        return self.here[blob]

    def want(
        self, now: Now, task: TaskId, named: tuple[BlobId, int], preferred: tuple[NodeId, ...]
    ) -> None:
        del now
        self.kept[named[0]] = task
        if named[0] not in self.here:
            self.wanted[named[0]] = preferred[0]

    def use(self, task: TaskId, blob: BlobId) -> None:
        self.kept[blob] = task

    def disuse(self, now: Now, task: TaskId, blob: BlobId) -> None:
        del now
        if self.kept.get(blob) == task:
            del self.kept[blob]

    def release(self, now: Now, task: TaskId) -> None:
        del now
        self.kept = {blob: user for blob, user in self.kept.items() if user != task}


def fact_row(fact: Verified[Any]) -> Row:
    return Row("fact", fact.id, fact.signed.encode())


@dataclass
class Place:
    """One node: desk, table, disk."""

    world: "World"
    number: int
    boot: Boot = FIRST_BOOT
    is_up: bool = True
    tags: tuple[tuple[str, str], ...] = ()
    disk: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    blobs: FakeBlobs = field(default_factory=FakeBlobs)
    on_disk: dict[FactId, Verified[Any]] = field(default_factory=dict)
    replies: dict[tuple[int, int], Json | ReplyError] = field(default_factory=dict)
    notices: list[Notify] = field(default_factory=list)
    acked: set[tuple[PushNumber, NodeId]] = field(default_factory=set)
    last_request: int = 0
    commits_work: bool = True
    unsaved: list[Row] = field(default_factory=list)
    """What a failing disk did not take; `repair` writes it, as the node does."""
    bundle: list[Verified[Any]] | None = None
    relay: "Place | None" = None
    """Who brought what is being received, and gets the bundle with its acknowledgement."""

    def __post_init__(self) -> None:
        verifier = Verifier(SUITE, MESH)
        self.name = "abcdefgh"[self.number]
        self.author = author_of(SUITE, SigningKey(bytes([self.number + 1]) * 32), verifier)
        self.id = self.author.id
        self._build()

    def _build(self) -> None:
        params = self.world.params
        self.outbox = Outbox()
        self.acked.clear()
        self.table = Table(MESH, params, lambda _: False)
        self.gossip = FakeGossip(self.world, self)
        self.liveness = FakeLiveness(self.world, self)
        rng = random.Random(self.number * 1000 + self.boot)
        parts = DeskParts(
            self.author,
            self.boot,
            self.table,
            self.gossip,
            self.liveness,
            params,
            rng,
            self.outbox,
            self.blobs,
            orphan_grace_s=self.world.orphan_grace_s,
        )
        self.desk = Desk(parts)

    # --- what the node does

    def turn(self, act: Callable[[Now], None]) -> None:
        if not self.is_up:
            return
        act(self.world.clock())
        self._drain()

    def _drain(self) -> None:
        out = self.outbox
        effects, out.effects = out.effects, []
        for effect in effects:
            if isinstance(effect, Reply):
                key = (effect.client, effect.request)
                assert key not in self.replies, "answered twice"
                self.replies[key] = effect.result
            elif isinstance(effect, ReplyError):
                key = (effect.client, effect.request)
                assert key not in self.replies, "answered twice"
                assert effect.hint
                self.replies[key] = effect
            elif isinstance(effect, Notify):
                self.notices.append(effect)
        rows, out.rows = out.rows, []
        if rows:
            number, boot = out.next_commit, self.boot
            out.next_commit = CommitNumber(number + 1)
            self.world.at(self.world.now + COMMIT_S, lambda: self._committed(number, rows, boot))

    def _committed(self, number: CommitNumber, rows: list[Row], boot: Boot) -> None:
        if boot != self.boot or not self.is_up:
            return
        if not self.commits_work:
            self.unsaved += rows
            self.turn(lambda now: self.desk.handle_commit_failed(now, number, "disk full"))
            return
        self._write(rows)

        def act(now: Now) -> None:
            self.gossip.handle_committed(number)
            self.desk.handle_committed(now, number)

        self.turn(act)

    def repair(self) -> None:
        """Have a good disk again, to which everything goes that it did not take before."""
        self.commits_work = True
        rows, self.unsaved = self.unsaved, []
        self.outbox.rows[:0] = rows
        self._drain()

    def _write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.kind == "fact":
                held = self.gossip.held.get(FactId(row.key))
                if held is not None:  # else it was dropped meanwhile
                    self.on_disk[FactId(row.key)] = held
            elif row.value is None:
                self.disk.get(row.kind, {}).pop(row.key, None)
            else:
                self.disk.setdefault(row.kind, {})[row.key] = row.value

    def receive(
        self,
        facts: Iterable[Verified[Any]],
        relay: "Place",
        push: tuple[PushNumber, Want] | None,
    ) -> None:
        def act(now: Now) -> None:
            for fact in facts:
                self.accept(now, fact, relay)

        bundle: list[Verified[Any]] = []
        self.bundle, self.relay = bundle, relay
        self.turn(act)
        self.bundle = None

        def answer(told: Sequence[Verified[Any]], *, durable: bool | None) -> None:
            def arrive() -> None:
                if told:
                    relay.receive(told, self, None)
                if push is not None and durable is not None:
                    relay.acknowledged(push[0], self, durable=durable)

            self.world.deliver(self, relay, arrive)

        want = Want.NOTHING if push is None else push[1]
        if bundle or want is Want.RECEIPT:
            answer(bundle, durable=False if want is Want.RECEIPT else None)
        if want is Want.DURABLE:
            committed = self.world.now + 2 * COMMIT_S
            self.world.at(committed, lambda: answer((), durable=True))

    def accept(self, now: Now, fact: Verified[Any], relay: "Place") -> None:
        if fact.id in self.gossip.held:
            return
        if isinstance(fact.fact, TaskFact):
            self.table.check(fact)
            try:
                changed = self.table.add(fact)
            except RemoteError:
                return
        else:
            changed = self.table.add_evidence(evidence_of(fact))
        self.gossip.held[fact.id] = fact
        self.outbox.commit(fact_row(fact))
        self.desk.handle_fact(now, fact, relay.id)
        self.desk.handle_changed(now, changed)

    def acknowledged(self, push: PushNumber, peer: "Place", *, durable: bool) -> None:
        if (push, peer.id) in self.acked:
            return
        self.acked.add((push, peer.id))
        self.turn(lambda now: self.desk.handle_acknowledged(now, push, peer.id, durable))

    # --- what clients do

    def ask(self, command: Command, client: int = 1, uid: int = 0) -> tuple[int, int]:
        """Send a command; the answer stands under the returned key once it came."""
        self.last_request += 1
        key = (client, self.last_request)
        received = CommandReceived(ClientId(client), self.last_request, command, uid)
        self.turn(lambda now: self.desk.handle_command(now, received))
        return key

    def call(self, command: Command, client: int = 1, wait_s: float = 5.0, uid: int = 0) -> Loose:
        """Send a command and let time pass until the answer is there."""
        key = self.ask(command, client, uid)
        self.world.run_until(lambda: key in self.replies, wait_s)
        return self.replies[key]

    def submit(self, kind: str = "build", payload: bytes = b"", **more: Loose) -> str:
        encoded = b64encode(payload).decode()
        return str(self.call(TaskSubmit(kind, encoded, **more))["task"])

    def attach(self, client: int, *kinds: str, capacity: int = 1) -> None:
        assert self.call(AgentAttach("worker", kinds, capacity), client) == {"agent": "worker"}

    def claim(self, task: str, client: int = 1, **more: Loose) -> Loose:
        return self.call(TaskClaim(task=task, **more), client)

    def view(self, task: str) -> Loose:
        return self.call(TaskShow(task))["task"]

    def said(self, topic: str, client: int | None = None) -> list[Mapping[str, Json]]:
        return [n.body for n in self.notices if n.topic == topic and n.client == client]

    def gone(self, client: int) -> None:
        self.turn(lambda now: self.desk.handle_client_gone(now, ClientId(client)))

    # --- what befalls it

    def restart(self) -> None:
        """Come back with what is on disk."""
        self.is_up = True
        self.boot = Boot(self.boot + 1)
        self._build()
        for fact in self.on_disk.values():
            self.gossip.held[fact.id] = fact
            if isinstance(fact.fact, TaskFact):
                self.table.restore(fact)
            else:
                self.table.add_evidence(evidence_of(fact))
        self.desk.restore(self.disk)
        self.turn(self.desk.handle_timeout)

    def learn_end(self, other: "Place", kind: str) -> None:
        """Hear from membership that another node's boot is over."""
        incarnation = Incarnation(0)
        fact: Leave | Presence
        if kind == "restarted":
            address = (Address("127.0.0.1", 1),)
            fact = Presence(other.boot, incarnation, address, bytes(32), 1, "x", (), ())
            ended = Boot(other.boot - 1)
        else:
            fact, ended = Leave(other.boot, incarnation), other.boot
        verified = other.author.sign([fact])[0]
        since = Instant(self.world.now)
        self.liveness.ends[other.id] = Ended(verified, other.id, ended, False, kind, since)
        self.turn(self.desk.handle_members_changed)

    def publish(self, fact: TaskFact) -> Verified[Any]:
        """Write any fact in this node's name, past its desk."""
        verified = self.author.sign([fact])[0]

        def act(now: Now) -> None:
            changed = self.table.add(verified)
            self.gossip.publish(now, Family.TASKS, [verified])
            self.desk.handle_changed(now, changed)

        self.turn(act)
        return verified


def evidence_of(fact: Verified[Any]) -> Evidence:
    if isinstance(fact.fact, Leave):
        return Evidence(fact.id, fact.author, fact.fact.boot, False, "left")
    assert isinstance(fact.fact, Presence)
    ended = Boot(fact.fact.boot - 1)
    return Evidence(fact.id, fact.author, ended, False, "restarted", fact.fact.tags)


@dataclass
class World:
    """A few places, one clock, one queue."""

    count: int = 1
    params: ClaimParams = PARAMS
    seed: int = 0
    loss: float = 0.0
    delay_s: float = 0.002
    orphan_grace_s: float = 15.0
    staggers: bool = True
    now: float = 100.0
    parted: dict[int, int] = field(default_factory=dict)
    queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    serial: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.places: list[Place] = []
        for number in range(self.count):
            self.places.append(Place(self, number))

    def __getitem__(self, number: int) -> Place:
        return self.places[number]

    def clock(self) -> Now:
        return Now(Instant(self.now), WallTime(WALL + self.now))

    def place_of(self, node: NodeId) -> Place:
        return next(place for place in self.places if place.id == node)

    def connected(self, one: Place, other: Place) -> bool:
        return self.parted.get(one.number, 0) == self.parted.get(other.number, 0)

    def meet(self) -> None:
        """End the cut: each place hears everything that the others held until now."""
        self.parted = {}
        held = [(place, tuple(place.gossip.held.values())) for place in self.places]
        for source, facts in held:
            for target in self.places:
                if target is not source:
                    target.receive(facts, source, None)

    def at(self, when: float, act: Callable[[], None]) -> None:
        self.serial += 1
        heapq.heappush(self.queue, (when, self.serial, act))

    def deliver(self, source: Place, target: Place, act: Callable[[], None]) -> None:
        delay_s = self.delay_s * self.rng.uniform(0.5, 1.5)

        def arrive() -> None:
            if self.connected(source, target) and target.is_up and self.rng.random() >= self.loss:
                act()

        self.at(self.now + delay_s, arrive)

    def step(self, until: float) -> bool:
        """Do the next thing before an instant; false when there is none."""
        due = min((p.desk.next_deadline() for p in self.places if p.is_up), default=NEVER)
        first = self.queue[0][0] if self.queue else float("inf")
        when = min(due, first)
        if when > until:
            self.now = max(self.now, until)
            return False
        self.now = max(self.now, when)
        if first <= due:
            heapq.heappop(self.queue)[2]()
            return True
        for place in self.places:
            if place.is_up and place.desk.next_deadline() <= self.now:
                place.turn(place.desk.handle_timeout)
                assert place.desk.next_deadline() > self.now
        return True

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.step(until):
            pass

    def run_until(self, done: Callable[[], bool], wait_s: float = 5.0) -> None:
        until = self.now + wait_s
        while not done():
            assert self.step(until) or done(), "nothing happened any more"

    def members_changed(self) -> None:
        for place in self.places:
            place.turn(place.desk.handle_members_changed)


def task_of(place: Place, text: str) -> TaskId:
    return next(
        record.task
        for record in map(place.table.record, place.table.tasks())
        if record is not None
        and text.startswith(f"{int.from_bytes(record.task[24:], 'big'):x}-")
        and record.task[:16].hex() in text
    )
