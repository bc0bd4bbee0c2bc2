"""A tiny deterministic network for memberships: virtual clock, loss, delay, a stand-in gossip."""

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import RemoteError
from mesh.core.gossip.gossip import Gossip
from mesh.core.gossip.vocabulary import Family, PushNumber, Want
from mesh.core.identity import Address, FactId, MeshId, NodeId, PublicKey, mint_boot
from mesh.core.instants import Instant, Now, WallTime
from mesh.core.membership.ground import MembershipParts, OwnPresence
from mesh.core.membership.membership import Membership
from mesh.core.membership.messages import Ack, Ping
from mesh.core.outbox import Outbox
from mesh.core.params import MembershipParams, params_for
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Author, Fact, Verified, Verifier, author_of
from mesh.core.wire.frame import decode_echo, encode_echo

MESH = MeshId(b"m" * 32)
FANOUT = 3
SYNC_PAUSE_S = 1.0


class HashSuite:
    """Signatures that cost nothing and prove nothing, but that do not fit another message."""

    def public_key(self, key: SigningKey) -> PublicKey:
        return PublicKey(hashlib.blake2b(b"public" + key, digest_size=32).digest())

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        return self._seal(self.public_key(key), message)

    def verify(self, public: PublicKey, signature: bytes, message: bytes) -> bool:
        return signature == self._seal(public, message)

    def _seal(self, public: PublicKey, message: bytes) -> bytes:
        return hashlib.blake2b(public + message, digest_size=64).digest()


def make_author(name: str) -> Author:
    suite = cast("Any", HashSuite())
    key = SigningKey(hashlib.blake2b(name.encode(), digest_size=32).digest())
    return author_of(suite, key, Verifier(suite, MESH))


def at(instant: float) -> Now:
    return Now(Instant(instant), WallTime(instant))


class FakeGossip:
    """Holds facts, floods new ones, repairs differences seen in pings; no commits."""

    def __init__(self, host: "Host | None" = None) -> None:
        self.host = host
        self.held: dict[FactId, Verified[Any]] = {}
        self.judged: dict[FactId, None] = {}
        self.peers: tuple[NodeId, ...] = ()
        self.told: list[tuple[NodeId, tuple[FactId, ...]]] = []
        self.synced: list[NodeId] = []
        self.published: list[Verified[Any]] = []
        self._synced_at: dict[NodeId, float] = {}
        self._digest = 0

    def holds(self, family: Family, id_: FactId) -> bool:
        return family is Family.MEMBERS and id_ in self.held

    def holds_id(self, id_: FactId) -> bool:
        return id_ in self.held

    def digest(self, family: Family) -> int:
        return self._digest if family is Family.MEMBERS else 7

    def hold(self, verified: Verified[Any]) -> None:
        assert verified.id not in self.held
        self.held[verified.id] = verified
        self._digest = (self._digest + int.from_bytes(verified.id[:8], "big")) % (1 << 64)

    def drop(self, family: Family, id_: FactId) -> None:
        assert family is Family.MEMBERS
        del self.held[id_]
        self.judged[id_] = None
        self._digest = (self._digest - int.from_bytes(id_[:8], "big")) % (1 << 64)

    def publish(
        self, now: Now, family: Family, facts: Sequence[Verified[Any]], want: Want = Want.NOTHING
    ) -> PushNumber:
        assert family is Family.MEMBERS
        assert want is Want.NOTHING
        for verified in facts:
            self.published.append(verified)
            self.hold(verified)
            self.spread(now, verified)
        return PushNumber(0)

    def tell(self, now: Now, peer: NodeId, family: Family, ids: Sequence[FactId]) -> None:
        assert family is Family.MEMBERS
        self.told.append((peer, tuple(ids)))
        if self.host is not None:
            for id_ in ids:
                self.host.ship(now, peer, self.held[id_], 0.0)

    def set_peers(self, alive: Sequence[NodeId]) -> None:
        self.peers = tuple(alive)

    def start_sync(self, now: Now, peer: NodeId) -> None:
        self.synced.append(peer)
        if self.host is not None:
            self.host.world.exchange(now, self.host.id, peer)

    # -- the stand-in's own side

    def spread(self, now: Now, verified: Verified[Any]) -> None:
        if self.host is None:
            return
        rng = self.host.world.rng
        for peer in rng.sample(self.peers, min(FANOUT, len(self.peers))):
            self.host.ship(now, peer, verified, rng.uniform(0.01, 0.1))

    def handle_digest(self, now: Now, peer: NodeId, members: int) -> None:
        if members == self._digest or self.host is None:
            return
        if now.instant - self._synced_at.get(peer, -9e9) > SYNC_PAUSE_S:
            self._synced_at[peer] = now.instant
            self.host.world.exchange(now, self.host.id, peer)


