"""Handing a task over with what the next one has to know.

The giver offers and stays the owner. Whoever accepts claims the next epoch at once and cites its
accept as the `because`; both leave in one push, after one commit. So a crash in between leaves the
giver as the owner or the receiver, never nobody and never both: an accept alone changes nothing,
and two who accept what was offered to anyone are told apart by their tokens like any claimants.
"""

import json
from dataclasses import dataclass

from mesh.core.claims.claiming import Claiming
from mesh.core.claims.exchange import OfferView
from mesh.core.claims.exchange_facts import REASON_BYTES_MAX, Accept, Decline, Offer
from mesh.core.claims.facts import LEFT_BYTES_MAX
from mesh.core.claims.ledger import Ledger, task_name
from mesh.core.claims.openings import Opening
from mesh.core.claims.record import Record
from mesh.core.claims.refusals import already_finished, no_capacity
from mesh.core.claims.requests import Asker
from mesh.core.claims.texts import cut_text, entered_bytes, entered_text, fitting_bytes
from mesh.core.claims.views import TERMINAL
from mesh.core.claims.waiters import ClaimWaiter
from mesh.core.claims.writing import Writing
from mesh.core.commands import TaskAccept, TaskClaim, TaskOffer, TaskRefuse
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId, NodeId, task_text
from mesh.core.instants import Now

AGENT_BYTES_MAX = 64
PREFIX_LOW = 4
"""Fewer digits of a node's id are no name."""


