"""What a mesh of some size costs and how quick it is: tables of traffic, detection and joins.

Everything runs in virtual time with real nodes, so the figures follow from the seed. Bytes are
those of whole datagrams as handed to UDP: sealed, with their headers and tags, without those of
UDP and IP (28 bytes each).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from mesh.core.identity import NodeId, node_id
from mesh.core.node.node import Node
from mesh.core.params import Params, params_for
from mesh.core.snapshot import Status
from mesh.core.trust_commands import TrustInvite
from mesh.sim.client import SimClient
from mesh.sim.engine import Conditions
from mesh.sim.host import Host
from mesh.sim.population import Population, node_key
from mesh.sim.trial import names_of
from mesh.sim.world import World

STEP_S = 0.05
FORMING_S = 120.0
CALM_S = 15.0
SETTLED_SHARE = 0.95
"""Of what was sent in the time before: less than that, and it is falling still."""
DETECTION_S = 60.0
UDP_HEADER_BYTES = 28
GONE = (Status.DOWN, Status.DEAD, Status.LEFT)


@dataclass(frozen=True, slots=True)
class Setting:
    """A mesh to be measured."""

    nodes: int
    loss: float = 0.0
    seed: int = 1
    profile: str = "lan"
    delay_s: tuple[float, float] | None = None
    """Median and p99 of what a packet takes, instead of the usual."""

    def params(self) -> Params:
        """Return the numbers of its profile."""
        return params_for(self.profile)

    def conditions(self) -> Conditions:
        """Return what its network is like."""
        return Conditions(loss=self.loss, delay_s=self.delay_s)

    def world(self, population: Population) -> World:
        """Return a world for it in which nothing has happened yet."""
        return World(self.seed, self.params(), population, conditions=self.conditions())


@dataclass(frozen=True, slots=True)
class IdleCost:
    """What one node of an idle mesh sends, per second."""

    setting: Setting
    packets_s: float
    datagram_bytes_s: float
    hellos_s: float

    @property
    def wire_bytes_s(self) -> float:
        """With the headers of UDP and IP."""
        return self.datagram_bytes_s + UDP_HEADER_BYTES * self.packets_s


@dataclass(frozen=True, slots=True)
class Crash:
    """How long one crash took to be noticed, from the moment it happened."""

    suspected_s: float
    """By the first node."""
    known_s: float
    """By 99 of 100 nodes that are left."""
    innocents: int
    """How often a node that ran was believed to be down, over all pairs."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Some crashes, one after the other."""

    setting: Setting
    crashes: tuple[Crash, ...]

    def known_s(self, share: float) -> float:
        """Return the time within which this share of the crashes was known."""
        return quantile([crash.known_s for crash in self.crashes], share)

    def suspected_s(self, share: float) -> float:
        """Return the time within which this share of the crashes was suspected."""
        return quantile([crash.suspected_s for crash in self.crashes], share)

    @property
    def innocents(self) -> int:
        """How often a node that ran was believed to be down."""
        return sum(crash.innocents for crash in self.crashes)


@dataclass(frozen=True, slots=True)
class MassJoin:
    """All nodes but the first come at once; times until nodes saw everybody."""

    setting: Setting
    most_s: float
    """Until 99 of 100 nodes saw everybody."""
    all_s: float
    datagram_bytes: float
    """Sent per node until then, streams not included."""


