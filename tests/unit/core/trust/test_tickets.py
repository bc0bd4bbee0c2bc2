"""Tickets as text, and the book of the one who issues them."""

import base64
import random
from dataclasses import replace

import pytest

from mesh.core.effects import Row
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import Address, PublicKey
from mesh.core.instants import Instant, Now, WallTime
from mesh.core.trust.tickets import (
    ADDRESSES_MAX,
    EXPIRED_KEEP_S,
    ISSUERS_MAX,
    TICKET_TEXT_MAX,
    TICKETS_MAX,
    TTL_S_MAX,
    USES_MAX,
    Issued,
    Ticket,
    TicketBook,
    TicketId,
    parse_ticket,
    ticket_id,
    ticket_psk,
    ticket_text,
)
from mesh.core.wire.codec import pack
from tests.unit.core.trust.stage import NOW, SUITE, WALL, Stage, public_key_of

MESH = Stage().mesh
KEYS = [PublicKey(bytes((number,)) * 32) for number in range(200)]
TICKET = Ticket(
    MESH,
    (public_key_of("a"),),
    (Address("192.0.2.7", 7946), Address("2001:db8::7", 7946)),
    b"s" * 16,
    int(WALL) + 900,
)


def text_of(fields: tuple[object, ...]) -> str:
    """Return the text of any fields, with a checksum that fits."""
    return ticket_text(Ticket(*fields))  # type: ignore[arg-type]  # wrong fields are the point


def book() -> TicketBook:
    made = TicketBook(SUITE, MESH, public_key_of("a"))
    made.addresses = (Address("192.0.2.7", 7946),)
    return made


def issue(tickets: TicketBook, *, uses: int = 1, ttl_s: float = 900.0, seed: int = 1) -> Issued:
    return tickets.issue(random.Random(seed), NOW, uses, ttl_s)


def refusal_of(tickets: TicketBook, ticket: TicketId, key: PublicKey, wall: WallTime) -> Refusal:
    with pytest.raises(RemoteError) as refused:
        tickets.spend(ticket, key, wall)
    return refused.value.refusal


# ---- text


