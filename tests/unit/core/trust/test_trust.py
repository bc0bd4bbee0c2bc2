"""The rules of who may take part, their caps, and that order plays no part."""

import random
from typing import Any

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, PublicKey, node_id
from mesh.core.instants import WallTime
from mesh.core.trust.founding import MeshPlan
from mesh.core.trust.ranks import ADMINS_MAX
from mesh.core.trust.records import Admin, Certificate, Genesis
from mesh.core.trust.trust import (
    CERTIFICATES_MAX,
    PENDING_MAX,
    SHARE_OF_ONE_AUTHOR,
    Trust,
    expired,
)
from mesh.core.wire.envelope import Fact, Verified
from tests.unit.core.trust.stage import WALL, Stage, public_key_of

STAGE = Stage()
OPEN = Stage(open_to_all=True)


def refusal_of(trust: Trust, record: Verified[Fact]) -> Refusal:
    before = trust.records()
    with pytest.raises(RemoteError) as refused:
        trust.accept(record)
    assert trust.records() == before
    return refused.value.refusal


def numbered_key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(31, "big") + b"\x05")


def test_the_founder_is_admin_and_member() -> None:
    trust = STAGE.trust()
    founder = public_key_of("a")
    assert trust.founded
    assert trust.genesis == STAGE.founded.genesis
    assert trust.is_admin(founder)
    assert trust.is_admin_id(node_id(founder))
    assert trust.is_member(founder)
    assert trust.is_member_id(node_id(founder))
    assert trust.public_key(node_id(founder)) == founder
    assert trust.admins() == (STAGE.founded.admin,)
    assert trust.records() == STAGE.founded.records
    assert not trust.is_member(public_key_of("root"))


def test_a_stranger_is_nothing() -> None:
    trust, stranger = STAGE.trust(), public_key_of("s")
    assert not trust.is_member(stranger)
    assert not trust.is_member_id(node_id(stranger))
    assert not trust.is_admin(stranger)
    assert not trust.is_admin_id(node_id(stranger))
    assert not trust.link_allowed(stranger, WALL)
    assert trust.chain(stranger) == ()
    assert trust.public_key(node_id(stranger)) is None


def test_an_admin_admits_and_a_member_does_not() -> None:
    trust = STAGE.trust([STAGE.certificate("b")])
    assert trust.is_member(public_key_of("b"))
    assert not trust.is_admin(public_key_of("b"))
    assert not trust.accept(STAGE.certificate("c", by="b"))
    assert not trust.is_member(public_key_of("c"))


def test_nobody_has_left_who_is_yet_to_come() -> None:
    trust, x = STAGE.trust(), node_id(public_key_of("x"))
    assert not trust.has_left_id(x), "a stranger"
    trust.accept(STAGE.admin("x"))
    assert not trust.has_left_id(x), "its certificate may come"
    trust.accept(STAGE.certificate("x"))
    assert not trust.has_left_id(x)
    trust.accept(STAGE.revocation("x", by="root"))
    assert trust.has_left_id(x)
    trust = STAGE.trust([STAGE.admin("b"), STAGE.certificate("b"), STAGE.certificate("x", by="b")])
    trust.accept(STAGE.revocation("b", by="root"))
    assert trust.has_left_id(x), "whoever admitted it counts no more, and did not list it"
    trust = STAGE.trust([STAGE.revocation("x", by="root")])
    assert trust.has_left_id(x), "its certificate makes no difference"


def test_the_root_key_makes_admins_but_signs_no_certificates() -> None:
    trust = STAGE.trust()
    assert trust.accept(STAGE.admin("b"))
    assert not trust.is_member(public_key_of("b")), "an admin needs a certificate as well"
    assert trust.accept(STAGE.certificate("c", by="b"))
    assert not trust.accept(STAGE.certificate("d", by="root"))


def test_a_genesis_of_another_mesh_is_refused() -> None:
    assert refusal_of(Trust(OPEN.mesh), STAGE.founded.genesis) is Refusal.WRONG_MESH


def test_a_genesis_is_signed_by_the_key_it_names() -> None:
    forged = STAGE.sign("a", STAGE.founded.genesis.fact)
    assert refusal_of(Trust(STAGE.mesh), forged) is Refusal.AUTHOR_MISMATCH


@pytest.mark.parametrize("by", ["a", "b", "s"])
def test_nobody_but_the_root_key_makes_admins(by: str) -> None:
    trust = STAGE.trust([STAGE.certificate("b")])
    assert refusal_of(trust, STAGE.admin("b", by=by)) is Refusal.AUTHOR_MISMATCH


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32])
def test_keys_that_could_not_be_told_apart_are_refused(key: bytes) -> None:
    bad = PublicKey(key)
    trust = STAGE.trust()
    assert refusal_of(trust, STAGE.sign("root", Admin(bad))) is Refusal.BAD_KEY
    assert refusal_of(trust, STAGE.sign("a", Certificate(bad, 0, 0))) is Refusal.BAD_KEY
    fact = STAGE.founded.genesis.fact
    genesis = Genesis(bad, fact.next_root_hash, "x", "lan", False, 0, fact.nonce)
    assert refusal_of(trust, STAGE.sign("root", genesis)) is Refusal.BAD_KEY


