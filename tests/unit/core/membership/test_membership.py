"""Scenarios: many memberships on one small network, from start to verdict and back."""

import statistics

import pytest

from mesh.core.identity import Boot, Incarnation, NodeId
from mesh.core.membership.facts import Presence, Verdict
from mesh.core.membership.messages import Ping, Withdraw
from mesh.core.params import params_for
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import BOOT, NEXT_BOOT, Bench, verdict_of
from tests.unit.core.membership.playground import Host, World, world_of

GONE = {Status.DOWN, Status.DEAD}


def living(hosts: list[Host]) -> list[Host]:
    return [host for host in hosts if not host.is_dead]


def everybody_is_here(hosts: list[Host]) -> bool:
    return all(
        one.membership.status(other.id) is Status.ALIVE
        for one in living(hosts)
        for other in living(hosts)
    )


def all_gone(lost: list[Host], viewers: list[Host]) -> bool:
    return all(viewer.membership.status(host.id) in GONE for host in lost for viewer in viewers)


def run_until_gone(world: World, lost: list[Host], viewers: list[Host], limit: float) -> float:
    started = world.instant
    while not all_gone(lost, viewers):
        assert world.instant - started < limit, "nobody noticed"
        world.run(0.05)
    return world.instant - started


def ever_gone(world: World, hosts: list[Host], seconds: float) -> int:
    """How many times, looking once a second, somebody holds a living node to be gone."""
    count = 0
    for _ in range(int(seconds)):
        world.run(1.0)
        count += sum(
            one.membership.status(other.id) in GONE
            for one in living(hosts)
            for other in living(hosts)
        )
    return count


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_a_crash_is_known_everywhere_within_a_few_seconds(count: int) -> None:
    took = []
    for seed in range(7):
        world, hosts = world_of(count, seed=seed)
        world.run(world.rng.uniform(0, 4))
        world.crash(hosts[0])
        took.append(run_until_gone(world, hosts[:1], hosts[1:], 10.0))
        assert everybody_is_here(hosts[1:])
        assert len(world.published(Verdict)) <= 3
    assert statistics.median(took) <= 3.5


def test_the_fast_profiles_know_it_in_under_two_seconds() -> None:
    took = []
    for seed in range(7):
        world, hosts = world_of(5, seed=seed, profile="local")
        world.crash(hosts[0])
        took.append(run_until_gone(world, hosts[:1], hosts[1:], 10.0))
    assert statistics.median(took) <= 1.5


@pytest.mark.parametrize(("count", "loss"), [(2, 0.1), (3, 0.1), (5, 0.1), (10, 0.1), (10, 0.3)])
def test_loss_alone_makes_no_false_verdict(count: int, loss: float) -> None:
    world, hosts = world_of(count, seed=11, loss=loss)
    assert ever_gone(world, hosts, 240.0) == 0
    assert world.published(Verdict) == []
    assert world.refusals == []


def test_a_crash_is_noticed_under_loss() -> None:
    world, hosts = world_of(10, seed=2, loss=0.2)
    world.run(20.0)
    world.crash(hosts[3])
    run_until_gone(world, [hosts[3]], living(hosts), 12.0)


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("both_ways", [True, False])
def test_a_broken_edge_is_not_a_dead_node(count: int, both_ways: bool) -> None:
    world, hosts = world_of(count, seed=5)
    a, b = hosts[:2]
    assert b.id in a.membership._edges.members
    world.sever([a], [b])
    if both_ways:
        world.sever([b], [a])
    assert ever_gone(world, hosts, 60.0) == 0
    assert len(world.published(Presence)) == count  # nobody had to refute
    relay = a.membership.relay_for(b.id)
    assert relay is not None
    assert relay in world.hosts
    assert a.membership.status(relay) is Status.ALIVE
    world.cut.clear()
    world.run(5.0)
    assert a.membership.relay_for(b.id) is None
    assert everybody_is_here(hosts)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_who_hears_nothing_is_declared_down_and_harms_nobody(count: int) -> None:
    world, hosts = world_of(count, seed=5)
    deaf, others = hosts[0], hosts[1:]
    world.sever(others, [deaf])
    run_until_gone(world, [deaf], others, 10.0)
    world.run(30.0)
    assert everybody_is_here(others)
    assert deaf.membership.isolated
    assert all(verdict.fact.subject == deaf.id for verdict in world.published(Verdict))
    world.cut.clear()
    world.run(15.0)
    assert everybody_is_here(hosts)