@dataclass(slots=True)
class HandingOver:
    """Offers by agents of this node, and answers to offers of others."""

    ledger: Ledger
    claiming: Claiming
    writing: Writing

    def offer(self, now: Now, asker: Asker, command: TaskOffer) -> None:
        """Offer a claim, offer it anew, or keep it after all."""
        self.ledger.check_room()
        context = context_of(command)
        beside = "context" if context else ""
        blob = self.ledger.left_blob(command.context_blob, "context", beside=beside)
        to = None if command.to is None else self._node(command.to)
        agent = fitting_bytes(command.agent, AGENT_BYTES_MAX, "agent").decode()
        holding = self.writing.holding(command.handle)
        fact = Offer(
            task=holding.task,
            claim=holding.claim.id,
            boot=self.ledger.parts.boot,
            number=holding.next_number(),
            to=to,
            agent=agent,
            context=context,
            context_blob=blob,
            withdrawn=command.withdraw,
        )
        _, (offer,) = self.ledger.publish(now, [fact])
        self.ledger.count("offers_withdrawn" if command.withdraw else "offers")
        body: dict[str, Json] = {
            "task": task_name(holding),
            "offer": offer.id.hex(),
            "to": None if to is None else to.hex(),
        }
        self.writing.answer_after_commit(now, asker, command, body)

    def _node(self, given: str) -> NodeId:
        """Return the node that a client names; raises LocalError."""
        liveness = self.ledger.parts.liveness
        nodes = (self.ledger.self_id, *liveness.alive())
        wanted = given.lower()
        found = [
            node
            for node in nodes
            if liveness.name(node) == given
            or (len(wanted) >= PREFIX_LOW and node.hex().startswith(wanted))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise LocalError(
                "ambiguous", f"{len(found)} nodes match {given!r}", "give more of the node's id"
            )
        raise LocalError(
            "not_found",
            f"no node {given!r} is alive",
            "see `mesh members`, or offer it to anyone by leaving out whom",
        )

    # --- what others do with it

    def accept(self, now: Now, asker: Asker, command: TaskAccept) -> None:
        """Take over what was offered: claim it, and answer once work may begin."""
        ledger = self.ledger
        ledger.check_room()
        ledger.sessions.check_room()
        agent = self._agent(asker, command.agent)
        record = ledger.record(command.task)
        offered = self._meant(record, agent)
        if not ledger.sessions.has_capacity(asker.client):
            raise no_capacity()
        self._check_context(now, record, offered)
        owner = record.owner
        assert owner is not None
        assert record.spec is not None
        if not self.claiming.openings.is_capable(record.spec.fact):
            raise LocalError(
                "not_capable",
                f"task {command.task} requires tags that this node has not",
                "accept it on a node that has them; see `mesh task show`",
            )
        accept = Accept(record.task, offered.fact.id, ledger.parts.boot, agent)
        reason = ledger.parts.author.draft(accept).id
        opening = Opening(now.instant, record.epoch + 1, owner.fact.id, reason, ahead=accept)
        ledger.requests.begin(now, asker.key, command)
        wish = TaskClaim(task=command.task, detached=command.detached, agent=agent)
        number = ledger.waiters.new_number()
        waiter = ClaimWaiter(number, asker, wish, agent, record.task, (), now.instant)
        ledger.count("offers_accepted")
        self.claiming.claim_now(now, waiter, record, opening)

    def _check_context(self, now: Now, record: Record, offered: OfferView) -> None:
        """Raise LocalError while what the next owner has to know is not here as a whole."""
        blob, blobs = offered.fact.fact.context_blob, self.ledger.parts.blobs
        if blob is None or blobs.has(BlobId(blob[0])):
            return
        blobs.want(now, record.task, (BlobId(blob[0]), blob[1]), (offered.fact.author,))
        raise LocalError(
            "context_not_here",
            f"the context of {blob[1]} bytes is being fetched",
            "accept it again in a moment; `mesh task show` tells when it is here",
        )

    def refuse(self, now: Now, asker: Asker, command: TaskRefuse) -> None:
        """Say that this agent does not take what was offered."""
        self.ledger.check_room()
        agent = self._agent(asker, command.agent)
        record = self.ledger.record(command.task)
        offered = self._meant(record, agent)
        reason = cut_text(command.reason, REASON_BYTES_MAX, "reason")
        fact = Decline(record.task, offered.fact.id, agent, reason)
        if not self.ledger.said_already(fact):
            self.ledger.publish(now, [fact])
            self.ledger.count("offers_declined")
        body: dict[str, Json] = {"task": command.task, "offer": offered.fact.id.hex()}
        self.writing.answer_after_commit(now, asker, command, body)

    def _agent(self, asker: Asker, given: str) -> str:
        session = self.ledger.sessions.session(asker.client)
        if session is not None and given == "cli":
            return session.agent
        return entered_text(given, AGENT_BYTES_MAX, "agent")

    def _meant(self, record: Record, agent: str) -> OfferView:
        """Return the offer that stands, if it is meant for an agent here; raises LocalError."""
        if record.state in TERMINAL:
            raise already_finished(record)
        holder = record.holder if record.is_worked_on else None
        offered = None if holder is None else record.exchange.offer_on(holder.fact.id)
        if offered is None:
            raise LocalError(
                "no_offer",
                f"task {task_text(record.task)} is not offered to anyone",
                "ask its owner to offer it, or wait until it can be claimed",
            )
        offer = offered.fact.fact
        for_node = offer.to in {None, self.ledger.self_id}
        if not for_node or offer.agent not in {"", agent}:
            to = "" if offer.to is None else self.ledger.parts.liveness.name(offer.to)
            whom = " on ".join(part for part in (offer.agent, to) if part)
            raise LocalError(
                "not_permitted",
                f"task {task_text(record.task)} is offered to {whom}",
                "accept it there, or ask its owner to offer it to anyone",
            )
        return offered


def context_of(command: TaskOffer) -> bytes:
    """Return what a hand-over says, as it stands in a fact or a blob; raises LocalError."""
    fields: dict[str, object] = {
        "goal": command.goal,
        "done": command.done,
        "pending": command.pending,
        "decisions": [{"what": made.what, "why": made.why} for made in command.decisions],
        "caveats": command.caveats,
    }
    given = {name: value for name, value in fields.items() if value}
    if not given:
        return b""
    text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    data = entered_bytes(text, "context")
    if len(data) > LEFT_BYTES_MAX:
        raise LocalError(
            "context_too_large",
            f"the context is {len(data)} bytes, at most {LEFT_BYTES_MAX} fit",
            "keep it short, and name a place where the rest can be read",
        )
    return data
