"""Worlds of scripted nodes: timers, faults, commits, and what is lost with whom."""

from itertools import pairwise

import pytest

from mesh.core.commands import Hello
from mesh.core.effects import (
    Commit,
    CommitNumber,
    Effect,
    Halt,
    Notify,
    Reply,
    ResolveSeeds,
    Row,
    SendDatagram,
)
from mesh.core.identity import Address
from mesh.core.inputs import (
    CommandReceived,
    CommitDone,
    CommitFailed,
    DatagramReceived,
    Input,
    LoopLag,
    SeedsResolved,
    SuspendGap,
)
from mesh.core.instants import Now
from mesh.sim.checker import Checker
from mesh.sim.client import SimClient
from mesh.sim.engine import Conditions
from mesh.sim.host import SOCKET_DATAGRAMS_MAX, HostState
from mesh.sim.network import Duplicate, Hold, Packet
from mesh.sim.world import World
from tests.unit.sim.scripted import NOWHERE, script, world_of

ROW = Row("r", b"k", b"v")


def throw(world: World, target: str, data: bytes = b"hello") -> None:
    world.inject(Packet(NOWHERE, world.hosts[target].address, data, 0.0))


def send(world: World, source: str, target: str, data: bytes = b"hello") -> None:
    world.perform(world.hosts[source], [SendDatagram(world.hosts[target].address, data)])


def commit(world: World, name: str, number: int = 1) -> None:
    world.perform(world.hosts[name], [Commit(CommitNumber(number), (ROW,))])


def datagrams(world: World, name: str) -> list[bytes]:
    heard = script(world, name).heard(DatagramReceived)
    return [event.data for event in heard if isinstance(event, DatagramReceived)]


def test_a_datagram_takes_its_time_and_names_its_sender() -> None:
    world = world_of("a", "b")
    send(world, "a", "b")
    world.run(0.0099)
    assert not datagrams(world, "b")
    world.run(0.0002)
    assert script(world, "b").heard(DatagramReceived) == [
        DatagramReceived(b"hello", world.hosts["a"].address)
    ]
    world.perform(world.hosts["a"], [SendDatagram(NOWHERE, b"lost")])
    world.run(1.0)
    assert datagrams(world, "a") == []


@pytest.mark.parametrize("drift", [0.0, 0.001, 0.2])
def test_timers_go_off_in_time_by_the_nodes_own_clock(drift: float) -> None:
    world = world_of("a", "b", every_s=0.1, conditions=Conditions(drift=drift))
    world.run(10.0)
    for name in "ab":
        ticks = [now.instant for now in script(world, name).ticks]
        gaps = [after - before for before, after in pairwise(ticks)]
        assert len(ticks) == pytest.approx(100, rel=1.3 * drift, abs=1)
        assert gaps == pytest.approx([0.1] * len(gaps))


def test_a_deadline_that_moves_on_is_not_missed() -> None:
    world = world_of("a", every_s=1.0)
    node = script(world, "a")

    def postpone(now: Now, _event: Input) -> list[Effect]:
        node.deadline = type(now.instant)(now.instant + 1.0)
        return []

    node.react = postpone
    for _ in range(5):
        throw(world, "a")
        world.run(0.9)
    assert node.ticks == []
    world.run(0.2)
    assert len(node.ticks) == 1


def test_a_spinning_timer_is_found() -> None:
    world = world_of("a", every_s=1.0)
    script(world, "a").every_s = 0.0
    with pytest.raises(AssertionError, match="spin"):
        world.run(2.0)


def test_a_partition_divides_until_it_is_repaired() -> None:
    world = world_of("a", "b", "c")
    world.partition(["a"], ["b", "c"])
    for target in "bc":
        send(world, "a", target, b"1")
    send(world, "c", "b", b"1")
    world.run(1.0)
    assert datagrams(world, "b") == [b"1"]
    assert datagrams(world, "c") == []
    assert not world.calm_since(0.5, "a")
    world.repair()
    send(world, "a", "c", b"2")
    world.run(1.0)
    assert datagrams(world, "c") == [b"2"]
    assert world.calm_since(1.5, "a", "c")


