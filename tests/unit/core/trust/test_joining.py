"""Joining, seen from both ends of one stream."""

import random
from dataclasses import replace

import pytest

from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import MeshId
from mesh.core.instants import WallTime
from mesh.core.trust import trust as trust_module
from mesh.core.trust.exchange import (
    CONTACTS_MAX,
    FRAME_BYTES_MAX,
    JoinRefusal,
    Kind,
    encode_join_frame,
)
from mesh.core.trust.joining import JoinWish, Step
from mesh.core.trust.ranks import ADMINS_MAX
from mesh.core.trust.records import Admin, Certificate
from mesh.core.trust.refusals import REFUSALS, refused
from mesh.core.trust.tickets import EXPIRED_KEEP_S, TicketBook
from mesh.core.trust.trust import CERTIFICATES_MAX, SHARE_OF_ONE_AUTHOR
from tests.unit.core.trust.stage import SUITE, WALL, Stage, public_key_of
from tests.unit.core.trust.two_ends import (
    Issuer,
    join,
    joiner_of,
    local_error_of,
    run,
    wish_of,
)

# ---- with a ticket


def test_a_ticket_makes_a_member() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    outcome = run(joiner_of("b", wish_of("büro", ticket)), issuer.admitter())
    joined = outcome.joined
    assert joined is not None
    key = public_key_of("b")
    assert joined.mesh == issuer.stage.mesh
    assert joined.issuer == public_key_of("a")
    assert joined.certificate.fact == Certificate(key, int(WALL), 0)
    assert joined.certificate.signed.author == public_key_of("a")
    assert joined.trust.is_member(key)
    assert not joined.trust.is_admin(key)
    assert joined.trust.is_member(public_key_of("a")), "the joiner can check its issuer"
    assert issuer.trust.is_member(key)
    newcomer = outcome.granted.newcomer
    assert newcomer is not None
    assert (newcomer.key, newcomer.name, newcomer.admin) == (key, "büro", False)
    assert issuer.trust.records() == joined.trust.records()


def test_the_use_is_durable_before_the_grant_leaves() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    granted = run(joiner_of("b", wish_of("b", ticket)), issuer.admitter()).granted
    assert granted.send == b""
    assert granted.after_commit
    assert granted.rows == (issuer.book.row(ticket.id),)
    assert [record.fact for record in granted.facts] == [
        Certificate(public_key_of("b"), int(WALL), 0)
    ]
    again = TicketBook(SUITE, issuer.stage.mesh, public_key_of("a"))
    (row,) = granted.rows
    assert row.value is not None
    again.restore({row.key: row.value})
    with pytest.raises(RemoteError) as used:
        again.spend(ticket.id, public_key_of("c"), WALL)
    assert used.value.refusal is Refusal.TICKET_USED


def test_a_hundred_joins_on_a_ticket_of_three_uses_give_three_certificates() -> None:
    issuer = Issuer(Stage(), has_root=False)
    ticket = issuer.ticket(uses=3)
    errors = []
    for number in range(100):
        try:
            join(issuer, f"node {number}", ticket)
        except LocalError as error:
            errors.append(error.name)
    assert errors == ["ticket_used"] * 97
    certified = [record for record in issuer.trust.records() if type(record.fact) is Certificate]
    assert len(certified) == 1 + 3


def test_exchanges_that_overlap_spend_no_use_twice() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(uses=1)
    joiners = [joiner_of(name, wish_of(name, ticket)) for name in ("b", "c")]
    admitters = [issuer.admitter() for _ in joiners]
    answers = [
        admitter.feed(joiner.start().send)
        for joiner, admitter in zip(joiners, admitters, strict=True)
    ]
    requests = [joiner.feed(answer.send) for joiner, answer in zip(joiners, answers, strict=True)]
    grants = [
        admitter.feed(request.send) for admitter, request in zip(admitters, requests, strict=True)
    ]
    assert [bool(grant.newcomer) for grant in grants] == [True, False]
    with pytest.raises(LocalError) as error:
        joiners[1].feed(grants[1].send)
    assert error.value.name == "ticket_used"


