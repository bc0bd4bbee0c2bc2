"""Accusing, vouching, judging, from the seat of one observer."""

from dataclasses import replace

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, Incarnation
from mesh.core.membership.agenda import EDGE, timer_key
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.membership.member import FIRST_TRUST
from mesh.core.membership.messages import Accuse, Ack, Ask, Ping, Vouch, Withdraw
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import BOOT, NEXT_BOOT, Bench, leave_of, verdict_of
from tests.unit.core.membership.playground import make_author

ALL = ("a", "b", "c", "d", "x")
OTHERS = ("a", "b", "c", "d")


def bench_with_silent_x(others: tuple[str, ...] = OTHERS) -> Bench:
    """A bench that has just begun to accuse x."""
    bench = Bench(*others, "x")
    bench.run(3.0, (*others, "x"))
    for _ in range(1000):
        if bench.status("x") is Status.SUSPECT:
            return bench
        bench.run(0.01, others)
    raise AssertionError("x was never suspected")


def published(bench: Bench) -> list[Verdict]:
    return [v.fact for v in bench.gossip.published if isinstance(v.fact, Verdict)]


def test_an_accusation_goes_to_the_subject_and_its_observers_only() -> None:
    bench = bench_with_silent_x()
    sent = bench.accused()
    assert sorted(peer for peer, _ in sent) == sorted(bench.id(name) for name in ALL)
    assert {fact for _, fact in sent} == {Accusation(bench.id("x"), BOOT, Incarnation(0))}
    assert published(bench) == []


def test_it_is_repeated_and_signed_once() -> None:
    bench = bench_with_silent_x()
    bench.accused()
    bench.run(1.0, OTHERS)
    assert len(bench.accused()) == 2 * len(ALL)


def test_a_majority_makes_a_verdict_after_the_window() -> None:
    bench = bench_with_silent_x()
    bench.accuse("a", "x")
    bench.accuse("b", "x")
    bench.run(bench.params.refutation_window_s - 0.1, OTHERS)
    assert bench.status("x") is Status.SUSPECT
    bench.run(0.2, OTHERS)
    assert bench.status("x") is Status.DOWN
    bench.run(1.0, OTHERS)
    [verdict] = published(bench)
    assert (verdict.observers, verdict.local, len(verdict.accusations)) == (5, False, 3)


def test_a_minority_waits_and_then_concludes_for_itself_alone() -> None:
    bench = bench_with_silent_x()
    bench.accuse("a", "x")
    bench.run(bench.params.local_conclusion_s - 0.5, OTHERS)
    assert bench.status("x") is Status.SUSPECT
    bench.run(1.0, OTHERS)
    assert bench.status("x") is Status.DOWN
    assert published(bench) == []
    ended = bench.membership.ended(bench.id("x"), BOOT)
    assert ended is not None
    assert ended.local
    assert isinstance(ended.fact.fact, Verdict)
    assert ended.fact.fact.local
    bench.gossip.held[ended.fact.id] = ended.fact  # even if it came back to us
    assert bench.membership.accept(bench.now, ended.fact)


def test_a_conclusion_of_my_own_becomes_a_verdict_when_others_agree() -> None:
    bench = bench_with_silent_x()
    bench.run(bench.params.local_conclusion_s + 0.5, OTHERS)
    since = bench.membership.ended(bench.id("x"), BOOT)
    for name in ("a", "b"):
        bench.accuse(name, "x")
    bench.run(1.0, OTHERS)
    ended = bench.membership.ended(bench.id("x"), BOOT)
    assert since is not None
    assert ended is not None
    assert (since.local, ended.local) == (True, False)
    assert ended.since == since.since
    assert len(published(bench)) == 1


def test_a_conclusion_of_my_own_ends_with_two_way_evidence_and_a_verdict_does_not() -> None:
    bench = bench_with_silent_x()
    bench.run(bench.params.local_conclusion_s + 0.5, OTHERS)
    bench.reach("x", echo_age_s=3.0)  # from before it went down
    assert bench.status("x") is Status.DOWN
    bench.reach("x", echo_age_s=0.0)
    assert bench.status("x") is Status.ALIVE
    bench.take(verdict_of([bench.peers[n] for n in "abc"], bench.id("x")))
    bench.reach("x", echo_age_s=0.0)
    assert bench.status("x") is Status.DOWN


