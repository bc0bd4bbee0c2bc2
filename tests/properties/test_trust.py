"""Who may take part is a pure function of the set of records."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.errors import LocalError, RemoteError
from mesh.core.identity import FactId, PublicKey
from mesh.core.trust.ranks import ADMINS_MAX
from mesh.core.trust.records import Admin, Certificate, Genesis, Scope
from mesh.core.trust.standing import cut_and_sort
from mesh.core.trust.tickets import parse_ticket
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Verified
from tests.unit.core.trust.stage import WALL, Stage, public_key_of
from tests.unit.core.trust.test_removal import STAGE as REMOVAL_STAGE
from tests.unit.core.trust.test_removal import every_kind

NAMES = ("a", "b", "c", "d", "root")
ID = st.binary(min_size=32, max_size=32)
KEYS = {name: public_key_of(name) for name in NAMES}


def every_record(stage: Stage) -> tuple[Verified[Any], ...]:
    """Return each thing that each key can say of each other key."""
    return (
        stage.founded.genesis,
        stage.sign("a", stage.founded.genesis.fact),
        *(stage.admin(name, by=by) for name in NAMES[:3] for by in ("root", "a", "b")),
        *(stage.certificate(name, by=by) for name in NAMES for by in NAMES),
    )


STAGES = {flag: Stage(open_to_all=flag) for flag in (False, True)}
RECORDS = {flag: every_record(stage) for flag, stage in STAGES.items()}


def expected(
    records: Sequence[Verified[Any]],
) -> tuple[dict[PublicKey, None], dict[PublicKey, None]]:
    """Return (members, admins) as the rules in docs/protocol/trust.md say them, set by set."""
    genesis = next(
        (r.fact for r in records if type(r.fact) is Genesis and r.signed.author == r.fact.root_key),
        None,
    )
    if genesis is None:
        return {}, {}
    admins = {
        r.fact.key: None
        for r in records
        if type(r.fact) is Admin and r.signed.author == genesis.root_key
    }
    members = {
        r.fact.key: None
        for r in records
        if type(r.fact) is Certificate
        and (r.signed.author in admins or (genesis.open and r.signed.author == r.fact.key))
    }
    return members, admins


def trust_of(stage: Stage, order: Sequence[Verified[Any]]) -> Trust:
    trust = Trust(stage.mesh)
    for record in order:
        try:
            trust.accept(record)
        except RemoteError:
            continue
    return trust


@settings(deadline=None)
@given(data=st.data(), is_open=st.booleans())
def test_order_and_repetition_play_no_part(data: st.DataObject, is_open: bool) -> None:
    pool = RECORDS[is_open]
    places = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=40))
    records = [pool[place] for place in places]
    first = trust_of(STAGES[is_open], records)
    second = trust_of(STAGES[is_open], data.draw(st.permutations(records)))
    assert first.records() == second.records()
    members, admins = expected(records)
    for key in KEYS.values():
        assert first.is_member(key) == second.is_member(key) == (key in members)
        assert first.is_admin(key) == second.is_admin(key) == (key in admins)
        assert first.link_allowed(key, WALL) == (key in members)
        assert first.chain(key) == second.chain(key)
        assert bool(first.chain(key)) == (key in members)


def crowd() -> tuple[Verified[Any], ...]:
    """Return more admins than a mesh has, some of them ended, and what each of them grants."""
    stage = STAGES[False]
    names = [f"admin {number}" for number in range(ADMINS_MAX + 4)]
    return (
        *stage.founded.records,
        *(stage.admin(name) for name in names),
        *(stage.revocation(name, by="root", scope=Scope.ADMIN) for name in names[:2]),
        *(stage.certificate(f"of {name}", by=name) for name in names),
    )


def test_a_thousand_orders_of_too_many_admins_give_one_set() -> None:
    records, rng = list(crowd()), random.Random(1)
    first = trust_of(STAGES[False], records)
    assert len(first.admins()) == ADMINS_MAX
    for _ in range(1000):
        rng.shuffle(records)
        trust = trust_of(STAGES[False], records)
        assert trust.admins() == first.admins()
        assert trust.ranks == first.ranks
        assert trust.records() == first.records()


@settings(deadline=None)
@given(data=st.data(), is_open=st.booleans())
def test_more_records_never_take_anything_away(data: st.DataObject, is_open: bool) -> None:
    order = data.draw(st.permutations(RECORDS[is_open]))
    trust = Trust(STAGES[is_open].mesh)
    counted: tuple[Verified[Any], ...] = ()
    for record in order:
        try:
            kept = trust.accept(record)
        except RemoteError:
            assert trust.records() == counted
            continue
        now = trust.records()
        assert {r.id for r in counted} <= {r.id for r in now}
        assert kept == (record.id in {r.id for r in now})
        promoted = trust.take_promoted()
        assert len(now) == len(counted) + len(promoted) + (kept and record not in counted)
        counted = now


@settings(deadline=None)
@given(data=st.data())
def test_taking_back_is_a_function_of_the_set_too(data: st.DataObject) -> None:
    pool, sheets = every_kind(), tuple(REMOVAL_STAGE.sheets)
    records = [pool[at] for at in data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=30))]
    first = trust_of(REMOVAL_STAGE, records)
    second = Trust(REMOVAL_STAGE.mesh)
    for record in data.draw(st.permutations(records)):
        second.accept(record)
        second.accept_sheets(data.draw(st.lists(st.sampled_from(sheets))))
    for trust in (first, second):
        REMOVAL_STAGE.fetch(trust)
    assert first.records() == second.records()
    assert first.ranks == second.ranks
    for name in (*NAMES, "e", "s", "t"):
        key = public_key_of(name)
        assert first.is_member(key) == second.is_member(key)
        assert first.is_admin(key) == second.is_admin(key)
        assert first.revocations_of(key) == second.revocations_of(key)
        assert not (first.is_member(key) and first.revocations_of(key))
        for record in pool:
            for is_new in (False, True):
                stands = first.counts(key, record.id, is_new=is_new)
                assert stands == second.counts(key, record.id, is_new=is_new)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_what_stands_of_a_removed_key_is_what_was_listed(data: st.DataObject) -> None:
    """However pages, sheets and the revocation come, and whatever the key signs afterwards."""
    ids = [FactId(bytes(one)) for one in data.draw(st.sets(ID, max_size=200).map(sorted))]
    listed = [id_ for id_ in ids if data.draw(st.booleans())]
    stage = Stage()
    pages = stage.pages("a", listed)
    said = [stage.certificate("b"), *pages, stage.revocation("b", pages=pages)]
    trust = stage.trust()
    for record in data.draw(st.permutations(said)):
        trust.accept(record)
        held = [id_ for id_ in ids if data.draw(st.booleans())]
        for standing in trust.ranks.listed.get(KEYS["b"], ()):
            if standing is not None:
                trust.accept_sheets(standing.written_from(cut_and_sort(held)))
        for id_ in ids:
            if trust.revocations_of(KEYS["b"]) and trust.counts(KEYS["b"], id_, is_new=True):
                assert id_ in listed, "nothing new is taken that is not known to stand"
            if not trust.counts(KEYS["b"], id_, is_new=False):
                assert id_ not in listed or not trust.is_known(KEYS["b"])
    stage.fetch(trust)
    for id_ in (*ids, FactId(b"dated back".ljust(32))):
        for is_new in (False, True):
            assert trust.counts(KEYS["b"], id_, is_new=is_new) == (id_ in listed)


@settings(deadline=None)
@given(text=st.text(max_size=200) | st.text(st.characters(codec="ascii")).map("mesh1:".__add__))
def test_any_text_is_no_ticket(text: str) -> None:
    with pytest.raises(LocalError) as error:
        parse_ticket(text)
    assert error.value.name == "bad_ticket"
