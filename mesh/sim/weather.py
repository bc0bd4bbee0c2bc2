"""The weather of a world: a seed draws what goes wrong, how badly, and when; then it clears up.

Faults have an end of their own, except crashes, after which a machine stays off until it is
started again by a later fault or by `clear_up`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from mesh.core.commands import NodeLeave
from mesh.sim.client import SimClient
from mesh.sim.host import Host, HostState
from mesh.sim.network import (
    Between,
    Bursts,
    Corrupt,
    Delay,
    Duplicate,
    Flapping,
    Loss,
    OneWay,
    Partition,
    Reorder,
    Rule,
    lognormal,
    uniform,
)
from mesh.sim.world import World

CALM_BEGINNING_S = 5.0
WALL_JUMP_S = 10 * 31_536_000.0
DRIFT_HIGH = 0.05
GOODBYE_S = 5.0
"""Within this time a node that was asked to leave has stopped."""
NEWCOMER = "new"
"""How the names of machines begin that join in the storm."""
NEWCOMERS_MAX = 12
MASS_JOIN_HIGH = 8


class FaultKind(StrEnum):
    """What can go wrong for a while."""

    CRASH = "crash"
    """The node's process dies and is started again."""
    POWER_CUT = "power-cut"
    """The machine dies and is started again."""
    DISK_LOST = "disk-lost"
    """The machine dies and comes back with an empty disk: as a new node."""
    PAUSE = "pause"
    SUSPEND = "suspend"
    PARTITION = "partition"
    ONE_WAY = "one-way"
    LOSSY = "lossy"
    """Much of what some hosts send to the others is lost; what they are sent arrives."""
    SLOW = "slow"
    """Long delays from some hosts."""
    DISK_FULL = "disk-full"
    DISK_ERRORS = "disk-errors"
    WALL_JUMP = "wall-jump"
    NO_NAMES = "no-names"
    """Seed texts cannot be resolved."""
    BRIDGE = "bridge"
    """Two halves that reach each other through some hosts only."""
    ISLANDS = "islands"
    """Three groups, none of which reaches another."""
    FLAPPING = "flapping"
    """Some hosts are cut off, and back, again and again."""
    CLOCK_DRIFT = "clock-drift"
    """Clocks run too fast or too slow by some percent."""
    TORN_WRITE = "torn-write"
    """A power cut in the middle of a commit, of which a part is on the disk."""
    LEAVE = "leave"
    """Some nodes say goodbye, and come back later."""
    CHURN = "churn"
    """The same, and as many new nodes come, for good."""
    MASS_JOIN = "mass-join"
    """Several new nodes come at once, for good."""


