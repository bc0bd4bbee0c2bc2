"""What clients see of a task's order, limits and dependencies: why it waits, and until when."""

from mesh.core.claims.auction import bids, is_auction
from mesh.core.claims.capability import meets
from mesh.core.claims.choosing import turn_order
from mesh.core.claims.dependencies import blocking
from mesh.core.claims.exchange_views import moment
from mesh.core.claims.facts import Allocation, CancelReason, Claim, ParentPolicy, Spec
from mesh.core.claims.ledger import Ledger, wall_ms
from mesh.core.claims.limits import free_slots, running, slot_of
from mesh.core.claims.record import Record
from mesh.core.claims.submitting import same_work
from mesh.core.claims.views import claim_view
from mesh.core.effects import Json
from mesh.core.identity import task_text
from mesh.core.instants import Now
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified

MS = 1000


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / MS


def _time(ms: int | None) -> str | None:
    return None if ms is None else moment(ms)


def spec_view(spec: Spec) -> dict[str, Json]:
    """Return what a spec says about when, where and by whom it is done."""
    return {
        "dedupe": None if spec.dedupe is None else spec.dedupe[0],
        "priority": spec.priority,
        "not_before": _time(spec.not_before_ms),
        "deadline": _time(spec.deadline_ms),
        "queue_ttl_s": _seconds(spec.queue_ttl_ms),
        "run_limit_s": _seconds(spec.run_limit_ms),
        "after": [task_text(parent) for parent in spec.parents],
        "on_parent_failure": ParentPolicy(spec.parent_policy).name.lower(),
        "requires": dict(spec.requires),
        "prefers": dict(spec.prefers),
        "allocation": Allocation(spec.allocation).name.lower(),
    }


def schedule_view(ledger: Ledger, now: Now, record: Record) -> dict[str, Json]:
    """Return the part of a task's view that is about its schedule."""
    blocked: list[Json] = []
    view: dict[str, Json] = {"blocked_on": blocked, "canceled": None}
    if record.spec is None:
        return view
    if record.state is TaskState.CANCELED:
        assert record.cancel is not None
        view["canceled"] = {
            "by": record.cancel.author.hex(),
            "name": ledger.parts.liveness.name(record.cancel.author),
            "reason": CancelReason(record.cancel.fact.reason).name.lower(),
        }
    if record.state is TaskState.SUBMITTED:
        blocked += blocked_on(ledger, now, record.spec.fact)
    view["submits"] = 1 + len(record.others)
    view["differing"] = [
        other.author.hex() for other in record.others if not same_work(other.fact, record.spec.fact)
    ]
    view["limit"] = None
    if record.spec.fact.limit is not None:
        key, slots = record.spec.fact.limit
        at_work = running(ledger.parts.table, key)
        view["limit"] = {
            "key": key,
            "slots": slots,
            "slot": slot_of(record),
            "running": at_work,
            "excess": max(0, at_work - slots),
        }
    name = ledger.parts.liveness.name
    if record.spec.fact.allocation == Allocation.OFFERED and record.state is TaskState.SUBMITTED:
        view["offered_to"] = [name(node) for node in turn_order(ledger, record)]
    if is_auction(record.spec.fact):
        view["bids"] = [
            {"name": name(node), "agent": agent, "score": score}
            for node, agent, score in bids(record)
        ]
    return view | spec_view(record.spec.fact)


def blocked_on(ledger: Ledger, now: Now, spec: Spec) -> list[Json]:
    """Return what a task waits for before anybody may claim it."""
    found: list[Json] = []
    for parent, state in blocking(ledger.parts.table, spec):
        known = "unknown" if state is None else state.value
        found.append({"what": "task", "task": task_text(parent), "state": known})
    liveness = ledger.parts.liveness
    here = (*liveness.alive(), ledger.self_id)
    if spec.requires and not any(meets(liveness.tags(node), spec.requires) for node in here):
        found.append({"what": "capability", "requires": dict(spec.requires)})
    if spec.limit is not None and not free_slots(ledger.parts.table, spec):
        found.append({"what": "limit", "key": spec.limit[0], "slots": spec.limit[1]})
    if spec.not_before_ms is not None and spec.not_before_ms > wall_ms(now):
        found.append({"what": "time", "until": moment(spec.not_before_ms)})
    return found


def parent_views(ledger: Ledger, record: Record) -> list[Json]:
    """Return how the tasks ended that this one waited for, with their results."""
    assert record.spec is not None
    found: list[Json] = []
    for parent in record.spec.fact.parents:
        known = ledger.parts.table.record(parent)
        view: dict[str, Json] = {"task": task_text(parent), "state": "unknown", "result": None}
        if known is not None and known.spec is not None:
            view["state"] = known.state.value
            if known.winner is not None:
                view["result"] = ledger.views.result(known, known.winner)
        found.append(view)
    return found


def held_view(
    ledger: Ledger, record: Record, claim: Verified[Claim], handle: str, state: str
) -> dict[str, Json]:
    """Return what an agent gets in hand with a claim, the results of the parents among it."""
    assert record.spec is not None
    view = claim_view(record, claim, handle, state, ledger.parts.liveness.name)
    spec = view["spec"]
    assert isinstance(spec, dict)
    view["spec"] = spec | spec_view(record.spec.fact)
    return view | {"parents": parent_views(ledger, record)}
