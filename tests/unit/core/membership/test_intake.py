"""Which facts are kept: the same everywhere, whatever came first."""

import itertools
from dataclasses import replace

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, FactId, Incarnation
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.membership.messages import Ping
from mesh.core.snapshot import Status
from mesh.core.trust.records import Certificate
from mesh.core.wire.envelope import Verified
from tests.unit.core.membership.bench import (
    BOOT,
    NEXT_BOOT,
    Bench,
    forged,
    leave_of,
    presence_of,
    verdict_of,
)
from tests.unit.core.membership.playground import make_author

ALL = ("a", "b", "c", "d", "x")


def held(bench: Bench) -> list[FactId]:
    return sorted(id_ for id_, v in bench.gossip.held.items() if v.author != bench.author.id)


def test_the_greatest_presence_counts_and_replaces_the_others() -> None:
    bench = Bench("a")
    assert bench.meet("a", NEXT_BOOT, 0)
    assert bench.meet("a", NEXT_BOOT, 3)
    for boot, incarnation in ((NEXT_BOOT, 3), (NEXT_BOOT, 2), (BOOT, 9)):
        assert not bench.meet("a", boot, incarnation)
    assert held(bench) == [presence_of(bench.peers["a"], NEXT_BOOT, 3).id]


def test_accusations_do_not_travel_by_gossip() -> None:
    bench = Bench(*ALL)
    accusation = Accusation(bench.id("x"), BOOT, Incarnation(0))
    assert not bench.take(bench.peers["a"].sign([accusation])[0])
    assert bench.status("x") is Status.ALIVE


def test_members_beyond_the_cap_are_refused() -> None:
    bench = Bench("a", "b", members_max=3)
    with pytest.raises(RemoteError) as refused:
        bench.meet("c")
    assert refused.value.refusal is Refusal.OVER_CAP
    assert bench.status("c") is None
    assert bench.membership.table_sizes()[0] == ("members", 3, 3)


def test_a_majority_verdict_is_believed_at_once() -> None:
    bench = Bench(*ALL)
    verdict = verdict_of([bench.peers[name] for name in "abc"], bench.id("x"))
    assert bench.take(verdict)
    assert bench.status("x") is Status.DOWN
    assert bench.id("x") not in bench.membership.alive()
    ended = bench.membership.ended(bench.id("x"), BOOT)
    assert ended is not None
    assert (ended.fact, ended.local, ended.kind) == (verdict, False, "verdict")


def test_a_bad_accusation_spoils_the_verdict() -> None:
    bench = Bench(*ALL)
    verdict = verdict_of([bench.peers[name] for name in "abc"], bench.id("x"))
    with pytest.raises(RemoteError) as refused:
        bench.take(forged(verdict))
    assert refused.value.refusal is Refusal.BAD_SIGNATURE
    assert bench.status("x") is Status.ALIVE


def minority_of(bench: Bench, *accusers: str) -> Verified[Verdict]:
    """Two of the five observers of x, who say that they are all there is."""
    return verdict_of([bench.peers[name] for name in accusers], bench.id("x"), observers=2)


def test_a_minority_in_my_view_is_tested_and_refuted_by_an_answer() -> None:
    bench = Bench(*ALL)
    bench.run(5.0, ALL)
    bench.run(0.5)
    lie = minority_of(bench, "a", "b")
    assert bench.take(lie)
    assert bench.id("x") in [peer for peer, _ in bench.said(Ping)]
    bench.run(5.0, ALL)
    assert bench.status("x") is Status.ALIVE
    assert bench.gossip.holds_id(lie.id)  # the subject must hear of it
    assert bench.meet("x", BOOT, 1)
    assert not bench.gossip.holds_id(lie.id)


def test_a_minority_in_my_view_is_believed_when_my_own_probe_fails() -> None:
    bench = Bench(*ALL)
    bench.run(5.0, ALL)
    assert bench.take(minority_of(bench, "a", "b"))
    bench.run(1.5, ("a", "b", "c", "d"))
    assert bench.status("x") is Status.DOWN


def test_accusers_who_are_strangers_or_no_observers_are_no_majority() -> None:
    bench = Bench(*ALL)
    strangers = [bench.author_of(f"stranger-{i}") for i in range(5)]
    assert bench.take(verdict_of(strangers, bench.id("x")))
    assert bench.status("x") is Status.ALIVE


def test_conclusions_of_others_change_nothing() -> None:
    bench = Bench(*ALL)
    verdict = verdict_of([bench.peers[n] for n in "abcd"], bench.id("x"), local=True)
    assert not bench.take(verdict)
    assert bench.status("x") is Status.ALIVE