FIRST_KINDS = tuple(FaultKind)[:13]
"""Those that there were when the older of the kept seeds were found."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: when, for how long, at which hosts, how badly (0..1)."""

    at_s: float
    kind: FaultKind
    hosts: tuple[str, ...]
    lasts_s: float
    strength: float


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network is like all the time, and what else happens."""

    loss: float
    bursts: float
    latency_s: float
    latency_p99_s: float
    duplicates: float
    reorder: float
    corrupt: float
    faults: tuple[Fault, ...]
    lasts_s: float

    def describe(self) -> str:
        """Return one line for people."""
        kinds = [fault.kind.value for fault in self.faults]
        faults = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return (
            f"loss {self.loss:.0%}, bursts {self.bursts:.0%}, latency {self.latency_s * 1e3:.1f}"
            f"/{self.latency_p99_s * 1e3:.0f} ms, duplicates {self.duplicates:.0%}, reordering"
            f" {self.reorder:.0%}, corruption {self.corrupt:.1%}; {faults or 'no faults'}"
        )


def draw_weather(
    rng: random.Random,
    names: Sequence[str],
    lasts_s: float,
    kinds: Sequence[FaultKind] = tuple(FaultKind),
) -> Weather:
    """Return some weather; each sort of trouble is absent in many seeds, so that others show."""

    def sometimes(probability: float, high: float) -> float:
        return rng.uniform(0.0, high) if rng.random() < probability else 0.0

    latency_s = rng.choice((0.0003, 0.002, 0.01, 0.04))
    # Each seed knows a few kinds of faults only: a mixture of all hides what one of them does.
    known = rng.sample(list(kinds), rng.randint(0, min(4, len(kinds)))) if kinds else []
    count = rng.randint(1, 4 + int(lasts_s / 10)) if known else 0
    faults = sorted(
        (_draw_fault(rng, names, rng.choice(known), lasts_s) for _ in range(count)),
        key=lambda fault: fault.at_s,
    )
    return Weather(
        loss=sometimes(0.6, 0.3),
        bursts=sometimes(0.2, 0.05),
        latency_s=latency_s,
        latency_p99_s=latency_s * rng.choice((1.5, 4.0, 15.0)),
        duplicates=sometimes(0.4, 0.2),
        reorder=sometimes(0.4, 0.2),
        corrupt=sometimes(0.3, 0.02),
        faults=tuple(faults),
        lasts_s=lasts_s,
    )


def _draw_fault(rng: random.Random, names: Sequence[str], kind: FaultKind, lasts_s: float) -> Fault:
    beginning_s = min(CALM_BEGINNING_S, lasts_s / 10)
    some = rng.randint(1, max(1, len(names) // 2))
    return Fault(
        at_s=rng.uniform(beginning_s, lasts_s),
        kind=kind,
        hosts=tuple(rng.sample(list(names), some if rng.random() < 0.4 else 1)),
        lasts_s=rng.choice((0.2, 1.0, 5.0, 20.0, 60.0)) * rng.uniform(0.5, 1.5),
        strength=rng.random(),
    )


def unleash(world: World, weather: Weather) -> None:
    """Put the weather's rules in force from now on, and its faults on the schedule."""
    rng = world.rng
    latency = lognormal(rng, weather.latency_s, weather.latency_p99_s)
    world.network.latency = latency
    world.network.loss = weather.loss
    late = uniform(rng, 0.0, 10 * weather.latency_s)
    rules: list[tuple[float, Rule]] = [
        (weather.bursts, Bursts(rng, weather.bursts / 5, 0.2, 0.9)),
        (weather.corrupt, Corrupt(rng, weather.corrupt)),
        (weather.duplicates, Duplicate(rng, weather.duplicates, late)),
        (weather.reorder, Reorder(rng, weather.reorder, late)),
    ]
    for strength, rule in rules:
        if strength:
            world.add_rule(rule)
    for fault in weather.faults:
        world.call_later(fault.at_s, partial(strike, world, fault))


def strike(world: World, fault: Fault) -> None:
    """Let one thing go wrong now; its end is scheduled."""
    match fault.kind:
        case FaultKind.CRASH | FaultKind.POWER_CUT | FaultKind.DISK_LOST | FaultKind.TORN_WRITE:
            _strike_down(world, fault)
        case FaultKind.LEAVE | FaultKind.CHURN | FaultKind.MASS_JOIN:
            _change_members(world, fault)
        case FaultKind.PAUSE | FaultKind.SUSPEND:
            stop = world.pause if fault.kind is FaultKind.PAUSE else world.suspend
            for name in fault.hosts:
                stop(name, fault.lasts_s)
        case FaultKind.DISK_FULL | FaultKind.DISK_ERRORS:
            _spoil_disks(world, fault)
        case FaultKind.WALL_JUMP:
            for name in fault.hosts:
                seconds = (2 * fault.strength - 1) * WALL_JUMP_S
                world.hosts[name].clock.jump_wall(seconds)
        case FaultKind.CLOCK_DRIFT:
            _let_drift(world, fault)
        case FaultKind.NO_NAMES:
            world.names_resolve = False
            world.call_later(fault.lasts_s, partial(setattr, world, "names_resolve", True))
        case _:
            _spoil_network(world, fault)


def _strike_down(world: World, fault: Fault) -> None:
    for name in fault.hosts:
        if fault.kind is FaultKind.DISK_LOST:
            world.destroy_disk(name)
        else:
            disk = world.hosts[name].disk
            disk.tears = fault.kind is FaultKind.TORN_WRITE
            world.kill(name, machine=fault.kind is not FaultKind.CRASH)
            disk.tears = False
        world.call_later(fault.lasts_s, partial(world.start, name))


