"""A driver of one node: keeps the contract of drivers, and checks that of nodes at each step."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.core.commands import Command
from mesh.core.effects import (
    ClientId,
    CloseStream,
    Commit,
    CommitNumber,
    Effect,
    Halt,
    OpenStream,
    Reply,
    ReplyError,
    Row,
    SendDatagram,
    SendStream,
    StreamId,
)
from mesh.core.identity import Address
from mesh.core.inputs import (
    ClientGone,
    CommandReceived,
    CommitDone,
    CommitFailed,
    Input,
    StreamClosed,
    StreamOpened,
    StreamReceived,
)
from mesh.core.instants import NEVER, Instant, Now, WallTime
from mesh.core.node.admissions import JOINS_MAX
from mesh.core.node.doorway import UNREAD_STREAMS_MAX
from mesh.core.node.node import Node
from mesh.core.wire.frame import DATAGRAM_BYTES_MAX
from tests.fuzz.cast import CREATED_S

START = Now(Instant(100.0), WallTime(CREATED_S + 100.0))
YEARS_S = 40_000_000.0
"""Longer than any client may want to wait."""
QUIET_ROUNDS = 40
PATIENT_ROUNDS = 2000


@dataclass(slots=True)
class Driver:
    """Performs effects, remembers what is under way, and asserts what must always hold."""

    node: Node
    now: Now = START
    commits: list[CommitNumber] = field(default_factory=list)
    newest_commit: int = 0
    dialled: dict[StreamId, None] = field(default_factory=dict)
    streams: dict[StreamId, bytearray] = field(default_factory=dict)
    """Open streams, with what the node has written to them."""
    next_stream: int = 0
    asked: dict[tuple[ClientId, int], Command] = field(default_factory=dict)
    requests: int = 0
    lives: dict[int, int] = field(default_factory=dict)
    """How often each client has hung up: it comes back as another one."""
    datagrams: list[SendDatagram] = field(default_factory=list)
    results: list[object] = field(default_factory=list)
    halted: bool = False
    rows: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    """What is on disk by now."""

    def __post_init__(self) -> None:
        self.rows = {kind: dict(held) for kind, held in self.node.rows.items()}

    # What happens to the node

    def start(self) -> None:
        """Begin."""
        self._perform(self.node.start(self.now))

    def give(self, event: Input) -> None:
        """Let one thing happen."""
        if not self.halted:
            self._perform(self.node.handle(self.now, event))

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on, and do what is due then."""
        instant, wall = self.now
        self.now = Now(Instant(instant + seconds), WallTime(wall + seconds))
        if self.halted:
            return
        self._perform(self.node.handle_timeout(self.now))
        if not self.halted:
            assert self.node.next_deadline() > self.now.instant, "a node that spins"

    def wait(self) -> None:
        """Let time pass until the node wants to act."""
        deadline = self.node.next_deadline()
        if deadline < NEVER:
            self.pass_time(max(0.0, deadline - self.now.instant) + 1e-6)

    def commit(self, count: int = 1000) -> None:
        """Bring the oldest commits to disk."""
        while self.commits and count:
            count -= 1
            self.give(CommitDone(self.commits.pop(0)))

    def fail_commit(self) -> None:
        """Lose the oldest commit."""
        if self.commits:
            self.give(CommitFailed(self.commits.pop(0), "disk full"))

    def ask(self, client: int, command: Command, uid: int = 0) -> None:
        """Send a request of a client."""
        self.requests += 1
        id_ = self._client(client)
        self.asked[id_, self.requests] = command
        self.give(CommandReceived(id_, self.requests, command, uid))

    def hang_up(self, client: int) -> None:
        """Let a client go."""
        gone = self._client(client)
        self.lives[client] = self.lives.get(client, 0) + 1
        self.asked = {key: asked for key, asked in self.asked.items() if key[0] != gone}
        self.give(ClientGone(gone))

    def _client(self, number: int) -> ClientId:
        return ClientId(number + 100 * self.lives.get(number, 0))

    def accept(self, source: Address) -> StreamId:
        """Let somebody dial the node; returns the stream."""
        stream = StreamId(self.next_stream)
        self.next_stream += 2
        self.streams[stream] = bytearray()
        self.give(StreamOpened(stream, source, dialled=False))
        return stream

    def connect(self, stream: StreamId) -> None:
        """Let something that the node dialled be up."""
        del self.dialled[stream]
        self.streams[stream] = bytearray()
        self.give(StreamOpened(stream, self.node.setup.addresses[0], dialled=True))

    def write(self, stream: StreamId, data: bytes) -> None:
        """Let bytes of a stream arrive."""
        if stream in self.streams and data:
            self.give(StreamReceived(stream, data))

    def close(self, stream: StreamId) -> None:
        """Let a stream end, or not come up."""
        self.streams.pop(stream, None)
        self.dialled.pop(stream, None)
        self.give(StreamClosed(stream, "gone"))

    def come_to_rest(self) -> None:
        """Let years pass with a sound disk; every question must have been answered then."""
        self.commit()
        for _ in range(QUIET_ROUNDS):
            self.wait()
            self.commit()
        for _ in range(3):
            self.pass_time(YEARS_S)
            self.commit()
        rounds = 0
        while rounds < QUIET_ROUNDS or (self.asked and rounds < PATIENT_ROUNDS):
            # Whoever slept for years may have to find out first that everybody else is gone.
            rounds += 1
            self.wait()
            self.commit()
        if not self.halted:
            assert not self.asked, f"never answered: {list(self.asked.values())}"

    # What the node wants

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._perform_one(effect)
        self.check()

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case SendDatagram(data=data):
                assert len(data) <= DATAGRAM_BYTES_MAX, f"a datagram of {len(data)} bytes"
                self.datagrams.append(effect)
                del self.datagrams[:-16]
            case Commit(number, rows):
                assert number == self.newest_commit + 1, "numbers of commits rise by one"
                self.newest_commit = number
                self.commits.append(number)
                self._keep(rows)
            case OpenStream(stream):
                assert stream % 2 == 1, "the node gives odd ids"
                self.dialled[stream] = None
            case SendStream(stream, data):
                self.streams.get(stream, bytearray()).extend(data)
            case CloseStream(stream):
                self.streams.pop(stream, None)
                self.dialled.pop(stream, None)
            case Reply() | ReplyError():
                self._answered(effect)
            case Halt():
                self.halted = True
            case _:
                pass

    def _keep(self, rows: Sequence[Row]) -> None:
        for row in rows:
            held = self.rows.setdefault(row.kind, {})
            if row.value is None:
                held.pop(row.key, None)
            else:
                held[row.key] = row.value

    def _answered(self, answer: Reply | ReplyError) -> None:
        client, request = answer.client, answer.request
        if isinstance(answer, Reply):
            self.results.append(answer.result)
        assert 0 < request <= self.requests, "an answer to no question"
        # Clients that are gone may still be answered; nobody is answered twice.
        command = self.asked.pop((client, request), None)
        gone = client != self._client(client % 100)
        assert command is not None or gone, f"client {client} was answered {request} twice"

    def check(self) -> None:
        """Assert that every table is within its bound."""
        node, participant = self.node, self.node.participant
        if participant is None:
            return
        assert len(node.doorway.unread) <= UNREAD_STREAMS_MAX
        sizes = [
            *node.snapshot(self.now).table_sizes,
            *participant.membership.table_sizes(),
            *participant.trust.table_sizes(),
            *participant.table.sizes(),
            *participant.backlog.sizes(),
        ]
        gossip, links = participant.gossip, participant.params.links
        intake, limits = gossip._intake, participant.params.gossip
        sizes += [
            ("joins", len(node.admissions.joins), JOINS_MAX),
            ("sources", len(participant.transport._door._sources), links.sources_max),
            ("greeted", len(participant.transport._greeted._waiting), links.sources_max),
            ("relays", len(participant.transport._relays), links.sources_max),
            ("parked", len(intake._parked), limits.parked_max),
            ("owed", len(gossip._acknowledger._waiting), limits.queue_items_max),
            ("flights", len(gossip._pusher._flights), limits.queue_items_max),
            ("rumours", gossip._spreader._count, limits.queue_items_max),
            ("strikes", len(participant.blame), participant.params.membership.members_max),
        ]
        for name, size, cap in sizes:
            assert size <= cap, f"{size} {name}, {cap} are allowed"
