"""A second agent's word on a result, and what an operator may do with somebody else's task.

A task that wants to be verified is not completed by its owner's result: so many *other* nodes have
to accept it. A review is signed by the node of whoever wrote it, so a false "done" and a careless
acceptance both have a name. A refusal ends the attempt and is the `because` of the next one.
"""

from dataclasses import dataclass, replace

from mesh.core.claims.exchange_facts import REASON_BYTES_MAX, TEXT_BYTES_MAX, Release, Review
from mesh.core.claims.ledger import Ledger, wall_ms
from mesh.core.claims.record import Record, token_text
from mesh.core.claims.refusals import already_finished
from mesh.core.claims.requests import Asker
from mesh.core.claims.texts import cut_text, entered_text
from mesh.core.claims.views import TERMINAL
from mesh.core.claims.writing import Writing
from mesh.core.commands import TaskForceRelease, TaskReopen, TaskReview
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.identity import task_text
from mesh.core.instants import Now

AGENT_BYTES_MAX = 64


@dataclass(slots=True)
class Reviewing:
    """Reviews by agents of this node, and its operator's releases and reopenings."""

    ledger: Ledger
    writing: Writing

    def review(self, now: Now, asker: Asker, command: TaskReview) -> None:
        """Accept or refuse the result that waits for it."""
        self.ledger.check_room()
        record = self.ledger.record(command.task)
        agent = entered_text(command.agent, AGENT_BYTES_MAX, "agent")
        holder = record.holder
        if record.state in TERMINAL:
            raise already_finished(record)
        if holder is None or holder.result is None:
            raise LocalError(
                "no_result",
                f"task {command.task} has no result that waits for a review",
                "wait for it with `mesh task list --state input-required`",
            )
        if holder.result.author == self.ledger.self_id:
            raise LocalError(
                "not_permitted",
                f"the result of task {command.task} is this node's own",
                "have an agent on another node review it",
            )
        reason = cut_text(command.reason, TEXT_BYTES_MAX, "reason")
        fact = Review(record.task, holder.result.id, command.accept, agent, reason)
        if not self.ledger.said_already(fact):
            self.ledger.publish(now, [fact])
            self.ledger.count("accepted" if command.accept else "refused_results")
        state = self.ledger.known(record.task).state.value
        body: dict[str, Json] = {"task": command.task, "accept": command.accept, "state": state}
        self.writing.answer_after_commit(now, asker, command, body)

    # --- operators

    def release(self, now: Now, asker: Asker, command: TaskForceRelease) -> None:
        """Take a task from its owner."""
        self.ledger.check_room()
        record = self.ledger.record(command.task)
        if record.state in TERMINAL:
            raise already_finished(record)
        holder = record.holder
        if holder is None:
            raise LocalError(
                "no_owner",
                f"task {command.task} belongs to nobody",
                "claim it; there is nothing to release",
            )
        self._check_operator(record, command.task)
        reason = cut_text(command.reason, REASON_BYTES_MAX, "reason")
        fact = Release(record.task, holder.fact.id, None, reason)
        if not self.ledger.said_already(fact):
            self.ledger.publish(now, [fact])
            self.ledger.count("force_released")
        token = token_text(holder.fact)
        body: dict[str, Json] = {"task": command.task, "released": True, "token": token}
        self.writing.answer_after_commit(now, asker, command, body)

    def _check_operator(self, record: Record, task: str) -> None:
        me = self.ledger.self_id
        assert record.spec is not None
        if record.spec.author == me or self.ledger.parts.is_admin(me):
            return
        raise LocalError(
            "not_permitted",
            f"task {task} was submitted on {record.spec.author.hex()}",
            "release it there, or on an admin's node",
        )

    def reopen(self, now: Now, asker: Asker, command: TaskReopen) -> None:
        """Submit what is over once more; the new task names the old one."""
        self.ledger.check_room()
        record = self.ledger.record(command.task)
        if record.state not in TERMINAL:
            raise LocalError(
                "not_finished",
                f"task {command.task} is {record.state.value}",
                "wait for its end, cancel it, or release it with `mesh task release --force`",
            )
        assert record.spec is not None
        old = record.spec.fact
        spec = replace(
            old,
            task=self.writing.submitting.next_task(),
            created_ms=wall_ms(now),
            not_before_ms=None,
            deadline_ms=None,
            dedupe=None,
            reopens=record.task,
        )
        body: dict[str, Json] = {"task": task_text(spec.task), "reopens": command.task}
        self.writing.put_in(now, asker, command, spec, body)
        self.ledger.count("reopened")