def test_copies_arrive_twice() -> None:
    world = world_of("a", "b")
    world.add_rule(Duplicate(world.rng, 1.0, lambda: 0.5))
    send(world, "a", "b")
    world.run(0.1)
    assert datagrams(world, "b") == [b"hello"]
    world.run(1.0)
    assert datagrams(world, "b") == [b"hello"] * 2


def test_what_was_held_can_be_released() -> None:
    world = world_of("a", "b")
    hold = Hold(world.addresses(["a"]), world.addresses(["b"]))
    world.add_rule(hold)
    send(world, "a", "b")
    world.run(1.0)
    assert datagrams(world, "b") == []
    for packet in hold.take():
        world.inject(packet, 0.5)
    world.run(1.0)
    assert datagrams(world, "b") == [b"hello"]


def test_a_commit_is_done_after_its_delay() -> None:
    world = world_of("a")
    commit(world, "a")
    world.run(0.001)
    assert world.hosts["a"].disk.restored() == {}
    world.run(0.002)
    assert script(world, "a").heard(CommitDone) == [CommitDone(CommitNumber(1))]
    assert world.hosts["a"].disk.restored() == {"r": {b"k": b"v"}}


def test_a_full_disk_fails_commits() -> None:
    world = world_of("a")
    world.hosts["a"].disk.full = True
    commit(world, "a")
    world.run(1.0)
    assert len(script(world, "a").heard(CommitFailed)) == 1


@pytest.mark.parametrize("machine", [False, True])
def test_a_crash_loses_what_was_not_committed(machine: bool) -> None:
    world = world_of("a")
    world.hosts["a"].disk.written_unsaid = 0.0
    commit(world, "a")
    world.run(0.001)
    before = world.hosts["a"].clock.read(world.now_s).instant
    world.kill("a", machine=machine)
    world.kill("a")
    world.run(5.0)
    world.start("a")
    node = script(world, "a")
    assert node.birth.rows == {}
    assert node.birth.starts == 1
    world.run(1.0)
    assert node.inputs == []  # the old commit's end is not the new node's
    after = world.hosts["a"].clock.read(world.now_s).instant
    assert (after < before) is machine


def test_a_restarted_node_gets_what_was_committed() -> None:
    world = world_of("a")
    commit(world, "a")
    world.run(1.0)
    world.kill("a")
    world.start("a")
    assert script(world, "a").birth.rows == {"r": {b"k": b"v"}}
    assert not script(world, "a").birth.founding
    world.destroy_disk("a")
    world.start("a")
    birth = script(world, "a").birth
    assert (birth.rows, birth.disk, birth.starts) == ({}, 1, 2)
    world.kill("a")
    world.hosts["a"].retired = True
    world.start("a")
    assert world.hosts["a"].state is HostState.OFF


def test_only_the_first_start_founds() -> None:
    world = world_of("a", "b")
    assert script(world, "a").birth.founding
    assert not script(world, "b").birth.founding
    assert script(world, "b").birth.seeds == ("10.0.0.1:7946",)


def test_a_paused_node_handles_late_what_the_kernel_kept() -> None:
    world = world_of("a", every_s=0.1)
    ticks = len(script(world, "a").ticks)
    world.pause("a", 2.0)
    for number in range(SOCKET_DATAGRAMS_MAX + 1):
        throw(world, "a", number.to_bytes(2, "big"))
    world.run(1.9)
    node = script(world, "a")
    assert node.inputs == []
    assert len(node.ticks) == ticks
    world.run(0.11)
    assert node.inputs[0][1] == LoopLag(2.0)
    assert len(datagrams(world, "a")) == SOCKET_DATAGRAMS_MAX
    world.run(0.2)
    assert node.ticks