def test_the_same_key_again_gets_the_same_certificate_and_spends_nothing() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(uses=2)
    first = join(issuer, "b", ticket)
    issuer.wall = WallTime(WALL + 5)
    outcome = run(joiner_of("b", wish_of("b", ticket)), issuer.admitter())
    assert outcome.joined is not None
    assert outcome.joined.certificate == first.certificate
    assert outcome.granted.facts == ()
    assert outcome.granted.rows == (issuer.book.row(ticket.id),), "behind the first one's commit"
    assert outcome.granted.send == b""
    join(issuer, "c", ticket)
    with pytest.raises(LocalError):
        join(issuer, "d", ticket)


def test_a_certificate_can_be_limited_and_renewed_with_another_ticket() -> None:
    issuer = Issuer(Stage())
    issuer.certificate_ttl_s = 60
    first = join(issuer, "b", issuer.ticket())
    assert first.certificate.fact.expires_s == int(WALL) + 60
    issuer.wall = WallTime(WALL + 60)
    second = join(issuer, "b", issuer.ticket())
    assert second.certificate.fact.expires_s == int(WALL) + 120
    issuer.wall = WallTime(WALL + 120)
    ticket = issuer.ticket(ttl_s=120)
    assert local_error_of(issuer, "b", wish_of("b", ticket)).name == "ticket_expired"


def test_the_first_two_joiners_become_admins_too() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(uses=4)
    assert not join(issuer, "b", ticket, wants_admin=False).trust.is_admin(public_key_of("b"))
    for name in ("c", "d"):
        joined = join(issuer, name, ticket, wants_admin=True)
        assert joined.trust.is_admin(public_key_of(name))
    assert not join(issuer, "e", ticket, wants_admin=True).trust.is_admin(public_key_of("e"))
    assert len(issuer.trust.admins()) == 3


def test_a_new_admin_is_said_with_the_certificate() -> None:
    issuer = Issuer(Stage())
    wish = wish_of("b", issuer.ticket(), wants_admin=True)
    granted = run(joiner_of("b", wish), issuer.admitter()).granted
    assert [type(record.fact) for record in granted.facts] == [Certificate, Admin]
    assert granted.newcomer is not None
    assert granted.newcomer.admin


def test_without_the_root_key_nobody_becomes_admin() -> None:
    issuer = Issuer(Stage(), has_root=False)
    joined = join(issuer, "b", issuer.ticket(), wants_admin=True)
    assert not joined.trust.is_admin(public_key_of("b"))


def test_a_new_admin_issues_tickets_of_its_own() -> None:
    issuer = Issuer(Stage())
    joined = join(issuer, "b", issuer.ticket(), wants_admin=True)
    second = Issuer(issuer.stage, name="b", has_root=False)
    second.trust = joined.trust
    third = join(second, "c", second.ticket())
    assert third.certificate.signed.author == public_key_of("b")
    assert issuer.trust.accept(third.certificate)


def test_contacts_come_with_what_proves_them() -> None:
    issuer = Issuer(Stage(), has_root=False)
    join(issuer, "b", issuer.ticket())
    join(issuer, "c", issuer.ticket())
    # Any signed fact stands in for a presence: the exchange does not look inside.
    contacts = [issuer.stage.sign(name, Admin(public_key_of(name))).signed for name in "abc"]
    issuer.contacts = (*contacts, *contacts, *contacts)
    joined = join(issuer, "d", issuer.ticket())
    assert joined.contacts == tuple(contact.encode() for contact in issuer.contacts)[:CONTACTS_MAX]
    assert all(joined.trust.is_member(public_key_of(name)) for name in "abcd")


def test_eight_of_the_largest_contacts_fit() -> None:
    issuer = Issuer(Stage())
    (small,) = issuer.stage.author("a").sign([Admin(public_key_of("x"))])
    large = replace(small.signed, body=b"p" * 1_100, path=(b"h" * 32,) * 6)
    issuer.contacts = (large,) * CONTACTS_MAX
    outcome = run(joiner_of("b", wish_of("b", issuer.ticket())), issuer.admitter())
    assert outcome.joined is not None
    assert outcome.joined.contacts == (large.encode(),) * CONTACTS_MAX
    assert len(outcome.granted.after_commit) <= FRAME_BYTES_MAX + 2


