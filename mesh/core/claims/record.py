"""The state of one task, derived from nothing but the set of facts held about it.

Picture a heap of signed notes on a desk. Whoever comes in reads them all and knows who owns the
task; it does not matter in which order they were put down. So nothing is remembered between two
readings, and two nodes with the same notes read the same state. Two rules make the reading stable:
a note is never taken back by another note (a valid claim stays valid whatever is added), and among
valid claims the greatest token owns. So the owner's token never goes back, and a completed task
stays completed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.allocation import score_of
from mesh.core.claims.capability import is_proven
from mesh.core.claims.exchange import NOTHING_SAID, Chapter, Exchange, Talk
from mesh.core.claims.exchange_facts import ExchangeFact, Review
from mesh.core.claims.facts import (
    Allocation,
    Attempt,
    AttemptKind,
    Cancel,
    Claim,
    Evidence,
    Progress,
    ProgressState,
    Result,
    Spec,
)
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId, NodeId, TaskId
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified

TOKEN_FORM = re.compile("[0-9a-f]{8}-[0-9a-f]{16}-[0-9a-f]{32}-[0-9a-f]{16}")
OVER = (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED)
Token = tuple[int, int, NodeId, bytes]
"""(epoch, rank, node, nonce): who outranks whom, and what a resource is fenced with."""


@dataclass(frozen=True, slots=True)
class ClaimView:
    """One claim and what its author has said about it; nobody else's words count.

    Of several attempts or results on one claim the least id is shown; any of them ends or
    completes it.
    """

    fact: Verified[Claim]
    valid: bool
    progress: Verified[Progress] | None
    """The greatest (boot, number)."""
    started: bool
    attempt: Verified[Attempt] | None
    result: Verified[Result] | None
    ended_by: FactId | None
    """What ended the claim: its author's release or attempt, an operator's release, or a review."""
    released: bool
    checkpoint: Verified[Progress] | None = None
    """The newest progress that says where a later attempt may go on from."""

    @property
    def used(self) -> bool:
        """Whether the claim costs an attempt: started, and neither released nor declined."""
        if not self.started or self.released:
            return False
        return self.attempt is None or self.attempt.fact.kind != AttemptKind.DECLINED


@dataclass(frozen=True, slots=True)
class Record:
    """What the facts held about one task add up to."""

    task: TaskId
    spec: Verified[Spec] | None
    """The effective one; None while only facts that cite it have arrived."""
    others: tuple[Verified[Spec], ...]
    """Further specs under the id of a keyed task, by id: others submitted it as well."""
    claims: tuple[ClaimView, ...]
    """All that are held, valid or not, by token, rising."""
    owner: ClaimView | None
    """The greatest valid claim, ended or not."""
    state: TaskState
    epoch: int
    """The owner's; 0 while there is none."""
    starts: int
    """Valid claims, outranked ones too, on which work was begun."""
    attempts_used: int
    winner: Verified[Result] | None
    superseded: tuple[Verified[Result], ...]
    """Results of valid claims that another result outranks, rising."""
    cancel: Verified[Cancel] | None
    """The least that counts; a completed task keeps its result all the same."""
    exchange: Exchange = NOTHING_SAID
    """Offers, questions, reviews and releases."""

    @property
    def canceled(self) -> bool:
        """Whether a cancel counts."""
        return self.cancel is not None

    @property
    def holder(self) -> ClaimView | None:
        """The owner while the task is in its hands; None before and after."""
        return self.owner if self.state in HELD else None

    @property
    def in_review(self) -> bool:
        """Whether the owner has done its part, and others have to accept its result."""
        owner = self.owner
        return owner is not None and owner.result is not None and self.state in HELD

    @property
    def is_worked_on(self) -> bool:
        """Whether the owner has still to do its part."""
        owner = self.owner
        return owner is not None and owner.result is None and self.state in HELD

    @property
    def checkpoint(self) -> Verified[Progress] | None:
        """The newest checkpoint of the greatest token that has one."""
        kept = [view.checkpoint for view in self.claims if view.valid and view.checkpoint]
        return kept[-1] if kept else None

    @property
    def attempts_left(self) -> bool:
        """Whether the task may be started once more."""
        return self.spec is not None and self.attempts_used < self.spec.fact.max_attempts

    @property
    def is_over(self) -> bool:
        """Whether the task is completed, failed or canceled."""
        return self.state in OVER

    @property
    def claimable(self) -> bool:
        """Whether the facts about the task alone leave it open to be claimed."""
        return self.state is TaskState.SUBMITTED and self.attempts_left


HELD = (TaskState.WORKING, TaskState.INPUT_REQUIRED)


def nobody(_node: NodeId) -> bool:
    """Whether a node is an admin, in a mesh that has none."""
    return False


def token_key(claim: Verified[Claim]) -> Token:
    """Return the token of a claim as something that sorts."""
    fact = claim.fact
    return (fact.epoch, fact.rank, claim.author, fact.nonce)