def test_a_sleeping_machine_hears_nothing_and_is_told_of_the_gap() -> None:
    world = world_of("a")
    host = world.hosts["a"]
    begin = host.clock.read(world.now_s).instant
    commit(world, "a")
    ran: list[float] = []
    world.call_on(host, 1.0, lambda: ran.append(world.now_s))
    world.suspend("a", 60.0)
    throw(world, "a")
    world.run(59.0)
    assert (script(world, "a").inputs, ran) == ([], [])
    world.run(1.0)
    heard = [event for _, event in script(world, "a").inputs]
    assert heard == [SuspendGap(60.0), CommitDone(CommitNumber(1))]
    assert ran == [60.0]
    assert script(world, "a").inputs[0][0].instant == pytest.approx(begin + 60.0)


def test_a_late_end_of_a_pause_does_not_end_the_next_one() -> None:
    world = world_of("a")
    world.pause("a", 2.0)
    world.wake("a")
    world.suspend("a", 10.0)
    states = []
    for _ in range(2):
        world.run(5.0)
        states.append(world.hosts["a"].state)
        world.kill("a")
    assert states == [HostState.ASLEEP, HostState.OFF]


def test_a_halt_writes_what_was_under_way_and_ends_the_node() -> None:
    world = world_of("a", "b")
    commit(world, "a")
    more = SendDatagram(world.hosts["b"].address, b"never")
    world.perform(world.hosts["a"], [Halt("left"), more])
    host = world.hosts["a"]
    assert (host.state, host.halted) == (HostState.OFF, "left")
    assert host.disk.restored() == {"r": {b"k": b"v"}}
    world.run(1.0)
    assert datagrams(world, "b") == []
    world.start("a")
    commit(world, "a")
    world.run(1.0)
    assert len(script(world, "a").heard(CommitDone)) == 1


def test_seeds_are_looked_up_while_names_resolve() -> None:
    world = world_of("a", "b")
    address = world.hosts["b"].address
    seeds = ResolveSeeds(("b", str(address), "nobody"))
    world.perform(world.hosts["a"], [seeds])
    world.run(1.0)
    world.names_resolve = False
    world.perform(world.hosts["a"], [seeds])
    world.run(1.0)
    assert script(world, "a").heard(SeedsResolved) == [
        SeedsResolved((address, address)),
        SeedsResolved(()),
    ]


def test_a_machine_that_moves_is_found_at_its_new_address() -> None:
    world = world_of("a", "b")
    old, new = world.hosts["b"].address, Address("10.9.9.9", 1)
    world.move("b", new)
    world.perform(world.hosts["a"], [SendDatagram(old, b"old"), SendDatagram(new, b"new")])
    world.run(1.0)
    assert datagrams(world, "b") == [b"new"]


def test_replies_and_notices_reach_their_client_only() -> None:
    world = world_of("a")
    host = world.hosts["a"]
    one, two = SimClient(world, host), SimClient(world, host)
    first, second = one.ask(Hello()), two.ask(Hello())
    world.run(1.0)
    asked = script(world, "a").heard(CommandReceived)
    assert len(asked) == 2
    assert two.connection is not None
    world.perform(
        host,
        [
            Reply(two.connection, 1, {"hello": "two"}),
            Notify("to-two", {}, two.connection),
            Notify("to-all", {}),
        ],
    )
    assert not first.done
    assert second.text("hello") == "two"
    assert [topic for _, topic, _ in one.notices] == ["to-all"]
    assert [topic for _, topic, _ in two.notices] == ["to-two", "to-all"]


def test_what_nobody_looks_at_is_not_drawn_up() -> None:
    # A snapshot costs a look at every task: with it a long run took ever longer per task.
    world = world_of("a")
    drawn = script(world, "a").drawn
    world.watch(0.5)
    commit(world, "a")
    world.run(2.0)
    assert not drawn
    world.observers.append(Checker())
    commit(world, "a", 2)
    world.run(0.2)
    assert len(drawn) == 1
