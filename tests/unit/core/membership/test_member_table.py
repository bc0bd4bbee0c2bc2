"""The table: bounded, in step with the rings, one event per member and cut."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, Incarnation
from mesh.core.instants import Instant
from mesh.core.membership.member import Member
from mesh.core.membership.member_table import MemberEvent, MemberTable
from mesh.core.membership.observers import RingObservers
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import BOOT, presence_of
from tests.unit.core.membership.playground import make_author

ME = make_author("me").id


def member_of(name: str) -> Member:
    author = make_author(name)
    return Member(author.id, presence_of(author), Instant(0.0))


def table_of(cap: int, *members: Member) -> MemberTable:
    table = MemberTable(ME, cap, RingObservers(4, 9))
    for member in members:
        table.add(member)
    return table


def test_the_newest_is_refused_beyond_the_cap() -> None:
    table = table_of(3, member_of("a"), member_of("b"))
    with pytest.raises(RemoteError) as refused:
        table.add(member_of("c"))
    assert refused.value.refusal is Refusal.OVER_CAP
    assert len(table) == 2
    assert table.get(member_of("c").id) is None


def test_who_is_down_observes_nobody_until_it_is_back() -> None:
    a, b = member_of("a"), member_of("b")
    table = table_of(9, a, b)
    assert table.here == sorted([a.id, b.id])
    table.set_status(a, Status.DOWN, Instant(3.0))
    assert table.here == [b.id]
    assert list(table.down) == [a.id]
    assert a.since == 3.0
    assert table.observers(b) == {ME}
    assert table.others(a) == [b.id]
    table.set_status(a, Status.DEAD, Instant(9.0))
    assert a.since == 3.0
    table.set_status(a, Status.ALIVE, Instant(10.0))
    assert table.down == {}
    assert table.observers(b) == {ME, a.id}


def test_a_cut_says_only_what_differs() -> None:
    a, b = member_of("a"), member_of("b")
    table = table_of(9, a, b)
    assert table.cut() == [
        MemberEvent(a.id, "peer", None, Status.ALIVE),
        MemberEvent(b.id, "peer", None, Status.ALIVE),
    ]
    for status in (Status.SUSPECT, Status.DOWN, Status.ALIVE):
        table.set_status(a, status, Instant(1.0))
    table.set_status(b, Status.SUSPECT, Instant(1.0))
    table.set_status(b, Status.DOWN, Instant(1.0))
    assert table.cut() == [MemberEvent(b.id, "peer", Status.ALIVE, Status.DOWN)]
    assert not table.has_changes


def test_the_forgotten_stay_forgotten_within_a_bound() -> None:
    table = table_of(2)
    for name in ("a", "b", "c"):
        member = member_of(name)
        table.add(member)
        table.remove(member)
    assert table.here == []
    known = (BOOT, Incarnation(0))
    assert table.is_forgotten(make_author("c").id, known)
    assert not table.is_forgotten(make_author("c").id, (Boot(BOOT + 1), Incarnation(0)))
    assert not table.is_forgotten(make_author("a").id, known)  # two are remembered
