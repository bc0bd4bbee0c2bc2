"""Joining with somebody who forges, replays, cuts or poses."""

from dataclasses import replace

import pytest

from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import MeshId
from mesh.core.trust.exchange import (
    JoinHello,
    JoinRefusal,
    Kind,
    encode_join_frame,
)
from mesh.core.trust.joining import (
    Admitter,
    Joiner,
    JoinWish,
    Step,
)
from mesh.core.trust.records import Admin, mesh_id_of
from mesh.core.trust.tickets import Entry, ticket_text
from mesh.core.wire.envelope import Verifier, author_of
from tests.unit.core.trust.stage import SUITE, Stage, key_of, public_key_of
from tests.unit.core.trust.two_ends import Issuer, Tamper, joiner_of, run, wish_of


def flip_at(at: int) -> Tamper:
    return lambda data: data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


@pytest.mark.parametrize("number", range(4))
def test_no_changed_byte_gets_through(number: int) -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(uses=1000)
    length = len(run(joiner_of("b", wish_of("b", ticket)), issuer.admitter()).frames[number])
    for at in sorted({*range(2, min(length, 60)), *range(60, length, 37), length - 1}):
        with pytest.raises((RemoteError, LocalError)):
            run(joiner_of("c", wish_of("c", ticket)), issuer.admitter(), {number: flip_at(at)})
    if number < 3:
        assert not issuer.trust.is_member(public_key_of("c"))


def test_frames_may_be_cut_anywhere() -> None:
    issuer = Issuer(Stage())
    joiner, admitter = joiner_of("b", wish_of("b", issuer.ticket())), issuer.admitter()

    def drip(machine: Joiner | Admitter, data: bytes) -> Step:
        for byte in data[:-1]:
            assert machine.feed(bytes((byte,))) == Step()
        return machine.feed(data[-1:])

    answer = drip(admitter, joiner.start().send)
    grant = drip(admitter, drip(joiner, answer.send).send)
    assert drip(joiner, grant.after_commit).joined is not None


def test_a_wrong_secret_tells_neither_side_anything() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    value = issuer.book.row(ticket.id).value
    assert value is not None
    entry = replace(Entry.decode_untrusted(value), psk=b"p" * 32)
    issuer.book.restore({ticket.id: entry.encode()})
    joiner, admitter = joiner_of("b", wish_of("b", ticket)), issuer.admitter()
    hello = joiner.start().send
    answer = admitter.feed(hello).send
    with pytest.raises(RemoteError) as error:
        joiner.feed(answer)
    assert error.value.refusal is Refusal.NOT_SEALED_FOR_US
    with pytest.raises(RemoteError) as error:
        admitter.feed(encode_join_frame(Kind.REQUEST, b"r" * 100))
    assert error.value.refusal is Refusal.NOT_SEALED_FOR_US
    for sent in (hello, answer):
        for secret in (ticket.secret, public_key_of("a"), public_key_of("b"), issuer.stage.mesh):
            assert secret not in sent


def test_what_an_eavesdropper_sees_names_nobody() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    frames = run(joiner_of("b", wish_of("some name", ticket)), issuer.admitter()).frames
    secrets = (ticket.secret, public_key_of("a"), public_key_of("b"), b"some name", ticket.mesh)
    assert not [secret for secret in secrets for frame in frames if secret in frame]
    assert ticket_text(ticket).encode() not in b"".join(frames)


def test_an_issuer_that_the_ticket_does_not_name_is_refused() -> None:
    issuer = Issuer(Stage())
    ticket = replace(issuer.ticket(), issuers=(public_key_of("b"),))
    with pytest.raises(RemoteError) as error:
        run(joiner_of("c", wish_of("c", ticket)), issuer.admitter())
    assert error.value.refusal is Refusal.AUTHOR_MISMATCH


def test_an_issuer_signs_for_itself_and_for_this_exchange() -> None:
    # Somebody who knows the ticket, but not the issuer's key, plays the issuer.
    issuer = Issuer(Stage())
    ticket = issuer.ticket()
    parts = issuer.admitter()._parts
    impostor = replace(parts, author=replace(parts.author, key=key_of("evil")))
    with pytest.raises(RemoteError) as error:
        run(joiner_of("b", wish_of("b", ticket)), Admitter(impostor))
    assert error.value.refusal is Refusal.BAD_SIGNATURE


def test_a_joiner_signs_for_the_key_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(Stage())
    joiner = joiner_of("b", wish_of("b", issuer.ticket()))
    monkeypatch.setattr(joiner, "_public_key", public_key_of("c"))
    with pytest.raises(RemoteError) as error:
        run(joiner, issuer.admitter())
    assert error.value.refusal is Refusal.BAD_SIGNATURE


