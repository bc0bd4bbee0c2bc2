"""Edges: an idle one is nearly free, a silent one is asked a few times, then it has failed."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.membership.messages import Ack, Ping
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import Bench
from tests.unit.core.membership.playground import world_of


def pings_to(bench: Bench, name: str, seconds: float) -> list[float]:
    """When a peer that does not answer is pinged."""
    seen: list[float] = []
    until = bench.instant + seconds
    while (due := bench.membership.next_deadline()) <= until:
        bench.instant = max(due, bench.instant)
        bench.membership.handle_timeout(bench.now)
        seen += [bench.instant for peer, _ in bench.said(Ping) if peer == bench.id(name)]
    return seen


def test_a_ping_is_answered_with_its_sequence_and_both_digests() -> None:
    bench = Bench("a")
    bench.receive("a", Ping(77, 1, 2))
    [(peer, ack)] = bench.said(Ack)
    assert peer == bench.id("a")
    assert ack == Ack(77, bench.gossip._digest, 7)


def test_a_stranger_is_not_answered() -> None:
    bench = Bench("a")
    with pytest.raises(RemoteError) as refused:
        bench.receive("stranger", Ping(1, 2, 3))
    assert refused.value.refusal is Refusal.UNKNOWN_SENDER
    assert bench.said(Ack) == []


def test_other_kinds_are_refused() -> None:
    bench = Bench("a")
    with pytest.raises(RemoteError):
        bench.membership.handle_message(bench.now, bench.id("a"), 19, b"")


def test_three_tries_with_growing_waits_then_it_has_failed() -> None:
    bench = Bench("a", "b", "c")
    bench.run(1.0, ("a", "b", "c"))
    seen = pings_to(bench, "a", 3.0)
    first = seen[0]
    assert [round(t - first, 3) for t in seen[:3]] == [0.0, 0.05, 0.125]
    assert first < 1.0 + bench.params.edge_quiet_s * 1.25
    assert bench.status("a") is Status.SUSPECT


def test_evidence_keeps_an_edge_quiet_and_hearing_alone_does_not() -> None:
    for echo, expected in ((0.5, 0), (None, 1), (100.0, 1)):
        bench = Bench("a")
        bench.run(1.0, ("a",))
        pings = 0
        for _ in range(40):
            bench.instant += 0.25
            bench.membership.handle_evidence(bench.now, bench.id("a"), echo)
            bench.membership.handle_timeout(bench.now)
            pings += len(bench.said(Ping))
        assert min(pings, 1) == expected, echo


def test_an_old_echo_does_not_answer_a_new_question() -> None:
    bench = Bench("a", "b", "c")
    bench.run(1.0, ("a", "b", "c"))
    while bench.status("a") is Status.ALIVE:
        assert bench.instant < 10.0
        bench.run(0.01, ("b", "c"))
        if bench.membership._table.get(bench.id("a")).probe.sent:  # type: ignore[union-attr]  # an edge
            bench.reach("a", echo_age_s=4.0)  # fresh enough for an idle edge, older than the ping


def test_the_round_trip_is_measured_by_the_ping_that_was_answered() -> None:
    bench = Bench("a")
    bench.instant = bench.membership.next_deadline()
    bench.membership.handle_timeout(bench.now)
    [(_, sent)] = bench.said(Ping)
    bench.instant += 0.2
    bench.receive("a", Ack(sent.sequence + 1, 0, 0))
    bench.receive("a", Ack(sent.sequence, 0, 0))
    [view] = [v for v in bench.membership.members(bench.now) if not v.is_self]
    assert view.rtt_s == pytest.approx(0.2)


def test_an_idle_mesh_costs_one_ping_and_one_ack_per_edge_and_quiet_period() -> None:
    world, hosts = world_of(10, seed=3, few_edges_factor=1.0)
    edges = sum(len(host.membership._edges.members) for host in hosts) / 2
    world.kinds.clear()
    world.run(300.0)
    per_edge = world.kinds[Ping.KIND] / edges / 300.0
    assert 1 / 3.0 <= per_edge <= 1 / 2.25
    assert world.kinds[Ack.KIND] == pytest.approx(world.kinds[Ping.KIND], abs=2)
    assert set(world.kinds) == {Ping.KIND, Ack.KIND}


def test_traffic_per_node_is_flat_in_the_number_of_nodes() -> None:
    sent = []
    for count in (5, 10, 40):
        world, _ = world_of(count, seed=3)
        world.datagrams.clear()
        world.run(120.0)
        sent.append(sum(world.datagrams.values()) / count / 120.0)
    assert max(sent) < 3.6
    assert max(sent) < 1.7 * min(sent)


def test_a_new_edge_is_measured_even_when_the_other_side_does_all_the_asking() -> None:
    bench = Bench("a")
    for _ in range(30):
        bench.reach("a", echo_age_s=0.1)
        bench.run(0.1, ("a",))
    [view] = [v for v in bench.membership.members(bench.now) if not v.is_self]
    assert view.rtt_s is not None


def test_an_idle_node_wakes_for_nothing_but_pings() -> None:
    bench = Bench("a", "b", "c")
    bench.run(5.0, ("a", "b", "c"))
    while bench.instant < 65.0:
        bench.instant = bench.membership.next_deadline()
        bench.membership.handle_timeout(bench.now)
        assert any(kind == Ping.KIND for sent in bench.outbox.messages.values() for kind, _ in sent)
        bench._answer(("a", "b", "c"))


def test_edges_that_are_due_soon_are_asked_with_one_that_is_due() -> None:
    names = tuple("abcdefgh")
    wakes = {}
    for share in (0.0, 0.2):
        bench = Bench(*names, edge_together=share)
        bench.run(5.0, names)
        wakes[share] = 0
        while bench.instant < 65.0:
            bench.instant = bench.membership.next_deadline()
            bench.membership.handle_timeout(bench.now)
            wakes[share] += 1
            bench._answer(names)
    assert wakes[0.2] < 0.8 * wakes[0.0]