def test_newer_presence_revives_and_takes_the_verdict_with_it() -> None:
    bench = Bench(*ALL)
    verdict = verdict_of([bench.peers[name] for name in "abc"], bench.id("x"))
    bench.take(verdict)
    assert bench.meet("x", BOOT, 1)
    assert bench.status("x") is Status.ALIVE
    assert not bench.gossip.holds_id(verdict.id)
    assert bench.membership.ended(bench.id("x"), BOOT) is None
    assert not bench.take(verdict_of([bench.peers[n] for n in "bcd"], bench.id("x")))
    assert bench.status("x") is Status.ALIVE


def test_of_several_verdicts_the_strongest_is_kept() -> None:
    bench = Bench(*ALL)
    four = verdict_of([bench.peers[n] for n in "abcd"], bench.id("x"), observers=5)
    three = verdict_of([bench.peers[n] for n in "abc"], bench.id("x"))
    assert bench.take(three)
    assert bench.take(four)
    assert not bench.take(verdict_of([bench.peers[n] for n in "bcd"], bench.id("x")))
    assert four.id in held(bench)
    assert three.id not in held(bench)


def test_a_restart_ends_the_former_boot() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    bench.meet("x", NEXT_BOOT)
    ended = bench.membership.ended(bench.id("x"), BOOT)
    assert ended is not None
    assert (ended.kind, ended.since, ended.local) == ("restarted", 3.0, False)
    assert bench.membership.ended(bench.id("x"), NEXT_BOOT) is None
    assert bench.membership.echo_age_s(bench.now, bench.id("x")) is None


def test_a_goodbye_stands_until_a_greater_boot() -> None:
    bench = Bench(*ALL)
    leave = leave_of(bench.peers["x"])
    assert bench.take(leave)
    assert bench.status("x") is Status.LEFT
    assert bench.meet("x", BOOT, 5)
    assert bench.status("x") is Status.LEFT
    assert not bench.take(verdict_of([bench.peers[n] for n in "abc"], bench.id("x"), 5))
    assert bench.meet("x", NEXT_BOOT)
    assert bench.status("x") is Status.ALIVE
    assert not bench.gossip.holds_id(leave.id)
    assert not bench.take(leave_of(bench.peers["x"], BOOT, 6))


@pytest.mark.parametrize("end", ["verdict", "leave", "ahead", "all"])
def test_the_order_of_arrival_does_not_matter(end: str) -> None:
    bench = Bench(*ALL)
    x = bench.peers["x"]
    voters = [bench.peers[n] for n in "abc"]
    facts = {
        "verdict": [presence_of(x), verdict_of(voters, x.id)],
        "leave": [presence_of(x, BOOT, 1), leave_of(x), verdict_of(voters, x.id, 1)],
        "ahead": [presence_of(x), verdict_of(voters, x.id, 2), presence_of(x, BOOT, 2)],
        "all": [
            presence_of(x),
            verdict_of(voters, x.id),
            leave_of(x),
            presence_of(x, NEXT_BOOT),
        ],
    }[end]
    outcomes = []
    for order in itertools.permutations(facts):
        fresh = Bench("a", "b", "c", "d")
        fresh.author_of("x")
        for fact in order:
            fresh.take(fact)
        outcomes.append((held(fresh), fresh.status("x")))
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_what_comes_before_its_presence_is_bounded() -> None:
    bench = Bench("a", members_max=4)
    for number in range(4):
        assert bench.take(leave_of(bench.author_of(f"stranger-{number}")))
    with pytest.raises(RemoteError) as refused:
        bench.take(leave_of(bench.author_of("stranger-4")))
    assert refused.value.refusal is Refusal.OVER_CAP
    assert bench.take(leave_of(bench.author_of("stranger-3"), NEXT_BOOT))
    assert bench.membership.table_sizes()[1] == ("members_early", 4, 8)


def test_the_forgotten_are_not_brought_back_by_others() -> None:
    bench = Bench(*ALL, forget_dead_s=60.0)
    bench.run(1.0, ALL)
    verdict = verdict_of([bench.peers[n] for n in "abc"], bench.id("x"))
    bench.take(verdict)
    bench.run(100.0, ("a", "b", "c", "d"))
    assert bench.status("x") is None
    assert len(held(bench)) == 4
    leave = leave_of(bench.peers["x"])
    assert [bench.take(f) for f in (verdict, presence_of(bench.peers["x"]), leave)] == [False] * 3
    assert bench.meet("x", Boot(BOOT + 1))
    assert bench.status("x") is Status.ALIVE


def test_a_presence_without_an_address_breaks_a_rule() -> None:
    bench = Bench()
    author = bench.author_of("a")
    fact = presence_of(author).fact
    bare = type(fact)(BOOT, Incarnation(0), (), fact.link_key, 1, "a", (), ())
    with pytest.raises(RemoteError) as refused:
        bench.take(author.sign([bare])[0])
    assert refused.value.refusal is Refusal.BROKEN_RULE


