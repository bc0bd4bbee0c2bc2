"""What clients are told when a task or a claim is not theirs, each with what to do next."""

from collections.abc import Callable

from mesh.core.claims.record import Record, token_text
from mesh.core.claims.views import TERMINAL
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.identity import NodeId, task_text
from mesh.core.snapshot import TaskState

NodeName = Callable[[NodeId], str]


def winner_of(record: Record) -> tuple[NodeId | None, str | None]:
    """Return whose word counts for a task, and under which token."""
    if record.winner is not None:
        claim = next(v.fact for v in record.claims if v.fact.id == record.winner.fact.claim)
        return record.winner.author, token_text(claim)
    if record.owner is not None:
        return record.owner.fact.author, token_text(record.owner.fact)
    return None, None


def lost_body(record: Record, token: str, reason: str | None = None) -> dict[str, Json]:
    """Return what the loser of a claim is told; the record gives the reason, unless it is given."""
    by, by_token = winner_of(record)
    if reason is not None:
        pass
    elif record.state is TaskState.CANCELED:
        reason = "canceled"
    elif (reason_given := _ended_by_others(record, token)) is not None:
        reason = reason_given
    elif record.state in TERMINAL or by_token is None or by_token[:8] != token[:8]:
        reason = "superseded"  # a later epoch, or somebody's result
    else:
        reason = "outranked"
    return {
        "task": task_text(record.task),
        "token": token,
        "by": None if by is None else by.hex(),
        "by_token": by_token,
        "reason": reason,
    }


def _ended_by_others(record: Record, token: str) -> str | None:
    """Return how a claim was ended by somebody's word, if it was."""
    lost = next((view for view in record.claims if token_text(view.fact) == token), None)
    if lost is None:
        return None
    if any(release.fact.claim == lost.fact.id for release in record.exchange.releases):
        return "released"
    accepts = [
        said.id
        for offer in record.exchange.offers
        if offer.fact.fact.claim == lost.fact.id
        for said in offer.accepts
    ]
    taken = any(view.valid and view.fact.fact.because in accepts for view in record.claims)
    return "handed_over" if taken else None


def not_attached() -> LocalError:
    """Return the error for what only an attached agent can say."""
    return LocalError(
        "not_attached",
        "no agent is attached on this connection",
        "call `agent.attach` on it first",
    )


def no_auction(record: Record) -> LocalError:
    """Return the error for a bid on a task that goes to whoever comes."""
    return LocalError(
        "no_auction",
        f"task {task_text(record.task)} is not auctioned",
        "claim it with `task.claim`",
    )


def claim_lost(record: Record, name: NodeName) -> LocalError:
    """Return the error for a claim that does not own its task any more."""
    if record.state is TaskState.CANCELED:
        return LocalError(
            "claim_lost",
            f"task {task_text(record.task)} is canceled",
            "stop the work; keep what is worth keeping",
        )
    if record.winner is None and record.holder is None:
        return LocalError(
            "claim_lost",
            f"the claim on task {task_text(record.task)} is over, and nobody owns it now",
            "stop the work; claim it again, or another task",
        )
    by, token = winner_of(record)
    who = "nobody" if by is None else f"{name(by)} ({by.hex()})"
    return LocalError(
        "claim_lost",
        f"task {task_text(record.task)} belongs to {who}, token {token}",
        "stop the work and claim another task",
    )


def already_finished(record: Record) -> LocalError:
    """Return the error for a task that is over."""
    return LocalError(
        "already_finished",
        f"task {task_text(record.task)} is {record.state.value}",
        "look at it with `mesh task show`; to do it again, submit it again",
    )


def forgotten(task: str) -> LocalError:
    """Return the error for a task that was finished so long ago that nobody keeps it."""
    return LocalError(
        "not_found",
        f"task {task} is finished and forgotten",
        "keep finished tasks longer with `mesh up --retention`",
    )


def withdrawn(task: str) -> LocalError:
    """Return the error for a task of which nothing counts any more: its author was removed."""
    return LocalError(
        "not_found",
        f"task {task} was withdrawn: whoever submitted it was removed from the mesh",
        "submit it again, if it is to be done",
    )


def not_open(record: Record, name: NodeName) -> LocalError:
    """Return the error for a task that cannot be claimed now."""
    if record.state in TERMINAL:
        return already_finished(record)
    text, owner = task_text(record.task), record.owner
    if record.holder is not None and owner is not None:
        return LocalError(
            "already_owned",
            f"task {text} belongs to {name(owner.fact.author)} ({owner.fact.author.hex()}), "
            f"token {token_text(owner.fact)}",
            "wait for it with `mesh task wait`, or claim with --wait to get it if it is given back",
        )
    return LocalError(
        "no_task",
        f"task {text} may not be claimed yet",
        "see what it is blocked on with `mesh task show`, or claim it with --wait",
    )


def not_capable(record: Record) -> LocalError:
    """Return the error for a task that requires what this node has not."""
    assert record.spec is not None
    requires = record.spec.fact.requires
    wanted = ", ".join(f"{tag}={value}" if value else tag for tag, value in requires)
    return LocalError(
        "not_capable",
        f"task {task_text(record.task)} requires a node with {wanted}",
        "claim it on a node with these tags, or start this one with --tag",
    )


def no_task(kinds: tuple[str, ...]) -> LocalError:
    """Return the error for a wait in which nothing could be claimed."""
    return LocalError(
        "no_task",
        f"no task of kind {', '.join(kinds)} can be claimed",
        "wait longer with --wait, or look at `mesh task list`",
    )


def no_capacity() -> LocalError:
    """Return the error for an agent whose hands are full."""
    return LocalError(
        "no_capacity",
        "this agent holds as many tasks as it has capacity for",
        "complete or release one, or attach with a higher capacity",
    )


def not_settled(record: Record) -> LocalError:
    """Return the error for work on a claim that may not start yet."""
    return LocalError(
        "not_settled",
        f"the claim on task {task_text(record.task)} may still be lost",
        "wait for the notification task.settled",
    )


def not_submitted_here(record: Record) -> LocalError:
    """Return the error for canceling what others have submitted."""
    assert record.spec is not None
    hint = "cancel it there, on its owner's node, or on an admin's node"
    if record.spec.fact.dedupe is not None:
        hint += "; or submit it here under the same key, which makes this node a submitter as well"
    where = record.spec.author.hex()
    return LocalError(
        "not_permitted", f"task {task_text(record.task)} was submitted on {where}", hint
    )


def not_durable(reason: str) -> LocalError:
    """The disk does not take what is written to it."""
    return LocalError(
        "not_durable",
        f"this node cannot write to its disk: {reason}",
        "free space or repair the disk, then try again",
    )
