"""What clients see of reports, checkpoints, offers, questions and reviews."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from mesh.core.claims.exchange import OfferView, QuestionView
from mesh.core.claims.exchange_facts import (
    Accept,
    Answer,
    Decline,
    ExchangeFact,
    Offer,
    Question,
    Release,
    Review,
)
from mesh.core.claims.facts import AttemptKind, Blob, Progress, ProgressState
from mesh.core.claims.record import ClaimView, Record, token_text
from mesh.core.effects import Json
from mesh.core.identity import NodeId, task_text
from mesh.core.instants import wall_text
from mesh.core.wire.envelope import Verified

NodeName = Callable[[NodeId], str]
PERCENT = 100
LAST_SHOWN_MS = 253_402_300_799_999
"""The end of the year 9999: RFC 3339 knows four digits only."""


def text_of(data: bytes) -> str:
    """Return foreign bytes as text, whatever they are."""
    return data.decode(errors="replace")


def read_json(data: bytes) -> dict[str, Any]:
    """Return the object that foreign bytes hold; as a note when they hold none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"note": text_of(data)} if data else {}


def progress_view(progress: Verified[Progress]) -> dict[str, Json]:
    """Return how the work goes."""
    said = read_json(progress.fact.note)
    view: dict[str, Json] = {"state": ProgressState(progress.fact.state).name.lower()}
    for name, kinds in (("note", str), ("done", int), ("total", int), ("percent", int | float)):
        value = said.get(name)
        view[name] = value if isinstance(value, kinds) else None
    done, total = view["done"], view["total"]
    if view["percent"] is None and isinstance(done, int) and isinstance(total, int) and total > 0:
        view["percent"] = round(PERCENT * done / total, 1)
    return view


def checkpoint_view(record: Record) -> Json:
    """Return where a later attempt may go on from, and whose word that is."""
    kept = record.checkpoint
    if kept is None:
        return None
    view = next(view for view in record.claims if view.fact.id == kept.fact.claim)
    blob = kept.fact.checkpoint_blob
    return {
        "data": b64encode(kept.fact.checkpoint).decode(),
        "digest": None if blob is None else blob[0].hex(),
        "size": len(kept.fact.checkpoint) if blob is None else blob[1],
        "by": kept.author.hex(),
        "token": token_text(view.fact),
        "progress": progress_view(kept),
    }


def blob_view(blob: Blob | None) -> Json:
    """Return what names a blob."""
    return None if blob is None else {"digest": blob[0].hex(), "size": blob[1]}


def offer_view(view: OfferView, name: NodeName) -> dict[str, Json]:
    """Return an offer with its context, and what became of it."""
    fact = view.fact.fact
    return {
        "offer": view.fact.id.hex(),
        "by": view.fact.author.hex(),
        "name": name(view.fact.author),
        "to": None if fact.to is None else fact.to.hex(),
        "agent": fact.agent or None,
        "withdrawn": fact.withdrawn,
        "context": read_json(fact.context),
        "context_blob": blob_view(fact.context_blob),
        "accepted_by": [
            {"node": said.author.hex(), "name": name(said.author), "agent": said.fact.agent}
            for said in view.accepts
        ],
        "declined_by": [
            {
                "node": said.author.hex(),
                "name": name(said.author),
                "agent": said.fact.agent,
                "reason": text_of(said.fact.reason),
            }
            for said in view.declines
        ],
    }


def question_view(view: QuestionView, name: NodeName) -> dict[str, Json]:
    """Return a question with its answers."""
    fact = view.fact.fact
    state = "open" if view.is_open else "answered" if view.answers else "timed_out"
    limit_ms = fact.limit_ms
    return {
        "question": view.fact.id.hex(),
        "by": view.fact.author.hex(),
        "name": name(view.fact.author),
        "text": text_of(fact.text),
        "state": state,
        "late": bool(view.answers) and view.timed_out,
        "limit_s": None if limit_ms is None else limit_ms / 1000,
        "asked_at": moment(fact.asked_ms),
        "answers": [
            {
                "node": said.author.hex(),
                "name": name(said.author),
                "agent": said.fact.agent,
                "text": text_of(said.fact.text),
            }
            for said in view.answers
        ],
    }


def moment(wall_ms: int) -> str:
    """Return a wall time in RFC 3339, UTC."""
    return wall_text(min(wall_ms, LAST_SHOWN_MS) / 1000)


def handoff_view(record: Record, name: NodeName) -> Json:
    """Return the newest offer that stands or was accepted: what the next owner has to know."""
    known = [
        view for view in record.exchange.offers if not view.fact.fact.withdrawn or view.accepts
    ]
    ranked = {view.fact.id: at for at, view in enumerate(record.claims)}
    known.sort(key=lambda view: ranked.get(view.fact.fact.claim, -1))
    return offer_view(known[-1], name) if known else None