@pytest.mark.parametrize(
    "ticket",
    [
        TICKET,
        replace(TICKET, addresses=()),
        replace(
            TICKET,
            issuers=tuple(KEYS[:ISSUERS_MAX]),
            addresses=(Address("h" * 64, 65_535),) * ADDRESSES_MAX,
            expires_s=2**64 - 1,
        ),
    ],
)
def test_a_ticket_survives_its_text(ticket: Ticket) -> None:
    text = ticket_text(ticket)
    assert text.startswith("mesh1:")
    assert len(text) <= TICKET_TEXT_MAX
    assert set(text[6:]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert parse_ticket(text) == ticket
    assert all(type(address) is Address for address in parse_ticket(text).addresses)


def test_spaces_and_line_breaks_of_a_terminal_are_ignored() -> None:
    text = ticket_text(TICKET)
    assert parse_ticket(f"  {text[:40]}\n {text[40:80]}\r\n{text[80:]}\n") == TICKET


def test_every_changed_character_is_noticed() -> None:
    text = ticket_text(TICKET)
    for at in range(len(text)):
        for other in ("A", "b", "_", "=", "*", "é", "\x1b"):
            if other == text[at]:
                continue
            with pytest.raises(LocalError) as refused:
                parse_ticket(text[:at] + other + text[at + 1 :])
            assert refused.value.name == "bad_ticket"
            assert "mesh invite" in refused.value.hint
            assert "version" not in refused.value.message, "damage is told from a later format"


def test_a_cut_ticket_is_noticed() -> None:
    text = ticket_text(TICKET)
    for length in range(len(text)):
        with pytest.raises(LocalError):
            parse_ticket(text[:length])
    with pytest.raises(LocalError):
        parse_ticket(text + "A")


@pytest.mark.parametrize("text", ["", "mesh1:", "mesh2:AAAA", "mesh1:AAAAAAA", "x" * 100_000])
def test_other_text_is_no_ticket(text: str) -> None:
    with pytest.raises(LocalError) as refused:
        parse_ticket(text)
    assert refused.value.name == "bad_ticket"


def test_a_text_over_the_bound_is_refused_unread() -> None:
    with pytest.raises(LocalError) as refused:
        parse_ticket("mesh1:" + "A" * (TICKET_TEXT_MAX + 1))
    assert "too long" in refused.value.message


@pytest.mark.parametrize(
    "fields",
    [
        (MESH, tuple(KEYS[: ISSUERS_MAX + 1]), (), b"s" * 16, 0),
        (MESH, (), (), b"s" * 16, 0),
        (MESH, (KEYS[0],), (("h", 1),) * (ADDRESSES_MAX + 1), b"s" * 16, 0),
        (MESH, (KEYS[0],), (("h", 65_536),), b"s" * 16, 0),
        (MESH, (KEYS[0],), (), b"s" * 15, 0),
        (MESH[:31], (KEYS[0],), (), b"s" * 16, 0),
        (MESH, (KEYS[0],), (), b"s" * 16, -1),
    ],
)
def test_a_text_with_a_sound_checksum_still_has_to_be_a_ticket(fields: tuple[object, ...]) -> None:
    with pytest.raises(LocalError) as refused:
        parse_ticket(text_of(fields))
    assert refused.value.name == "bad_ticket"


def test_a_text_has_one_spelling() -> None:
    text = ticket_text(TICKET)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare_bits = (6 * len(text[6:])) % 8
    assert spare_bits, "the last character of this ticket has bits that mean nothing"
    last = alphabet[alphabet.index(text[-1]) ^ 1]
    padded = base64.urlsafe_b64decode(text[6:-1] + last + "==")
    assert padded == base64.urlsafe_b64decode(text[6:] + "==")
    with pytest.raises(LocalError):
        parse_ticket(text[:-1] + last)


def test_the_secret_is_not_shown() -> None:
    assert repr(TICKET.secret) not in repr(TICKET)
    assert TICKET.id == ticket_id(TICKET.secret)
    assert TICKET.secret.hex() not in TICKET.id.hex()


# ---- book


def test_a_ticket_pins_mesh_issuer_addresses_and_end() -> None:
    ticket = issue(book(), ttl_s=0.5).ticket
    assert ticket.mesh == MESH
    assert ticket.issuers == (public_key_of("a"),)
    assert ticket.addresses == (Address("192.0.2.7", 7946),)
    assert ticket.expires_s == int(WALL) + 1


def test_no_more_addresses_than_a_ticket_holds() -> None:
    tickets = book()
    tickets.addresses = tuple(Address("192.0.2.7", port) for port in range(ADDRESSES_MAX + 1))
    ticket = issue(tickets).ticket
    assert ticket.addresses == tickets.addresses[:ADDRESSES_MAX]
    assert parse_ticket(ticket_text(ticket)) == ticket


def test_the_book_keeps_a_derived_key_and_never_the_secret() -> None:
    tickets = book()
    issued = issue(tickets)
    ticket = issued.ticket
    (row,) = issued.rows
    assert (row.kind, row.key) == ("ticket", ticket.id)
    assert row.value is not None
    assert ticket.secret not in row.value
    psk = ticket_psk(SUITE, MESH, ticket.secret)
    assert tickets.psk(ticket.id) == psk
    assert psk in row.value
    assert psk != ticket_psk(SUITE, Stage(name="other").mesh, ticket.secret)
    assert tickets.psk(ticket_id(b"x" * 16)) is None


def test_a_ticket_is_good_for_its_uses_and_no_more() -> None:
    tickets = book()
    ticket = issue(tickets, uses=3).ticket
    rows = [tickets.spend(ticket.id, key, WALL) for key in KEYS[:3]]
    assert len({row.value for row in rows}) == 3
    assert refusal_of(tickets, ticket.id, KEYS[3], WALL) is Refusal.TICKET_USED


def test_the_same_key_again_gets_through_and_spends_nothing() -> None:
    tickets = book()
    ticket = issue(tickets, uses=2).ticket
    first = tickets.spend(ticket.id, KEYS[0], WALL)
    assert tickets.spend(ticket.id, KEYS[0], WALL) == first
    tickets.spend(ticket.id, KEYS[1], WALL)
    assert tickets.spend(ticket.id, KEYS[0], WALL) == tickets.row(ticket.id)
    assert refusal_of(tickets, ticket.id, KEYS[2], WALL) is Refusal.TICKET_USED


def test_a_ticket_ends_to_the_second() -> None:
    tickets = book()
    ticket = issue(tickets, uses=9, ttl_s=10).ticket
    tickets.spend(ticket.id, KEYS[0], WallTime(ticket.expires_s - 0.001))
    before = tickets.row(ticket.id)
    assert refusal_of(tickets, ticket.id, KEYS[1], WallTime(ticket.expires_s)) is Refusal.EXPIRED
    assert refusal_of(tickets, ticket.id, KEYS[0], WallTime(ticket.expires_s)) is Refusal.EXPIRED
    assert tickets.row(ticket.id) == before


def test_a_ticket_that_was_revoked_lets_nobody_in_when_the_clock_is_put_back() -> None:
    tickets = book()
    ticket = issue(tickets, uses=9).ticket
    tickets.spend(ticket.id, KEYS[0], WALL)
    tickets.revoke(NOW, ticket.id.hex())
    assert refusal_of(tickets, ticket.id, KEYS[1], WALL) is Refusal.EXPIRED
    assert refusal_of(tickets, ticket.id, KEYS[1], WallTime(WALL - 60)) is Refusal.TICKET_USED


def test_a_ticket_that_is_not_in_the_book_is_unknown() -> None:
    assert refusal_of(book(), ticket_id(b"x" * 16), KEYS[0], WALL) is Refusal.TICKET_UNKNOWN


@pytest.mark.parametrize(
    ("uses", "ttl_s", "name"),
    [
        (0, 1, "bad_uses"),
        (USES_MAX + 1, 1, "bad_uses"),
        (1, 0, "bad_ttl"),
        (1, -1, "bad_ttl"),
        (1, TTL_S_MAX + 1, "bad_ttl"),
        (1, float("nan"), "bad_ttl"),
    ],
)
def test_numbers_out_of_range_are_refused(uses: int, ttl_s: float, name: str) -> None:
    tickets = book()
    with pytest.raises(LocalError) as refused:
        issue(tickets, uses=uses, ttl_s=ttl_s)
    assert refused.value.name == name
    assert refused.value.hint
    assert len(tickets) == 0


def test_the_greatest_ticket_still_fits_its_row() -> None:
    tickets = book()
    ticket = issue(tickets, uses=USES_MAX, ttl_s=TTL_S_MAX).ticket
    for number in range(USES_MAX):
        tickets.spend(ticket.id, PublicKey(number.to_bytes(32, "big")), WALL)
    value = tickets.row(ticket.id).value
    assert value is not None
    again = book()
    assert again.restore({ticket.id: value}) == ()
    assert refusal_of(again, ticket.id, KEYS[199], WALL) is Refusal.TICKET_USED


def test_the_book_is_bounded_and_makes_room_from_expired_tickets() -> None:
    tickets = book()
    short = issue(tickets, ttl_s=10, seed=0).ticket
    for seed in range(1, TICKETS_MAX):
        issue(tickets, seed=seed)
    with pytest.raises(LocalError) as refused:
        issue(tickets, seed=TICKETS_MAX)
    assert refused.value.name == "too_many_tickets"
    assert len(tickets) == TICKETS_MAX
    after = Now(Instant(200.0), WallTime(WALL + 11))
    issued = tickets.issue(random.Random(TICKETS_MAX), after, 1, 900)
    assert issued.rows[0] == Row("ticket", short.id, None)
    assert issued.rows[1].key == issued.ticket.id
    assert len(tickets) == TICKETS_MAX


def test_an_expired_ticket_is_remembered_for_a_while_then_forgotten() -> None:
    tickets = book()
    ticket = issue(tickets).ticket
    end = ticket.expires_s + EXPIRED_KEEP_S
    assert tickets.forget_expired(WallTime(end - 1.0)) == ()
    assert refusal_of(tickets, ticket.id, KEYS[0], WallTime(end - 1.0)) is Refusal.EXPIRED
    assert tickets.forget_expired(WallTime(end)) == (Row("ticket", ticket.id, None),)
    assert refusal_of(tickets, ticket.id, KEYS[0], WallTime(end)) is Refusal.TICKET_UNKNOWN


def test_a_restart_remembers_uses_and_leaves_damaged_rows_out() -> None:
    tickets = book()
    ticket = issue(tickets, uses=2).ticket
    row = tickets.spend(ticket.id, KEYS[0], WALL)
    assert row.value is not None
    again = book()
    broken = {b"short": row.value, b"b" * 16: row.value[:-1], b"c" * 16: pack((1, 2))}
    assert again.restore({**broken, ticket.id: row.value}) == (b"b" * 16, b"c" * 16, b"short")
    assert len(again) == 1
    assert again.psk(ticket.id) == tickets.psk(ticket.id)
    again.spend(ticket.id, KEYS[1], WALL)
    assert refusal_of(again, ticket.id, KEYS[2], WALL) is Refusal.TICKET_USED
    again.spend(ticket.id, KEYS[0], WALL)
