"""How a machine becomes a member: one exchange over a stream, as two machines without I/O.

The joiner shows that it knows the ticket without sending it, and learns from a signature that it
talks to the issuer the ticket names. Only then does it say who it is. The issuer makes the use of
the ticket durable before the grant leaves, so a crash never admits one machine more than the
ticket allows. In an open mesh there may be no ticket: then any member answers, it only hands over
the genesis and whom to talk to, and the joiner makes its own certificate.

Both machines raise RemoteError for foreign bytes that are wrong; the stream is then closed without
an answer, and neither side has learned anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from mesh.core.crypto.keys import check_public_key
from mesh.core.crypto.suite import SigningKey, Suite
from mesh.core.effects import Row
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import MeshId, NodeId, PublicKey, node_id
from mesh.core.instants import Now, WallTime
from mesh.core.rng import Rng
from mesh.core.trust.applicants import Applicants
from mesh.core.trust.exchange import (
    ANSWER_CONTEXT,
    CONTACTS_MAX,
    GRANT_BYTES_MAX,
    JOIN_VERSION,
    NO_MARK,
    NO_PSK,
    NO_TICKET,
    RECORDS_MAX,
    REQUEST_CONTEXT,
    ROTATIONS_TOLD_MAX,
    Channel,
    FrameReader,
    Introduction,
    JoinAnswer,
    JoinGrant,
    JoinHello,
    JoinRefusal,
    JoinRequest,
    Kind,
    encode_join_frame,
    mesh_mark,
)
from mesh.core.trust.names import check_name
from mesh.core.trust.records import TRUST_CONTEXTS, Admin, Certificate, mesh_id_of
from mesh.core.trust.refusals import refused
from mesh.core.trust.tickets import Ticket, TicketBook, TicketId, ticket_psk
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import (
    Author,
    SignedFact,
    Verified,
    Verifier,
    author_of,
    decode_signed_fact_untrusted,
    pre_authentication,
)

ADMINS_WANTED = 3


@dataclass(frozen=True, slots=True)
class Joined:
    """What the joiner has in the end; `trust` holds every record it was handed.

    `contacts` are encoded presences, not yet verified.
    """

    mesh: MeshId
    trust: Trust
    certificate: Verified[Certificate]
    issuer: PublicKey
    contacts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a joiner without a ticket knows while it waits: to be compared by people."""

    mesh: MeshId
    root: PublicKey
    issuer: PublicKey


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Whom the issuer has just let in."""

    key: PublicKey
    name: str
    admin: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after some bytes came in.

    Send `send`. Publish `facts`, commit `rows` with them, and once that is durable send
    `after_commit`; when the commit fails, close the stream without it. When `finished`, close the
    stream behind the last byte.
    """

    send: bytes = b""
    rows: tuple[Row, ...] = ()
    facts: tuple[Verified[Any], ...] = ()
    after_commit: bytes = b""
    finished: bool = False
    joined: Joined | None = None
    newcomer: Newcomer | None = None
    waiting: Waiting | None = None
    """An admin has to say yes: ask again."""
    elsewhere: bytes = b""
    """A hello frame that another admin may be able to answer, in place of what `send` says."""


class Turn(Enum):
    """Whose turn it is: what this side waits for."""

    START = auto()
    HELLO = auto()
    ANSWER = auto()
    REQUEST = auto()
    GRANT = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class JoinWish:
    """What the person who wants to join has said; without a ticket an admin has to say yes."""

    name: str
    ticket: Ticket | None = None
    mesh: MeshId | None = None
    wants_admin: bool = True


@dataclass(frozen=True, slots=True)
class JoinParts:
    """What a joiner works with; `wall` is read once, when the stream opens."""

    suite: Suite
    key: SigningKey = field(repr=False)
    rng: Rng
    wall: WallTime