def test_facts_of_other_families_are_refused() -> None:
    bench = Bench("a")
    [certificate] = bench.peers["a"].sign([Certificate(bench.peers["a"].public_key, 0, 0)])
    with pytest.raises(RemoteError) as refused:
        bench.take(certificate)
    assert refused.value.refusal is Refusal.UNKNOWN_CONTEXT


def test_of_early_goodbyes_the_last_is_kept_until_a_greater_boot() -> None:
    bench = Bench()
    author = bench.author_of("a")
    first, last = leave_of(author), leave_of(author, BOOT, 1)
    assert bench.take(first)
    assert bench.take(last)
    assert not bench.take(leave_of(author, BOOT, 0))
    assert held(bench) == [last.id]
    assert bench.meet("a", NEXT_BOOT)
    assert bench.status("a") is Status.ALIVE
    assert held(bench) == [presence_of(author, NEXT_BOOT).id]


def test_of_two_presences_with_one_standing_everybody_keeps_the_same() -> None:
    author = Bench().author_of("a")
    first = presence_of(author)
    second = author.sign([replace(first.fact, name="other")])[0]
    for order in ((first, second), (second, first)):
        bench = Bench()
        for fact in order:
            bench.take(fact)
        assert held(bench) == [max(first.id, second.id)]


def is_probed(bench: Bench, name: str) -> bool:
    member = bench.membership._table.get(bench.id(name))
    assert member is not None
    return member.probe is not None


def test_a_check_ends_with_an_answer_even_after_lag_and_never_becomes_an_edge() -> None:
    names = tuple(f"n{i}" for i in range(30))
    bench = Bench(*names)
    bench.run(3.0, names)
    edges = bench.membership._edges.members
    stranger = next(name for name in names if bench.id(name) not in edges)
    subject = bench.id(stranger)
    liars = [bench.peers[name] for name in names if name != stranger][:2]
    bench.take(verdict_of(liars, subject, observers=2))
    assert is_probed(bench, stranger)
    bench.instant += 1.0
    bench.membership.handle_lag(bench.now, 1.0)
    bench.run(1.0, names)
    assert not is_probed(bench, stranger)
    assert bench.status(stranger) is Status.ALIVE
    more = [bench.peers[names[-1]], bench.peers[names[-2]], liars[0]]
    bench.take(verdict_of(more, subject, observers=5))
    assert is_probed(bench, stranger)
    bench.meet(stranger, BOOT, 1)
    assert not is_probed(bench, stranger)
    bench.run(3.0, names)
    bench.take(verdict_of(liars, subject, 1, observers=2))
    bench.run(5.0, tuple(name for name in names if name != stranger))
    assert bench.status(stranger) is Status.DOWN
    assert not is_probed(bench, stranger)


def test_a_minority_is_believed_at_once_where_my_own_probe_has_failed_already() -> None:
    bench = Bench(*ALL)
    bench.run(3.0, ALL)
    while bench.status("x") is Status.ALIVE:
        bench.run(0.05, ("a", "b", "c", "d"))
    verdict = minority_of(bench, "a", "b")
    assert bench.take(verdict)
    assert bench.status("x") is Status.DOWN


def test_a_verdict_under_test_is_tested_on_when_the_edge_to_its_subject_is_gone() -> None:
    names = tuple(f"n{i}" for i in range(30))
    subject, *others = names
    bench = Bench(*names[:9])
    bench.run(3.0, names)
    strangers = [make_author("one"), make_author("two")]
    bench.take(verdict_of(strangers, bench.id(subject), observers=2))
    assert is_probed(bench, subject)
    for name in names[9:]:  # more and more of them observe it instead of this node
        bench.meet(name)
    bench.run(0.0, tuple(others))
    assert bench.id(subject) not in bench.membership._edges.members
    assert bench.status(subject) is Status.ALIVE
    bench.run(6.0, tuple(others))
    assert bench.status(subject) is Status.DOWN


@pytest.mark.parametrize("silent_s", [1.0, 6.0])
def test_who_speaks_while_it_is_out_of_reach_for_long_is_not_accused(silent_s: float) -> None:
    bench = Bench("a", "b", "x", local_conclusion_s=60.0)
    bench.run(5.0, ("a", "b", "x"))
    bench.run(silent_s, ("a", "b"))
    bench.vouch("a", "x")  # the edge is held, nobody accuses
    bench.vouch("b", "x")
    before = bench.membership._table.get(bench.id("x"))
    assert before is not None
    bench.meet("x", incarnation=1)
    assert (before.trusted_until > bench.instant) is (silent_s > 5)
