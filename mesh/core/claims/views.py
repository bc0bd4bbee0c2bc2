"""What clients see of tasks: plain JSON, in shapes that others rely on."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mesh.core.claims.exchange_facts import ExchangeFact
from mesh.core.claims.exchange_views import (
    NodeName,
    blob_view,
    checkpoint_view,
    exchange_details,
    handoff_view,
    moment,
    progress_view,
    said_view,
)
from mesh.core.claims.facts import Attempt, AttemptKind, Claim, Progress, Result
from mesh.core.claims.record import OVER, Record, token_text
from mesh.core.effects import Json
from mesh.core.identity import FactId, NodeId, task_text
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified

SHAPE_VERSION = 1
MODE = "convergent"
TERMINAL = OVER


@dataclass(frozen=True, slots=True)
class Shown:
    """What was last said of a task: the watchers hear of differences."""

    state: TaskState
    claim: FactId | None
    winner: FactId | None
    updated_ms: int
    """Wall time here when it last changed."""
    copies: int = 1
    """On how many disks the task's last durable write of this node is known to be."""


def output_view(output: bytes) -> dict[str, Json]:
    """Return bytes as base64, and as text if they are some."""
    view: dict[str, Json] = {"output": b64encode(output).decode()}
    try:
        view["text"] = output.decode()
    except UnicodeDecodeError:
        view["text"] = None
    return view


@dataclass(frozen=True, slots=True)
class Views:
    """The shapes, with the names of nodes as this node knows them."""

    name: Callable[[NodeId], str]

    def owner(self, record: Record) -> Json:
        """Return who owns a task, while it is worked on."""
        owner = record.owner
        if owner is None or record.holder is None:
            return None
        author = owner.fact.author
        return {"node": author.hex(), "agent": owner.fact.fact.agent, "name": self.name(author)}

    def token(self, record: Record) -> str | None:
        """Return the token of who owns a task, while it is worked on."""
        if record.owner is None or record.holder is None:
            return None
        return token_text(record.owner.fact)

    def result(self, record: Record, result: Verified[Result]) -> dict[str, Json]:
        """Return one result."""
        claim = next(v.fact for v in record.claims if v.fact.id == result.fact.claim)
        size = result.fact.size
        return {
            "outcome": "completed",
            **output_view(result.fact.output),
            "digest": result.fact.digest.hex(),
            "blob": blob_view(None if size is None else (result.fact.digest, size)),
            "by": result.author.hex(),
            "name": self.name(result.author),
            "token": token_text(claim),
        }

    def task(self, record: Record, shown: Shown | None) -> dict[str, Json]:
        """Return one task in full."""
        spec = record.spec
        created = None if spec is None else moment(spec.fact.created_ms)
        errors = [view.attempt for view in record.claims if view.attempt is not None]
        superseded: list[Json] = [self.result(record, result) for result in record.superseded]
        return {
            "id": task_text(record.task),
            "kind": None if spec is None else spec.fact.kind,
            "blob": None if spec is None else blob_view(spec.fact.blob),
            "state": record.state.value,
            "mode": MODE,
            "owner": self.owner(record),
            "token": self.token(record),
            "epoch": record.epoch,
            "attempts": record.attempts_used,
            "max_attempts": None if spec is None else spec.fact.max_attempts,
            "copies": 1 if shown is None else shown.copies,
            "created_at": created,
            "updated_at": created if shown is None else moment(shown.updated_ms),
            "result": None if record.winner is None else self.result(record, record.winner),
            "superseded": superseded,
            "starts": record.starts,
            "error": errors[-1].fact.error.decode(errors="replace") if errors else None,
            "note": None if spec is None else spec.fact.note.decode(errors="replace"),
            **said_view(record, self.name),
        }

    def change(self, record: Record) -> dict[str, Json]:
        """Return what watchers hear of a task."""
        return {
            "task": task_text(record.task),
            "state": record.state.value,
            "kind": None if record.spec is None else record.spec.fact.kind,
            "owner": self.owner(record),
            "token": self.token(record),
        }

    def fact(self, verified: Verified[Any], seen_ms: int | None) -> dict[str, Json]:
        """Return one signed fact; `at` is when it was made, or else first seen here."""
        view: dict[str, Json] = {
            "kind": verified.signed.context.split("/", maxsplit=1)[0],
            "id": verified.id.hex(),
            "author": verified.author.hex(),
            "name": self.name(verified.author),
            "signature_ok": True,
            "at": None if seen_ms is None else moment(seen_ms),
        }
        return view | fact_details(verified)


def claim_view(
    record: Record, claim: Verified[Claim], handle: str, state: str, name: NodeName
) -> dict[str, Json]:
    """Return what an agent gets in hand with a claim: also what those before it have left."""
    assert record.spec is not None
    spec = record.spec.fact
    others = sum(view.used for view in record.claims if view.valid and view.fact.id != claim.id)
    grace_ms = spec.orphan_grace_ms
    return {
        "task": task_text(record.task),
        "kind": spec.kind,
        "payload": b64encode(spec.payload).decode(),
        "blob": blob_view(spec.blob),
        "token": token_text(claim),
        "handle": handle,
        "epoch": claim.fact.epoch,
        "attempt": others + 1,
        "spec": {
            "kind": spec.kind,
            "created_at": moment(spec.created_ms),
            "submitter": record.spec.author.hex(),
            "max_attempts": spec.max_attempts,
            "backoff_s": spec.backoff_ms / 1000,
            "orphan_grace_s": None if grace_ms is None else grace_ms / 1000,
            "verify": spec.verify,
            "progress_limit_s": None
            if spec.progress_limit_ms is None
            else spec.progress_limit_ms / 1000,
            "reopens": None if spec.reopens is None else task_text(spec.reopens),
            "note": spec.note.decode(errors="replace"),
        },
        "state": state,
        "checkpoint": checkpoint_view(record),
        "handoff": handoff_view(record, name),
    }


def fact_details(verified: Verified[Any]) -> dict[str, Json]:
    """Return what a fact says beyond its kind and author."""
    match verified.fact:
        case Claim() as claim:
            return {
                "token": token_text(verified),
                "epoch": claim.epoch,
                "agent": claim.agent,
                "supersedes": None if claim.supersedes is None else claim.supersedes.hex(),
                "because": None if claim.because is None else claim.because.hex(),
            }
        case Progress() as progress:
            kept = b64encode(progress.checkpoint).decode() or None
            view = progress_view(verified) | {
                "checkpoint": kept,
                "checkpoint_blob": blob_view(progress.checkpoint_blob),
            }
            return {"claim": progress.claim.hex(), **view}
        case Attempt() as attempt:
            error = attempt.error.decode(errors="replace")
            ended = AttemptKind(attempt.kind).name.lower()
            return {"claim": attempt.claim.hex(), "outcome": ended, "error": error}
        case Result() as result:
            return {"claim": result.claim.hex(), "digest": result.digest.hex()}
        case ExchangeFact():
            return exchange_details(verified)
        case _:
            return {}