def test_two_vouchers_hold_the_edge_and_take_the_accusation_back() -> None:
    bench = bench_with_silent_x()
    bench.vouch("a", "x")
    assert bench.status("x") is Status.SUSPECT
    bench.vouch("b", "x")
    assert bench.status("x") is Status.ALIVE
    assert len(bench.said(Withdraw)) == len(ALL)
    assert bench.membership.relay_for(bench.id("x")) in {bench.id("a"), bench.id("b")}
    [view] = [v for v in bench.membership.members(bench.now) if v.id == bench.id("x")]
    assert view.flags == ("degraded",)
    bench.run(2.1, OTHERS)
    assert {peer for peer, _ in bench.said(Ask)} == {bench.id("a"), bench.id("b")}


def test_a_held_edge_lasts_as_long_as_somebody_vouches() -> None:
    bench = bench_with_silent_x()
    for _ in range(20):
        bench.vouch("a", "x")
        bench.vouch("b", "x")
        bench.run(1.0, OTHERS)
        assert bench.status("x") is Status.ALIVE
    bench.run(2 * bench.params.vouch_fresh_s, OTHERS)
    assert bench.status("x") is Status.SUSPECT
    assert bench.membership.relay_for(bench.id("x")) is None


def test_a_held_edge_recovers_by_itself() -> None:
    bench = bench_with_silent_x()
    bench.vouch("a", "x")
    bench.vouch("b", "x")
    bench.run(5.0, ALL)
    assert bench.membership.relay_for(bench.id("x")) is None
    assert [v.flags for v in bench.membership.members(bench.now)] == [()] * 6


def bench_with_silent_edge(count: int) -> tuple[Bench, str, tuple[str, ...], list[str]]:
    """A bench of many that accuses one of its edges; who that is, the rest, who has no vote."""
    bench = Bench(*(f"n{i}" for i in range(count)))
    edges = bench.membership._edges.members
    subject = next(name for name in bench.peers if bench.id(name) in edges)
    names = tuple(name for name in bench.peers if name != subject)
    for _ in range(3000):
        bench.run(0.01, names)
        if bench.status(subject) is Status.SUSPECT:
            break
    known = bench.membership._table.get(bench.id(subject))
    assert known is not None
    observers = bench.membership._table.observers(known)
    return bench, subject, names, [name for name in names if bench.id(name) not in observers]


def test_vouching_by_who_does_not_observe_holds_no_edge_and_stops_no_verdict() -> None:
    bench, subject, names, outsiders = bench_with_silent_edge(30)
    for name in outsiders[:5]:
        bench.vouch(name, subject)
    assert bench.status(subject) is Status.SUSPECT
    insiders = [name for name in names if name not in outsiders]
    for name in insiders:
        bench.accuse(name, subject)
    bench.run(bench.params.refutation_window_s + 0.1, names)
    assert bench.status(subject) is Status.DOWN


def test_where_no_majority_comes_about_others_are_asked_and_their_word_prevents_a_conclusion() -> (
    None
):
    bench, subject, names, outsiders = bench_with_silent_edge(30)
    early = [peer for peer, _ in bench.said(Ask)]
    bench.run(1.0, names)
    early += [peer for peer, _ in bench.said(Ask)]
    bench.run(1.0, names)
    asked = [peer for peer, _ in bench.said(Ask)]
    assert len(early) == len(asked) == 8
    assert set(asked) <= {bench.id(name) for name in outsiders}
    assert not set(asked) & set(early), "in time it is everybody's turn"
    for _ in range(3):
        bench.vouch(outsiders[0], subject)
        bench.run(bench.params.local_conclusion_s - 1.0, names)
        assert bench.status(subject) is Status.SUSPECT
    bench.said(Ask)
    bench.vouch(outsiders[0], subject)
    bench.run(3.1, names)
    assert {peer for peer, _ in bench.said(Ask)} == {bench.id(outsiders[0])}