@dataclass(slots=True)
class Host:
    """One membership with everything around it."""

    world: "World"
    name: str
    author: Author
    gossip: FakeGossip
    outbox: Outbox
    membership: Membership
    armed: float = float("inf")
    is_dead: bool = False
    frozen_until: float = 0.0
    backlog: list[Callable[[], None]] = field(default_factory=list)

    @property
    def id(self) -> NodeId:
        return self.author.id

    def ship(self, now: Now, peer: NodeId, verified: Verified[Any], wait: float) -> None:
        """Send a fact to a peer."""
        echo = encode_echo(self.membership.echo_age_s(now, peer))
        self.world.carry(self, peer, wait, lambda target: target.take_fact(self.id, echo, verified))

    def flush(self, now: Now) -> None:
        """Send what the membership wants sent, and arm its timer."""
        messages, self.outbox.messages = self.outbox.messages, {}
        for peer, bodies in messages.items():
            self._send(now, peer, bodies)
        due = self.membership.next_deadline()
        if due < self.armed:
            self.armed = due
            self.world.at(max(due, now.instant), self.wake)

    def _send(self, now: Now, peer: NodeId, bodies: list[tuple[int, bytes]]) -> None:
        self.world.datagrams[self.id] = self.world.datagrams.get(self.id, 0) + 1
        for kind, _ in bodies:
            self.world.kinds[kind] = self.world.kinds.get(kind, 0) + 1
        echo = encode_echo(self.membership.echo_age_s(now, peer))
        self.world.carry(self, peer, 0.0, lambda target: target.take(self.id, echo, bodies))

    def take(self, peer: NodeId, echo: int, bodies: Iterable[tuple[int, bytes]]) -> None:
        """Receive a datagram."""
        now = self.world.now()
        if self.membership.presence(peer) is None:
            return  # the link could not have opened it
        self.membership.handle_evidence(now, peer, decode_echo(echo))
        for kind, body in bodies:
            if kind in {Ping.KIND, Ack.KIND}:
                beat = Ping.decode_untrusted(body)
                self.gossip.handle_digest(now, peer, beat.digest_members)
            self.membership.handle_message(now, peer, kind, body)
        self.flush(now)

    def take_fact(self, peer: NodeId, echo: int, verified: Verified[Any]) -> None:
        """Receive a fact by gossip."""
        now = self.world.now()
        self.membership.handle_evidence(now, peer, decode_echo(echo))
        self.judge(now, verified)
        self.flush(now)

    def judge(self, now: Now, verified: Verified[Any]) -> None:
        """What gossip does with a foreign fact: once, and never again."""
        if verified.id in self.gossip.held or verified.id in self.gossip.judged:
            return
        try:
            keep = self.membership.accept(now, verified)
        except RemoteError as wrong:
            self.world.refusals.append(wrong)
            keep = False
        if keep:
            self.gossip.hold(verified)
            self.gossip.spread(now, verified)
        else:
            self.gossip.judged[verified.id] = None

    def wake(self) -> None:
        """The timer came up."""
        now = self.world.now()
        self.armed = float("inf")
        self.membership.handle_timeout(now)
        assert self.membership.next_deadline() > now.instant
        self.flush(now)


