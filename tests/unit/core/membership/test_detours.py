"""Ways round a broken path between nodes that do not observe each other."""

from mesh.core.membership.messages import Ask, Ping
from mesh.core.membership.probe import Phase
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import Bench, verdict_of

NAMES = tuple(f"n{i:02}" for i in range(24))
HOLD_S = 12.0 * 1.25


def settled() -> Bench:
    bench = Bench(*NAMES)
    bench.run(10.0, NAMES)
    bench.said(Ping)
    return bench


def stranger(bench: Bench) -> str:
    """Return a peer that is no edge of ours."""
    return next(name for name in NAMES if not bench.membership.is_edge(bench.id(name)))


def observers(bench: Bench, subject: str) -> list[str]:
    table = bench.membership._table
    observing = table.rule.observers(bench.id(subject))
    return [name for name in NAMES if bench.id(name) in observing]


def rest(*names: str) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name not in names)


def doubted(bench: Bench) -> tuple[str, str]:
    """Return a peer whose check has no answer yet, and one of its observers who was asked."""
    far = stranger(bench)
    bench.membership.doubt(bench.now.instant, bench.id(far))
    bench.run(0.01, rest(far))
    asked = [peer for peer, ask in bench.said(Ask) if ask.subject == bench.id(far)]
    assert asked
    return far, next(name for name in observers(bench, far) if bench.id(name) == asked[0])


def test_a_doubt_sends_nothing_at_once_and_is_no_suspicion() -> None:
    bench = settled()
    far = bench.id(stranger(bench))
    bench.membership.doubt(bench.now.instant, far)
    assert bench.said(Ping) == []
    bench.run(3.0, rest(stranger(bench)))
    assert bench.membership.status(far) is Status.ALIVE
    assert bench.accused() == []
    assert bench.membership.relay_for(far) is None


def test_edges_are_not_doubted_they_have_their_own_probes() -> None:
    bench = settled()
    edge = next(name for name in NAMES if bench.membership.is_edge(bench.id(name)))
    due = bench.membership.next_deadline()
    bench.membership.doubt(bench.now.instant, bench.id(edge))
    assert bench.membership.next_deadline() == due


def test_an_observer_that_vouches_passes_things_on() -> None:
    bench = settled()
    far, near = doubted(bench)
    bench.vouch(near, far)
    assert bench.membership.relay_for(bench.id(far)) == bench.id(near)


def test_only_observers_may_offer_themselves_and_only_when_asked() -> None:
    bench = settled()
    far = stranger(bench)
    near = observers(bench, far)[0]
    bench.vouch(near, far)
    assert bench.membership.relay_for(bench.id(far)) is None
    far, _ = doubted(bench)
    intruder = next(n for n in NAMES if n != far and n not in observers(bench, far))
    bench.vouch(intruder, far)
    assert bench.membership.relay_for(bench.id(far)) is None


def test_a_direct_answer_ends_the_detour() -> None:
    bench = settled()
    far, near = doubted(bench)
    bench.vouch(near, far)
    bench.reach(far)
    assert bench.membership.relay_for(bench.id(far)) is None


def test_a_relay_that_is_gone_is_not_used() -> None:
    bench = settled()
    far, near = doubted(bench)
    bench.vouch(near, far)
    accusers = [bench.author_of(name) for name in observers(bench, near)[:5]]
    bench.take(verdict_of(accusers, bench.id(near)))
    assert bench.status(near) is Status.DOWN
    assert bench.membership.relay_for(bench.id(far)) is None


def test_a_detour_in_use_is_checked_again_and_one_out_of_use_ends() -> None:
    bench = settled()
    far, near = doubted(bench)
    bench.vouch(near, far)
    peer, others = bench.id(far), rest(far)
    assert bench.membership.relay_for(peer) == bench.id(near)
    bench.run(3.0, others)
    member = bench.membership._table.get(peer)
    assert member is not None
    assert member.probe is not None
    assert member.probe.phase is Phase.HELD
    bench.said(Ask)
    bench.run(HOLD_S, others)
    assert any(ask.subject == peer for _, ask in bench.said(Ask)), "it was in use"
    bench.run(2 * HOLD_S, others)
    assert member.detour is None


def test_whoever_comes_through_a_relay_is_answered_the_same_way() -> None:
    bench = settled()
    far = stranger(bench)
    near = observers(bench, far)[0]
    bench.run(2.0, rest(far))
    bench.membership.handle_relayed(bench.now, bench.id(far), bench.id(near))
    assert bench.membership.relay_for(bench.id(far)) == bench.id(near)


def test_whoever_is_heard_directly_is_answered_directly() -> None:
    bench = settled()
    far = stranger(bench)
    near = observers(bench, far)[0]
    bench.reach(far)
    bench.membership.handle_relayed(bench.now, bench.id(far), bench.id(near))
    assert bench.membership.relay_for(bench.id(far)) is None


def test_random_probes_find_a_broken_path_without_any_traffic() -> None:
    bench = settled()
    far = stranger(bench)
    asked = []
    for _ in range(600):
        bench.run(1.0, rest(far))
        asked += [ask for _, ask in bench.said(Ask) if ask.subject == bench.id(far)]
    assert asked


def test_who_answers_nobody_is_given_up_though_its_observers_say_nothing() -> None:
    """They may have given it up alone, each of them, while a cut ran between them and us."""
    bench = settled()
    far = stranger(bench)
    member = bench.membership._table.get(bench.id(far))
    assert member is not None
    bench.membership.doubt(bench.now.instant, bench.id(far))
    bench.run(bench.params.local_conclusion_s / 2, rest(far))
    assert bench.status(far) is Status.ALIVE, "its observers have the time to agree"
    bench.run(3 * bench.params.local_conclusion_s, rest(far))
    assert bench.status(far) in {Status.DOWN, Status.DEAD}
    assert member.local


def test_who_is_heard_at_the_second_look_is_not_doubted() -> None:
    bench = settled()
    far = stranger(bench)
    bench.membership.doubt(bench.now.instant, bench.id(far))
    bench.run(bench.params.local_conclusion_s / 2, rest(far))
    bench.run(3 * bench.params.local_conclusion_s, NAMES)
    assert bench.status(far) is Status.ALIVE


def rested() -> tuple[Bench, str, str]:
    """Return an edge that rests, since it said of itself that it is here, and one more observer."""
    bench = settled()
    edge = next(name for name in NAMES if bench.membership.is_edge(bench.id(name)))
    bench.run(6.0, rest(edge))
    near = observers(bench, edge)[0]
    bench.meet(edge, incarnation=1)
    assert bench.membership.relay_for(bench.id(edge)) is None
    return bench, edge, near


def test_for_an_edge_that_rests_because_it_has_refuted_observers_are_asked() -> None:
    bench, edge, _ = rested()
    bench.said(Ask)
    bench.run(0.75 * bench.params.vouch_fresh_s, rest(edge))
    asked = [peer for peer, ask in bench.said(Ask) if ask.subject == bench.id(edge)]
    assert asked
    near = next(name for name in observers(bench, edge) if bench.id(name) == asked[0])
    bench.vouch(near, edge)
    assert bench.membership.relay_for(bench.id(edge)) == bench.id(near)
    assert bench.status(edge) is Status.ALIVE
    bench.reach(edge)
    assert bench.membership.relay_for(bench.id(edge)) is None


def test_an_edge_that_rests_and_comes_through_a_relay_is_answered_the_same_way() -> None:
    bench, edge, near = rested()
    bench.membership.handle_relayed(bench.now, bench.id(edge), bench.id(near))
    assert bench.membership.relay_for(bench.id(edge)) == bench.id(near)