def test_a_conclusion_of_my_own_ends_when_anybody_vouches() -> None:
    bench, subject, names, outsiders = bench_with_silent_edge(30)
    bench.run(bench.params.local_conclusion_s + 0.5, names)
    assert bench.status(subject) is Status.DOWN
    bench.vouch(outsiders[0], subject)
    assert bench.status(subject) is Status.ALIVE
    assert bench.membership.ended(bench.id(subject), BOOT) is None


def test_whom_i_alone_gave_up_is_dialled_and_asked_for_in_every_turn() -> None:
    """Two that had given each other up alone took half a minute to notice that they were wrong."""
    bench, subject, names, _ = bench_with_silent_edge(30)
    bench.run(bench.params.local_conclusion_s + 0.5, names)
    assert bench.status(subject) is Status.DOWN
    bench.said(Ask)
    bench.run(6 * bench.params.dead_redial_s, names)
    asked = [ask for _, ask in bench.said(Ask) if ask.subject == bench.id(subject)]
    assert len(asked) >= 4 * 8, "of most that are down it is one in thirty turns"


def test_who_refutes_a_verdict_unreached_is_left_in_peace_longer_each_time() -> None:
    bench = bench_with_silent_x()
    peace_s = []
    for incarnation in range(1, 6):
        bench.take(verdict_of([bench.peers[n] for n in "abc"], bench.id("x"), incarnation - 1))
        assert bench.status("x") is Status.DOWN
        bench.meet("x", BOOT, incarnation)
        began = bench.instant
        bench.said(Accuse)
        while not bench.said(Accuse):
            bench.run(0.5, OTHERS)
        peace_s.append(bench.instant - began)
    first_s = FIRST_TRUST * bench.params.edge_hold_s
    assert [round(peace / first_s) for peace in peace_s] == [1, 2, 4, 8, 8]


@pytest.mark.parametrize("word", ["accusation", "verdict"])
@pytest.mark.parametrize("answers", [True, False])
def test_the_peace_of_who_refuted_ends_when_it_does_not_answer(word: str, answers: bool) -> None:
    """It died, or it is cut off from everybody now: found with seeds that took half a minute."""
    bench = bench_with_silent_x()
    bench.take(verdict_of([bench.peers[n] for n in "abc"], bench.id("x")))
    bench.meet("x", BOOT, 1)
    bench.run(3.0, OTHERS)
    bench.accused()
    if word == "accusation":
        bench.accuse("a", "x", 1)
    else:
        bench.take(verdict_of([bench.author_of(n) for n in "aef"], bench.id("x"), 1))
    assert bench.status("x") is Status.ALIVE
    bench.run(bench.params.refutation_window_s - 0.1, OTHERS)
    if answers:
        bench.meet("x", BOOT, 2)
    bench.run(4.0, OTHERS)
    found = Status.SUSPECT if word == "accusation" else Status.DOWN
    assert bench.status("x") is (Status.ALIVE if answers else found)


def test_who_reached_one_node_behind_a_cut_is_asked_first_about_the_next() -> None:
    bench, subject, names, outsiders = bench_with_silent_edge(100)
    other = next(name for name in names if bench.membership.is_edge(bench.id(name)))
    known = bench.membership._table.get(bench.id(other))
    assert known is not None
    observers = bench.membership._table.observers(known)
    between = next(n for n in outsiders if n != other and bench.id(n) not in observers)
    bench.vouch(between, subject)
    answering = tuple(name for name in names if name != other)
    while bench.status(other) is not Status.SUSPECT:
        bench.run(0.05, answering)
    bench.said(Ask)
    bench.run(0.5, answering)
    asked = [peer for peer, ask in bench.said(Ask) if ask.subject == bench.id(other)]
    assert bench.id(between) in asked
    assert len(asked) == 8, "of some ninety"


def test_who_refutes_a_verdict_and_is_reached_is_watched_as_before() -> None:
    bench = bench_with_silent_x()
    bench.take(verdict_of([bench.peers[n] for n in "abc"], bench.id("x")))
    bench.meet("x", BOOT, 1)
    bench.run(0.1, ALL)  # it is asked at once, and answers
    assert [view.flags for view in bench.membership.members(bench.now)] == [()] * 6
    bench.run(7.0, OTHERS)
    assert bench.status("x") is Status.SUSPECT


