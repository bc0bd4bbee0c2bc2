"""The right to make the next claim on a task: from when on, and because of what."""

from dataclasses import dataclass, replace
from typing import Any

from mesh.core.claims.allocation import bid_rank, claim_rank
from mesh.core.claims.auction import NO_BID, Auctions, is_auction
from mesh.core.claims.board import OwnerSession
from mesh.core.claims.capability import meets
from mesh.core.claims.dependencies import blocking
from mesh.core.claims.facts import Claim, Spec, TaskFact
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.limits import Limits, free_slots
from mesh.core.claims.payloads import Payloads
from mesh.core.claims.record import Record
from mesh.core.claims.scheduling import order_key, ready_at, too_late_at
from mesh.core.claims.takeover import (
    Ended,
    decline_delay_s,
    evidence_of,
    free_at,
    put_off_s,
    retry_delay_s,
    session_boot,
)
from mesh.core.claims.views import TERMINAL
from mesh.core.identity import FactId, NodeId, TaskId
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.wire.envelope import Verified

NONCE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Opening:
    """The right to make the next claim on a task, from an instant on."""

    at: Instant
    epoch: int
    supersedes: FactId | None = None
    because: FactId | None = None
    ended: Ended | None = None
    """Set when the reason is a membership fact, which is published with the claim."""
    until: Instant = NEVER
    """Until when: an owner in an auction may be outbid for a while."""
    ahead: TaskFact | None = None
    """Set when the reason is still to be said, in the same push."""