def test_the_largest_grant_fits_one_frame() -> None:
    stage = Stage()
    issuer = Issuer(stage)
    names = [f"admin {number}" for number in range(ADMINS_MAX - 1)]
    for name in names:
        issuer.trust.accept(stage.sign("root", Admin(public_key_of(name))))
    contacts = []
    for number, name in enumerate(names):
        issuer.trust.accept(stage.sign(name, Certificate(public_key_of(f"c{number} 0"), 0, 0)))
        presence = stage.sign(f"c{number} 0", Admin(public_key_of("x"))).signed
        contacts.append(replace(presence, body=b"p" * 1_100, path=(b"h" * 32,) * 6))
    issuer.contacts = tuple(contacts)
    outcome = run(joiner_of("b", wish_of("b", issuer.ticket())), issuer.admitter())
    assert outcome.joined is not None
    assert len(outcome.joined.contacts) == CONTACTS_MAX
    assert len(outcome.frames[1]) < FRAME_BYTES_MAX
    assert FRAME_BYTES_MAX - 3_000 < len(outcome.granted.after_commit) <= FRAME_BYTES_MAX + 2


# ---- refusals a person can act on


def test_an_expired_ticket() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(ttl_s=10)
    issuer.wall = WallTime(WALL + 10)
    error = local_error_of(issuer, "b", wish_of("b", ticket))
    assert error.name == "ticket_expired"
    assert error.hint == "ask for a new ticket with `mesh invite`"
    assert not issuer.trust.is_member(public_key_of("b"))


def test_a_ticket_that_the_issuer_does_not_know() -> None:
    issuer = Issuer(Stage())
    stranger = Issuer(issuer.stage)
    stranger.rng = random.Random(99)
    error = local_error_of(issuer, "b", wish_of("b", stranger.ticket()))
    assert error.name == "ticket_unknown"
    assert "mesh invite" in error.hint


def test_a_ticket_of_another_mesh() -> None:
    error = local_error_of(Issuer(Stage()), "b", wish_of("b", Issuer(Stage(name="x")).ticket()))
    assert error.name == "wrong_mesh"
    assert "mesh invite" in error.hint


def test_a_closed_mesh_without_a_ticket() -> None:
    issuer = Issuer(Stage())
    assert local_error_of(issuer, "b", wish_of("b", None)).name == "ticket_needed"
    turned_away = issuer.admitter().feed(joiner_of("b", wish_of("b", None)).start().send)
    reason = JoinRefusal(Refusal.NOT_ADMITTED).encode()
    assert turned_away == Step(encode_join_frame(Kind.TURNED_AWAY, reason), finished=True)


def test_an_issuer_that_is_no_admin_knows_no_tickets() -> None:
    issuer = Issuer(Stage(), name="b", has_root=False)
    issuer.trust.accept(issuer.stage.certificate("b"))
    error = local_error_of(issuer, "c", wish_of("c", issuer.ticket()))
    assert error.name == "ticket_unknown"


SHARE = CERTIFICATES_MAX // SHARE_OF_ONE_AUTHOR


def test_a_full_mesh_refuses_and_the_use_is_not_lost() -> None:
    issuer = Issuer(Stage())
    facts = [Certificate(public_key_of("b"), number, int(WALL)) for number in range(SHARE - 1)]
    for fact in facts:
        issuer.trust.accept(issuer.stage.sign("a", fact))
    ticket = issuer.ticket()
    before = issuer.book.row(ticket.id)
    assert local_error_of(issuer, "c", wish_of("c", ticket)).name == "mesh_full"
    assert issuer.book.row(ticket.id) == before


def test_a_ticket_and_a_mesh_id_that_contradict_each_other() -> None:
    wish = JoinWish("b", Issuer(Stage()).ticket(), MeshId(b"m" * 32))
    with pytest.raises(LocalError) as error:
        joiner_of("b", wish)
    assert error.value.name == "wrong_mesh"


