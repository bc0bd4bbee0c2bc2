"""Tickets: a line of text that lets a machine join, and the issuer's book of them.

A ticket pins the mesh by its id and the issuer by its key, so a joiner needs no other trust. It
also holds a secret. The issuer keeps a key derived from that secret, never the secret itself, and
the secret never travels: both sides mix the derived key into the join exchange.

    text := "mesh1:" base64url(canonical bytes of Ticket, 4 bytes of checksum), without padding
"""

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, NewType

from mesh.core.crypto.suite import Suite
from mesh.core.effects import Row
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import Address, MeshId, NodeId, PublicKey, node_id
from mesh.core.instants import Now, WallTime
from mesh.core.rng import Rng
from mesh.core.wire.codec import Binary, Group, Layout, Many, Record, Text, Uint

TICKET_PREFIX = "mesh1:"
TICKET_TEXT_MAX = 1024
TICKET_ROW = "ticket"
SECRET_BYTES = 16
CHECKSUM_BYTES = 4
ADDRESSES_MAX = 4
ISSUERS_MAX = 4
TICKETS_MAX = 64
USES_MAX = 1000
TTL_S_MAX = 31_536_000
EXPIRED_KEEP_S = 7 * 86_400
"""An expired ticket is remembered so long, to answer `expired` rather than `unknown`."""

TicketId = NewType("TicketId", bytes)
"""16 bytes: a hash of the ticket's secret; travels in the open."""


@dataclass(frozen=True, slots=True)
class Ticket(Record):
    """The permission to join, as it is handed from one person to another."""

    LAYOUT: ClassVar[Layout] = (
        Binary(32),
        Many(Binary(32), ISSUERS_MAX),
        Many(Group((Text(64, 1), Uint(16))), ADDRESSES_MAX),
        Binary(SECRET_BYTES),
        Uint(64),
    )
    mesh: MeshId
    issuers: tuple[PublicKey, ...]
    addresses: tuple[Address, ...]
    secret: bytes = field(repr=False)
    expires_s: int

    @property
    def id(self) -> TicketId:
        """The name of the ticket, which does not reveal its secret."""
        return ticket_id(self.secret)


def ticket_id(secret: bytes) -> TicketId:
    """Return the name of the ticket with this secret."""
    digest = hashlib.blake2b(b"mesh-ticket-v1\0" + secret, digest_size=SECRET_BYTES)
    return TicketId(digest.digest())


def ticket_psk(suite: Suite, mesh: MeshId, secret: bytes) -> bytes:
    """Return the 32 bytes that both sides mix into the join exchange."""
    return suite.derive(secret, mesh, b"mesh/ticket/1", 32)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(b"mesh-ticket-text-v1\0" + body, digest_size=CHECKSUM_BYTES).digest()


def ticket_text(ticket: Ticket) -> str:
    """Return the line to hand over."""
    body = ticket.encode()
    encoded = base64.urlsafe_b64encode(body + _checksum(body)).rstrip(b"=")
    return TICKET_PREFIX + encoded.decode()


def _bad_ticket(message: str) -> LocalError:
    return LocalError(
        "bad_ticket", message, "copy the whole line, or ask for a new ticket with `mesh invite`"
    )


def parse_ticket(text: str) -> Ticket:
    """Return the ticket behind a text, line breaks and spaces ignored; raises LocalError."""
    joined = "".join(text[: 2 * TICKET_TEXT_MAX].split())
    if not joined.startswith(TICKET_PREFIX) or not joined.isascii():
        raise _bad_ticket(f"a ticket starts with {TICKET_PREFIX!r}")
    encoded = joined.removeprefix(TICKET_PREFIX)
    if len(encoded) > TICKET_TEXT_MAX:
        raise _bad_ticket("the text is too long for a ticket")
    try:
        data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except binascii.Error:
        raise _bad_ticket("the ticket is cut off or damaged") from None
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if checksum != _checksum(body):
        raise _bad_ticket("the ticket is cut off or damaged")
    try:
        ticket = Ticket.decode_untrusted(body)
    except RemoteError:
        raise _bad_ticket("this version of mesh cannot read the ticket") from None
    if not ticket.issuers:
        raise _bad_ticket("the ticket names nobody who could serve it")
    addresses = tuple(Address(host, port) for host, port in ticket.addresses)
    parsed = replace(ticket, addresses=addresses)
    if ticket_text(parsed) != joined:
        raise _bad_ticket("the ticket is cut off or damaged")
    return parsed


@dataclass(frozen=True, slots=True)
class Entry(Record):
    """What the issuer keeps of one ticket; the key of its row is the ticket's id."""

    LAYOUT: ClassVar[Layout] = (
        Binary(32),
        Uint(16),
        Uint(64),
        Many(Binary(16), USES_MAX),
    )
    psk: bytes = field(repr=False)
    uses_left: int
    expires_s: int
    admitted: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Issued:
    """A new ticket; `rows` have to be durable before its text is shown."""

    ticket: Ticket
    rows: tuple[Row, ...]


