"""Weather: drawn by a seed, striking where it should, and gone afterwards."""

import random

import pytest

from mesh.core.commands import NodeLeave
from mesh.core.effects import SendDatagram
from mesh.core.inputs import CommandReceived, DatagramReceived
from mesh.sim.host import HostState
from mesh.sim.weather import (
    NEWCOMER,
    NEWCOMERS_MAX,
    Fault,
    FaultKind,
    Weather,
    clear_up,
    draw_core,
    draw_weather,
    strike,
    unleash,
)
from mesh.sim.world import World
from tests.unit.sim.scripted import script, world_of

NAMES = ["a", "b", "c", "d"]
OFF, RUNNING = HostState.OFF, HostState.RUNNING


def fault(kind: FaultKind, *hosts: str, strength: float = 0.4) -> Fault:
    return Fault(0.0, kind, hosts or ("a",), 10.0, strength)


def arrived(world: World, source: str, target: str) -> int:
    before = len(script(world, target).heard(DatagramReceived))
    data = SendDatagram(world.hosts[target].address, b"x")
    world.perform(world.hosts[source], [data] * 200)
    world.run(0.1)
    return len(script(world, target).heard(DatagramReceived)) - before


def test_a_seed_draws_one_weather() -> None:
    drawn = [draw_weather(random.Random(seed), NAMES, 60.0) for seed in range(300)]
    assert drawn[:5] == [draw_weather(random.Random(seed), NAMES, 60.0) for seed in range(5)]
    kinds = {fault.kind: None for weather in drawn for fault in weather.faults}
    assert len(kinds) == len(FaultKind)
    assert any(not weather.faults for weather in drawn)
    assert any(weather.loss == 0.0 for weather in drawn)
    for weather in drawn:
        times = [fault.at_s for fault in weather.faults]
        assert times == sorted(times)
        assert all(0 < at_s <= 60.0 for at_s in times)
        assert "loss" in weather.describe()


def test_kinds_can_be_chosen() -> None:
    for seed in range(20):
        weather = draw_weather(random.Random(seed), NAMES, 60.0, [FaultKind.PAUSE])
        assert all(fault.kind is FaultKind.PAUSE for fault in weather.faults)
        assert not draw_weather(random.Random(seed), NAMES, 60.0, []).faults


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_ends(kind: FaultKind) -> None:
    world = world_of(*NAMES)
    strike(world, fault(kind))
    world.run(25.0)
    assert all(host.state is RUNNING for host in world.hosts.values())
    assert world.network.rules == []
    assert world.names_resolve
    assert all(not (host.disk.full or host.disk.fail) for host in world.hosts.values())
    assert arrived(world, "a", "b") == arrived(world, "b", "a") == 200


def test_machines_and_disks_are_struck() -> None:
    world = world_of(*NAMES)
    strike(world, fault(FaultKind.CRASH, "a"))
    strike(world, fault(FaultKind.DISK_LOST, "b"))
    strike(world, fault(FaultKind.PAUSE, "c"))
    strike(world, fault(FaultKind.DISK_FULL, "c"))
    strike(world, fault(FaultKind.DISK_ERRORS, "d"))
    strike(world, fault(FaultKind.SUSPEND, "d"))
    strike(world, fault(FaultKind.NO_NAMES))
    states = [host.state for host in world.hosts.values()]
    assert states == [OFF, OFF, HostState.PAUSED, HostState.ASLEEP]
    assert world.hosts["b"].disk_number == 1
    assert world.hosts["c"].disk.full
    assert world.hosts["d"].disk.fail == 0.4
    assert not world.names_resolve


def test_a_failing_disk_counts_as_trouble_for_everybody() -> None:
    world = world_of(*NAMES)
    world.run(100.0)
    assert world.calm_since(50.0, "a", "b")
    strike(world, fault(FaultKind.DISK_FULL, "c"))
    assert not world.calm_since(50.0, "a", "b")
    world.run(100.0)
    assert not world.calm_since(109.0, "a", "b")
    assert world.calm_since(111.0, "a", "b")


def test_networks_are_struck() -> None:
    world = world_of(*NAMES)
    strike(world, fault(FaultKind.PARTITION, "a", "b"))
    assert (arrived(world, "a", "b"), arrived(world, "a", "c")) == (200, 0)
    world.clear_rules()
    strike(world, fault(FaultKind.ONE_WAY, "a"))
    assert (arrived(world, "a", "b"), arrived(world, "b", "a")) == (0, 200)
    world.clear_rules()
    strike(world, fault(FaultKind.LOSSY, "a"))
    assert 60 < arrived(world, "a", "b") < 160
    assert arrived(world, "b", "a") == 200, "what it is sent arrives"
    world.clear_rules()
    strike(world, fault(FaultKind.SLOW, "a"))
    assert arrived(world, "a", "b") < 200


