"""Joining without a ticket: who waits, who gets an answer, who is let in or sent off."""

import pytest

from mesh.core.crypto.keys import fingerprint
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import MeshId, PublicKey, node_id
from mesh.core.instants import later
from mesh.core.trust.applicants import APPLICANTS_MAX, DENIED_MAX, FORGET_S, Applicants
from mesh.core.trust.joining import JoinWish, Waiting
from tests.unit.core.trust.stage import NOW, Stage, public_key_of
from tests.unit.core.trust.two_ends import Issuer, join, joiner_of, local_error_of, run, wish_of

B = public_key_of("b")


def numbered(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def asks(issuer: Issuer, name: str = "b") -> Waiting:
    """Let somebody who knows the mesh id ask, and wait."""
    wish = JoinWish(name, None, issuer.stage.mesh)
    joiner, admitter = joiner_of(name, wish), issuer.admitter()
    request = joiner.feed(admitter.feed(joiner.start().send).send)
    step = joiner.feed(admitter.feed(request.send).send)
    assert step.finished
    assert step.waiting is not None
    return step.waiting


def test_who_knows_the_mesh_id_waits_and_both_sides_know_whom_they_deal_with() -> None:
    issuer = Issuer(Stage())
    waiting = asks(issuer)
    assert waiting == Waiting(issuer.stage.mesh, public_key_of("root"), public_key_of("a"))
    [applicant] = issuer.applicants.here(NOW.instant)
    assert (applicant.key, applicant.name) == (B, "b")
    assert not issuer.trust.is_member(B)
    asks(issuer)
    assert len(issuer.applicants.waiting) == 1, "asking again is not one more"


def test_once_let_in_it_gets_its_certificate_without_a_ticket() -> None:
    issuer = Issuer(Stage())
    asks(issuer)
    issuer.trust.accept(issuer.stage.certificate("b"))
    outcome = run(joiner_of("b", JoinWish("b", None, issuer.stage.mesh)), issuer.admitter())
    assert outcome.joined is not None
    assert outcome.joined.trust.is_member(B)


def test_who_knows_nothing_is_answered_while_somebody_listens() -> None:
    issuer = Issuer(Stage())
    assert local_error_of(issuer, "b", wish_of("b", None)).name == "ticket_needed"
    issuer.applicants.listen_until = later(NOW.instant, 600.0)
    joiner, admitter = joiner_of("b", wish_of("b", None)), issuer.admitter()
    answer = admitter.feed(joiner.start().send)
    refusal = admitter.feed(joiner.feed(answer.send).send)
    assert joiner.feed(refusal.send).waiting is not None
    issuer.instant = later(NOW.instant, 600.0)
    assert local_error_of(issuer, "b", wish_of("b", None)).name == "ticket_needed"


def test_another_mesh_id_is_told_so() -> None:
    issuer = Issuer(Stage())
    wish = JoinWish("b", None, MeshId(b"m" * 32))
    assert local_error_of(issuer, "b", wish).name == "wrong_mesh"


def test_who_was_denied_is_told_so() -> None:
    issuer = Issuer(Stage())
    asks(issuer)
    issuer.applicants.deny(B)
    assert not issuer.applicants.waiting
    error = local_error_of(issuer, "b", JoinWish("b", None, issuer.stage.mesh))
    assert error.name == "denied"


def test_who_was_removed_is_denied_with_and_without_a_ticket() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(uses=2)
    join(issuer, "b", ticket)
    issuer.trust.accept(issuer.stage.revocation("b"))
    assert local_error_of(issuer, "b", wish_of("b", ticket)).name == "denied"
    assert local_error_of(issuer, "b", JoinWish("b", None, issuer.stage.mesh)).name == "denied"
    join(issuer, "c", ticket)


def test_a_member_that_is_no_admin_passes_a_hello_on_and_an_admin_does_not_twice() -> None:
    stage = Stage()
    member = Issuer(stage, name="m", has_root=False)
    member.trust.accept(stage.certificate("m"))
    hello = joiner_of("b", JoinWish("b", None, stage.mesh)).start().send
    assert member.admitter().feed(hello).elsewhere == hello
    stranger = Issuer(stage).ticket()
    with_ticket = joiner_of("b", wish_of("b", stranger)).start().send
    admin = Issuer(stage)
    assert admin.admitter().feed(with_ticket).elsewhere == with_ticket, "another admin's"
    admin.relayed = True
    assert admin.admitter().feed(with_ticket).elsewhere == b""


def test_finding_who_waits() -> None:
    applicants = Applicants()
    for name in ("b", "b", "c"):
        applicants.ask(NOW, public_key_of(name + str(len(applicants.waiting))), name)
    key = public_key_of("c2")
    for text in ("c", key.hex(), fingerprint(key), node_id(key).hex(), node_id(key).hex()[:6]):
        assert applicants.find(NOW.instant, text).key == key
    for text, error in (("b", "ambiguous"), ("nobody", "not_found"), (key.hex()[:3], "not_found")):
        with pytest.raises(LocalError) as refused:
            applicants.find(NOW.instant, text)
        assert refused.value.name == error
    applicants.admitted(key)
    with pytest.raises(LocalError):
        applicants.find(NOW.instant, "c")


def test_who_waits_and_who_was_denied_are_bounded() -> None:
    applicants = Applicants()
    for number in range(APPLICANTS_MAX):
        applicants.ask(NOW, numbered(number), "n")
    with pytest.raises(RemoteError) as full:
        applicants.ask(NOW, numbered(APPLICANTS_MAX), "n")
    assert full.value.refusal is Refusal.OVER_CAP
    applicants.ask(NOW, numbered(0), "again")
    later_on = NOW._replace(instant=later(NOW.instant, FORGET_S))
    applicants.ask(later_on, numbered(APPLICANTS_MAX), "n")
    assert len(applicants.here(later_on.instant)) == 1, "the silent are forgotten"
    for number in range(DENIED_MAX):
        assert len(applicants.deny(numbered(number))) == 1
    [_, forgotten] = applicants.deny(numbered(DENIED_MAX))
    assert (forgotten.key, forgotten.value) == (numbered(0), None)
    assert len(applicants.denied) == DENIED_MAX


def test_who_was_denied_stays_so_over_a_restart_and_the_oldest_is_forgotten_first() -> None:
    before, rows = Applicants(), {b"short": bytes(8), numbered(9): b"damaged"}
    for number in (2, 0, 1, 2):
        for row in before.deny(numbered(number)):
            assert row.value is not None
            rows[row.key] = row.value
    after = Applicants()
    after.restore(rows)
    assert list(after.denied.items()) == list(before.denied.items())
    assert list(after.denied) == [numbered(0), numbered(1), numbered(2)]
    with pytest.raises(RemoteError) as denied:
        after.ask(NOW, numbered(1), "n")
    assert denied.value.refusal is Refusal.DENIED
    after.restore({numbered(7): b"\xff" * 8})
    assert after.deny(numbered(8))[0].value == b"\xff" * 8
