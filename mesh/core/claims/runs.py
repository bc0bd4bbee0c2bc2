"""The log of the last runs of a task: who worked on it, since when, and how each attempt ended.

All of it is read from the facts that are held. Times are those at which this node saw the facts;
it knows none from before its start.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.core.claims.exchange_facts import Release
from mesh.core.claims.exchange_views import NodeName, moment, text_of
from mesh.core.claims.facts import Attempt, AttemptKind, Progress, ProgressState, Result
from mesh.core.claims.record import ClaimView, Record, token_text
from mesh.core.effects import Json
from mesh.core.identity import FactId
from mesh.core.wire.envelope import Verified

RUNS_MAX = 16

Seen = Mapping[FactId, int]
"""When facts were first seen here, in wall milliseconds."""


def runs_view(
    record: Record, facts: Sequence[Verified[Any]], seen: Seen, name: NodeName
) -> list[Json]:
    """Return the last runs, newest last: claims that were begun, or ended without that."""
    views = [view for view in record.claims if view.valid and _is_run(record, view)]
    return [_run(record, view, facts, seen, name) for view in views[-RUNS_MAX:]]


def _is_run(record: Record, view: ClaimView) -> bool:
    is_owner = record.owner is not None and record.owner.fact.id == view.fact.id
    return view.started or view.ended_by is not None or view.result is not None or is_owner


def _run(
    record: Record, view: ClaimView, facts: Sequence[Verified[Any]], seen: Seen, name: NodeName
) -> dict[str, Json]:
    claim, attempt = view.fact, view.attempt
    about = [fact for fact in facts if getattr(fact.fact, "claim", None) == claim.id]
    begun = [fact.id for fact in about if _says(fact, ProgressState.STARTED)]
    outcome = outcome_of(record, view)
    ends = [fact.id for fact in about if _ends(fact)]
    if not ends and outcome in {"lost", "ended"}:
        ends = [other.fact.id for other in record.claims if _follows(other, view)]
    if not ends and outcome == "canceled" and record.cancel is not None:
        ends = [record.cancel.id]
    return {
        "epoch": claim.fact.epoch,
        "token": token_text(claim),
        "node": claim.author.hex(),
        "name": name(claim.author),
        "agent": claim.fact.agent,
        "started_at": _first(begun, seen),
        "ended_at": _first(ends, seen),
        "outcome": outcome,
        "error": None if attempt is None else text_of(attempt.fact.error),
    }


def outcome_of(record: Record, view: ClaimView) -> str | None:
    """Return in a word how a run ended; None: it has not."""
    if view.result is not None:
        is_winner = record.winner is not None and record.winner.fact.claim == view.fact.id
        if is_winner:
            return "completed"
        if view.ended_by is not None:
            return "refused"
        return "in-review" if record.in_review and view == record.owner else "superseded"
    if view.attempt is not None:
        return AttemptKind(view.attempt.fact.kind).name.lower()
    if view.released:
        return "released"
    if view.ended_by is not None:
        return "ended"
    if view != record.owner:
        return "lost"
    return "canceled" if record.is_over else None


def _says(fact: Verified[Any], state: ProgressState) -> bool:
    return isinstance(fact.fact, Progress) and fact.fact.state == state


def _ends(fact: Verified[Any]) -> bool:
    return isinstance(fact.fact, Attempt | Result | Release) or _says(fact, ProgressState.RELEASED)


def _follows(other: ClaimView, view: ClaimView) -> bool:
    return other.valid and other.fact.fact.supersedes == view.fact.id


def _first(ids: Sequence[FactId], seen: Seen) -> str | None:
    times = [seen[id_] for id_ in ids if id_ in seen]
    return moment(min(times)) if times else None
