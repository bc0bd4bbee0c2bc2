"""The vote: who is needed, who can object, when it stands."""

import pytest

from mesh.core.identity import Boot, FactId, Incarnation, NodeId, PublicKey
from mesh.core.instants import Instant
from mesh.core.membership.suspicion import (
    Outcome,
    Suspicion,
    accusers_needed,
    vouchers_needed,
)
from mesh.core.params import MembershipParams
from mesh.core.wire.envelope import SignedFact

PARAMS = MembershipParams()
WINDOW = PARAMS.refutation_window_s
START = 100.0


def node(number: int) -> NodeId:
    return NodeId(bytes((number,)) * 16)


def signed(number: int) -> SignedFact:
    key = PublicKey(bytes((number,)) * 32)
    return SignedFact(FactId(b"i" * 32), key, b"s" * 64, 0, 1, (), "accusation/1", b"")


def vote(accusers: int, vouchers: int = 0) -> Suspicion:
    suspicion = Suspicion(Boot(1), Incarnation(0), Instant(START))
    for number in range(accusers):
        suspicion.add_accuser(node(number), signed(number))
    for number in range(accusers, accusers + vouchers):
        suspicion.add_voucher(node(number), Instant(START + WINDOW))
    return suspicion


def outcome(suspicion: Suspicion, observers: int, after: float) -> Outcome:
    electorate = frozenset(node(number) for number in range(observers))
    return suspicion.outcome(Instant(START + after), electorate, PARAMS)


@pytest.mark.parametrize(
    ("observers", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (8, 5), (17, 9)]
)
def test_more_than_half_must_accuse(observers: int, needed: int) -> None:
    assert accusers_needed(observers) == needed


@pytest.mark.parametrize("observers", range(3, 18))
def test_a_majority_after_the_window_is_a_verdict(observers: int) -> None:
    needed = accusers_needed(observers)
    assert outcome(vote(needed), observers, WINDOW) is Outcome.VERDICT
    assert outcome(vote(needed), observers, WINDOW - 0.01) is Outcome.WAIT
    assert outcome(vote(needed - 1), observers, WINDOW) is Outcome.WAIT


@pytest.mark.parametrize(("observers", "vouchers"), [(2, 1), (3, 1), (4, 2), (8, 2), (17, 2)])
def test_vouchers_hold_the_edge_at_once(observers: int, vouchers: int) -> None:
    assert vouchers_needed(observers) == vouchers
    enough = vote(1, vouchers)
    assert outcome(enough, observers, WINDOW) is Outcome.HOLD
    assert outcome(vote(1, vouchers - 1), observers, WINDOW) is not Outcome.HOLD


def test_one_voucher_of_late_gives_one_more_window_and_stops_no_majority_of_many() -> None:
    for vouched_s, contested in ((0.1, False), (WINDOW / 2, True), (WINDOW, True)):
        suspicion = vote(5)
        suspicion.add_voucher(node(30), Instant(START + vouched_s))  # no observer, even
        expected = Outcome.WAIT if contested else Outcome.VERDICT
        assert outcome(suspicion, 8, WINDOW) is expected
        assert outcome(suspicion, 8, 2 * WINDOW - 0.01) is expected
        assert outcome(suspicion, 8, 2 * WINDOW) is Outcome.VERDICT
        if contested:
            look = suspicion.next_look(Instant(START + WINDOW), PARAMS)
            assert look == pytest.approx(START + 2 * WINDOW)


def test_only_observers_count() -> None:
    assert outcome(vote(5), 4, WINDOW) is Outcome.VERDICT
    strangers = vote(0)
    for number in range(20, 29):
        strangers.add_accuser(node(number), signed(number))
        strangers.add_voucher(node(number + 10), Instant(START))
    assert outcome(strangers, 8, WINDOW) is Outcome.WAIT


@pytest.mark.parametrize("observers", [1, 2])
def test_with_two_observers_or_fewer_it_stands_alone(observers: int) -> None:
    assert outcome(vote(1), observers, WINDOW) is Outcome.ALONE
    assert outcome(vote(1), observers, WINDOW - 0.01) is Outcome.WAIT


def test_with_nobody_vouching_for_long_it_stands_alone() -> None:
    long = PARAMS.local_conclusion_s
    assert outcome(vote(1), 8, long - 0.01) is Outcome.WAIT
    assert outcome(vote(1), 8, long) is Outcome.ALONE
    assert outcome(vote(1, 1), 8, long) is Outcome.WAIT
    assert outcome(vote(1, 1), 8, WINDOW + long) is Outcome.ALONE


def test_a_voucher_turns_stale_and_an_accuser_changes_its_mind() -> None:
    suspicion = vote(1, 2)
    late = Instant(START + WINDOW + PARAMS.vouch_fresh_s + 0.01)
    assert len(suspicion.fresh_vouchers(Instant(START + WINDOW), PARAMS)) == 2
    assert suspicion.fresh_vouchers(late, PARAMS) == []
    suspicion.add_voucher(node(0), late)
    assert suspicion.accusers == {}
    suspicion.add_accuser(node(0), signed(0))
    assert node(0) not in suspicion.vouchers


def test_postponed_clocks_wait_longer() -> None:
    suspicion = vote(5)
    suspicion.postpone(3.0)
    assert outcome(suspicion, 8, WINDOW + 2.9) is Outcome.WAIT
    assert outcome(suspicion, 8, WINDOW + 3.0) is Outcome.VERDICT


def test_the_next_look_is_always_ahead() -> None:
    suspicion = vote(1)
    instant = Instant(START)
    for _ in range(20):
        due = suspicion.next_look(instant, PARAMS)
        assert due > instant
        instant = due