def test_whoever_has_fresh_evidence_vouches_instead_of_probing() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    bench.said(Ping)
    bench.reach("x", echo_age_s=0.02)
    bench.accuse("a", "x")
    assert bench.said(Vouch) == [(bench.id("a"), Vouch(bench.id("x"), BOOT, Incarnation(0)))]
    assert bench.said(Ping) == []


def test_whoever_has_none_probes_at_once_and_then_vouches() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    bench.instant += 1.0
    bench.accuse("a", "x")
    [(peer, ping)] = bench.said(Ping)
    assert peer == bench.id("x")
    assert bench.said(Vouch) == []
    bench.receive("x", Ack(ping.sequence, 0, 0))
    assert [to for to, _ in bench.said(Vouch)] == [bench.id("a")]
    assert bench.status("x") is Status.ALIVE


def test_a_regained_edge_is_told_to_everybody_who_was_told_otherwise() -> None:
    bench = bench_with_silent_x()
    bench.accuse("a", "x")
    bench.reach("x")
    assert bench.status("x") is Status.ALIVE
    assert sorted(peer for peer, _ in bench.said(Vouch)) == sorted(bench.id(n) for n in OTHERS)
    bench.run(20.0, ALL)
    assert published(bench) == []


def test_an_accuser_that_knows_less_is_told_more() -> None:
    bench = Bench(*ALL)
    bench.meet("x", BOOT, 3)
    bench.accuse("a", "x", incarnation=1)
    presence = bench.membership.presence(bench.id("x"))
    assert presence is not None
    assert bench.gossip.told == [(bench.id("a"), (presence.id,))]
    verdict = verdict_of([bench.peers[n] for n in "bcd"], bench.id("x"), 3)
    bench.take(verdict)
    bench.accuse("a", "x", incarnation=3)
    assert bench.gossip.told[1:] == [(bench.id("a"), (verdict.id,))]
    leave = leave_of(bench.peers["b"])
    bench.take(leave)
    bench.accuse("a", "b")
    assert bench.gossip.told[2:] == [(bench.id("a"), (leave.id,))]
    bench.accuse("a", "c", incarnation=9)  # beyond what c has signed, as far as I know
    bench.accuse("a", "stranger")
    assert len(bench.gossip.told) == 3
    assert bench.accused() == []


def test_an_accusation_must_be_its_senders_own_and_signed_alone() -> None:
    bench = Bench(*ALL)
    fact = Accusation(bench.id("x"), BOOT, Incarnation(0))
    other = Accusation(bench.id("b"), BOOT, Incarnation(0))
    [alone] = bench.peers["b"].sign([fact])
    [pair, _] = bench.peers["a"].sign([fact, other])
    [own] = bench.peers["a"].sign([fact])
    false = replace(own.signed, signature=b"\0" * 64)
    for signed, refusal in (
        (alone.signed, Refusal.AUTHOR_MISMATCH),
        (pair.signed, Refusal.BROKEN_RULE),
        (leave_of(bench.peers["a"]).signed, Refusal.BROKEN_RULE),
        (false, Refusal.BAD_SIGNATURE),
    ):
        with pytest.raises(RemoteError) as refused:
            bench.receive("a", Accuse(signed.encode()))
        assert refused.value.refusal is refusal
    member = bench.membership._table.get(bench.id("x"))
    assert member is not None
    assert member.suspicion is None


def test_a_repeated_accusation_is_verified_once() -> None:
    bench = Bench(*ALL)
    before = bench.author.verifier.verifications
    for _ in range(5):
        bench.accuse("a", "x")
    assert bench.author.verifier.verifications == before + 1


@pytest.mark.parametrize("isolated", [True, False])
def test_an_isolated_node_exports_no_verdict(isolated: bool) -> None:
    probe = Bench()
    higher = [n for n in map(str, range(40)) if probe.id(n) > probe.author.id][:5]
    bench = bench_with_silent_x(tuple(higher))  # I am the first, so the one to speak
    for name in higher:
        bench.accuse(name, "x")
    if isolated:
        for name in higher[:3]:
            assert bench.membership._edges.fail(bench.membership._edges.members[bench.id(name)])
    assert bench.membership.isolated is isolated
    bench.run(bench.params.refutation_window_s, tuple(higher))
    ended = bench.membership.ended(bench.id("x"), BOOT)
    assert ended is not None
    assert ended.local is isolated
    assert isinstance(ended.fact.fact, Verdict)
    assert ended.fact.fact.local is isolated
    assert len(published(bench)) == (not isolated)
    [view] = [v for v in bench.membership.members(bench.now) if v.is_self]
    assert ("isolated" in view.flags) is isolated