def token_text(claim: Verified[Claim]) -> str:
    """Return the token as text of fixed width: string order is token order."""
    epoch, rank, node, nonce = token_key(claim)
    return f"{epoch:08x}-{rank:016x}-{node.hex()}-{nonce.hex()}"


def is_token(text: str) -> bool:
    """Whether a text has the form of a token: only such texts compare as tokens do."""
    return TOKEN_FORM.fullmatch(text) is not None


def history(facts: TaskFacts) -> tuple[Verified[Any], ...]:
    """Return the facts as they tell the story: specs, each claim with what cites it, the rest.

    Claims stand by token; the order is a function of the set, like everything here.
    """
    heap = _Heap(facts)
    heap.sort_talk()
    told: list[Verified[Any]] = sorted(heap.specs.values(), key=_by_id)
    for claim in heap.claims:
        said = heap.said.pop(claim.signed.id, [])
        told += [claim, *sorted(said, key=heap.by_chapter)]
    told += sorted(heap.cancels, key=_by_id)
    stray = [verified for said in heap.said.values() for verified in said]
    return (*told, *sorted(stray, key=_by_id))


def derive(
    facts: TaskFacts,
    evidence: Mapping[FactId, Evidence],
    is_admin: Callable[[NodeId], bool] = nobody,
) -> Record:
    """Return the record of a task: a pure function of these sets, whatever their order."""
    heap = _Heap(facts, is_admin)
    heap.validate(evidence)
    views = tuple(heap.view(claim) for claim in heap.claims)
    valid = [view for view in views if view.valid]
    owner = valid[-1] if valid else None
    results = heap.results(valid)
    specs = sorted(heap.specs.values(), key=_by_id)
    spec = specs[0] if specs else None
    attempts_used = len([view for view in valid if view.used])
    winner = results[-1] if results else None
    cancel = heap.cancel(is_admin) if heap.cancels else None
    spent = spec is not None and attempts_used >= spec.fact.max_attempts
    exchange = heap.talk.exchange()
    waits = owner is not None and (
        owner.result is not None or bool(exchange.open_questions(owner.fact.id))
    )
    return Record(
        task=facts.task,
        spec=spec,
        others=tuple(specs[1:]),
        claims=views,
        owner=owner,
        state=_state(
            owner,
            completed=winner is not None,
            canceled=cancel is not None,
            spent=spent,
            waits=waits,
        ),
        epoch=owner.fact.fact.epoch if owner else 0,
        starts=len([view for view in valid if view.started]),
        attempts_used=attempts_used,
        winner=winner,
        superseded=tuple(results[:-1]),
        cancel=cancel,
        exchange=exchange,
    )


def _by_id(verified: Verified[Any]) -> FactId:
    return verified.signed.id


def _by_token(claim: Verified[Claim]) -> tuple[int, int, NodeId, bytes, FactId]:
    fact = claim.fact
    return (fact.epoch, fact.rank, claim.author, fact.nonce, claim.signed.id)


def _by_number(progress: Verified[Progress]) -> tuple[int, int, FactId]:
    return (progress.fact.boot, progress.fact.number, progress.signed.id)


def _state(
    owner: ClaimView | None, *, completed: bool, canceled: bool, spent: bool, waits: bool = False
) -> TaskState:
    if completed:
        return TaskState.COMPLETED
    if canceled:
        return TaskState.CANCELED
    if owner is None:
        return TaskState.SUBMITTED
    if owner.ended_by is None:
        return TaskState.INPUT_REQUIRED if waits else TaskState.WORKING
    return TaskState.FAILED if spent else TaskState.SUBMITTED


def _least(found: Sequence[Verified[Any]]) -> Verified[Any] | None:
    return min(found, key=_by_id) if found else None


