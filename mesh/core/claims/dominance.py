"""The dominating-fact reply: whoever brings a claim that is beaten is told at once by what.

It closes the gap that the settle window leaves open: a claimant whose own view is behind hears of
the greater claim within one round trip, well before it would start.
"""

from typing import Any

from mesh.core.claims.facts import Allocation, Cancel, Claim, Progress, ProgressState, Result, Spec
from mesh.core.claims.limits import outhung, rival
from mesh.core.claims.record import ClaimView, Record, token_key
from mesh.core.claims.table import Table
from mesh.core.identity import FactId, NodeId, TaskId
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified

FACTS_TOLD_MAX = 32


def cited_task(verified: Verified[Any]) -> tuple[TaskId, FactId] | None:
    """Return the task and the claim that a fact stands up for, if it does."""
    fact = verified.fact
    if isinstance(fact, Claim):
        return fact.task, verified.signed.id
    if isinstance(fact, Progress) and fact.state != ProgressState.RELEASED:
        return fact.task, fact.claim
    return None


def dominating_ids(table: Table, verified: Verified[Any]) -> list[FactId]:
    """Return the facts that beat what was brought, each after what it cites; mostly none."""
    cited = cited_task(verified)
    if cited is None:
        return []
    task, claim_id = cited
    record = table.record(task)
    brought = None if record is None else view_of(record, claim_id)
    if record is None or brought is None:
        return []
    told: list[FactId] = []
    owner = record.owner
    if record.winner is not None and record.winner.fact.claim != claim_id:
        winning = view_of(record, record.winner.fact.claim)
        assert winning is not None
        told += [*_chain(record, winning), record.winner.id]
    elif record.state is TaskState.CANCELED:
        told += [fact.id for fact in table.facts_of(task) if isinstance(fact.fact, Cancel)]
    elif owner is not None and token_key(brought.fact) < token_key(owner.fact):
        told += _chain(record, owner)
    elif (stays := rival(table, record)) is not None:
        told += _whole(stays)
    return told[-FACTS_TOLD_MAX:]


def outraced(table: Table, verified: Verified[Any]) -> tuple[NodeId, list[FactId]] | None:
    """Return whom a claim has just beaten in a race, and what to tell there; mostly nobody.

    Whoever acknowledged the lesser claim first owes its author this: the acknowledgement said that
    nothing greater was known.
    """
    fact = verified.fact
    record = table.record(fact.task) if isinstance(fact, Claim) else None
    if record is None or record.owner is None:
        return None
    if record.owner.fact.signed.id != verified.signed.id:
        return None
    others = [
        view for view in record.claims[:-1] if view.valid and view.fact.fact.epoch == fact.epoch
    ]
    if not others or others[-1].fact.author == verified.author:
        return None
    return others[-1].fact.author, _chain(record, record.owner)[-FACTS_TOLD_MAX:]


def pushed_off(table: Table, verified: Verified[Any]) -> list[tuple[NodeId, list[FactId]]]:
    """Return whose tasks a claim has just pushed off their slot, and what to tell there."""
    if not isinstance(verified.fact, Claim):
        return []
    record = table.record(verified.fact.task)
    found = []
    for other in outhung(table, verified):
        assert other.owner is not None
        assert record is not None
        if other.owner.fact.author != verified.author:
            found.append((other.owner.fact.author, _whole(record)))
    return found


def owner_ids(table: Table, verified: Verified[Any]) -> list[FactId]:
    """Return the facts by which a task that was submitted has an owner by now; mostly none.

    Not the spec itself: whoever had that first would find the task open.
    """
    if not isinstance(verified.fact, Spec):
        return []
    record = table.record(verified.fact.task)
    if record is None or record.owner is None:
        return []
    if verified.fact.allocation == Allocation.AUCTION and not record.owner.started:
        return []  # whoever hears of it now may still bid
    return _whole(record)[1:][-FACTS_TOLD_MAX:]


def counts(table: Table, verified: Verified[Any]) -> bool:
    """Whether the claim that a fact stands up for is valid here, so that it keeps others away."""
    cited = cited_task(verified)
    return cited is None or _is_valid(table, *cited)


def base_of(verified: Verified[Any]) -> FactId | None:
    """Return the claim that a fact is part of or rests on, if it is one of those with copies."""
    if isinstance(verified.fact, Claim):
        return verified.id
    return verified.fact.claim if isinstance(verified.fact, Progress | Result) else None


def is_backed(table: Table, verified: Verified[Any]) -> bool:
    """Whether a fact counts here from what is held alone, should nobody else come back.

    A result whose claim is unknown completes nothing: who has only the result has no copy.
    """
    claim = base_of(verified)
    return claim is None or _is_valid(table, verified.fact.task, claim)


def missing_ids(table: Table, verified: Verified[Any]) -> list[FactId]:
    """Return what to ask for when a fact is not backed: the next of its claims, or the spec.

    What a claim cites of the membership gets about by itself.
    """
    cited = base_of(verified)
    assert cited is not None, "what rests on nothing lacks nothing"
    record = table.record(verified.fact.task)
    while cited is not None:
        view = None if record is None else view_of(record, cited)
        if record is None or view is None:
            return [cited]
        if record.spec is None:
            return [view.fact.fact.spec]
        cited = view.fact.fact.supersedes
    return []


def _is_valid(table: Table, task: TaskId, claim: FactId) -> bool:
    record = table.record(task)
    view = None if record is None else view_of(record, claim)
    return view is not None and view.valid


def view_of(record: Record, claim: FactId) -> ClaimView | None:
    """Return the view of one claim."""
    for view in record.claims:
        if view.fact.signed.id == claim:
            return view
    return None


def _whole(record: Record) -> list[FactId]:
    """Return what shows somebody who has never heard of a task who owns it."""
    assert record.owner is not None
    assert record.spec is not None
    ids = [record.spec.id, *_chain(record, record.owner)]
    if record.owner.progress is not None:
        ids.append(record.owner.progress.id)
    return ids


def _chain(record: Record, view: ClaimView) -> list[FactId]:
    """Return a claim behind everything that makes it valid, down to the first epoch."""
    chain: list[FactId] = []
    at: ClaimView | None = view
    while at is not None:
        fact = at.fact.fact
        chain.append(at.fact.id)
        if fact.because is not None:
            chain.append(fact.because)
        if fact.presence is not None:
            chain.append(fact.presence)
        at = None if fact.supersedes is None else view_of(record, fact.supersedes)
    return chain[::-1]
