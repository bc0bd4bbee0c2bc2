"""What a peer says of a third node: each message goes to the part that it is for."""

from mesh.core.errors import Refusal, RemoteError
from mesh.core.instants import Now
from mesh.core.membership.court import Court, open_accusation_untrusted
from mesh.core.membership.detours import Detours
from mesh.core.membership.edges import Edges
from mesh.core.membership.facts import Accusation
from mesh.core.membership.ground import Ground
from mesh.core.membership.member import Member
from mesh.core.membership.messages import Accuse, Ask, Vouch, Withdraw
from mesh.core.membership.own_record import OwnRecord


class Hearing:
    """The way of accusations, vouches, questions and withdrawals into this node."""

    def __init__(
        self, ground: Ground, edges: Edges, court: Court, detours: Detours, own: OwnRecord
    ) -> None:
        self._ground = ground
        self._edges = edges
        self._court = court
        self._detours = detours
        self._own = own
        self._me = ground.table.self_id

    def handle(self, now: Now, member: Member, kind: int, body: bytes) -> None:
        """Take what a member says of another one, or of me; raises RemoteError."""
        peer = member.id
        if kind == Accuse.KIND:
            self._handle_accuse(now, member, body)
        elif kind == Vouch.KIND:
            remark = Vouch.decode_untrusted(body)
            self._court.handle_vouch(now, peer, remark)
            self._detours.handle_vouch(peer, remark)
        elif kind == Ask.KIND:
            self._court.handle_ask(now, peer, Ask.decode_untrusted(body))
        elif kind == Withdraw.KIND:
            taken_back = Withdraw.decode_untrusted(body)
            if taken_back.subject == self._me:
                self._own.forgiven(peer)
            else:
                self._court.handle_withdraw(peer, taken_back)
        else:
            raise RemoteError(Refusal.MALFORMED, f"no message of membership has kind {kind}")

    def _handle_accuse(self, now: Now, accuser: Member, body: bytes) -> None:
        verifier = self._ground.parts.author.verifier
        message = Accuse.decode_untrusted(body)
        signed = open_accusation_untrusted(message, accuser.id, verifier.mesh)
        fact = Accusation.decode_untrusted(signed.payload)
        if fact.subject != self._me:
            self._court.judge_accusation(now, accuser.id, signed)
            return
        verifier.check(signed)
        self._own.accused(now, accuser.id, (fact.boot, fact.incarnation))
        self._edges.rally(now, accuser)  # most often it then hears us, and nobody else need know
