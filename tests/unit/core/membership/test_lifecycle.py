"""Down, dead, forgotten; back again, and what that costs."""

import pytest

from mesh.core.membership.messages import Ack, Ping
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import BOOT, Bench, leave_of, verdict_of

OTHERS = ("a", "b", "c")
ALL = (*OTHERS, "x")


def condemn(bench: Bench, incarnation: int = 0) -> None:
    bench.take(verdict_of([bench.peers[n] for n in OTHERS], bench.id("x"), incarnation))


def settled(**changed: float) -> Bench:
    bench = Bench(*ALL, **changed)
    bench.run(3.0, ALL)
    bench.membership.take_events()
    return bench


def test_the_down_are_dead_after_the_grace_and_forgotten_after_days() -> None:
    bench = settled(forget_dead_s=100.0)
    condemn(bench)
    bench.run(bench.params.orphan_grace_s - 0.1, OTHERS)
    assert bench.status("x") is Status.DOWN
    bench.run(0.2, OTHERS)
    assert bench.status("x") is Status.DEAD
    ended = bench.membership.ended(bench.id("x"), BOOT)
    assert ended is not None
    assert ended.since == 3.0
    assert bench.membership.take_forgotten() == []
    bench.run(101.0, OTHERS)
    assert bench.status("x") is None
    assert len(bench.gossip.held) == 1 + len(OTHERS)
    assert bench.membership.take_forgotten() == [bench.id("x")]
    assert bench.membership.take_forgotten() == []


def test_those_who_left_are_forgotten_too() -> None:
    bench = settled(forget_dead_s=100.0)
    bench.take(leave_of(bench.peers["x"]))
    bench.run(101.0, OTHERS)
    assert bench.status("x") is None
    assert len(bench.gossip.held) == 1 + len(OTHERS)


def test_the_dead_are_redialled_for_ever_at_the_given_rate() -> None:
    bench = settled()
    condemn(bench)
    dialled = 0
    for _ in range(400):
        bench.instant += 0.5
        bench.membership.handle_timeout(bench.now)
        for peer, ping in bench.said(Ping):
            if peer == bench.id("x"):
                dialled += 1
            else:
                name = next(n for n in OTHERS if bench.id(n) == peer)
                bench.receive(name, Ack(ping.sequence, 0, 0))
    # Every 2.5 s where edges are so few, with probability 1/4: one dead, four alive.
    assert 10 <= dialled <= 32


def test_a_notice_is_the_answer_to_a_ping_and_never_to_a_notice() -> None:
    bench = settled()
    condemn(bench)
    [verdict] = [v for v in bench.gossip.held.values() if v.fact.CONTEXT == "verdict/1"]
    bench.reach("x")  # any other datagram, such as the other side's notice
    assert bench.gossip.told == []
    bench.receive("x", Ping(1, 0, 0))
    bench.receive("x", Ping(2, 0, 0))
    assert bench.gossip.told == [(bench.id("x"), (verdict.id,))]
    assert bench.gossip.synced == [bench.id("x")]
    assert len(bench.said(Ack)) == 2
    bench.run(bench.params.refutation_window_s, OTHERS)
    bench.receive("x", Ping(3, 0, 0))
    assert len(bench.gossip.told) == 2


def test_a_quick_refutation_is_no_flap_and_slow_ones_add_up() -> None:
    bench = settled()
    condemn(bench)
    bench.run(2 * bench.params.refutation_window_s - 0.1, OTHERS)
    bench.meet("x", BOOT, 1)
    member = bench.membership._table.get(bench.id("x"))
    assert member is not None
    assert member.flaps == 0.0
    flags: tuple[str, ...] = ()
    for incarnation in (1, 2, 3):
        bench.run(3.0, ALL)
        condemn(bench, incarnation)
        bench.run(2 * bench.params.refutation_window_s + 0.1, OTHERS)
        bench.meet("x", BOOT, incarnation + 1)
        [flags] = [v.flags for v in bench.membership.members(bench.now) if v.id == member.id]
    assert "flapping" in flags


@pytest.mark.parametrize("gap_s", [3.0, 3600.0])
def test_the_grace_goes_on_after_a_suspend(gap_s: float) -> None:
    bench = settled()
    condemn(bench)
    bench.run(1.0, OTHERS)
    bench.instant += gap_s
    bench.membership.handle_suspend(bench.now, gap_s)
    bench.run(bench.params.orphan_grace_s - 1.1, OTHERS)
    assert bench.status("x") is Status.DOWN
    bench.run(0.2, OTHERS)
    assert bench.status("x") is Status.DEAD


def test_events_come_as_one_cut() -> None:
    bench = Bench(*ALL)
    assert bench.membership.take_events() == []
    bench.run(bench.params.cut_s + 0.01, ALL)
    assert sorted(e.peer for e in bench.membership.take_events()) == sorted(map(bench.id, ALL))
    assert bench.membership.take_events() == []
    bench.run(3.0, ALL)
    condemn(bench)
    bench.meet("x", BOOT, 1)
    bench.run(1.0, ALL)
    assert bench.membership.take_events() == []
    condemn(bench, 1)
    bench.take(leave_of(bench.peers["a"]))
    bench.run(1.0, ALL)
    changes = {e.peer: (e.old, e.new) for e in bench.membership.take_events()}
    assert changes == {
        bench.id("x"): (Status.ALIVE, Status.DOWN),
        bench.id("a"): (Status.ALIVE, Status.LEFT),
    }
