"""Who keeps a copy of the bytes that a fact names, so that an answer may count it.

A fact is on many disks at once, but the bytes that it names only where they were fetched. So that
"durable on two nodes" holds for both, the first few nodes of an order that everybody computes fetch
them as soon as they hear of the fact: the submitter's node, then those that would claim next.
"""

from collections.abc import Sequence
from typing import Any

from mesh.core.claims.allocation import stagger_order
from mesh.core.claims.facts import Blob, Progress, Result, Spec
from mesh.core.claims.record import Record
from mesh.core.claims.table import Table
from mesh.core.identity import NodeId
from mesh.core.params import ClaimParams
from mesh.core.wire.envelope import Verified


def named_blob(fact: object) -> Blob | None:
    """Return the blob without which a fact that is written durably is worth nothing."""
    match fact:
        case Spec():
            return fact.blob
        case Progress():
            return fact.checkpoint_blob
        case Result() if fact.size is not None:
            return fact.digest, fact.size
        case _:
            return None


def keepers(
    record: Record, verified: Verified[Any], nodes: Sequence[NodeId], params: ClaimParams
) -> tuple[NodeId, ...]:
    """Return who of these fetches at once what a fact names; nobody does if it is large."""
    blob, spec = named_blob(verified.fact), record.spec
    if blob is None or spec is None or blob[1] > params.left_bytes_max:
        return ()
    others = [node for node in nodes if node != verified.author]
    first = [node for node in others if node == spec.author]
    order = stagger_order(record.task, 1 + _epoch(record, verified.fact), others)
    return tuple(dict.fromkeys((*first, *order)))[: params.copies_keepers]


def keepers_of(
    table: Table, verified: Verified[Any], nodes: Sequence[NodeId], params: ClaimParams
) -> tuple[NodeId, ...]:
    """Return the keepers of what any fact names, be it about a task or what a claim cites."""
    is_named = named_blob(verified.fact) is not None
    record = table.record(verified.fact.task) if is_named else None
    return () if record is None else keepers(record, verified, nodes, params)


def _epoch(record: Record, fact: Spec | Progress | Result) -> int:
    """Return the epoch of the claim that a fact is part of; before the first it is 0."""
    if isinstance(fact, Spec):
        return 0
    for view in record.claims:
        if view.fact.id == fact.claim:
            return view.fact.fact.epoch
    return record.epoch