class Joiner:
    """The side that wants to take part."""

    def __init__(self, parts: JoinParts, wish: JoinWish) -> None:
        self._parts = parts
        self._wish = wish
        self._name = check_name(wish.name)
        self._public_key = parts.suite.public_key(parts.key)
        self._channel = Channel(parts.suite, parts.rng)
        self._reader = FrameReader()
        self._turn = Turn.START
        self._expected = wish.mesh if wish.ticket is None else wish.ticket.mesh
        self._issuer = PublicKey(b"")
        self._trust: Trust
        self._verifier: Verifier
        if wish.mesh not in {None, self._expected}:
            raise refused(Refusal.WRONG_MESH)

    def start(self) -> Step:
        """Begin: say hello."""
        assert self._turn is Turn.START
        channel, mesh = self._channel, self._expected
        mark = NO_MARK if mesh is None else mesh_mark(mesh, channel.random)
        ticket = NO_TICKET if self._wish.ticket is None else self._wish.ticket.id
        hello = JoinHello(JOIN_VERSION, ticket, mark, channel.ephemeral, channel.random).encode()
        channel.mix(hello)
        self._turn = Turn.ANSWER
        return Step(send=encode_join_frame(Kind.HELLO, hello))

    def feed(self, data: bytes) -> Step:
        """Take bytes of the stream; raises RemoteError, or LocalError when there is no joining."""
        turn, self._turn = self._turn, Turn.OVER
        frame = self._reader.take(data)
        if frame is None:
            self._turn = turn
            return Step()
        match (turn, *frame):
            case (Turn.ANSWER, Kind.ANSWER, body):
                return self._receive_answer(body)
            case (Turn.ANSWER, Kind.TURNED_AWAY, body):
                raise refused(JoinRefusal.decode_untrusted(body).reason)
            case (Turn.GRANT, Kind.GRANT, body):
                return self._receive_grant(self._channel.unseal_untrusted(Kind.GRANT, body))
            case (Turn.GRANT, Kind.REFUSAL, body):
                return self._receive_refusal(body)
            case _:
                raise RemoteError(Refusal.MALFORMED, "not what comes next in a join")

    def _receive_answer(self, body: bytes) -> Step:
        channel, suite = self._channel, self._parts.suite
        answer = JoinAnswer.decode_untrusted(body)
        channel.mix(answer.ephemeral + answer.random)
        channel.agree(answer.ephemeral, self._psk(), issuer=False)
        signed = channel.transcript
        plaintext = channel.unseal_untrusted(Kind.ANSWER, answer.sealed)
        introduction = Introduction.decode_untrusted(plaintext)
        self._open_mesh_untrusted(introduction)
        message = pre_authentication(self._trust.mesh, ANSWER_CONTEXT, introduction.issuer, signed)
        if not suite.verify(introduction.issuer, introduction.signature, message):
            raise RemoteError(Refusal.BAD_SIGNATURE, "the issuer's, over the exchange")
        self._issuer = introduction.issuer
        self._turn = Turn.GRANT
        return Step(send=encode_join_frame(Kind.REQUEST, channel.seal(Kind.REQUEST, self._ask())))

    def _psk(self) -> bytes:
        ticket = self._wish.ticket
        if ticket is None:
            return NO_PSK
        return ticket_psk(self._parts.suite, ticket.mesh, ticket.secret)

    def _ask(self) -> JoinRequest:
        suite, key = self._parts.suite, self._public_key
        message = pre_authentication(
            self._trust.mesh, REQUEST_CONTEXT, key, self._channel.transcript
        )
        signature = suite.sign(self._parts.key, message)
        return JoinRequest(key, self._wish.wants_admin, self._name, signature)

    def _open_mesh_untrusted(self, introduction: Introduction) -> None:
        """Find out which mesh this is, and refuse any but the one that was asked for."""
        nowhere = MeshId(bytes(32))
        genesis = decode_signed_fact_untrusted(introduction.genesis, nowhere)
        mesh = mesh_id_of(genesis.payload)
        if self._expected not in {None, mesh}:
            raise refused(Refusal.WRONG_MESH)
        ticket = self._wish.ticket
        if ticket is not None and introduction.issuer not in ticket.issuers:
            raise RemoteError(Refusal.AUTHOR_MISMATCH, "the issuer is not named in the ticket")
        check_public_key(introduction.issuer)
        self._trust = Trust(mesh)
        self._verifier = Verifier(self._parts.suite, mesh)
        self._take_records_untrusted((introduction.genesis, *introduction.admins))
        if not self._trust.founded:
            raise RemoteError(Refusal.BROKEN_RULE, "no genesis where one belongs")

    def _take_records_untrusted(self, records: tuple[bytes, ...]) -> None:
        mesh = self._trust.mesh
        self._trust.restore(
            [
                self._verifier.open_untrusted(
                    decode_signed_fact_untrusted(record, mesh), TRUST_CONTEXTS
                )
                for record in records
            ]
        )

    def _receive_refusal(self, body: bytes) -> Step:
        plaintext = self._channel.unseal_untrusted(Kind.REFUSAL, body)
        reason = JoinRefusal.decode_untrusted(plaintext).reason
        if reason != Refusal.PENDING:
            raise refused(reason)
        waiting = Waiting(self._trust.mesh, self._trust.root_key, self._issuer)
        return Step(finished=True, waiting=waiting)

    def _receive_grant(self, plaintext: bytes) -> Step:
        grant = JoinGrant.decode_untrusted(plaintext)
        self._take_records_untrusted(grant.records)
        if not self._trust.is_member(self._public_key) and self._trust.genesis.fact.open:
            self._certify_oneself()
        chain = self._trust.chain(self._public_key)
        if not chain:
            raise RemoteError(Refusal.NOT_ADMITTED, "a grant without a certificate")
        joined = Joined(self._trust.mesh, self._trust, chain[-1], self._issuer, grant.contacts)
        return Step(finished=True, joined=joined)

    def _certify_oneself(self) -> None:
        author = author_of(self._parts.suite, self._parts.key, self._verifier)
        (certificate,) = author.sign(
            [Certificate(author.public_key, max(0, int(self._parts.wall)), 0)]
        )
        self._trust.accept(certificate)


