"""A tiny world for gossip: several nodes, a network that loses and reorders, slow disks."""

import hashlib
import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey, Suite
from mesh.core.effects import CommitNumber, Row
from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.gossip import Family, Gossip, GossipParts, PushNumber
from mesh.core.gossip.vocabulary import Doubt
from mesh.core.identity import BlobId, FactId, MeshId, NodeId, PublicKey
from mesh.core.instants import NEVER, Instant, Now, WallTime
from mesh.core.outbox import Outbox
from mesh.core.params import GossipParams
from mesh.core.wire.codec import Binary, Layout
from mesh.core.wire.envelope import Contexts, Fact, Verified, Verifier, author_of

MESH = MeshId(b"m" * 32)
PARAMS = GossipParams()


class HashSuite(RealSuite):
    """Stands in for signatures: a keyed hash that anybody could forge, and nobody here does."""

    def public_key(self, key: SigningKey) -> PublicKey:
        return PublicKey(hashlib.blake2b(key, digest_size=32).digest())

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self.public_key(key)).digest()

    def verify(self, public: PublicKey, signature: bytes, message: bytes) -> bool:
        return hashlib.blake2b(message, key=public).digest() == signature


@dataclass(frozen=True, slots=True)
class Note(Fact):
    """Anything."""

    CONTEXT: ClassVar[str] = "note/1"
    LAYOUT: ClassVar[Layout] = (Binary(0, 1090),)
    text: bytes


Judge = Callable[[Verified[Any]], bool]