def test_what_is_no_trust_record_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        STAGE.trust().accept(STAGE.sign("a", Fact()))


def test_in_an_open_mesh_a_key_certifies_itself_and_nobody_else() -> None:
    trust = OPEN.trust()
    own = OPEN.certificate("s", by="s")
    assert trust.accept(own)
    assert trust.is_member(public_key_of("s"))
    assert trust.chain(public_key_of("s")) == (own,)
    assert not trust.accept(OPEN.certificate("t", by="s"))
    assert not trust.is_member(public_key_of("t"))
    assert not STAGE.trust().accept(STAGE.certificate("s", by="s"))


def test_a_record_counts_once_what_it_rests_on_is_here() -> None:
    trust = Trust(STAGE.mesh)
    by_b = STAGE.certificate("c", by="b")
    admin = STAGE.admin("b")
    assert not trust.accept(by_b)
    assert not trust.accept(admin)
    assert not trust.founded
    assert trust.take_promoted() == ()
    assert trust.accept(STAGE.founded.genesis)
    assert trust.is_admin(public_key_of("b"))
    assert trust.is_member(public_key_of("c"))
    assert trust.take_promoted() == (admin, by_b)
    assert trust.take_promoted() == ()
    assert trust.accept(by_b), "known and counted: keep"


def test_a_record_set_aside_is_dropped_when_it_turns_out_to_break_a_rule() -> None:
    trust = Trust(STAGE.mesh)
    assert not trust.accept(STAGE.admin("s", by="s"))
    assert ("trust_pending", 1, PENDING_MAX) in trust.table_sizes()
    trust.accept(STAGE.founded.genesis)
    assert ("trust_pending", 0, PENDING_MAX) in trust.table_sizes()
    assert not trust.is_admin(public_key_of("s"))
    assert trust.take_promoted() == ()


def test_what_is_set_aside_is_bounded_and_blocks_nothing_that_counts() -> None:
    trust = STAGE.trust()
    for number in range(PENDING_MAX):
        stray = STAGE.sign("s", Certificate(numbered_key(2 + number), 0, 0))
        assert not trust.accept(stray)
        assert not trust.accept(stray), "the same one again takes no room"
    assert refusal_of(trust, STAGE.certificate("c", by="s")) is Refusal.OVER_CAP
    assert trust.accept(STAGE.certificate("c"))


def test_of_more_admins_than_a_mesh_has_those_count_whose_records_have_the_least_ids() -> None:
    names = [f"admin {number}" for number in range(ADMINS_MAX + 1)]
    made: list[Verified[Any]] = [STAGE.founded.admin, *(STAGE.admin(name) for name in names)]
    by_id = [record.fact.key for record in sorted(made, key=lambda record: record.id)]
    trust = STAGE.trust(made[1:ADMINS_MAX])
    assert len(trust.admins()) == ADMINS_MAX
    for more in made[ADMINS_MAX:]:
        assert trust.accept(more)
        assert len(trust.admins()) == ADMINS_MAX
    assert [key for key in by_id if trust.is_admin(key)] == by_id[:ADMINS_MAX]


def test_one_admin_too_many_takes_nothing_away_that_was_granted_or_taken_back() -> None:
    names = [f"admin {number}" for number in range(ADMINS_MAX + 1)]
    trust = STAGE.trust([STAGE.admin(name) for name in names])
    [surplus, _] = trust.ranks.surplus
    name = next(name for name in (*names, "a") if public_key_of(name) == surplus)
    assert not trust.is_admin(surplus)
    assert trust.accept(STAGE.certificate("c", by=name))
    assert trust.is_member(public_key_of("c"))
    assert trust.accept(STAGE.certificate("d"))
    assert trust.accept(STAGE.revocation("d", by=name))
    assert not trust.is_member(public_key_of("d"))
    assert trust.accept(STAGE.revocation(name, by=names[0]))
    assert trust.ranks.counts(surplus, FactId(bytes(32))), "an admin does not end an admin"
    assert trust.was_admin_id(node_id(surplus))