def test_who_does_not_observe_accuses_in_vain() -> None:
    names = tuple(f"n{i}" for i in range(30))
    bench = Bench(*names)
    bench.run(3.0, names)
    bench.instant += 1.0
    edges = bench.membership._edges.members
    subject = next(name for name in names if bench.id(name) in edges)
    observers = bench.membership._table.rule.observes(bench.id(subject))
    outsider = next(n for n in names if n != subject and bench.id(n) not in observers)
    insider = next(n for n in names if bench.id(n) in observers)
    bench.accuse(outsider, subject)
    assert not is_suspected(bench, subject)
    assert bench.said(Ping) == []
    bench.accuse(insider, subject)
    assert is_suspected(bench, subject)
    assert [peer for peer, _ in bench.said(Ping)] == [bench.id(subject)]


def test_an_ask_is_answered_by_evidence_only() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    ask = Ask(bench.id("x"), BOOT, Incarnation(0))
    bench.receive("a", ask)
    bench.run(1.0, OTHERS)
    assert bench.said(Vouch) == []
    bench.reach("x")
    bench.receive("b", ask)
    assert bench.id("b") in [peer for peer, _ in bench.said(Vouch)]
    bench.receive("b", Ask(bench.id("me"), BOOT, Incarnation(0)))
    assert bench.said(Vouch) == []


def test_a_new_incarnation_clears_the_suspicion_and_a_vouch_for_an_old_boot_is_void() -> None:
    bench = bench_with_silent_x()
    bench.vouch("a", "x")
    assert bench.meet("x", BOOT, 1)
    assert bench.status("x") is Status.ALIVE
    bench = Bench(*OTHERS)
    bench.meet("x", NEXT_BOOT)
    bench.run(3.0, ALL)
    bench.run(6.0, OTHERS)
    assert bench.status("x") is Status.SUSPECT
    for name in "abcd":
        bench.receive(name, Vouch(bench.id("x"), BOOT, Incarnation(0)))
    assert bench.status("x") is Status.SUSPECT
    bench.receive("a", Withdraw(bench.id("x"), Boot(1), Incarnation(0)))
    assert bench.status("x") is Status.SUSPECT


def test_the_first_accuser_speaks_and_the_others_leave_it_to_him() -> None:
    bench = bench_with_silent_x()
    bench.accuse("a", "x")
    bench.accuse("b", "x")
    place = sorted([bench.id("a"), bench.id("b"), bench.id("me")]).index(bench.id("me"))
    bench.run(bench.params.refutation_window_s + 0.01, OTHERS)
    assert bench.status("x") is Status.DOWN
    assert len(published(bench)) == (place == 0)
    bench.take(verdict_of([bench.peers[n] for n in "abcd"], bench.id("x"), observers=5))
    bench.run(5.0, OTHERS)
    assert len(published(bench)) == (place == 0)


def test_who_was_vouched_for_already_is_not_accused_at_all() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    bench.instant += 1.0
    bench.accuse("a", "x")  # I begin to probe as well
    bench.vouch("b", "x")
    bench.vouch("c", "x")
    bench.run(3.0, OTHERS)
    assert bench.accused() == []
    assert bench.said(Withdraw) == []
    assert bench.status("x") is Status.ALIVE
    assert bench.membership.relay_for(bench.id("x")) is not None


def test_who_was_concluded_down_alone_is_back_when_others_vouch() -> None:
    bench = bench_with_silent_x()
    bench.run(bench.params.local_conclusion_s + 0.5, OTHERS)
    assert bench.status("x") is Status.DOWN
    bench.vouch("a", "x")
    bench.vouch("b", "x")
    assert bench.status("x") is Status.ALIVE
    assert bench.membership.ended(bench.id("x"), BOOT) is None