@dataclass(slots=True)
class Openings:
    """Finds out which tasks this node may claim, and keeps the board in line with that."""

    ledger: Ledger
    limits: Limits
    auctions: Auctions
    payloads: Payloads

    def opening(self, now: Now, record: Record) -> Opening | None:
        """Return from when on which claim may be made to do a task; None: not as things stand."""
        opening = self._opening_but_for_slots(now, record)
        if opening is None or record.spec is None or record.spec.fact.limit is None:
            return opening
        return opening if free_slots(self.ledger.parts.table, record.spec.fact) else None

    def _opening_but_for_slots(self, now: Now, record: Record) -> Opening | None:
        right = self.right(now, record) or self._outbidding(now, record)
        if right is None or not record.attempts_left:
            return None
        assert record.spec is not None
        spec = record.spec.fact
        if blocking(self.ledger.parts.table, spec) or self.payloads.lacks(record):
            return None
        too_late = too_late_at(now, record, self.ledger.parts.params)
        at = max(right.at, ready_at(now, spec), self.ledger.resting.until(now, record.task))
        if too_late is not None and too_late[0] <= at:
            return None
        return right if at == right.at else replace(right, at=at)

    def rests(self, now: Now, record: Record) -> bool:
        """Whether a task may not be claimed yet, but as soon as it has rested."""
        until = self.ledger.resting.until(now, record.task)
        if until <= now.instant:
            return False
        opening = self.opening(now, record)
        return opening is not None and opening.at <= until

    def _outbidding(self, now: Now, record: Record) -> Opening | None:
        """Return the claim with which an owner in an auction may be outbid, for a while."""
        closes = self.auctions.closes(now, record)
        if closes is None or closes <= now.instant or record.owner is None:
            return None
        assert record.spec is not None
        if not self.is_capable(record.spec.fact):
            return None
        bid = record.owner.fact.fact
        return Opening(now.instant, bid.epoch, bid.supersedes, bid.because, until=closes)

    def right(self, now: Now, record: Record) -> Opening | None:
        """Return which claim nobody could object to, whatever the task still waits for."""
        if record.spec is None or record.state in TERMINAL:
            return None
        if record.task in self.ledger.parts.table.forgotten:
            return None
        owner, spec = record.owner, record.spec.fact
        if not self.is_capable(spec):
            return None
        if owner is None:
            return Opening(now.instant, 1)
        if owner.ended_by is not None:
            params = self.ledger.parts.params
            delay_s = max(
                retry_delay_s(owner, spec, record.attempts_used, params),
                decline_delay_s(record.claims, self.ledger.self_id, spec, params),
                put_off_s(record.exchange.releases, owner.fact.id, now.wall),
            )
            free = later(now.instant, delay_s)
            at = self.ledger.board.retry_at(record.task, owner.fact.id, free)
            return Opening(at, record.epoch + 1, owner.fact.id, owner.ended_by)
        if owner.fact.author == self.ledger.self_id or record.in_review:
            return None
        ended = self.ledger.parts.liveness.ended(owner.fact.author, session_boot(owner))
        if ended is None:
            return None
        at = free_at(ended, spec, self.ledger.graces)
        return Opening(at, record.epoch + 1, owner.fact.id, ended.fact.id, ended)

    def is_capable(self, spec: Spec, node: NodeId | None = None) -> bool:
        """Whether a node, this one if none is named, has the tags that a task requires."""
        if not spec.requires:
            return True
        tags = self.ledger.parts.liveness.tags(self.ledger.self_id if node is None else node)
        return meets(tags, spec.requires)

    def capable(self, spec: Spec) -> list[NodeId]:
        """Return the alive nodes, this one included, with the tags that a task requires."""
        here = (*self.ledger.parts.liveness.alive(), self.ledger.self_id)
        return [node for node in here if self.is_capable(spec, node)]

    def evaluate(self, now: Now, task: TaskId) -> bool:
        """Bring the board in line with a task's record; whether the task is newly listed."""
        ledger = self.ledger
        record = ledger.parts.table.record(task)
        opening = None if record is None else self._opening_but_for_slots(now, record)
        ledger.board.watch(task, None if record is None else self._foreign_owner(record))
        timer = ("open", task)
        if record is None or opening is None or opening.ended is not None:
            ledger.board.forget_retry(task)
        spec = None if record is None or record.spec is None else record.spec.fact
        if opening is None or opening.at > now.instant:
            ledger.board.close(task)
            self.limits.forget(task)
            if record is None or record.state in TERMINAL:
                self.auctions.forget(task)
            if opening is None:
                ledger.timers.cancel(timer)
            else:
                ledger.timers.set(timer, opening.at)
            return False
        ledger.timers.set(timer, opening.until)
        assert record is not None
        assert spec is not None
        if is_auction(spec):
            self.auctions.see(now, record, opening.epoch)
        if not self.limits.admit(task, spec):
            ledger.board.close(task)
            return False
        key = order_key(task, spec, ledger.parts.params)
        is_new = ledger.board.open(spec.kind, key, opening.at)
        if not is_new and opening.until == NEVER:
            return False
        ledger.stirred[spec.kind] = None
        return True

    def _foreign_owner(self, record: Record) -> OwnerSession | None:
        owner = record.owner
        if owner is None or not record.is_worked_on:
            return None
        if owner.fact.author == self.ledger.self_id:
            return None
        return OwnerSession(owner.fact.author, session_boot(owner))

    def draft(
        self, record: Record, opening: Opening, agent: str, asked: int | None = None
    ) -> tuple[Claim, list[Verified[Any]]]:
        """Return the claim that an opening allows, in this node's name, and what it cites.

        In an auction it bids what is `asked` for, or else what this node's tags are worth.
        What it cites counts in the table already; raises LocalError when that has no room.
        """
        parts = self.ledger.parts
        assert record.spec is not None
        spec, cited, presence = record.spec.fact, [], None
        if opening.ended is not None:
            self.ledger.take_evidence(evidence_of(opening.ended))
            cited.append(opening.ended.fact)
        if spec.requires:
            proof, says = parts.liveness.own_presence()
            self.ledger.take_evidence(says)
            cited.append(proof)
            presence = proof.id
        slots = free_slots(parts.table, spec) or [0]
        if opening.ahead is not None and record.owner is not None:
            slots = [record.owner.fact.fact.slot or 0]  # it is handed over with the task
        claim = Claim(
            task=record.task,
            spec=record.spec.id,
            epoch=opening.epoch,
            rank=bid_rank(self._bid(record, asked), self._lot(record, opening.epoch)),
            boot=parts.boot,
            agent=agent,
            nonce=parts.rng.randbytes(NONCE_BYTES),
            supersedes=opening.supersedes,
            because=opening.because,
            presence=presence,
            slot=None if spec.limit is None else parts.rng.choice(slots),
        )
        return claim, cited

    def _bid(self, record: Record, asked: int | None) -> int:
        assert record.spec is not None
        return self.auctions.bid(record, asked) if is_auction(record.spec.fact) else 0

    def _lot(self, record: Record, epoch: int) -> int:
        return claim_rank(record.task, epoch, self.ledger.self_id)

    def outbids(self, now: Now, record: Record, asked: int | None) -> bool:
        """Whether a claim of this node would own an auctioned task; any other is not bid for."""
        assert record.spec is not None
        if not is_auction(record.spec.fact):
            return True
        opening = self.opening(now, record)
        if asked == NO_BID:
            return False
        if opening is None or opening.epoch > record.epoch:
            return opening is not None
        assert record.owner is not None
        bid = bid_rank(self._bid(record, asked), self._lot(record, opening.epoch))
        return bid > record.owner.fact.fact.rank