@dataclass(slots=True)
class _Heap:
    """The facts of one task, sorted out by kind; claims by token."""

    facts: TaskFacts
    is_admin: Callable[[NodeId], bool] = nobody
    specs: dict[FactId, Verified[Spec]] = field(default_factory=dict)
    claims: list[Verified[Claim]] = field(default_factory=list)
    said: dict[FactId, list[Verified[Any]]] = field(default_factory=dict)
    """Progress, attempts and results by the claim that they cite, whoever wrote them."""
    cancels: list[Verified[Cancel]] = field(default_factory=list)
    valid: dict[FactId, Verified[Claim]] = field(default_factory=dict)
    talk: Talk = field(init=False)
    ends: dict[FactId, list[Verified[Any]]] = field(init=False)
    """By claim: what others may say to end it."""

    def __post_init__(self) -> None:
        self.talk = Talk(self.facts, self.specs, self.is_admin)
        for verified in self.facts:
            fact = verified.fact
            if isinstance(fact, Spec):
                self.specs[verified.signed.id] = verified
            elif isinstance(fact, Claim):
                self.claims.append(verified)
            elif isinstance(fact, Cancel):
                self.cancels.append(verified)
            elif isinstance(fact, ExchangeFact):
                self.talk.said.append(verified)
            else:
                self.said.setdefault(fact.claim, []).append(verified)
        self.claims.sort(key=_by_token)
        self.ends = self.talk.ends_by_claim()

    def sort_talk(self) -> None:
        """Put what was said to others beside what the authors of claims have said."""
        for verified in self.talk.said:
            claim = self.talk.claim_of(verified) or verified.id
            self.said.setdefault(claim, []).append(verified)

    def by_chapter(self, said: Verified[Any]) -> Chapter:
        """Return the place of a fact among those about one claim."""
        fact, id_ = said.fact, said.signed.id
        if isinstance(fact, ExchangeFact):
            return self.talk.chapter(said)
        if isinstance(fact, Progress):
            return (0, fact.boot, fact.number, 0, id_)
        return (1 if isinstance(fact, Attempt) else 2, 0, 0, 0, id_)

    def validate(self, evidence: Mapping[FactId, Evidence]) -> None:
        """Find the valid claims; epochs rise, so what a claim supersedes was judged before it."""
        for claim in self.claims:
            if claim.fact.spec in self.specs and self._is_valid(claim, evidence):
                self.valid[claim.signed.id] = claim

    def _is_valid(self, claim: Verified[Claim], evidence: Mapping[FactId, Evidence]) -> bool:
        fact = claim.fact
        if not self._suits(claim, evidence):
            return False
        if fact.epoch == 1:
            return True
        assert fact.supersedes is not None
        assert fact.because is not None
        before = self.valid.get(fact.supersedes)
        if before is None or before.fact.epoch + 1 != fact.epoch:
            return False
        reason = self.facts.get(fact.because)
        if reason is not None:
            return _ends(reason, before) or self.talk.ends(reason, before, claim)
        proof = evidence.get(fact.because)
        return (
            proof is not None
            and proof.subject == before.author
            and proof.ended_boot >= before.fact.boot
        )

    def _suits(self, claim: Verified[Claim], evidence: Mapping[FactId, Evidence]) -> bool:
        """Whether a claim has what the spec that it cites asks for: tags, a score, a slot."""
        fact, spec = claim.fact, self.specs[claim.fact.spec].fact
        presence = None if fact.presence is None else evidence.get(fact.presence)
        if not is_proven(claim, spec, presence):
            return False
        if score_of(fact.rank) and spec.allocation != Allocation.AUCTION:
            return False
        if spec.limit is None:
            return fact.slot is None
        return fact.slot is not None and fact.slot < spec.limit[1]

    def view(self, claim: Verified[Claim]) -> ClaimView:
        """Return a claim with what its own author has said about it."""
        id_ = claim.signed.id
        valid = id_ in self.valid
        if id_ not in self.said:
            return ClaimView(claim, valid, None, False, None, None, None, False)
        progress: list[Verified[Progress]] = []
        attempts: list[Verified[Attempt]] = []
        results: list[Verified[Result]] = []
        for said in self.said.get(id_, ()):
            if said.author != claim.author:
                continue
            if isinstance(said.fact, Progress):
                progress.append(said)
            elif isinstance(said.fact, Attempt):
                attempts.append(said)
            else:
                results.append(said)
        states = [said.fact.state for said in progress]
        released = [said for said in progress if said.fact.state == ProgressState.RELEASED]
        by_others = self.ends.get(id_, [])
        let_go = any(not isinstance(end.fact, Review) for end in by_others)
        ended_by = _least([*released, *attempts, *by_others])
        kept = [said for said in progress if said.fact.checkpoint or said.fact.checkpoint_blob]
        return ClaimView(
            fact=claim,
            valid=valid,
            progress=max(progress, key=_by_number) if progress else None,
            started=ProgressState.STARTED in states,
            attempt=_least(attempts),
            result=_least(results),
            ended_by=ended_by.signed.id if ended_by else None,
            released=bool(released) or let_go,
            checkpoint=max(kept, key=_by_number) if kept else None,
        )

    def results(self, valid: Iterable[ClaimView]) -> list[Verified[Result]]:
        """Return the results that count: by token, and on one claim the least id last."""
        found: list[Verified[Result]] = []
        for view in valid:
            if view.result is not None:
                claim = view.fact
                mine = [
                    said
                    for said in self.said[claim.signed.id]
                    if isinstance(said.fact, Result)
                    and said.author == claim.author
                    and self.talk.is_accepted(said, claim)
                ]
                found += sorted(mine, key=_by_id, reverse=True)
        return found

    def cancel(self, is_admin: Callable[[NodeId], bool]) -> Verified[Cancel] | None:
        """Return the least cancel by a submitter, the author of a valid claim or an admin."""
        allowed = {spec.author for spec in self.specs.values()}
        allowed |= {claim.author for claim in self.valid.values()}
        return _least(
            [
                cancel
                for cancel in self.cancels
                if cancel.fact.spec in self.specs
                and (cancel.author in allowed or is_admin(cancel.author))
            ]
        )


def _ends(reason: Verified[Any], claim: Verified[Claim]) -> bool:
    """Whether a task fact is the claimant's own word that this claim is over."""
    fact = reason.fact
    if isinstance(fact, Progress):
        over = fact.state == ProgressState.RELEASED
    else:
        over = isinstance(fact, Attempt)
    return over and reason.author == claim.author and fact.claim == claim.signed.id