@pytest.mark.parametrize(("count", "seed"), [(4, 6), (7, 3), (10, 6), (20, 9)])
def test_halves_part_and_heal_with_equal_facts(count: int, seed: int) -> None:
    world, hosts = world_of(count, seed=seed)
    left, right = hosts[: count // 2], hosts[count // 2 :]
    world.sever(left, right)
    world.sever(right, left)
    run_until_gone(world, right, left, 40.0)
    run_until_gone(world, left, right, 40.0)
    assert everybody_is_here(left)
    assert everybody_is_here(right)
    world.run(30.0)
    world.cut.clear()
    world.run(15.0)
    assert everybody_is_here(hosts)
    assert len({host.gossip._digest for host in hosts}) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_last_one_concludes_alone_that_all_others_are_gone(count: int) -> None:
    world, hosts = world_of(count, seed=4)
    world.crash(*hosts[1:])
    took = run_until_gone(world, hosts[1:], hosts[:1], 20.0)
    local = params_for("lan").membership.local_conclusion_s
    assert took < (6.0 if count <= 3 else 6.0 + local)
    last = hosts[0].membership
    assert last.isolated is (count > 1)
    for host in hosts[1:]:
        presence = last.presence(host.id)
        assert presence is not None
        ended = last.ended(host.id, presence.fact.boot)
        assert ended is not None
        assert ended.local
        assert ended.kind == "verdict"
    assert world.published(Verdict) == []
    world.run(60.0)
    assert all(last.status(host.id) is Status.DEAD for host in hosts[1:])


def test_two_that_could_not_hear_each_other_meet_again_without_a_word() -> None:
    world, hosts = world_of(2, seed=4)
    world.sever(hosts[:1], hosts[1:])
    world.sever(hosts[1:], hosts[:1])
    world.run(60.0)
    assert all_gone(hosts[1:], hosts[:1])
    world.cut.clear()
    world.run(20.0)
    assert everybody_is_here(hosts)
    assert not hosts[0].membership.isolated


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_a_frozen_node_accuses_nobody_when_it_thaws(count: int) -> None:
    world, hosts = world_of(count, seed=5)
    frozen, others = hosts[0], hosts[1:]
    world.freeze(frozen, 12.0)
    run_until_gone(world, [frozen], others, 11.0)
    innocent = 0
    for _ in range(300):
        world.run(0.1)
        innocent += sum(
            one.membership.status(other.id) is not Status.ALIVE for one in hosts for other in others
        )
    assert innocent == 0
    assert everybody_is_here(hosts)


def test_a_goodbye_is_known_at_once_and_needs_no_verdict() -> None:
    world, hosts = world_of(5, seed=1)
    hosts[0].membership.leave(world.now())
    hosts[0].flush(world.now())
    world.run(1.0)
    world.crash(hosts[0])
    assert set(world.statuses(hosts[0]).values()) == {Status.LEFT}
    world.run(20.0)
    assert set(world.statuses(hosts[0]).values()) == {Status.LEFT}
    assert world.published(Verdict) == []


@pytest.mark.parametrize("pause_s", [0.5, 10.0])
def test_a_restart_ends_the_old_boot_and_is_alive(pause_s: float) -> None:
    world, hosts = world_of(5, seed=1)
    old = hosts[0].membership.presence(hosts[0].id)
    assert old is not None
    world.crash(hosts[0])
    world.run(pause_s)
    again = world.add("n0", params_for("lan").membership, counter=2)
    for host in hosts[1:]:
        for id_ in sorted(host.gossip.held):
            again.judge(world.now(), host.gossip.held[id_])
    presence = again.membership.presence(again.id)
    assert presence is not None
    hosts[1].judge(world.now(), presence)
    world.run(10.0)
    everybody = [again, *hosts[1:]]
    assert everybody_is_here(everybody)
    for host in hosts[1:]:
        ended = host.membership.ended(again.id, old.fact.boot)
        assert ended is not None
        assert ended.kind == "restarted"
    assert len({host.gossip._digest for host in everybody}) == 1


def test_after_a_suspend_it_announces_compares_and_only_then_accuses() -> None:
    names = ("a", "b", "c")
    bench = Bench(*names)
    bench.run(3.0, names)
    bench.instant += 600.0
    bench.membership.handle_suspend(bench.now, 600.0)
    assert isinstance(bench.gossip.published[-1].fact, Presence)
    assert bench.gossip.published[-1].fact.incarnation == 1
    assert len(bench.gossip.synced) == 2
    bench.run(bench.params.refutation_window_s - 0.01)
    assert {bench.status(name) for name in names} == {Status.ALIVE}
    assert bench.accused() == []
    bench.run(5.0)
    assert {bench.status(name) for name in names} == {Status.SUSPECT}


def test_own_lag_discards_runs_and_pushes_the_clocks_of_suspicion() -> None:
    bench = Bench("a", "b", "c", "d")
    others = ("b", "c", "d")
    bench.run(3.0, ("a", *others))
    while bench.status("a") is not Status.SUSPECT:
        bench.run(0.01, others)
    bench.accuse("b", "a")
    bench.accuse("c", "a")
    bench.instant += 3.0
    bench.membership.handle_lag(bench.now, 3.0)
    bench.run(0.5, others)
    assert bench.status("a") is Status.SUSPECT
    [own] = [view for view in bench.membership.members(bench.now) if view.is_self]
    assert "degraded" in own.flags
    bench.run(2.0, others)
    assert bench.status("a") is Status.DOWN


def test_a_late_timeout_is_noticed_without_being_told() -> None:
    bench = Bench("a", "b", "c")
    names = ("a", "b", "c")
    bench.run(3.0, names)
    pings: dict[NodeId, int] = {}
    while max(pings.values(), default=0) < bench.params.probe_tries_low:
        bench.instant = bench.membership.next_deadline()
        bench.membership.handle_timeout(bench.now)
        for peer, _ in bench.said(Ping):
            pings[peer] = pings.get(peer, 0) + 1
    bench.instant += 12.0  # the last answer is waiting in the socket
    bench.membership.handle_timeout(bench.now)
    bench.run(0.5, names)
    assert {bench.status(name) for name in names} == {Status.ALIVE}
    assert bench.accused() == []


def test_a_refused_connection_counts_as_silence() -> None:
    bench = Bench("a", "b", "c")
    bench.run(3.0, ("a", "b", "c"))
    bench.membership.handle_refused(bench.now, bench.id("stranger"))
    bench.reach("a")
    bench.membership.handle_refused(bench.now, bench.id("a"))
    assert bench.status("a") is Status.ALIVE  # it heard us a moment ago
    bench.instant += 0.6
    bench.membership.handle_refused(bench.now, bench.id("a"))
    assert bench.status("a") is Status.SUSPECT


def test_what_is_said_of_oneself_and_of_strangers() -> None:
    bench = Bench("a")
    me, stranger = bench.id("me"), bench.id("stranger")
    membership = bench.membership
    assert membership.status(me) is Status.ALIVE
    assert membership.status(stranger) is None
    assert membership.presence(stranger) is None
    assert membership.address(stranger) is None
    assert membership.address(bench.id("a")) is not None
    assert membership.ended(stranger, BOOT) is None
    assert membership.relay_for(stranger) is None
    assert membership.echo_age_s(bench.now, stranger) is None
    assert membership.echo_age_s(bench.now, bench.id("a")) is None
    assert membership.alive() == (bench.id("a"),)
    assert [view.id for view in membership.members(bench.now)] == sorted([me, bench.id("a")])
    membership.handle_evidence(bench.now, stranger, 0.0)
    bench.receive("a", Withdraw(stranger, NEXT_BOOT, Incarnation(0)))
    membership.handle_evidence(bench.now, bench.id("a"), None)
    bench.instant += 1.5
    assert membership.echo_age_s(bench.now, bench.id("a")) == 1.5


def test_random_members_are_pinged_beside_the_edges() -> None:
    world, hosts = world_of(40, seed=2)
    measured = [
        sum(view.rtt_s is not None for view in host.membership.members(world.now()))
        for host in hosts
    ]
    world.run(100.0)
    later = [
        sum(view.rtt_s is not None for view in host.membership.members(world.now()))
        for host in hosts
    ]
    assert statistics.mean(later) > statistics.mean(measured) + 5


def test_a_fifth_of_liars_kills_nobody() -> None:
    world, hosts = world_of(20, seed=8)
    liars, honest = hosts[:4], hosts[4:]
    for victim in honest:
        lie = verdict_of([liar.author for liar in liars], victim.id, boot=boot_of(victim))
        for host in honest:
            host.judge(world.now(), lie)
            host.flush(world.now())
    dead = 0
    for _ in range(40):
        world.run(1.0)
        dead += sum(
            one.membership.status(other.id) is Status.DEAD for one in honest for other in honest
        )
    assert dead == 0
    assert everybody_is_here(hosts)


def boot_of(host: Host) -> Boot:
    presence = host.membership.presence(host.id)
    assert presence is not None
    return presence.fact.boot