class Station:
    """One node as gossip sees it: it accepts every note unless told otherwise."""

    def __init__(self, seed: int, params: GossipParams, suite: Suite | None = None) -> None:
        suite = suite or HashSuite()
        self.verifier = Verifier(suite, MESH)
        key = SigningKey(hashlib.blake2b(seed.to_bytes(8, "big"), digest_size=32).digest())
        self.author = author_of(suite, key, self.verifier)
        self.id = self.author.id
        self.outbox = Outbox()
        self.strangers: dict[PublicKey, None] = {}
        self.judge: Judge = lambda _verified: True
        self.judged: list[FactId] = []
        self.beaten: dict[FactId, None] = {}
        self.bases: dict[FactId, tuple[FactId, ...]] = {}
        """What each fact rests on, where it rests on anything."""
        self.followers: dict[FactId, tuple[FactId, ...]] = {}
        """What has come of each fact since."""
        self.bytes_lacking: dict[FactId, dict[BlobId, bool]] = {}
        """The bytes that a fact names and that are not here, and whether they are coming."""
        self.kept_by: dict[FactId, tuple[NodeId, ...]] = {}
        self.objected: list[tuple[PushNumber, NodeId]] = []
        self.acknowledged: list[tuple[PushNumber, NodeId, bool]] = []
        self.refused: list[Refusal] = []
        parts = GossipParts(
            self.author, self.verifier, self, params, random.Random(seed), self.outbox
        )
        self.gossip = Gossip(parts)

    def contexts(self, family: Family) -> Contexts:
        assert family in Family
        return {Note.CONTEXT: Note}

    def check_author(self, key: PublicKey) -> None:
        if key in self.strangers:
            raise RemoteError(Refusal.NOT_ADMITTED)

    def accept(self, now: Now, family: Family, verified: Verified[Any], relay: NodeId) -> bool:
        assert now.instant >= 0
        assert family in Family
        assert relay != self.id
        self.judged.append(verified.id)
        return self.judge(verified)

    def doubt(self, now: Now, verified: Verified[Any], peer: NodeId) -> Doubt:
        assert now.instant >= 0
        assert peer != self.id
        return Doubt.BEATEN if verified.id in self.beaten else Doubt.NONE

    def is_backed(self, verified: Verified[Any]) -> bool:
        return all(self.gossip.holds(Family.TASKS, id_) for id_ in self.bases.get(verified.id, ()))

    def missing_ids(self, verified: Verified[Any]) -> Sequence[FactId]:
        return self.bases[verified.id]

    def lacking(self, verified: Verified[Any]) -> Mapping[BlobId, bool]:
        return self.bytes_lacking.get(verified.id, {})

    def keepers(self, verified: Verified[Any]) -> Sequence[NodeId]:
        return self.kept_by.get(verified.id, ())

    def followed_by(self, verified: Verified[Any]) -> Sequence[FactId]:
        return self.followers.get(verified.id, ())

    def handle_acknowledged(self, now: Now, push: PushNumber, peer: NodeId, durable: bool) -> None:
        assert now.instant >= 0
        self.acknowledged.append((push, peer, durable))

    def handle_objected(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        assert now.instant >= 0
        self.objected.append((push, peer))

    def notes(self, *texts: bytes) -> list[Verified[Note]]:
        """Return notes signed as one batch."""
        return self.author.sign([Note(text) for text in texts])

    def take_sent(self) -> list[tuple[NodeId, int, bytes]]:
        """Take what the outbox holds for others, datagrams first."""
        sent = [
            (peer, kind, body)
            for box in (self.outbox.messages, self.outbox.bulk)
            for peer, messages in box.items()
            for kind, body in messages
        ]
        self.outbox.messages.clear()
        self.outbox.bulk.clear()
        return sent

    def take_commit(self) -> tuple[CommitNumber, tuple[Row, ...]] | None:
        """Take the rows of this input as one commit."""
        if not self.outbox.rows:
            return None
        number, rows = self.outbox.next_commit, tuple(self.outbox.rows)
        self.outbox.rows.clear()
        self.outbox.next_commit = CommitNumber(number + 1)
        return number, rows


def at(instant: float) -> Now:
    return Now(Instant(instant), WallTime(instant))


@dataclass(frozen=True)
class Weather:
    """How the network treats datagrams; streams only take time."""

    loss: float = 0.0
    doubled: float = 0.0
    low_s: float = 0.001
    high_s: float = 0.004
    disk_s: float = 0.002


class Network:
    """Runs stations on virtual time."""

    def __init__(
        self,
        count: int,
        seed: int = 1,
        weather: Weather | None = None,
        params: GossipParams = PARAMS,
        suite: Suite | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.weather = weather or Weather()
        self.now = 0.0
        self.stations = [Station(seed * 1000 + i, params, suite) for i in range(count)]
        self.by_id = {station.id: station for station in self.stations}
        self.messages: list[tuple[int, int]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.set_everybody()

    def set_everybody(self) -> None:
        for station in self.stations:
            station.gossip.set_peers([s.id for s in self.stations])

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + delay_s, self._order, action))

    def do(self, station: Station, action: Callable[[Gossip, Now], object]) -> None:
        """Give a station one input, and carry out what it asks for."""
        try:
            action(station.gossip, at(self.now))
        except RemoteError as refused:
            station.refused.append(refused.refusal)
        commit = station.take_commit()
        if commit is not None:
            number = commit[0]
            self.later(
                self.weather.disk_s,
                lambda: self.do(station, lambda g, now: g.handle_committed(now, number)),
            )
        bulk = {id(body) for bodies in station.outbox.bulk.values() for _, body in bodies}
        for peer, kind, body in station.take_sent():
            self.messages.append((kind, len(body)))
            self._carry(station, peer, kind, body, reliable=id(body) in bulk)

    def _carry(
        self, source: Station, peer: NodeId, kind: int, body: bytes, *, reliable: bool
    ) -> None:
        copies = 1
        if not reliable:
            copies = 0 if self.rng.random() < self.weather.loss else 1
            copies += self.rng.random() < self.weather.doubled
        target = self.by_id[peer]
        for _ in range(copies):
            delay = self.rng.uniform(self.weather.low_s, self.weather.high_s)
            self.later(
                delay,
                lambda: self.do(
                    target, lambda g, now: g.handle_message(now, source.id, kind, body)
                ),
            )

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due, station = min(
                ((s.gossip.next_deadline(), s) for s in self.stations), key=lambda pair: pair[0]
            )
            event = self._events[0][0] if self._events else NEVER
            if min(due, event) > end:
                break
            self.now = max(self.now, min(due, event))
            if event <= due:
                heapq.heappop(self._events)[2]()
                continue
            self.do(station, lambda g, now: g.handle_timeout(now))
            assert station.gossip.next_deadline() > self.now, "the pump would spin"
        self.now = end

    def ping_round(self) -> None:
        """Every station tells some others its digests, as pings and acks do."""
        for station in self.stations:
            members, tasks = (station.gossip.digest(family) for family in Family)
            others = [s for s in self.stations if s is not station]
            for other in self.rng.sample(others, min(4, len(others))):
                if self.rng.random() < self.weather.loss:
                    continue
                self.do(
                    other,
                    lambda g, now, s=station.id, m=members, t=tasks: g.handle_digests(  # type: ignore[misc]  # defaults bind the loop's values
                        now, s, m, t
                    ),
                )

    def run_with_pings(self, seconds: float, every_s: float = 0.5) -> None:
        for _ in range(int(seconds / every_s)):
            self.ping_round()
            self.run(every_s)

    def all_equal(self) -> bool:
        return all(
            len({station.gossip.ids(family) for station in self.stations}) == 1 for family in Family
        )


def publish_many(network: Network, index: int, family: Family, texts: Sequence[bytes]) -> None:
    """Let a station publish notes, each signed alone."""
    station = network.stations[index]
    facts = [fact for text in texts for fact in station.notes(text)]
    network.do(station, lambda g, now: g.publish(now, family, facts))


def hold(station: Station, family: Family, texts: Sequence[bytes]) -> None:
    """Let a station hold notes as if they came from its disk."""
    for text in texts:
        station.gossip.restore(family, station.notes(text)[0])


def params_with(**changes: Any) -> GossipParams:  # noqa: ANN401  any field of the dataclass
    return replace(PARAMS, **changes)