class World:
    """Hosts, links and the clock."""

    def __init__(self, seed: int, loss: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.loss = loss
        self.instant = 0.0
        self.hosts: dict[NodeId, Host] = {}
        self.cut: dict[tuple[NodeId, NodeId], None] = {}
        self.refusals: list[RemoteError] = []
        self.datagrams: dict[NodeId, int] = {}
        self.kinds: dict[int, int] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = 0

    def now(self) -> Now:
        return at(self.instant)

    def at(self, instant: float, action: Callable[[], None]) -> None:
        self._tie += 1
        heapq.heappush(self._queue, (instant, self._tie, action))

    def carry(
        self, source: Host, peer: NodeId, wait: float, action: Callable[[Host], None]
    ) -> None:
        """Bring something to a peer, unless it is lost or cut off."""
        lost = self.rng.random() < self.loss or (source.id, peer) in self.cut
        if source.is_dead or lost or peer not in self.hosts:
            return
        target = self.hosts[peer]
        self.at(
            self.instant + wait + self.rng.uniform(0.0002, 0.001),
            lambda: self._on(target, lambda: action(target)),
        )

    def _on(self, host: Host, action: Callable[[], None]) -> None:
        if host.is_dead or self.hosts.get(host.id) is not host:
            return
        if self.instant < host.frozen_until:
            host.backlog.append(action)
        else:
            action()

    def exchange(self, now: Now, first: NodeId, second: NodeId) -> None:
        """Compare two stores completely, over a link that works."""
        a, b = self.hosts.get(first), self.hosts.get(second)
        if a is None or b is None or (first, second) in self.cut or (second, first) in self.cut:
            return
        for source, target in ((a, b), (b, a)):
            for id_ in sorted(source.gossip.held):
                if id_ not in target.gossip.held:
                    source.ship(now, target.id, source.gossip.held[id_], 0.0)

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        until = self.instant + seconds
        while self._queue and self._queue[0][0] <= until:
            self.instant, _, action = heapq.heappop(self._queue)
            if not getattr(action, "__self__", None):
                action()
                continue
            host = cast("Host", cast("Any", action).__self__)  # a wake-up
            if host.armed == self.instant:
                self._on(host, action)
        self.instant = until

    # -- building

    def add(self, name: str, params: MembershipParams, counter: int = 1) -> Host:
        """Start one node; it knows nobody."""
        author, gossip, outbox = make_author(name), FakeGossip(), Outbox()
        parts = MembershipParts(
            author=author,
            gossip=cast("Gossip", gossip),
            params=params,
            rng=random.Random(self.rng.getrandbits(64)),
            outbox=outbox,
            boot=mint_boot(counter, self.rng.getrandbits(20)),
            own=OwnPresence(name, (Address("10.0.0.1", 7946),), b"l" * 32),
        )
        host = Host(self, name, author, gossip, outbox, Membership(parts))
        gossip.host = host
        self.hosts[host.id] = host
        host.membership.start(self.now())
        host.flush(self.now())
        return host

    def introduce(self, *hosts: Host) -> None:
        """Let these hosts know each other's presence."""
        for one in hosts:
            for other in hosts:
                presence = other.membership.presence(other.id)
                assert presence is not None
                if one is not other:
                    one.judge(self.now(), presence)
        for one in hosts:
            one.flush(self.now())

    def crash(self, *hosts: Host) -> None:
        for host in hosts:
            host.is_dead = True

    def freeze(self, host: Host, seconds: float) -> None:
        """Stop a process for a while; what reaches it waits in its sockets."""
        host.frozen_until = self.instant + seconds

        def thaw() -> None:
            backlog, host.backlog = host.backlog, []
            for action in backlog:
                self._on(host, action)

        self.at(host.frozen_until, thaw)

    def sever(self, sources: Iterable[Host], targets: Iterable[Host]) -> None:
        """Lose everything on the way from these to those."""
        there = list(targets)
        for source in sources:
            for target in there:
                self.cut[source.id, target.id] = None

    def statuses(self, of: Host) -> dict[str, Status | None]:
        """What every living host believes of one."""
        return {
            host.name: host.membership.status(of.id)
            for host in self.hosts.values()
            if host is not of and not host.is_dead
        }

    def published(self, kind: type[Fact]) -> list[Verified[Any]]:
        """All facts of one type that were ever published."""
        return [
            v for h in self.hosts.values() for v in h.gossip.published if isinstance(v.fact, kind)
        ]


def world_of(
    count: int, seed: int = 1, loss: float = 0.0, profile: str = "lan", **changed: float
) -> tuple[World, list[Host]]:
    """Return a settled mesh of nodes named n0, n1, ..."""
    world = World(seed, loss)
    params = replace(params_for(profile).membership, **changed)  # type: ignore[arg-type]  # ints fit
    hosts = [world.add(f"n{i}", params) for i in range(count)]
    world.introduce(*hosts)
    world.run(8.0)
    return world, hosts
