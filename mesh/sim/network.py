"""What the network does to datagrams: a list of rules, asked in order.

A rule looks at a packet and says `PASS` (the next rule decides), `DROP`, or `Deliver(delay_s)`; on
the way it may damage the packet, make it late or add copies. Who gets past all rules is delivered
after the usual latency, unless the usual loss takes it. All chance comes from the world's rng.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mesh.core.identity import Address

P99_SIGMAS = 2.326
"""A normal variable exceeds its mean by this many deviations once in a hundred times."""


@dataclass(slots=True)
class Packet:
    """A datagram on its way; rules may change the data, its lateness and its copies."""

    source: Address
    target: Address
    data: bytes
    at_s: float
    late_s: float = 0.0
    copies_s: list[float] = field(default_factory=list)
    """Delays of further copies."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The next rule decides."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """The packet arrives after this long (and its own lateness)."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Drop:
    """The packet is gone."""


Verdict = Pass | Deliver | Drop
PASS = Pass()
DROP = Drop()
Draw = Callable[[], float]
"""A source of random delays, in seconds."""


class Rule(Protocol):
    """One thing that happens to packets."""

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        ...


@runtime_checkable
class Cut(Protocol):
    """A rule that lets nothing through between some hosts: streams break on it as well."""

    def severs(self, source: Address, target: Address) -> bool:
        """Whether nothing gets from source to target."""
        ...


def uniform(rng: random.Random, low_s: float, high_s: float) -> Draw:
    """Return a draw between two bounds."""
    assert 0 <= low_s <= high_s
    return lambda: low_s + (high_s - low_s) * rng.random()


def lognormal(rng: random.Random, median_s: float, p99_s: float) -> Draw:
    """Return a draw with this median and this 99th percentile: mostly quick, with a long tail."""
    assert 0 < median_s <= p99_s
    mu, sigma = math.log(median_s), math.log(p99_s / median_s) / P99_SIGMAS
    return lambda: rng.lognormvariate(mu, sigma)


@dataclass(slots=True, eq=False)
class Loss:
    """Each packet is lost with this probability."""

    rng: random.Random
    probability: float

    def __call__(self, packet: Packet) -> Verdict:  # noqa: ARG002  the rules' one signature
        """Say what becomes of a packet."""
        return DROP if self.rng.random() < self.probability else PASS


@dataclass(slots=True, eq=False)
class Bursts:
    """Loss in bursts (Gilbert and Elliott): links are mostly good, then bad for some packets."""

    rng: random.Random
    begin: float
    end: float
    loss_when_bad: float
    _bad: dict[tuple[Address, Address], bool] = field(default_factory=dict)

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        link = (packet.source, packet.target)
        bad = self._bad.get(link, False)
        if self.rng.random() < (self.end if bad else self.begin):
            bad = not bad
            self._bad[link] = bad
        return DROP if bad and self.rng.random() < self.loss_when_bad else PASS


@dataclass(slots=True, eq=False)
class Delay:
    """Packets take this long instead of the usual latency."""

    draw: Draw

    def __call__(self, packet: Packet) -> Verdict:  # noqa: ARG002  the rules' one signature
        """Say what becomes of a packet."""
        return Deliver(self.draw())


@dataclass(slots=True, eq=False)
class Reorder:
    """Some packets are overtaken: they are this much later than they would be."""

    rng: random.Random
    probability: float
    draw: Draw

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        if self.rng.random() < self.probability:
            packet.late_s += self.draw()
        return PASS


@dataclass(slots=True, eq=False)
class Duplicate:
    """Some packets arrive twice."""

    rng: random.Random
    probability: float
    draw: Draw

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        if self.rng.random() < self.probability:
            packet.copies_s.append(self.draw())
        return PASS


@dataclass(slots=True, eq=False)
class Corrupt:
    """Some packets arrive with one bit flipped."""

    rng: random.Random
    probability: float

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        if packet.data and self.rng.random() < self.probability:
            damaged = bytearray(packet.data)
            damaged[self.rng.randrange(len(damaged))] ^= 1 << self.rng.randrange(8)
            packet.data = bytes(damaged)
        return PASS


@dataclass(slots=True, eq=False)
class Between:
    """Another rule, for packets from some hosts to some others only: asymmetry."""

    sources: Sequence[Address]
    targets: Sequence[Address]
    rule: Rule

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        if packet.source in self.sources and packet.target in self.targets:
            return self.rule(packet)
        return PASS


@dataclass(slots=True, eq=False)
class OneWay:
    """Nothing gets from some hosts to some others; the other way is open."""

    sources: Sequence[Address]
    targets: Sequence[Address]

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        return DROP if self.severs(packet.source, packet.target) else PASS

    def severs(self, source: Address, target: Address) -> bool:
        """Whether nothing gets from source to target."""
        return source in self.sources and target in self.targets


class Partition:
    """Nothing gets from one group to another; who is in no group reaches everybody."""

    __slots__ = ("_group",)

    def __init__(self, groups: Sequence[Sequence[Address]]) -> None:
        self._group = {address: i for i, group in enumerate(groups) for address in group}

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        return DROP if self.severs(packet.source, packet.target) else PASS

    def severs(self, source: Address, target: Address) -> bool:
        """Whether nothing gets from source to target."""
        ours, theirs = self._group.get(source), self._group.get(target)
        return ours is not None and theirs is not None and ours != theirs


@dataclass(slots=True, eq=False)
class Flapping:
    """A cut that comes and goes; streams outlive it, as connections outlive short silence."""

    cut: Partition
    since_s: float
    period_s: float
    """For so long it holds, then for as long it does not."""

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        periods = int((packet.at_s - self.since_s) / self.period_s)
        return PASS if periods % 2 else self.cut(packet)

    def severs(self, source: Address, target: Address) -> bool:  # noqa: ARG002  see `Cut`
        """Whether nothing gets from source to target."""
        return False


@dataclass(slots=True, eq=False)
class Hold:
    """Packets from some hosts to some others are kept, in order, until they are taken."""

    sources: Sequence[Address]
    targets: Sequence[Address]
    held: list[Packet] = field(default_factory=list)

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        if packet.source in self.sources and packet.target in self.targets:
            self.held.append(packet)
            return DROP
        return PASS

    def take(self) -> list[Packet]:
        """Remove and return what was held."""
        held, self.held = self.held, []
        return held


class Network:
    """The rules in force, beneath them the usual loss and latency."""

    __slots__ = ("_cuts", "_rng", "latency", "loss", "rules")

    def __init__(self, rng: random.Random, latency: Draw, loss: float = 0.0) -> None:
        self._rng = rng
        self.latency = latency
        self.loss = loss
        self.rules: list[Rule] = []
        self._cuts: list[Cut] = []

    def add(self, rule: Rule) -> None:
        """Put a rule behind those in force."""
        self.rules.append(rule)
        if isinstance(rule, Cut):
            self._cuts.append(rule)

    def remove(self, rule: Rule) -> None:
        """Take a rule back; does nothing when it is not in force."""
        self.rules = [other for other in self.rules if other is not rule]
        self._cuts = [other for other in self.rules if isinstance(other, Cut)]

    def clear(self) -> None:
        """Take back every rule."""
        self.rules = []
        self._cuts = []

    @property
    def whole(self) -> bool:
        """Whether no rule in force cuts hosts off from each other."""
        return not self._cuts

    def severed(self, one: Address, other: Address) -> bool:
        """Whether nothing gets through in one direction or the other."""
        return any(cut.severs(one, other) or cut.severs(other, one) for cut in self._cuts)

    def delays(self, packet: Packet) -> list[float]:
        """Return after how long the packet arrives, once for each copy; empty when it is lost."""
        verdict: Verdict = PASS
        for rule in self.rules:
            verdict = rule(packet)
            if verdict is PASS:
                continue
            if isinstance(verdict, Drop):
                return []
            if isinstance(verdict, Deliver):
                break
        if isinstance(verdict, Deliver):
            delay_s = verdict.delay_s
        elif self.loss and self._rng.random() < self.loss:
            return []
        else:
            delay_s = self.latency()
        delay_s += packet.late_s
        return [delay_s, *(delay_s + more_s for more_s in packet.copies_s)]