class Late(Exception):  # noqa: N818  it says what happened
    """Something took longer than the longest time that makes sense."""


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    assert values
    ordered = sorted(values)
    place = max(0, -(-len(ordered) * share // 1) - 1)
    return ordered[int(place)]


class _Sample:
    """A world of real nodes that is looked at from outside."""

    def __init__(self, setting: Setting, *, by_ticket: bool = False) -> None:
        self.setting = setting
        self.world = setting.world(Population(by_ticket=by_ticket))
        self.names = names_of(setting.nodes)
        for name in self.names:
            self.world.add_host(name)
        self.ids = {name: self._id_of(name) for name in self.names}

    def _id_of(self, name: str) -> NodeId:
        return node_id(self.world.suite.public_key(node_key(self.world, name, 0)))

    def start_all(self) -> None:
        """Start the first, then at once all others."""
        for name in self.names:
            self.world.start(name)

    def wait(self, true: Callable[[], bool], limit_s: float) -> float:
        """Let time pass until something is true; returns how long it took, or raises Late."""
        began_s = self.world.now_s
        while not true():
            if self.world.now_s - began_s >= limit_s:
                raise Late(f"not within {limit_s:g} s: {self.setting}")
            self.world.run(STEP_S)
        return self.world.now_s - began_s

    def full_views(self) -> int:
        """Return how many nodes see all others."""
        wanted = len(self.world.running()) - 1
        return sum(len(alive_at(host)) == wanted for host in self.world.running())

    def is_full(self) -> bool:
        """Whether each node sees all others."""
        return self.full_views() == len(self.world.running())

    def settle(self) -> None:
        """Let pass what follows upon the forming: greetings, and comparisons of what is held.

        It is over when nodes no longer send less and less: after half a minute where few came, and
        after a minute and a half where a thousand did.
        """
        deadline_s, before = self.world.now_s + FORMING_S, float("inf")
        while self.world.now_s < deadline_s:
            begun = self.sent()[0]
            self.world.run(CALM_S)
            sent = self.sent()[0] - begun
            if sent > SETTLED_SHARE * before:
                return
            before = sent

    def sent(self) -> tuple[int, int, int]:
        """Return datagrams, their bytes and the greetings among them, of all nodes so far."""
        hosts = self.world.running()
        datagrams, sent_bytes = sum(h.datagrams for h in hosts), sum(h.bytes_sent for h in hosts)
        return datagrams, sent_bytes, sum(hellos_of(host) for host in hosts)


def node_of(host: Host) -> Node:
    """Return the node of a host whose world is populated by real nodes."""
    return cast("Node", host.node)


def alive_at(host: Host) -> tuple[NodeId, ...]:
    """Return whom a node sees."""
    participant = node_of(host).participant
    return () if participant is None else participant.membership.alive()


def hellos_of(host: Host) -> int:
    """Return how many greetings a node has sent."""
    participant = node_of(host).participant
    return 0 if participant is None else participant.transport.counters.get("hellos_sent", 0)


def status_at(host: Host, node: NodeId) -> Status | None:
    """Return what a node believes of another."""
    participant = node_of(host).participant
    return None if participant is None else participant.membership.status(node)


def measure_idle(setting: Setting, seconds: float = 60.0) -> IdleCost:
    """Return what one node of an idle mesh sends, over some time after it has formed."""
    sample = _Sample(setting)
    sample.start_all()
    sample.wait(sample.is_full, FORMING_S)
    sample.settle()
    before = sample.sent()
    sample.world.run(seconds)
    rates = [(b - a) / seconds / setting.nodes for a, b in zip(before, sample.sent(), strict=True)]
    return IdleCost(setting, *rates)


def measure_detection(setting: Setting, crashes: int) -> Detection:
    """Return how long crashes take to be noticed; whoever crashed comes back before the next."""
    sample = _Sample(setting)
    sample.start_all()
    sample.wait(sample.is_full, FORMING_S)
    rng = sample.world.rng
    found = []
    for _ in range(crashes):
        sample.world.run(rng.uniform(CALM_S, CALM_S + 5))
        victim = rng.choice(sample.names)
        found.append(_crash(sample, victim))
        sample.world.start(victim)
        sample.wait(sample.is_full, FORMING_S)
    return Detection(setting, tuple(found))


def _crash(sample: _Sample, victim: str) -> Crash:
    world = sample.world
    world.kill(victim)
    others, subject = world.running(), sample.ids[victim]
    needed = len(others) - len(others) // 100
    suspected_s: list[float] = []
    blamed: dict[tuple[int, NodeId], None] = {}
    began_s = world.now_s

    def is_known() -> bool:
        views = [status_at(host, subject) for host in others]
        if not suspected_s and any(view is not Status.ALIVE for view in views):
            suspected_s.append(world.now_s - began_s)
        blamed.update(dict.fromkeys(_innocents(others, subject)))
        return sum(view in GONE for view in views) >= needed

    known_s = sample.wait(is_known, DETECTION_S)
    return Crash(suspected_s[0], known_s, len(blamed))


def _innocents(hosts: Sequence[Host], guilty: NodeId) -> list[tuple[int, NodeId]]:
    """Return who believes of whom, wrongly, that it is down."""
    wanted = len(hosts) - 1
    found = []
    for host in hosts:
        alive = alive_at(host)
        if len(alive) - (guilty in alive) < wanted:
            participant = node_of(host).participant
            assert participant is not None
            ids = [peer for other in hosts if (peer := participant_id(other)) is not None]
            found += [(host.index, i) for i in ids if i != participant.author.id and i not in alive]
    return found


def participant_id(host: Host) -> NodeId | None:
    """Return the id of the node on a host, once it is a member."""
    participant = node_of(host).participant
    return None if participant is None else participant.author.id


def measure_mass_join(setting: Setting) -> MassJoin:
    """Return how long it takes until everybody sees everybody when all join by one ticket."""
    sample = _Sample(setting, by_ticket=True)
    world, first = sample.world, sample.names[0]
    world.start(first)
    world.run(1.0)
    client = SimClient(world, world.hosts[first], "inviter")
    answer = client.ask(TrustInvite(uses=setting.nodes, ttl_s=3600.0))
    sample.wait(lambda: answer.done, FORMING_S)
    world.ticket = answer.text("ticket")
    began_s = world.now_s
    for name in sample.names[1:]:
        world.start(name)
    enough = setting.nodes - setting.nodes // 100
    sample.wait(lambda: sample.full_views() >= enough, FORMING_S)
    most_s = world.now_s - began_s
    sample.wait(sample.is_full, FORMING_S)
    all_s = world.now_s - began_s
    return MassJoin(setting, most_s, all_s, sample.sent()[1] / setting.nodes)
