"""What a node says of itself: incarnations rise, refutations come only when they are needed."""

import pytest

from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import Address, Incarnation
from mesh.core.instants import Instant
from mesh.core.membership.facts import ADDRESSES_MAX, Leave, Presence
from mesh.core.membership.messages import Ping, Withdraw
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import (
    BOOT,
    NEXT_BOOT,
    Bench,
    leave_of,
    presence_of,
    verdict_of,
)


def incarnation(bench: Bench) -> int:
    presence = bench.membership.own_presence
    assert presence is not None
    assert list(bench.gossip.held).count(presence.id) == 1
    return presence.fact.incarnation


def own_held(bench: Bench) -> list[type]:
    return [type(v.fact) for v in bench.gossip.held.values() if v.author == bench.author.id]


def test_the_start_is_incarnation_zero() -> None:
    bench = Bench()
    assert incarnation(bench) == 0
    assert bench.membership.status(bench.author.id) is Status.ALIVE
    assert bench.membership.address(bench.author.id) == Address("10.0.0.1", 7946)


def test_a_change_takes_the_next_incarnation_and_no_change_none() -> None:
    bench = Bench()
    bench.membership.set_kinds(bench.now, ("test", "build", "test"))
    bench.membership.set_kinds(bench.now, ("build", "test"))
    bench.membership.add_address(bench.now, Address("10.0.0.1", 7946))
    assert incarnation(bench) == 1
    for port in range(ADDRESSES_MAX + 1):
        bench.membership.add_address(bench.now, Address("192.0.2.1", port + 1))
    presence = bench.membership.own_presence
    assert presence is not None
    assert presence.fact.kinds == ("build", "test")
    ports = [address.port for address in presence.fact.addresses]
    assert ports == [7946, 3, 4, 5]  # the first one stays
    assert own_held(bench) == [Presence]


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        (tuple(f"kind-{i}" for i in range(33)), "bad_presence"),
        (("a\nb",), "bad_presence"),
        (tuple(f"{i:064}" for i in range(20)), "presence_too_large"),
        (tuple(f"{i:064}" for i in range(11)), "presence_too_large"),  # too large for a greeting
    ],
)
def test_what_nobody_would_accept_is_refused_here(kinds: tuple[str, ...], name: str) -> None:
    bench = Bench()
    with pytest.raises(LocalError) as refused:
        bench.membership.set_kinds(bench.now, kinds)
    assert refused.value.name == name
    assert incarnation(bench) == 0


def test_an_accuser_that_is_heard_needs_no_refutation() -> None:
    bench = Bench("a", "b")
    bench.run(1.0, ("a", "b"))
    bench.accuse("a", "me")
    bench.run(5.0, ("a", "b"))
    assert incarnation(bench) == 0


def test_an_accuser_that_stays_deaf_is_refuted_within_the_window() -> None:
    bench = Bench("a", "b")
    bench.run(1.0, ("a", "b"))
    bench.accuse("a", "me")
    assert bench.id("a") in [peer for peer, _ in bench.said(Ping)]
    bench.reach("a", echo_age_s=0.5)  # heard us, but before it accused
    bench.run(bench.params.refutation_window_s * 0.39, ("b",))
    assert incarnation(bench) == 0
    bench.run(bench.params.refutation_window_s * 0.25, ("b",))
    assert incarnation(bench) == 1


def test_an_accusation_taken_back_needs_no_refutation() -> None:
    bench = Bench("a", "b")
    bench.run(1.0, ("a", "b"))
    bench.accuse("a", "me")
    bench.accuse("b", "me")
    bench.receive("a", Withdraw(bench.author.id, BOOT, Incarnation(0)))
    bench.run(1.4, ("a",))
    assert incarnation(bench) == 1  # b stands by it
    bench.accuse("a", "me", incarnation=1)
    bench.receive("a", Withdraw(bench.author.id, BOOT, Incarnation(0)))
    bench.run(5.0, ("b",))
    assert incarnation(bench) == 1