def _change_members(world: World, fault: Fault) -> None:
    if fault.kind is FaultKind.MASS_JOIN:
        welcome(world, 2 + int(fault.strength * MASS_JOIN_HIGH))
        return
    for name in fault.hosts:
        host = world.hosts[name]
        if host.state is HostState.RUNNING:
            world.disturb(host)
            SimClient(world, host, "leaver").ask(NodeLeave())
            world.call_later(fault.lasts_s, partial(world.start, name))
    if fault.kind is FaultKind.CHURN:
        welcome(world, len(fault.hosts))


def welcome(world: World, count: int) -> None:
    """Let so many new machines join at once, on new disks, as long as there is room for them."""
    room = NEWCOMERS_MAX - sum(name.startswith(NEWCOMER) for name in world.hosts)
    for _ in range(min(count, room)):
        name = f"{NEWCOMER}{len(world.hosts)}"
        world.add_host(name)
        world.start(name)


def _let_drift(world: World, fault: Fault) -> None:
    for name in fault.hosts:
        rate = 1.0 + (2 * world.rng.random() - 1) * fault.strength * DRIFT_HIGH
        world.set_clock_rate(name, rate)
        world.call_later(fault.lasts_s, partial(world.set_clock_rate, name))


def _spoil_disks(world: World, fault: Fault) -> None:
    # What a disk refuses leaves its node when it is mended: late for everybody, as if the network
    # had held it up. A claim among it that drew the greater lot takes the task from who began.
    world.disturbed_s = world.now_s
    for name in fault.hosts:
        host = world.hosts[name]
        if fault.kind is FaultKind.DISK_FULL:
            host.disk.full = True
        else:
            host.disk.fail = fault.strength
        world.call_later(fault.lasts_s, partial(_mend_disk, world, host))


def _mend_disk(world: World, host: Host) -> None:
    host.disk.mend()
    world.disturbed_s = world.now_s


def _spoil_network(world: World, fault: Fault) -> None:
    here = world.addresses(fault.hosts)
    there = world.addresses([name for name in world.hosts if name not in fault.hosts])
    rng = world.rng
    if fault.kind is FaultKind.PARTITION:
        rest = [name for name in world.hosts if name not in fault.hosts]
        _for_a_while(world, fault, lambda: world.partition(fault.hosts, rest), world.repair)
        return
    rule: Rule
    match fault.kind:
        case FaultKind.BRIDGE:
            rule = Partition([there[::2], there[1::2]])
        case FaultKind.ISLANDS:
            everybody = [*here, *there]
            rule = Partition([everybody[place::3] for place in range(3)])
        case FaultKind.FLAPPING:
            rule = Flapping(Partition([here, there]), world.now_s, 0.3 + 4.0 * fault.strength)
        case FaultKind.ONE_WAY:
            rule = OneWay(here, there) if fault.strength < 0.5 else OneWay(there, here)
        case FaultKind.SLOW:
            rule = Between(here, there, Delay(lognormal(rng, 0.05 + 0.2 * fault.strength, 2.0)))
        case _:
            rule = Between(here, there, Loss(rng, 0.2 + 0.6 * fault.strength))
    begin, end = partial(world.add_rule, rule), partial(world.remove_rule, rule)
    _for_a_while(world, fault, begin, end)


def _for_a_while(
    world: World, fault: Fault, begin: Callable[[], None], end: Callable[[], None]
) -> None:
    begin()
    world.call_later(fault.lasts_s, end)


def clear_up(world: World, core: Sequence[str]) -> None:
    """End all trouble: a good network, whole disks, the core running, others off for good."""
    world.network.latency = world.conditions.latency(world.rng)
    world.network.loss = 0.0
    world.clear_rules()
    world.names_resolve = True
    for name, host in world.hosts.items():
        host.disk.mend()
        world.set_clock_rate(name)
        if name not in core:
            world.kill(name, machine=True)
            host.retired = True
        else:
            world.wake(name)
            world.start(name)
            # Who is just saying goodbye stops in a moment, and is to be there all the same.
            world.call_later(GOODBYE_S, partial(world.start, name))


def draw_core(rng: random.Random, names: Sequence[str]) -> tuple[str, ...]:
    """Return who is left when the weather clears up: at least half of the hosts, at times all."""
    size = rng.choice((len(names), rng.randint((len(names) + 1) // 2, len(names))))
    chosen = rng.sample(list(names), size)
    return tuple(name for name in names if name in chosen)