@dataclass(frozen=True, slots=True)
class AdmitParts:
    """What the issuer's side works with; `wall` is read once, when the stream opens.

    `root` signs for the first admins and is missing where the root key is; `contacts` are
    presences to hand over, best first; a certificate lasts `certificate_ttl_s`, 0 for ever;
    `applicants` are those without a ticket, of whom only a few get an answer when they know no mesh
    id; `relayed` says that somebody else has passed the stream on.
    """

    author: Author
    trust: Trust
    book: TicketBook
    root: Author | None
    rng: Rng
    now: Now
    applicants: Applicants
    contacts: tuple[SignedFact, ...] = ()
    certificate_ttl_s: int = 0
    presence: Callable[[NodeId], SignedFact | None] = lambda _node: None
    """What is held of a newcomer that was here before: its new boot has to be greater."""
    relayed: bool = False

    @property
    def wall(self) -> WallTime:
        """The wall time when the stream opened."""
        return self.now.wall


class Admitter:
    """The side that lets others in: one per stream."""

    def __init__(self, parts: AdmitParts) -> None:
        assert parts.trust.founded
        self._parts = parts
        self._channel = Channel(parts.author.suite, parts.rng)
        self._reader = FrameReader()
        self._turn = Turn.HELLO
        self._ticket = NO_TICKET

    def feed(self, data: bytes) -> Step:
        """Take bytes of the stream; raises RemoteError: then close without an answer."""
        turn, self._turn = self._turn, Turn.OVER
        frame = self._reader.take(data)
        if frame is None:
            self._turn = turn
            return Step()
        match (turn, *frame):
            case (Turn.HELLO, Kind.HELLO, body):
                return self._receive_hello(body)
            case (Turn.REQUEST, Kind.REQUEST, body):
                return self._receive_request(body)
            case _:
                raise RemoteError(Refusal.MALFORMED, "not what comes next in a join")

    def _receive_hello(self, body: bytes) -> Step:
        channel = self._channel
        hello = JoinHello.decode_untrusted(body)
        if hello.version != JOIN_VERSION:
            raise RemoteError(Refusal.MALFORMED, f"join version {hello.version}")
        try:
            psk = self._psk_for(hello)
        except RemoteError as error:
            refusal = encode_join_frame(Kind.TURNED_AWAY, JoinRefusal(error.refusal).encode())
            passed_on = error.refusal is Refusal.TICKET_UNKNOWN and not self._parts.relayed
            hello_frame = encode_join_frame(Kind.HELLO, body) if passed_on else b""
            return Step(send=refusal, finished=True, elsewhere=hello_frame)
        self._ticket = hello.ticket
        channel.mix(body)
        channel.mix(channel.ephemeral + channel.random)
        channel.agree(hello.ephemeral, psk, issuer=True)
        sealed = channel.seal(Kind.ANSWER, self._introduce())
        answer = JoinAnswer(channel.ephemeral, channel.random, sealed)
        self._turn = Turn.REQUEST
        return Step(send=encode_join_frame(Kind.ANSWER, answer.encode()))

    def _psk_for(self, hello: JoinHello) -> bytes:
        parts, trust = self._parts, self._parts.trust
        if hello.mark not in {NO_MARK, mesh_mark(trust.mesh, hello.random)}:
            raise RemoteError(Refusal.WRONG_MESH, "a ticket of another mesh")
        is_admin = trust.is_admin(parts.author.public_key)
        if hello.ticket == NO_TICKET:
            listens = parts.now.instant < parts.applicants.listen_until
            if not (trust.genesis.fact.open or hello.mark != NO_MARK or listens):
                raise RemoteError(Refusal.NOT_ADMITTED, "no ticket, no mesh id, and nobody listens")
            if not (trust.genesis.fact.open or is_admin):
                raise RemoteError(Refusal.TICKET_UNKNOWN, "only an admin lets people wait")
            return NO_PSK
        psk = parts.book.psk(hello.ticket) if is_admin else None
        if psk is None:
            raise RemoteError(Refusal.TICKET_UNKNOWN, hello.ticket.hex())
        return psk

    def _introduce(self) -> Introduction:
        author, trust = self._parts.author, self._parts.trust
        message = pre_authentication(
            trust.mesh, ANSWER_CONTEXT, author.public_key, self._channel.transcript
        )
        admins = trust.admins()
        return Introduction(
            author.public_key,
            author.suite.sign(author.key, message),
            trust.genesis.signed.encode(),
            tuple(r.signed.encode() for r in (*trust.rotations()[-ROTATIONS_TOLD_MAX:], *admins)),
        )

    def _receive_request(self, body: bytes) -> Step:
        parts, channel = self._parts, self._channel
        signed = channel.transcript
        plaintext = channel.unseal_untrusted(Kind.REQUEST, body)
        request = JoinRequest.decode_untrusted(plaintext)
        key = check_public_key(request.key)
        message = pre_authentication(parts.trust.mesh, REQUEST_CONTEXT, key, signed)
        if not parts.author.suite.verify(key, request.signature, message):
            raise RemoteError(Refusal.BAD_SIGNATURE, "the joiner's, over the exchange")
        try:
            if self._ticket == NO_TICKET:
                return self._answer_applicant(request)
            rows, facts = self._admit(request)
        except RemoteError as error:
            sealed = channel.seal(Kind.REFUSAL, JoinRefusal(error.refusal))
            return Step(send=encode_join_frame(Kind.REFUSAL, sealed), finished=True)
        return Step(
            rows=rows,
            facts=facts,
            after_commit=self._grant(key),
            finished=True,
            newcomer=Newcomer(key, request.name, parts.trust.is_admin(key)),
        )

    def _answer_applicant(self, request: JoinRequest) -> Step:
        """Hand over what there is, or say that an admin has to; raises RemoteError to refuse."""
        parts, trust, key = self._parts, self._parts.trust, request.key
        if trust.genesis.fact.open or trust.link_allowed(key, parts.wall):
            return Step(send=self._grant(key), finished=True)
        if trust.revocations_of(key):
            raise RemoteError(Refusal.DENIED, "a key that was taken back")
        parts.applicants.ask(parts.now, key, request.name)
        sealed = self._channel.seal(Kind.REFUSAL, JoinRefusal(Refusal.PENDING))
        return Step(send=encode_join_frame(Kind.REFUSAL, sealed), finished=True)

    def _admit(self, request: JoinRequest) -> tuple[tuple[Row, ...], tuple[Verified[Any], ...]]:
        """Return what has to be durable, and the new records; raises RemoteError to refuse."""
        parts, trust, key = self._parts, self._parts.trust, request.key
        ticket = TicketId(self._ticket)
        if trust.link_allowed(key, parts.wall):
            # A member already: nothing is spent. The row is written again all the same, because
            # the commit that first wrote it may still be under way, or may have failed.
            return (parts.book.row(ticket),), ()
        if trust.revocations_of(key):
            raise RemoteError(Refusal.DENIED, "a key that was taken back")
        parts.book.check(ticket, key, parts.wall)
        issued_s = max(0, int(parts.wall))
        ttl_s = parts.certificate_ttl_s
        expires_s = issued_s + ttl_s if ttl_s else 0
        facts: tuple[Verified[Any], ...] = tuple(
            parts.author.sign([Certificate(key, issued_s, expires_s)])
        )
        few = len(trust.admins()) < ADMINS_WANTED and not trust.is_admin(key)
        if parts.root is not None and request.wants_admin and few:
            facts += tuple(parts.root.sign([Admin(key)]))
        trust.check_room(facts)
        for fact in facts:
            trust.accept(fact)
        return (parts.book.spend(ticket, key, parts.wall),), facts

    def _grant(self, newcomer: PublicKey) -> bytes:
        """Return the frame with the newcomer's chain, and as many contacts as fit with theirs.

        The first contact of one that was here before is itself as it was then.
        """
        parts, trust = self._parts, self._parts.trust
        own = [*trust.chain(newcomer), *trust.chain(parts.author.public_key)]
        own += [admin for admin in trust.admins() if admin.fact.key == newcomer]
        records = {record.id: record.signed.encode() for record in own}
        contacts: list[bytes] = []
        room = GRANT_BYTES_MAX - 16 - sum(len(record) + 3 for record in records.values())
        former = parts.presence(node_id(newcomer))
        known = parts.contacts if former is None else (former, *parts.contacts)
        for contact in known[:CONTACTS_MAX]:
            encoded = contact.encode()
            chain = {
                record.id: record.signed.encode()
                for record in trust.chain(contact.author)
                if record.id not in records
            }
            room -= len(encoded) + 3 + sum(len(record) + 3 for record in chain.values())
            if room < 0 or len(records) + len(chain) > RECORDS_MAX:
                break
            contacts.append(encoded)
            records |= chain
        grant = JoinGrant(tuple(records.values()), tuple(contacts))
        return encode_join_frame(Kind.GRANT, self._channel.seal(Kind.GRANT, grant))