def test_a_verdict_is_refuted_once() -> None:
    bench = Bench("a", "b", "c")
    accusers = [bench.peers[name] for name in "abc"]
    assert not bench.take(verdict_of(accusers[:2], bench.author.id))
    assert not bench.take(verdict_of(accusers[1:], bench.author.id))
    assert incarnation(bench) == 0
    bench.run(0.6, ("a", "b", "c"))
    assert incarnation(bench) == 1
    bench.take(verdict_of(accusers[:2], bench.author.id))
    bench.run(5.0, ("a", "b", "c"))
    assert incarnation(bench) == 1


def test_what_we_never_signed_is_not_refuted() -> None:
    bench = Bench("a", "b")
    bench.run(1.0, ("a", "b"))
    bench.accuse("a", "me", incarnation=7)
    bench.take(verdict_of([bench.peers["a"], bench.peers["b"]], bench.author.id, 9))
    bench.run(5.0)
    assert incarnation(bench) == 0


def test_a_goodbye_is_said_once_and_ends_all_talk() -> None:
    bench = Bench("a", "b")
    bench.membership.leave(bench.now)
    bench.membership.leave(bench.now)
    assert bench.membership.status(bench.author.id) is Status.LEFT
    bench.membership.set_kinds(bench.now, ("build",))
    bench.take(verdict_of([bench.peers["a"], bench.peers["b"]], bench.author.id))
    bench.run(60.0)
    assert incarnation(bench) == 0
    assert own_held(bench) == [Presence, Leave]
    assert bench.accused() == []


def test_facts_of_former_boots_go_when_the_new_one_starts() -> None:
    bench = Bench(started=0.0)
    former = [presence_of(bench.author, BOOT - 1, 4), leave_of(bench.author, BOOT - 1, 4)]
    assert [bench.take(fact) for fact in former] == [True, True]
    bench.membership.start(bench.now)
    assert own_held(bench) == [Presence]
    assert incarnation(bench) == 0
    assert not bench.take(presence_of(bench.author, BOOT - 1, 5))
    assert bench.membership.rival_boot is None


def test_a_greater_boot_of_our_own_is_a_rival() -> None:
    bench = Bench("a")
    assert bench.take(presence_of(bench.author, NEXT_BOOT))
    assert bench.membership.rival_boot == NEXT_BOOT
    assert not bench.take(presence_of(bench.author, BOOT, 3))


def test_a_goodbye_that_we_never_said_breaks_a_rule() -> None:
    bench = Bench("a")
    with pytest.raises(RemoteError) as refused:
        bench.take(leave_of(bench.author))
    assert refused.value.refusal is Refusal.BROKEN_RULE


def test_a_greater_boot_on_our_own_disk_is_a_rival_too() -> None:
    bench = Bench(started=0.0)
    ours = presence_of(bench.author, NEXT_BOOT)
    bench.take(ours)
    bench.membership.start(bench.now)
    assert bench.membership.rival_boot == NEXT_BOOT
    assert bench.gossip.holds_id(ours.id)


def test_an_incarnation_of_this_boot_that_we_never_signed_is_a_rivals() -> None:
    bench = Bench("a")
    assert not bench.take(presence_of(bench.author, BOOT, 3))
    assert bench.membership.rival_boot == BOOT


def test_a_copy_of_us_at_our_own_standing_is_not_kept() -> None:
    bench = Bench()
    assert not bench.take(presence_of(bench.author))
    assert bench.membership.rival_boot is None


def test_kinds_may_be_known_before_the_start() -> None:
    bench = Bench(started=0.0)
    bench.membership.set_kinds(bench.now, ("build",))
    bench.membership.start(bench.now)
    presence = bench.membership.own_presence
    assert presence is not None
    assert (presence.fact.kinds, presence.fact.incarnation) == (("build",), 0)


def test_only_a_later_proof_answers_an_accusation() -> None:
    bench = Bench("a")
    bench.run(1.0, ("a",))
    own = bench.membership._own
    own.accused(bench.now, bench.id("a"), own.standing)
    own.reached(bench.id("a"), Instant(0.9))
    assert own.is_accused
    own.reached(bench.id("a"), Instant(1.0))
    assert not own.is_accused