def test_a_name_that_cannot_be_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(LocalError) as error:
        joiner_of("b", JoinWish("b\x1b", Issuer(Stage()).ticket()))
    assert error.value.name == "bad_name"


def test_every_refusal_has_a_name_and_a_hint() -> None:
    for reason, (name, message, hint) in REFUSALS.items():
        error = refused(reason)
        assert (error.name, error.message, error.hint) == (name, message, hint)
    unheard_of = refused("a reason of a later version")
    assert unheard_of.name == "join_refused"
    assert "a reason of a later version" in unheard_of.message


# ---- in an open mesh


def test_an_open_mesh_admits_without_a_ticket() -> None:
    issuer = Issuer(Stage(open_to_all=True))
    issuer.contacts = (issuer.stage.sign("a", Admin(public_key_of("x"))).signed,)
    outcome = run(joiner_of("b", wish_of("b", None)), issuer.admitter())
    joined = outcome.joined
    assert joined is not None
    assert joined.certificate.signed.author == public_key_of("b"), "signed by the joiner itself"
    assert joined.certificate.fact == Certificate(public_key_of("b"), int(WALL), 0)
    assert joined.contacts == (issuer.contacts[0].encode(),)
    assert outcome.granted.rows == ()
    assert outcome.granted.facts == ()
    assert outcome.granted.after_commit == b""
    assert issuer.trust.accept(joined.certificate)


def test_any_member_of_an_open_mesh_admits() -> None:
    issuer = Issuer(Stage(open_to_all=True), name="b", has_root=False)
    issuer.trust.accept(issuer.stage.certificate("b", by="b"))
    joined = join(issuer, "c", None)
    assert joined.issuer == public_key_of("b")
    assert joined.trust.is_member(public_key_of("b"))


def test_a_known_member_of_an_open_mesh_keeps_its_certificate() -> None:
    issuer = Issuer(Stage(open_to_all=True))
    first = join(issuer, "b", None)
    issuer.trust.accept(first.certificate)
    again = run(joiner_of("b", wish_of("b", None), wall=WallTime(WALL + 9)), issuer.admitter())
    assert again.joined is not None
    assert again.joined.certificate == first.certificate


def test_a_ticket_works_in_an_open_mesh_too() -> None:
    issuer = Issuer(Stage(open_to_all=True))
    joined = join(issuer, "b", issuer.ticket())
    assert joined.certificate.signed.author == public_key_of("a")


def test_the_mesh_that_was_asked_for_by_id() -> None:
    issuer = Issuer(Stage(open_to_all=True))
    wish = JoinWish("b", None, issuer.stage.mesh)
    assert run(joiner_of("b", wish), issuer.admitter()).joined is not None
    other = JoinWish("b", None, Stage(open_to_all=True, name="x").mesh)
    assert local_error_of(issuer, "b", other).name == "wrong_mesh"


def test_a_ticket_that_is_forgotten_while_a_member_joins_again_is_unknown() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    join(issuer, "b", ticket)
    joiner, admitter = joiner_of("b", wish_of("b", ticket)), issuer.admitter()
    answer = admitter.feed(joiner.start().send)
    request = joiner.feed(answer.send)
    assert issuer.book.forget_expired(WallTime(ticket.expires_s + EXPIRED_KEEP_S))
    refusal = admitter.feed(request.send)
    with pytest.raises(LocalError) as refused:
        joiner.feed(refusal.send)
    assert refused.value.name == "ticket_unknown"


def test_a_join_for_which_there_is_no_room_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    before = issuer.trust.records()
    with monkeypatch.context() as patch:
        patch.setattr(trust_module, "ADMIN_RECORDS_MAX", 1)
        error = local_error_of(issuer, "b", wish_of("b", ticket, wants_admin=True))
    assert error.name == "mesh_full"
    assert issuer.trust.records() == before, "no certificate that is told to nobody"
    assert issuer.trust.is_admin(join(issuer, "b", ticket, wants_admin=True).certificate.fact.key)
