"""Beliefs: what has ended and why, and how flaps fade."""

from mesh.core.identity import Boot
from mesh.core.instants import Instant
from mesh.core.membership.member import Member
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import BOOT, NEXT_BOOT, leave_of, presence_of, verdict_of
from tests.unit.core.membership.playground import make_author

PEER = make_author("peer")


def member_of(boot: int = BOOT) -> Member:
    return Member(PEER.id, presence_of(PEER, boot), Instant(5.0))


def test_a_member_that_is_here_has_ended_only_its_older_boots() -> None:
    member = member_of(NEXT_BOOT)
    assert member.ended(NEXT_BOOT) is None
    ended = member.ended(BOOT)
    assert ended is not None
    assert (ended.kind, ended.fact, ended.since) == ("restarted", member.presence, 5.0)
    assert ended.ended_boot == NEXT_BOOT - 1
    assert not ended.local


def test_down_ends_the_present_boot_and_says_how_sure_it_is() -> None:
    member = member_of()
    member.status, member.since, member.local = Status.DOWN, Instant(9.0), True
    assert member.ended(BOOT) is None  # without a fact to cite nothing has ended
    member.verdict = verdict_of([make_author("a")], PEER.id)
    ended = member.ended(BOOT)
    assert ended is not None
    assert (ended.kind, ended.local, ended.since) == ("verdict", True, 9.0)
    assert ended.fact is member.verdict
    assert member.ended(NEXT_BOOT) is None


def test_a_goodbye_ends_its_boot_and_all_before() -> None:
    member = member_of(NEXT_BOOT)
    member.leave = leave_of(PEER, NEXT_BOOT)
    for boot in (BOOT, NEXT_BOOT):
        ended = member.ended(boot)
        assert ended is not None
        assert (ended.kind, ended.ended_boot) == ("left", NEXT_BOOT)
    assert member.ended(Boot(NEXT_BOOT + 1)) is None


def test_flaps_halve() -> None:
    member = member_of()
    assert member.penalty(Instant(0.0), 60.0) == 0.0
    member.add_flap(Instant(0.0), 60.0)
    member.add_flap(Instant(60.0), 60.0)
    assert member.penalty(Instant(60.0), 60.0) == 1.5
    assert member.penalty(Instant(120.0), 60.0) == 0.75