def test_groups_that_do_not_reach_each_other() -> None:
    world = world_of(*NAMES, "e")
    strike(world, fault(FaultKind.BRIDGE, "a"))
    assert arrived(world, "a", "b") == arrived(world, "a", "c") == arrived(world, "c", "a") == 200
    assert arrived(world, "b", "c") == arrived(world, "c", "b") == 0
    assert arrived(world, "b", "d") == arrived(world, "c", "e") == 200
    assert not world.network.whole
    world.clear_rules()
    strike(world, fault(FaultKind.ISLANDS, "a"))
    reached = [name for name in (*NAMES, "e") if name != "a" and arrived(world, "a", name)]
    assert reached == ["d"]
    assert (arrived(world, "b", "e"), arrived(world, "b", "c")) == (200, 0)


def test_a_flapping_host_is_cut_off_and_back_again() -> None:
    world = world_of(*NAMES)
    strike(world, fault(FaultKind.FLAPPING, "a", strength=0.05))  # half a second each
    assert not world.network.whole
    heard = []
    for _ in range(20):
        heard.append(arrived(world, "a", "b"))
        world.run(0.15)
    assert 0 in heard
    assert 200 in heard
    assert arrived(world, "b", "c") == 200


def test_clocks_drift_and_run_as_usual_again() -> None:
    world = world_of("a")
    clock = world.hosts["a"].clock
    usual = clock.rate
    strike(world, fault(FaultKind.CLOCK_DRIFT, strength=1.0))
    before, rate = clock.read(world.now_s), clock.rate
    assert 0.95 <= rate <= 1.05
    assert rate != usual
    world.run(5.0)
    passed_s = clock.read(world.now_s).instant - before.instant
    assert passed_s == pytest.approx(5.0 * rate)
    world.run(6.0)
    assert clock.rate == usual
    assert clock.read(world.now_s).instant > before.instant + passed_s


def test_members_come_and_go() -> None:
    world = world_of(*NAMES)
    strike(world, fault(FaultKind.LEAVE, "b"))
    strike(world, fault(FaultKind.CHURN, "c", "d"))
    world.run(1.0)
    asked = [
        [type(one.command) for _, one in script(world, name).inputs if type(one) is CommandReceived]
        for name in NAMES
    ]
    assert asked == [[], [NodeLeave], [NodeLeave], [NodeLeave]]
    newcomers = [host for name, host in world.hosts.items() if name.startswith(NEWCOMER)]
    assert len(newcomers) == 2
    strike(world, fault(FaultKind.MASS_JOIN, strength=0.5))
    newcomers = [host for name, host in world.hosts.items() if name.startswith(NEWCOMER)]
    assert len(newcomers) == 2 + 2 + 4
    assert all(host.state is RUNNING for host in newcomers)
    for _ in range(3):
        strike(world, fault(FaultKind.MASS_JOIN, strength=0.99))
    assert len(world.hosts) == len(NAMES) + NEWCOMERS_MAX


def test_the_wall_clock_jumps_by_years() -> None:
    world = world_of("a")
    before = world.hosts["a"].clock.read(0.0)
    strike(world, fault(FaultKind.WALL_JUMP))
    after = world.hosts["a"].clock.read(0.0)
    assert after.wall < before.wall - 31_536_000
    assert after.instant == before.instant


def test_unleashed_weather_follows_its_schedule_and_clears_up() -> None:
    world = world_of(*NAMES)
    faults = (
        Fault(1.0, FaultKind.CRASH, ("a",), 100.0, 0.0),
        Fault(2.0, FaultKind.POWER_CUT, ("d",), 5.0, 0.0),
        Fault(3.0, FaultKind.PAUSE, ("b",), 100.0, 0.0),
    )
    weather = Weather(0.9, 0.05, 0.01, 0.1, 0.1, 0.1, 0.02, faults, 60.0)
    unleash(world, weather)
    assert len(world.network.rules) == 4
    assert arrived(world, "a", "b") < 60
    world.run(4.0)
    states = [host.state for host in world.hosts.values()]
    assert states == [OFF, HostState.PAUSED, RUNNING, OFF]
    clear_up(world, ["a", "b", "c"])
    world.run(100.0)  # the restart that was due for d comes to nothing
    states = [host.state for host in world.hosts.values()]
    assert states == [RUNNING, RUNNING, RUNNING, OFF]
    assert arrived(world, "a", "b") == 200


def test_a_core_is_at_least_half() -> None:
    cores = [draw_core(random.Random(seed), NAMES) for seed in range(100)]
    assert {len(core) for core in cores} == {2, 3, 4}
    assert all(list(core) == sorted(core) for core in cores)