def said_view(record: Record, name: NodeName) -> dict[str, Json]:
    """Return what a task's owners and others have said, beside its state."""
    spec = record.spec
    shown = record.owner
    verify = 0 if spec is None else spec.fact.verify
    questions: list[Json] = [question_view(view, name) for view in record.exchange.questions]
    reviews: list[Json] = [
        {
            "node": said.author.hex(),
            "name": name(said.author),
            "agent": said.fact.agent,
            "accepted": said.fact.accepted,
            "reason": text_of(said.fact.reason),
            "result": said.fact.result.hex(),
        }
        for said in record.exchange.reviews
    ]
    reopens = None if spec is None else spec.fact.reopens
    limit_ms = None if spec is None else spec.fact.progress_limit_ms
    return {
        "progress": None
        if shown is None or shown.progress is None
        else progress_view(shown.progress),
        "checkpoint": checkpoint_view(record),
        "handoff": handoff_view(record, name),
        "questions": questions,
        "reviews": reviews,
        "verify": verify,
        "waits_for": waits_for(record),
        "declines": count_of(record, AttemptKind.DECLINED),
        "timeouts": count_of(record, AttemptKind.TIMED_OUT),
        "deaths": deaths(record),
        "reopens": None if reopens is None else task_text(reopens),
        "progress_limit_s": None if limit_ms is None else limit_ms / 1000,
    }


def waits_for(record: Record) -> Json:
    """Return what an owner's task waits for: `answer`, `review` or nothing."""
    if record.holder is None:
        return None
    if record.in_review:
        return "review"
    return "answer" if record.exchange.open_questions(record.holder.fact.id) else None


def count_of(record: Record, kind: AttemptKind) -> int:
    """Return how many attempts ended in one way."""
    return sum(
        view.valid and view.attempt is not None and view.attempt.fact.kind == kind
        for view in record.claims
    )


def deaths(record: Record) -> int:
    """Return how many attempts took their owner with them: the mark of a poison pill."""
    return sum(_died(view, record) for view in record.claims if view.valid and view.started)


def _died(view: ClaimView, record: Record) -> bool:
    if view.attempt is not None:
        return view.attempt.fact.kind == AttemptKind.LOST
    if view.ended_by is not None or view.result is not None:
        return False
    followed = [
        other.fact.fact
        for other in record.claims
        if other.valid and other.fact.fact.supersedes == view.fact.id
    ]
    accepts = [said.id for offer in record.exchange.offers for said in offer.accepts]
    return any(fact.because not in accepts for fact in followed)


def exchange_details(verified: Verified[Any]) -> dict[str, Json]:
    """Return what an exchange fact says beyond its kind and author."""
    fact: ExchangeFact = verified.fact
    match fact:
        case Offer():
            return {
                "claim": fact.claim.hex(),
                "to": None if fact.to is None else fact.to.hex(),
                "agent": fact.agent or None,
                "context": read_json(fact.context),
                "context_blob": blob_view(fact.context_blob),
                "withdrawn": fact.withdrawn or None,
            }
        case Accept():
            return {"offer": fact.offer.hex(), "agent": fact.agent}
        case Decline():
            return {
                "offer": fact.offer.hex(),
                "agent": fact.agent,
                "reason": text_of(fact.reason),
            }
        case Question():
            return {"claim": fact.claim.hex(), "text": text_of(fact.text)}
        case Answer():
            said = "timed_out" if fact.timed_out else "answer"
            return {"question": fact.question.hex(), "agent": fact.agent, said: text_of(fact.text)}
        case Review():
            return {
                "result": fact.result.hex(),
                "accepted": fact.accepted,
                "agent": fact.agent,
                "reason": text_of(fact.reason),
            }
        case Release():
            return {
                "claim": fact.claim.hex(),
                "reason": text_of(fact.reason) or None,
                "not_before": None if fact.not_before_ms is None else moment(fact.not_before_ms),
            }
        case _:
            raise AssertionError(fact)


def announcement(verified: Verified[Any]) -> tuple[str, dict[str, Json]] | None:
    """Return what watchers hear of a fact that need not change any state: topic and body."""
    fact = verified.fact
    if isinstance(fact, ExchangeFact):
        kind = verified.signed.context.split("/", maxsplit=1)[0]
        said = exchange_details(verified)
    elif isinstance(fact, Progress) and fact.state == ProgressState.RUNNING and fact.note:
        kind, said = "progress", progress_view(verified)
    else:
        return None
    body: dict[str, Json] = {"task": task_text(fact.task), "by": verified.author.hex()}
    return f"task.{kind}", body | {kind: verified.id.hex()} | said