def test_a_joiner_with_a_key_of_small_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(Stage())
    joiner = joiner_of("b", wish_of("b", issuer.ticket()))
    monkeypatch.setattr(joiner, "_public_key", (1).to_bytes(32, "little"))
    with pytest.raises(RemoteError) as error:
        run(joiner, issuer.admitter())
    assert error.value.refusal is Refusal.BAD_KEY


def test_a_grant_has_to_hold_a_certificate() -> None:
    issuer = Issuer(Stage())
    joiner, admitter = joiner_of("b", wish_of("b", issuer.ticket())), issuer.admitter()
    request = joiner.feed(admitter.feed(joiner.start().send).send)
    admitter._channel.unseal_untrusted(Kind.REQUEST, request.send[3:])
    with pytest.raises(RemoteError) as error:
        joiner.feed(admitter._grant(public_key_of("b")))
    assert error.value.refusal is Refusal.NOT_ADMITTED


def test_a_genesis_has_to_be_one() -> None:
    # An admin record, and the mesh id that its payload would have as a genesis.
    issuer = Issuer(Stage(open_to_all=True))
    admin = Admin(public_key_of("b"))
    mesh = mesh_id_of(admin.encode())
    (posing,) = author_of(SUITE, key_of("root"), Verifier(SUITE, mesh)).sign([admin])
    real = issuer.stage.founded.genesis
    issuer.trust._records.genesis = replace(real, signed=posing.signed)
    issuer.trust._records.admins.clear()
    issuer.trust._ranks_are_old = True
    with pytest.raises(RemoteError) as error:
        run(joiner_of("b", wish_of("b", None)), issuer.admitter())
    assert error.value.refusal is Refusal.BROKEN_RULE


def test_an_issuer_that_poses_as_the_mesh_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = Issuer(Stage(open_to_all=True))
    admitter = issuer.admitter()
    monkeypatch.setattr(admitter, "_psk_for", lambda _hello: bytes(32))
    with pytest.raises(LocalError) as error:
        run(joiner_of("b", JoinWish("b", None, MeshId(b"m" * 32))), admitter)
    assert error.value.name == "wrong_mesh"


def hello_with(version: int) -> bytes:
    hello = JoinHello(version, Issuer(Stage()).ticket().id, bytes(16), b"e" * 32, b"r" * 32)
    return encode_join_frame(Kind.HELLO, hello.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00",
        b"\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        encode_join_frame(Kind.HELLO, b""),
        encode_join_frame(Kind.HELLO, b"\x90"),
        encode_join_frame(Kind.REQUEST, b"x"),
        encode_join_frame(Kind.GRANT, b"x"),
        b"\x00\x02\x09\x90",
        hello_with(2),
        hello_with(1) + b"\x00",
    ],
)
def test_an_admitter_answers_junk_with_nothing(data: bytes) -> None:
    admitter = Issuer(Stage()).admitter()
    with pytest.raises(RemoteError):
        admitter.feed(data)
    # An exchange that went wrong is over.
    with pytest.raises(RemoteError):
        admitter.feed(hello_with(1))


@pytest.mark.parametrize(
    "data",
    [
        encode_join_frame(Kind.ANSWER, b""),
        encode_join_frame(Kind.ANSWER, b"\x90"),
        encode_join_frame(Kind.GRANT, b"x" * 40),
        encode_join_frame(Kind.REFUSAL, JoinRefusal("expired").encode()),
        encode_join_frame(Kind.TURNED_AWAY, b"\x91\xa1\x07"),
        encode_join_frame(Kind.HELLO, b"x"),
    ],
)
def test_a_joiner_takes_no_junk(data: bytes) -> None:
    joiner = joiner_of("b", wish_of("b", Issuer(Stage()).ticket()))
    joiner.start()
    with pytest.raises(RemoteError):
        joiner.feed(data)


def test_nobody_can_turn_a_joiner_away_once_it_talks_to_the_issuer() -> None:
    issuer = Issuer(Stage())
    joiner = joiner_of("b", wish_of("b", issuer.ticket()))
    joiner.feed(issuer.admitter().feed(joiner.start().send).send)
    with pytest.raises(RemoteError) as error:
        joiner.feed(encode_join_frame(Kind.TURNED_AWAY, JoinRefusal("expired").encode()))
    assert error.value.refusal is Refusal.MALFORMED


def test_a_replayed_hello_and_request_admit_nobody() -> None:
    issuer = Issuer(Stage())
    ticket = issuer.ticket(uses=5)
    frames = run(joiner_of("b", wish_of("b", ticket)), issuer.admitter()).frames
    admitter = issuer.admitter()
    admitter.feed(frames[0])
    with pytest.raises(RemoteError) as error:
        admitter.feed(frames[2])
    assert error.value.refusal is Refusal.NOT_SEALED_FOR_US