def test_certificates_are_capped() -> None:
    names = [f"admin {number}" for number in range(SHARE_OF_ONE_AUTHOR + 1)]
    trust = STAGE.trust([STAGE.admin(name) for name in names])
    share = CERTIFICATES_MAX // SHARE_OF_ONE_AUTHOR
    for name in names[:-1]:
        author = STAGE.author(name)
        for number in range(share - (name == names[0])):  # the founder has one already
            [record] = author.sign([Certificate(numbered_key(2 + number), 0, 0)])
            assert trust.accept(record)
    [more] = STAGE.author(names[1]).sign([Certificate(public_key_of("b"), 0, 0)])
    assert refusal_of(trust, more) is Refusal.OVER_CAP
    assert ("trust_certificates", CERTIFICATES_MAX, CERTIFICATES_MAX) in trust.table_sizes()
    assert refusal_of(trust, STAGE.certificate("one more", by=names[-1])) is Refusal.OVER_CAP


def test_a_record_in_a_batch_is_refused_for_it_makes_chains_long() -> None:
    trust, admin = STAGE.trust(), STAGE.author("a")
    batch = admin.sign(
        [Certificate(public_key_of("b"), 0, 0), Certificate(public_key_of("c"), 0, 0)]
    )
    assert refusal_of(trust, batch[0]) is Refusal.BROKEN_RULE


def test_a_promotion_over_the_cap_is_dropped() -> None:
    trust = Trust(STAGE.mesh)
    for number in range(ADMINS_MAX + 1):
        assert not trust.accept(STAGE.admin(f"admin {number}"))
    trust.accept(STAGE.founded.genesis)
    assert len(trust.admins()) == ADMINS_MAX
    assert ("trust_pending", 0, PENDING_MAX) in trust.table_sizes()


def test_expiry_closes_links_and_takes_no_membership() -> None:
    soon = int(WALL) + 10
    trust = STAGE.trust([STAGE.certificate("b", expires_s=soon)])
    key = public_key_of("b")
    assert trust.link_allowed(key, WallTime(soon - 0.001))
    assert not trust.link_allowed(key, WallTime(soon))
    assert trust.is_member(key)
    trust.accept(STAGE.certificate("b", expires_s=soon + 10))
    assert trust.link_allowed(key, WallTime(soon))


def test_a_certificate_without_an_end_never_expires() -> None:
    key = public_key_of("b")
    assert not expired(Certificate(key, 0, 0), WallTime(1e12))
    assert expired(Certificate(key, 0, 1), WallTime(1.0))


def test_a_chain_proves_a_key_to_whoever_knows_the_genesis() -> None:
    records = [
        STAGE.admin("b"),
        STAGE.certificate("c", expires_s=int(WALL) + 1),
        STAGE.certificate("c", by="b", expires_s=0),
        STAGE.certificate("c", expires_s=int(WALL) + 9),
    ]
    chain = STAGE.trust(records).chain(public_key_of("c"))
    assert chain == (records[0], records[2]), "the one that lasts longest, with its admin"
    newcomer = Trust(STAGE.mesh)
    newcomer.accept(STAGE.founded.genesis)
    assert all(newcomer.accept(record) for record in chain)
    assert newcomer.is_member(public_key_of("c"))


def test_the_answers_are_a_function_of_the_set() -> None:
    records = [
        *STAGE.founded.records,
        STAGE.admin("b"),
        STAGE.admin("c"),
        STAGE.admin("s", by="s"),
        STAGE.certificate("b"),
        STAGE.certificate("c", by="b"),
        STAGE.certificate("d", by="c", expires_s=int(WALL) + 5),
        STAGE.certificate("d", by="b", expires_s=int(WALL) + 6),
        STAGE.certificate("e", by="d"),
        STAGE.certificate("s", by="s"),
    ]
    names = ("a", "b", "c", "d", "e", "s", "root")
    rng = random.Random(20)
    answers: dict[tuple[Any, ...], None] = {}
    for _ in range(1000):
        order = rng.sample(records, len(records))
        trust = Trust(STAGE.mesh)
        for record in order:
            try:
                trust.accept(record)
            except RemoteError as error:
                assert error.refusal is Refusal.AUTHOR_MISMATCH  # noqa: PT017  some orders raise
        answer = (
            trust.records(),
            *(
                (trust.is_member(key), trust.is_admin(key), trust.chain(key))
                for key in map(public_key_of, names)
            ),
        )
        answers[answer] = None
    assert len(answers) == 1
    (only,) = answers
    assert [member for member, _, _ in only[1:]] == [True, True, True, True, False, False, False]


def test_plans_differ_in_every_field_that_counts() -> None:
    # Two meshes that differ in one flag are two meshes: no record passes from one to the other.
    assert STAGE.mesh != OPEN.mesh
    assert MeshPlan.__match_args__[2] == "open"
    with pytest.raises(RemoteError) as refused:
        OPEN.verifier.check(STAGE.founded.certificate.signed)
    assert refused.value.refusal is Refusal.BAD_SIGNATURE
