"""How a member lets others in: tickets, and the issuer's side of every join under way."""

from dataclasses import dataclass, field

from mesh.core.crypto.keys import fingerprint
from mesh.core.effects import (
    ClientId,
    CloseStream,
    CommitNumber,
    Effect,
    Json,
    Reply,
    ReplyError,
    Row,
    SendStream,
    StreamId,
)
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.identity import NodeId, node_id
from mesh.core.instants import Instant, Now, later, wall_text
from mesh.core.node.join_relays import JoinRelays
from mesh.core.node.participant import Participant
from mesh.core.node.root_keys import RootKeys
from mesh.core.node.setup import NodeSetup, Rows
from mesh.core.trust.applicants import DENIED_ROW, Applicants
from mesh.core.trust.joining import AdmitParts, Admitter, Step
from mesh.core.trust.records import Certificate
from mesh.core.trust.tickets import TicketBook, ticket_text
from mesh.core.trust_commands import TrustInvite
from mesh.core.wire.envelope import SignedFact

JOINS_MAX = 128
JOIN_LIMIT_S = 20.0
CONTACTS_MAX = 8


@dataclass(slots=True)
class Admissions:
    """Tickets of this node and the joins it serves."""

    setup: NodeSetup
    participant: Participant
    rows: Rows
    book: TicketBook = field(init=False)
    roots: RootKeys = field(init=False)
    applicants: Applicants = field(default_factory=Applicants)
    relays: JoinRelays = field(init=False)
    joins: dict[StreamId, tuple[Admitter, Instant]] = field(default_factory=dict)
    waiting: list[tuple[CommitNumber, tuple[Effect, ...]]] = field(default_factory=list)
    """Effects that leave once a commit is done."""

    def __post_init__(self) -> None:
        author = self.participant.author
        self.book = TicketBook(self.setup.suite, author.verifier.mesh, author.public_key)
        self.book.addresses = self.setup.addresses
        self.relays = JoinRelays(self.participant)
        self.book.restore(self.rows.get("ticket", {}))
        self.applicants.restore(self.rows.get(DENIED_ROW, {}))
        self.roots = RootKeys(author, self.participant.trust)
        self.roots.restore(self.rows)

    def owns(self, stream: StreamId) -> bool:
        """Whether somebody joins on this stream, here or passed on."""
        return stream in self.joins or self.relays.owns(stream)

    def accept(self, now: Now, stream: StreamId, *, relayed: bool) -> None:
        """Somebody wants to join; raises RemoteError when too many do."""
        participant = self.participant
        if self._is_full():
            self._end_oldest(now)
        if self._is_full():
            raise RemoteError(Refusal.OVER_CAP, "joins under way")
        parts = AdmitParts(
            author=participant.author,
            trust=participant.trust,
            book=self.book,
            root=self.roots.root(),
            rng=self.setup.rng,
            now=now,
            applicants=self.applicants,
            contacts=self._contacts(),
            presence=self._presence,
            relayed=relayed,
        )
        self.joins[stream] = (Admitter(parts), later(now.instant, JOIN_LIMIT_S))

    def _is_full(self) -> bool:
        return len(self.joins) + len(self.relays) >= JOINS_MAX

    def _end_oldest(self, now: Now) -> None:
        """Hang up on who has taken longest, unless it is hardly here: it may come again."""
        spare_s = self.participant.params.links.stream_spare_s
        for stream, (_, due) in self.joins.items():
            if now.instant >= later(due, spare_s - JOIN_LIMIT_S):
                self.participant.outbox.put(self._close(stream))
            return

    def _contacts(self) -> tuple[SignedFact, ...]:
        alive = self.participant.membership.alive()
        nodes = (self.participant.author.id, *alive[: CONTACTS_MAX - 1])
        presences = (self._presence(node) for node in nodes)
        return tuple(presence for presence in presences if presence is not None)

    def _presence(self, node: NodeId) -> SignedFact | None:
        presence = self.participant.membership.presence(node)
        return None if presence is None else presence.signed

    def receive_untrusted(self, now: Now, stream: StreamId, data: bytes) -> list[Effect]:
        """Go on with a join; raises RemoteError, then the stream is to be closed."""
        if self.relays.owns(stream):
            return self.relays.receive_untrusted(now, stream, data)
        admitter, due = self.joins[stream]
        if due <= now.instant:
            # The machine has slept meanwhile: what the join knows of the time is of before.
            return [self._close(stream)]
        waited = len(self.applicants.waiting)
        step = admitter.feed(data)
        if len(self.applicants.waiting) > waited:
            self._tell_of_applicant(now)
        if step.elsewhere and self.relays.has_candidates():
            del self.joins[stream]
            return self.relays.begin(now, stream, step.elsewhere)
        effects: list[Effect] = [SendStream(stream, step.send)] if step.send else []
        if step.rows or step.facts:
            self._grant_later(now, stream, step)
        elif step.finished:
            effects.append(self._close(stream))
        return effects

    def _tell_of_applicant(self, now: Now) -> None:
        newest = self.applicants.here(now.instant)[-1]
        body: dict[str, Json] = {"name": newest.name, "fingerprint": fingerprint(newest.key)}
        self.participant.outbox.notify("join.pending", body)

    def _grant_later(self, now: Now, stream: StreamId, step: Step) -> None:
        participant = self.participant
        number = participant.outbox.commit(*step.rows)
        if step.facts:
            participant.gossip.publish(now, Family.MEMBERS, step.facts)
        grant = SendStream(stream, step.after_commit)
        self.waiting.append((number, (grant, CloseStream(stream))))
        if step.newcomer is not None:
            participant.outbox.notify(
                "join", {"name": step.newcomer.name, "admin": step.newcomer.admin}
            )

    def _close(self, stream: StreamId) -> Effect:
        self.handle_closed(stream)
        return CloseStream(stream)

    def handle_closed(self, stream: StreamId) -> None:
        """A stream is gone."""
        self.joins.pop(stream, None)
        for effect in self.relays.handle_closed(stream):
            self.participant.outbox.put(effect)

    def invite(self, now: Now, client: ClientId, request: int, wish: TrustInvite) -> None:
        """Make a ticket; answered once it is durable. Raises LocalError."""
        self.check_admin()
        issued = self.book.issue(self.setup.rng, now, wish.uses, wish.ttl_s)
        answer: dict[str, Json] = {
            "ticket": ticket_text(issued.ticket),
            "expires_at": wall_text(issued.ticket.expires_s),
            "uses": wish.uses,
        }
        self.answer_durably(client, request, answer, issued.rows)

    def check_admin(self) -> None:
        """Raise LocalError unless this node may let others in."""
        if not self.participant.trust.is_admin(self.participant.author.public_key):
            raise LocalError(
                "not_admin",
                "this node may not do that: it is no admin of the mesh",
                "run it on an admin: `mesh admin list` shows who is one",
            )

    def tickets(self, now: Now) -> Json:
        """Return the tickets that are remembered here."""
        shown: list[Json] = []
        for ticket, entry in self.book.listed():
            state = "expired" if entry.expires_s <= now.wall else "used up"
            shown.append(
                {
                    "ticket": ticket.hex(),
                    "uses_left": entry.uses_left,
                    "admitted": [node.hex() for node in entry.admitted],
                    "expires_at": wall_text(entry.expires_s),
                    "state": "open" if entry.uses_left and state != "expired" else state,
                }
            )
        return {"tickets": shown}

    def pending(self, now: Now) -> Json:
        """Return who waits here to be let in."""
        listen_s = max(0.0, self.applicants.listen_until - now.instant)
        waiting: list[Json] = [
            {
                "name": one.name,
                "id": node_id(one.key).hex(),
                "fingerprint": fingerprint(one.key),
                "public_key": one.key.hex(),
                "since": wall_text(one.since_s),
            }
            for one in self.applicants.here(now.instant)
        ]
        return {"pending": waiting, "listening_s": round(listen_s, 1)}

    def admit(self, now: Now, node: str) -> dict[str, Json]:
        """Let somebody in who waits here; raises LocalError."""
        self.check_admin()
        applicant = self.applicants.find(now.instant, node)
        participant = self.participant
        certificate = Certificate(applicant.key, max(0, int(now.wall)), 0)
        [record] = participant.author.sign([certificate])
        try:
            participant.trust.accept(record)
        except RemoteError as full:
            raise LocalError("mesh_full", f"no more members: {full.detail}", "") from None
        participant.gossip.publish(now, Family.MEMBERS, [record])
        self.applicants.admitted(applicant.key)
        participant.outbox.notify("join", {"name": applicant.name, "admin": False})
        return {"admitted": applicant.name, "fingerprint": fingerprint(applicant.key)}

    def answer_durably(
        self, client: ClientId, request: int, answer: Json, rows: tuple[Row, ...] = ()
    ) -> None:
        """Answer once these rows, and whatever was published just now, are on disk."""
        outbox = self.participant.outbox
        if not rows and not outbox.rows_waiting:
            outbox.reply(client, request, answer)
            return
        number = outbox.commit(*rows)
        self.waiting.append((number, (Reply(client, request, answer),)))

    def handle_committed(self, number: CommitNumber) -> list[Effect]:
        """Release what waited for this commit."""
        effects: list[Effect] = []
        keep = []
        for entry in self.waiting:
            if entry[0] <= number:
                effects += entry[1]
            else:
                keep.append(entry)
        self.waiting = keep
        for effect in effects:
            if isinstance(effect, CloseStream):
                self.handle_closed(effect.stream)
        return effects

    def handle_commit_failed(self, number: CommitNumber) -> list[Effect]:
        """Grant nothing that is not on disk."""
        failed = [entry for entry in self.waiting if entry[0] == number]
        self.waiting = [entry for entry in self.waiting if entry[0] != number]
        answers: list[Effect] = []
        for effect in (effect for entry in failed for effect in entry[1]):
            if isinstance(effect, CloseStream):
                self.handle_closed(effect.stream)
                answers.append(effect)
            elif isinstance(effect, Reply):
                answers.append(
                    ReplyError(
                        effect.client,
                        effect.request,
                        "not_durable",
                        "this node cannot write to its disk",
                        "free space or repair the disk, then try again",
                    )
                )
        return answers

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Hang up on those who take too long."""
        late_relays = self.relays.handle_timeout(now)
        late = [stream for stream, (_, due) in self.joins.items() if due <= now.instant]
        return late_relays + [self._close(stream) for stream in late]

    def next_deadline(self) -> Instant:
        """Return when the next join is late."""
        relays = self.relays.next_deadline()
        if not self.joins:
            return relays
        return min(relays, *(due for _, due in self.joins.values()))