class TicketBook:
    """The tickets one admin has issued and how often each may still be used.

    `addresses` are where this admin can be reached now; the node keeps them up to date.
    """

    def __init__(self, suite: Suite, mesh: MeshId, issuer: PublicKey) -> None:
        self.addresses: tuple[Address, ...] = ()
        self._suite = suite
        self._mesh = mesh
        self._issuer = issuer
        self._entries: dict[TicketId, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def restore(self, rows: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """Take back the rows from disk; returns the keys of damaged ones, which are left out."""
        damaged = []
        for key, value in sorted(rows.items()):
            try:
                Binary(SECRET_BYTES).check(key)
                self._entries[TicketId(key)] = Entry.decode_untrusted(value)
            except RemoteError:
                damaged.append(key)
        return tuple(damaged)

    def issue(self, rng: Rng, now: Now, uses: int, ttl_s: float) -> Issued:
        """Return a new ticket; raises LocalError for numbers out of range or a full book."""
        if not 1 <= uses <= USES_MAX:
            raise LocalError(
                "bad_uses",
                f"a ticket cannot have {uses} uses",
                f"choose 1 to {USES_MAX}, or issue several tickets",
            )
        if not 0 < ttl_s <= TTL_S_MAX:
            raise LocalError(
                "bad_ttl",
                f"a ticket cannot last {ttl_s} seconds",
                f"choose more than 0 and at most {TTL_S_MAX} seconds",
            )
        forgotten = self.forget_expired(now.wall)
        if len(self._entries) >= TICKETS_MAX:
            raise LocalError(
                "too_many_tickets",
                f"{TICKETS_MAX} tickets of this node have not expired",
                "wait until one expires, or issue on another admin",
            )
        secret = rng.randbytes(SECRET_BYTES)
        expires_s = math.ceil(max(0.0, now.wall) + ttl_s)
        addresses = self.addresses[:ADDRESSES_MAX]
        ticket = Ticket(self._mesh, (self._issuer,), addresses, secret, expires_s)
        psk = ticket_psk(self._suite, self._mesh, secret)
        self._entries[ticket.id] = Entry(psk, uses, expires_s, ())
        return Issued(ticket, (*forgotten, self.row(ticket.id)))

    def listed(self) -> tuple[tuple[TicketId, Entry], ...]:
        """Return all tickets that are remembered, in the order in which they expire."""
        return tuple(sorted(self._entries.items(), key=lambda item: (item[1].expires_s, item[0])))

    def revoke(self, now: Now, text: str) -> tuple[TicketId, Row]:
        """Let a ticket expire now; the row has to be durable. Raises LocalError.

        `text` is the start of its id, or the ticket itself.
        """
        wanted = parse_ticket(text).id.hex() if text.startswith(TICKET_PREFIX) else text.lower()
        found = [ticket for ticket in self._entries if ticket.hex().startswith(wanted)]
        if len(found) != 1:
            raise LocalError(
                "no_ticket" if not found else "ambiguous",
                f"{len(found)} tickets of this node begin with {text}",
                "see `mesh invite list`, on the node that issued it",
            )
        [ticket] = found
        entry = self._entries[ticket]
        expires_s = min(entry.expires_s, max(0, int(now.wall)))
        # No uses either: a clock that is put back would make it good again.
        self._entries[ticket] = replace(entry, expires_s=expires_s, uses_left=0)
        return ticket, self.row(ticket)

    def forget_expired(self, wall: WallTime) -> tuple[Row, ...]:
        """Delete what expired long ago; when the book is full, everything that has expired."""
        keep_s = EXPIRED_KEEP_S if len(self._entries) < TICKETS_MAX else 0
        gone = [
            ticket for ticket, entry in self._entries.items() if entry.expires_s + keep_s <= wall
        ]
        for ticket in gone:
            del self._entries[ticket]
        return tuple(Row(TICKET_ROW, ticket, None) for ticket in gone)

    def psk(self, ticket: TicketId) -> bytes | None:
        """Return the key for the join exchange; None for a ticket that is not in the book."""
        entry = self._entries.get(ticket)
        return None if entry is None else entry.psk

    def row(self, ticket: TicketId) -> Row:
        """Return the row of a ticket as it is now; raises RemoteError(TICKET_UNKNOWN)."""
        entry = self._entries.get(ticket)
        if entry is None:
            raise RemoteError(Refusal.TICKET_UNKNOWN, ticket.hex())
        return Row(TICKET_ROW, ticket, entry.encode())

    def check(self, ticket: TicketId, node_key: PublicKey, wall: WallTime) -> None:
        """Raise RemoteError (TICKET_UNKNOWN, EXPIRED, TICKET_USED) unless `spend` would work."""
        entry = self._entries.get(ticket)
        if entry is None:
            raise RemoteError(Refusal.TICKET_UNKNOWN, ticket.hex())
        if entry.expires_s <= wall:
            raise RemoteError(Refusal.EXPIRED, ticket.hex())
        if entry.uses_left == 0 and node_id(node_key) not in entry.admitted:
            raise RemoteError(Refusal.TICKET_USED, ticket.hex())

    def spend(self, ticket: TicketId, node_key: PublicKey, wall: WallTime) -> Row:
        """Use a ticket once; the row has to be durable before anything is granted for it.

        A key that was admitted before gets through again and spends nothing. Raises as `check`,
        and nothing has changed then.
        """
        self.check(ticket, node_key, wall)
        entry = self._entries[ticket]
        node = node_id(node_key)
        if node not in entry.admitted:
            admitted = (*entry.admitted, node)
            self._entries[ticket] = replace(entry, uses_left=entry.uses_left - 1, admitted=admitted)
        return self.row(ticket)
