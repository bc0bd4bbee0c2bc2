"""How a member lets others in: tickets, and the issuer's side of every join under way."""

from dataclasses import dataclass, field

from mesh.core.commands import TrustInvite
from mesh.core.crypto.keys import KEY_BYTES
from mesh.core.crypto.suite import SigningKey
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
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, Now, later, wall_text
from mesh.core.node.participant import Participant
from mesh.core.node.setup import NodeSetup, Rows
from mesh.core.trust.joining import AdmitParts, Admitter, Step
from mesh.core.trust.tickets import TicketBook, ticket_text
from mesh.core.wire.envelope import Author, SignedFact, author_of

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
    root: Author | None = None
    joins: dict[StreamId, tuple[Admitter, Instant]] = field(default_factory=dict)
    waiting: list[tuple[CommitNumber, tuple[Effect, ...]]] = field(default_factory=list)
    """Effects that leave once a commit is done."""

    def __post_init__(self) -> None:
        author = self.participant.author
        self.book = TicketBook(self.setup.suite, author.verifier.mesh, author.public_key)
        self.book.addresses = self.setup.addresses
        self.book.restore(self.rows.get("ticket", {}))
        root_key = self.rows.get("root_key", {}).get(b"")
        if root_key is not None and len(root_key) == KEY_BYTES:
            self.root = author_of(self.setup.suite, SigningKey(root_key), author.verifier)

    def owns(self, stream: StreamId) -> bool:
        """Whether somebody joins on this stream."""
        return stream in self.joins

    def accept(self, now: Now, stream: StreamId) -> None:
        """Somebody wants to join; raises RemoteError when too many do."""
        if len(self.joins) >= JOINS_MAX:
            raise RemoteError(Refusal.OVER_CAP, "joins under way")
        participant = self.participant
        parts = AdmitParts(
            author=participant.author,
            trust=participant.trust,
            book=self.book,
            root=self.root,
            rng=self.setup.rng,
            wall=now.wall,
            contacts=self._contacts(),
            presence=self._presence,
        )
        self.joins[stream] = (Admitter(parts), later(now.instant, JOIN_LIMIT_S))

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
        step = self.joins[stream][0].feed(data)
        effects: list[Effect] = [SendStream(stream, step.send)] if step.send else []
        if step.rows or step.facts:
            self._grant_later(now, stream, step)
        elif step.finished:
            effects.append(self._close(stream))
        return effects

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

    def invite(self, now: Now, client: ClientId, request: int, wish: TrustInvite) -> None:
        """Make a ticket; answered once it is durable. Raises LocalError."""
        participant = self.participant
        if not participant.trust.is_admin(participant.author.public_key):
            raise LocalError(
                "not_admin",
                "this node may not invite: it is no admin of the mesh",
                "run `mesh invite` on an admin: `mesh info NODE` shows who is one",
            )
        issued = self.book.issue(self.setup.rng, now, wish.uses, wish.ttl_s)
        answer: dict[str, Json] = {
            "ticket": ticket_text(issued.ticket),
            "expires_at": wall_text(issued.ticket.expires_s),
            "uses": wish.uses,
        }
        self.answer_durably(client, request, answer, issued.rows)

    def answer_durably(
        self, client: ClientId, request: int, answer: Json, rows: tuple[Row, ...] = ()
    ) -> None:
        """Answer once these rows, and whatever was published before, are on disk."""
        number = self.participant.outbox.commit(*rows)
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
        if not self.joins:
            return []
        late = [stream for stream, (_, due) in self.joins.items() if due <= now.instant]
        return [self._close(stream) for stream in late]

    def next_deadline(self) -> Instant:
        """Return when the next join is late."""
        if not self.joins:
            return NEVER
        return min(due for _, due in self.joins.values())