@pytest.mark.parametrize("turn", ["silence", "isolated", "revived"])
def test_the_second_in_line_speaks_only_if_it_must(turn: str) -> None:
    names = [f"n{i}" for i in range(8)]
    me = Bench().author.id
    lower = [n for n in names if Bench().id(n) < me][:2]
    assert len(lower) == 2
    others = tuple(names)
    bench = bench_with_silent_x(others)
    for name in (*lower, *(n for n in names if n not in lower)):
        bench.accuse(name, "x")
    bench.run(bench.params.refutation_window_s - 0.05, others)
    bench.run(0.1, others)
    assert bench.status("x") is Status.DOWN
    assert published(bench) == []
    if turn == "isolated":
        for member in bench.membership._edges.members.values():
            bench.membership._edges.fail(member)
    if turn == "revived":
        bench.meet("x", BOOT, 1)
    bench.run(bench.params.verdict_stagger_s * len(names) + 0.01, others)
    assert len(published(bench)) == (turn == "silence")
    if turn == "isolated":
        ended = bench.membership.ended(bench.id("x"), BOOT)
        assert ended is not None
        assert ended.local


def test_whoever_accuses_later_gets_my_accusation_at_once() -> None:
    bench = bench_with_silent_x()
    bench.run(0.05, OTHERS)
    bench.said(Accuse)
    bench.accuse("a", "x")
    bench.accuse("a", "x")
    assert [peer for peer, _ in bench.accused()] == [bench.id("a")]


def is_suspected(bench: Bench, name: str) -> bool:
    member = bench.membership._table.get(bench.id(name))
    assert member is not None
    return member.suspicion is not None or bool(member.askers)


def test_an_accuser_taking_it_back_leaves_nothing_behind() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    bench.instant += 1.0
    bench.accuse("a", "x")
    assert is_suspected(bench, "x")
    bench.receive("a", Withdraw(bench.id("x"), BOOT, Incarnation(0)))
    assert not is_suspected(bench, "x")


def test_a_timer_that_outlived_its_reason_is_harmless() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    member = bench.membership._table.get(bench.id("x"))
    assert member is not None
    court = bench.membership._court
    court.repeat(bench.now, member)
    court.decide(bench.now, member)
    court.publish(bench.now, member)
    bench.take(verdict_of([bench.peers[n] for n in "abc"], member.id))
    court.publish(bench.now, member)
    assert bench.membership._edges.fire(bench.now, member) is None
    bench.membership._edges.hold(bench.now, member)
    bench.membership._fire(bench.now, timer_key(EDGE, bench.id("stranger")))
    assert published(bench) == []
    assert bench.accused() == []


def test_a_relay_must_itself_be_beyond_doubt() -> None:
    bench = bench_with_silent_x()
    bench.vouch("a", "x")
    bench.vouch("b", "x")
    assert bench.membership.relay_for(bench.id("x")) is not None
    bench.run(0.15)  # nobody answers: none was reached just now
    for name in ("a", "b"):
        bench.accuse("c", name)
    assert bench.membership.relay_for(bench.id("x")) is None


def test_a_conclusion_of_ones_own_confirms_the_verdict_that_is_under_test() -> None:
    """It took the place of that verdict before, which was never taken in again (seed 40793)."""
    names = tuple(f"n{i:02}" for i in range(24))
    bench = Bench(*names)
    bench.run(10.0, names)
    far = next(name for name in names if not bench.membership.is_edge(bench.id(name)))
    others = tuple(name for name in names if name != far)
    member = bench.membership._table.get(bench.id(far))
    assert member is not None
    bench.membership._court.accuse(bench.now, member)
    bench.run(bench.params.local_conclusion_s - 0.1, others)
    assert bench.status(far) is Status.SUSPECT
    verdict = verdict_of([make_author("one"), make_author("two")], bench.id(far), observers=2)
    assert bench.take(verdict)
    assert bench.status(far) is Status.SUSPECT
    bench.run(0.2, others)
    assert bench.status(far) is Status.DOWN
    assert member.verdict == verdict
    assert not member.local
    assert bench.gossip.holds(Family.MEMBERS, verdict.id)
