"""Taking back: ranks, what stands, roots that follow each other, and that order plays no part."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId
from mesh.core.trust.ranks import ROTATIONS_MAX, Ranks, Records, read_ranks
from mesh.core.trust.records import PAGE_SHEETS_MAX, Revocation, Scope, StandingPage
from mesh.core.trust.standing import (
    PAGES_PER_LIST_MAX,
    SHEET_IDS_MAX,
    Standing,
    cut_and_sort,
    is_sheet,
    read_pages,
    sheet_digest,
    write_list,
)
from mesh.core.trust.trust import (
    ADMIN_RECORDS_MAX,
    PAGES_MAX,
    REVOCATIONS_MAX,
    SHARE_OF_ONE_AUTHOR,
    Trust,
)
from mesh.core.wire.envelope import Fact, Verified
from tests.unit.core.trust.stage import Stage, public_key_of

STAGE = Stage()
A_FACT, ANOTHER = FactId(b"f" * 32), FactId(b"g" * 32)
B = public_key_of("b")
GRANTED = [STAGE.admin("b"), STAGE.certificate("b"), STAGE.certificate("c", by="b")]


def refusal_of(trust: Trust, record: Verified[Fact]) -> Refusal:
    with pytest.raises(RemoteError) as refused:
        trust.accept(record)
    return refused.value.refusal


def members(trust: Trust, *names: str) -> str:
    return "".join(name for name in names if trust.is_member(public_key_of(name)))


def test_an_admin_removes_a_node_for_good() -> None:
    trust = STAGE.trust([STAGE.certificate("b"), STAGE.revocation("b")])
    assert not trust.is_member(B)
    assert trust.revoked() == (B,)
    assert len(trust.revocations_of(B)) == 1
    assert trust.chain(B) == ()
    assert not trust.may_speak(B)
    assert trust.accept(STAGE.certificate("b", expires_s=99)), "held, but no certificate helps"
    assert not trust.is_member(B)


def test_only_admins_and_roots_remove() -> None:
    trust = STAGE.trust([STAGE.certificate("b"), STAGE.certificate("c")])
    assert not trust.accept(STAGE.revocation("c", by="b")), "set aside: b may be an admin yet"
    assert members(trust, "a", "b", "c") == "abc"
    trust.accept(STAGE.revocation("c", by="root"))
    assert members(trust, "a", "b", "c") == "ab"


def test_an_admin_removes_no_admin_and_no_root_and_the_root_removes_admins() -> None:
    trust = STAGE.trust([*GRANTED, STAGE.revocation("b"), STAGE.revocation("a", by="b")])
    trust.accept(STAGE.revocation("root", by="a"))
    trust.accept(STAGE.revocation("root", by="root"))
    assert members(trust, "a", "b", "c") == "abc"
    assert trust.is_admin(B)
    trust.accept(STAGE.revocation("b", by="root"))
    assert not trust.is_admin(B)
    assert members(trust, "a", "b", "c") == "a", "c was certified by b, and nobody listed that"


def test_what_a_removed_admin_certified_stands_where_it_is_listed() -> None:
    pages = STAGE.pages("root", [GRANTED[2].id])
    trust = STAGE.trust([*GRANTED, *pages, STAGE.revocation("b", by="root", pages=pages)])
    assert members(trust, "b", "c") == "c"
    trust.accept(STAGE.certificate("d", by="b"))
    assert members(trust, "b", "c", "d") == "c", "a certificate from before, says who stole the key"


def test_an_admin_that_is_one_no_more_stays_a_member() -> None:
    gone = STAGE.revocation("b", by="root", scope=Scope.ADMIN)
    trust = STAGE.trust([*GRANTED, gone])
    assert not trust.is_admin(B)
    assert members(trust, "b", "c") == "b"
    assert trust.counts(B, A_FACT, is_new=True)
    trust.accept(STAGE.admin("b", by="root"))
    assert not trust.is_admin(B), "for good"
    trust.accept(STAGE.revocation("b"))
    assert not trust.is_member(B), "and now an admin may remove it"


def test_an_admin_takes_no_rank_from_anybody() -> None:
    trust = STAGE.trust([STAGE.certificate("b")])
    trust.accept(STAGE.revocation("b", scope=Scope.ADMIN))
    assert trust.is_member(B)


def test_facts_count_where_every_list_has_them() -> None:
    first = STAGE.pages("a", [A_FACT, ANOTHER])
    trust = STAGE.trust([STAGE.certificate("b"), STAGE.revocation("b", pages=first)])
    assert trust.counts(B, A_FACT, is_new=False), "the page is missing: what is held goes on"
    assert not trust.counts(B, A_FACT, is_new=True)
    assert not trust.may_speak(B)
    trust.restore(first)
    assert trust.may_speak(B)
    assert trust.counts(B, FactId(b"h" * 32), is_new=False), "and now the sheet is"
    assert not trust.counts(B, A_FACT, is_new=True)
    version = trust.version
    STAGE.fetch(trust)
    assert trust.version > version, "then everything is to be judged again"
    assert trust.counts(B, A_FACT, is_new=True)
    assert not trust.counts(B, FactId(b"h" * 32), is_new=False)
    second = STAGE.pages("root", [ANOTHER])
    trust.restore([*second, STAGE.revocation("b", by="root", pages=second)])
    STAGE.fetch(trust)
    assert not trust.counts(B, A_FACT, is_new=False)
    assert trust.counts(B, ANOTHER, is_new=True)
    trust.accept(STAGE.revocation("b"))
    assert not trust.counts(B, ANOTHER, is_new=False), "nothing stands"


def some_ids(count: int) -> list[FactId]:
    """Return ids that are scattered like those of facts, the same ones each time."""
    rng = random.Random(count)
    return [FactId(rng.randbytes(32)) for _ in range(count)]


def test_pages_name_many_facts_and_end_somewhere() -> None:
    ids = some_ids(2 * PAGE_SHEETS_MAX * SHEET_IDS_MAX + 1)
    pages, sheets = write_list(STAGE.author("a"), ids)
    held = {page.id: page for page in pages}
    known = {sheet_digest(sheet): sheet for sheet in sheets}
    assert len(pages) == 3
    assert all(map(is_sheet, sheets))
    standing = read_pages(pages[0].id, held, known)
    assert standing is not None
    assert all(standing.lists(id_) for id_ in ids)
    assert not any(standing.lists(id_) for id_ in some_ids(100))
    del held[pages[1].id]
    assert read_pages(pages[0].id, held, known) is None
    assert read_pages(None, {}, {}) == Standing()
    chain: dict[FactId, Verified[Any]] = {}
    first = None
    for number in range(PAGES_PER_LIST_MAX + 1):
        entries = ((bytes([number % 256]) * 16, bytes(16)),)
        [page] = STAGE.author("a").sign([type(pages[0].fact)(first, entries)])
        chain[page.id], first = page, page.id
    whole = read_pages(first, chain, {})
    assert whole is not None, "longer than any list may be: read to the bound"
    assert len(whole.digests) == PAGES_PER_LIST_MAX


def test_who_holds_the_same_facts_writes_the_sheets_and_who_does_not_lacks_only_a_few() -> None:
    ids = some_ids(1000)
    pages, sheets = write_list(STAGE.author("a"), ids)
    held = {page.id: page for page in pages}
    standing = read_pages(pages[0].id, held, {})
    assert standing is not None
    assert standing.written_from(cut_and_sort(reversed(ids))) == sheets
    assert standing.written_from(cut_and_sort([])) == []
    assert Standing().written_from(cut_and_sort(ids)) == []
    lacks_two = cut_and_sort(ids[2:])
    assert len(sheets) - 2 <= len(standing.written_from(lacks_two)) < len(sheets)
    has_one_too_many = cut_and_sort([*ids, FactId(b"!" * 32)])
    assert len(standing.written_from(has_one_too_many)) == len(sheets) - 1
    assert standing.lists(ids[0]) is None, "no sheet is known"
    assert standing.lists(FactId(bytes(32))) is False, "before the first sheet"


def test_an_id_is_found_only_where_one_begins() -> None:
    ids = [FactId(b"ab" * 8 + bytes(16)), FactId(b"ba" * 8 + bytes(16))]
    pages, sheets = write_list(STAGE.author("a"), ids)
    known = {sheet_digest(sheet): sheet for sheet in sheets}
    standing = read_pages(pages[0].id, {pages[0].id: pages[0]}, known)
    assert standing is not None
    assert standing.lists(ids[1]) is True
    across = sheets[0][8:24]
    assert across in sheets[0]
    assert standing.lists(FactId(across + bytes(16))) is False


def test_only_sheets_that_are_wanted_are_taken() -> None:
    pages = STAGE.pages("a", [A_FACT])
    trust = STAGE.trust([STAGE.certificate("b")])
    sheet = STAGE.sheets[-1]
    assert trust.accept_sheets([sheet]) == []
    trust.restore([*pages, STAGE.revocation("b", pages=pages)])
    assert list(trust.wanted_sheets()) == [sheet_digest(sheet)]
    assert trust.accept_sheets([sheet[:-1], bytes(16), sheet, sheet]) == [
        (sheet_digest(sheet), sheet)
    ]
    assert not trust.wanted_sheets()
    assert trust.sheet(sheet_digest(sheet)) == sheet
    odd = b"x" * 17
    page = STAGE.sign("a", StandingPage(None, ((odd[:16], sheet_digest(odd)),)))
    trust.restore([page, STAGE.revocation("b", pages=[page])])
    assert trust.accept_sheets([odd]) == [], "no sheet, whatever an admin says"


def test_pages_of_a_list_that_is_not_whole_change_nothing() -> None:
    pages, sheets = write_list(STAGE.author("a"), some_ids(2000))
    trust = STAGE.trust([STAGE.certificate("b"), STAGE.revocation("b", pages=pages)])
    version = trust.version
    assert trust.accept(pages[0])
    assert trust.version == version, "so nothing is judged again for every page"
    assert trust.accept(pages[1])
    assert trust.version > version
    assert len(trust.wanted_sheets()) == len(sheets)


def test_a_scope_that_is_none_is_refused() -> None:
    record = STAGE.sign("a", Revocation(B, 2, None, 0, ""))
    assert refusal_of(STAGE.trust(), record) is Refusal.BROKEN_RULE


def test_the_next_root_is_the_one_that_was_promised() -> None:
    trust = STAGE.trust()
    assert refusal_of(trust, STAGE.rotation(by="a")) is Refusal.AUTHOR_MISMATCH
    assert trust.root_key == public_key_of("root")
    rotation = STAGE.rotation()
    assert trust.may_speak(public_key_of("next root"))
    assert trust.accept(rotation)
    assert trust.root_key == public_key_of("next root")
    assert trust.rotations() == (rotation,)
    assert trust.accept(STAGE.admin("b", by="next root"))
    assert trust.is_admin(B)
    third = STAGE.rotation(by="third root", former="next root", following="fourth root")
    assert trust.accept(third)
    assert trust.rotations() == (rotation, third)
    assert refusal_of(trust, STAGE.rotation(by="third root")) is Refusal.AUTHOR_MISMATCH


def test_what_a_former_root_has_said_stands_where_it_is_listed() -> None:
    stolen = STAGE.admin("s", by="root")
    pages = STAGE.pages("next root", [STAGE.founded.admin.id])
    trust = STAGE.trust([stolen, *pages, STAGE.rotation(pages=pages)])
    assert [admin.id for admin in trust.admins()] == [STAGE.founded.admin.id]
    assert members(trust, "a") == "a"


def test_a_rotation_that_lists_nothing_leaves_nobody() -> None:
    trust = STAGE.trust([STAGE.certificate("b"), STAGE.rotation()])
    assert members(trust, "a", "b") == ""


def test_records_of_a_root_to_come_are_set_aside() -> None:
    trust = STAGE.trust()
    admin = STAGE.admin("b", by="next root")
    pages = STAGE.pages("third root", [admin.id])
    later = STAGE.rotation(by="third root", former="next root", pages=pages)
    for record in (admin, later, *pages):
        assert not trust.accept(record)
    assert trust.accept(STAGE.rotation())
    assert trust.is_admin(B)
    promoted = {record.id for record in trust.take_promoted()}
    assert promoted == {admin.id, later.id, pages[0].id}


def test_of_two_successors_all_choose_the_same() -> None:
    one, other = STAGE.rotation(), STAGE.rotation(following="another root")
    both = [STAGE.trust(order) for order in ([one, other], [other, one])]
    assert both[0].ranks == both[1].ranks
    assert both[0].records() == both[1].records()


def test_before_the_genesis_nobody_is_anything() -> None:
    trust = Trust(STAGE.mesh)
    assert read_ranks(Records()) == Ranks()
    assert not trust.is_member(B)
    assert not trust.accept(STAGE.rotation())
    assert not trust.accept(STAGE.revocation("b"))


def test_a_revocation_that_is_not_listed_counts_no_more() -> None:
    # Whoever stole b's key removed c; the root removes b and does not list that.
    by_b = STAGE.revocation("c", by="b")
    trust = STAGE.trust([*GRANTED, STAGE.certificate("c"), by_b])
    assert not trust.is_member(public_key_of("c"))
    version = trust.version
    trust.accept(STAGE.revocation("b", by="root"))
    assert trust.version > version
    assert trust.is_member(public_key_of("c"))
    pages = STAGE.pages("root", [by_b.id])
    trust = STAGE.trust([*GRANTED, by_b, *pages, STAGE.revocation("b", by="root", pages=pages)])
    assert not trust.is_member(public_key_of("c")), "listed: it stands"


def test_caps_of_taking_back() -> None:
    trust = STAGE.trust([STAGE.admin("b")])
    table = {name: cap for name, _, cap in trust.table_sizes()}
    assert table["trust_rotations"] == ROTATIONS_MAX
    share = REVOCATIONS_MAX // SHARE_OF_ONE_AUTHOR
    author = STAGE.author("a")
    for number in range(share):
        [record] = author.sign([Revocation(public_key_of("b"), 0, None, number, "")])
        assert trust.accept(record)
    assert refusal_of(trust, STAGE.revocation("b")) is Refusal.OVER_CAP
    assert trust.accept(STAGE.revocation("b", by="root")), "the root has no share"
    assert table["trust_revocations"] == REVOCATIONS_MAX
    assert table["trust_pages"] == PAGES_MAX
    for number in range(ADMIN_RECORDS_MAX - 2):  # a and b are there
        name = f"admin {number}"
        assert trust.accept(STAGE.admin(name))
        trust.accept(STAGE.revocation(name, by="root", scope=Scope.ADMIN))
    assert refusal_of(trust, STAGE.admin("one more")) is Refusal.OVER_CAP


def every_kind() -> Sequence[Verified[Fact]]:
    listed = STAGE.pages("root", [GRANTED[2].id])
    kept = STAGE.pages("next root", [STAGE.founded.admin.id, GRANTED[0].id])
    return [
        *STAGE.founded.records,
        *GRANTED,
        STAGE.certificate("d"),
        STAGE.certificate("e"),
        *listed,
        *kept,
        STAGE.revocation("d", by="b"),
        STAGE.revocation("e"),
        STAGE.revocation("a", by="b"),
        STAGE.revocation("b", by="next root", pages=listed),
        STAGE.revocation("b", by="a"),
        STAGE.rotation(pages=kept),
        STAGE.admin("s", by="root"),
        STAGE.certificate("t", by="s"),
        STAGE.admin("e", by="next root"),
    ]


def test_a_thousand_orders_give_the_same_set() -> None:
    records = every_kind()
    rng = random.Random(5)
    answers: dict[tuple[Any, ...], None] = {}
    for _ in range(1000):
        trust = Trust(STAGE.mesh)
        for record in rng.sample(records, len(records)):
            trust.accept(record)
            trust.accept_sheets(rng.sample(STAGE.sheets, 1))
        STAGE.fetch(trust)
        names = ("a", "b", "c", "d", "e", "s", "t")
        answers[
            trust.records(),
            trust.admins(),
            members(trust, *names),
            tuple(trust.revocations_of(public_key_of(name)) for name in names),
        ] = None
    assert len(answers) == 1
    ((held, admins, who, _),) = answers
    assert len(held) == len(records)
    # b is gone, and its word against d is not listed; e is an admin, against whom a's counts not;
    # s was made admin by the former root, which is not listed either.
    assert who == "acde"
    assert len(admins) == 2
