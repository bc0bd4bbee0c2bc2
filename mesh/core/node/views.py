"""A participant as plain data: what checkers and the simulator compare."""

from dataclasses import dataclass, field

from mesh.core.claims.record import ClaimView, Record, token_text
from mesh.core.gossip.gossip import Family
from mesh.core.identity import TaskId
from mesh.core.instants import Now
from mesh.core.node.participant import Participant
from mesh.core.snapshot import Snapshot, TaskView


def _owner(record: Record) -> ClaimView | None:
    return record.holder


def task_view(task: TaskId, record: Record) -> TaskView:
    """Return one task as equal fact sets must show it everywhere."""
    owner, spec = _owner(record), record.spec
    winner = record.winner
    by_claim = {view.fact.id: view for view in record.claims}
    won = None if winner is None else by_claim.get(winner.fact.claim)
    return TaskView(
        id=task,
        kind="" if spec is None else spec.fact.kind,
        state=record.state,
        owner=None if owner is None else owner.fact.author,
        agent="" if owner is None else owner.fact.fact.agent,
        token="" if owner is None else token_text(owner.fact),
        epoch=record.epoch,
        starts=record.starts,
        attempts_used=record.attempts_used,
        outcome=None if winner is None else "completed",
        result_token="" if won is None else token_text(won.fact),
        result_digest=b"" if winner is None else winner.fact.digest,
    )


@dataclass(slots=True)
class Viewer:
    """Looks at one participant again and again: what is the same is the same object."""

    participant: Participant
    _records: dict[TaskId, Record] = field(default_factory=dict)
    _views: dict[TaskId, TaskView] = field(default_factory=dict)
    _tasks: tuple[TaskView, ...] = ()

    def tasks(self) -> tuple[TaskView, ...]:
        """Return all tasks whose spec is known, by id."""
        table, before = self.participant.table, self._records
        records: dict[TaskId, Record] = {}
        changed = False
        for task in table.tasks():
            record = table.record(task)
            if record is not None and record.spec is not None:
                records[task] = record
                if before.get(task) is not record:
                    self._views[task] = task_view(task, record)
                    changed = True
        if changed or len(records) != len(before):
            self._records = records
            self._views = {task: self._views[task] for task in sorted(records)}
            self._tasks = tuple(self._views.values())
        return self._tasks

    def snapshot(self, now: Now) -> Snapshot:
        """Return everything that checkers compare; changes nothing."""
        return _snapshot(self.participant, now, self.tasks())


def _snapshot(participant: Participant, now: Now, tasks: tuple[TaskView, ...]) -> Snapshot:
    gossip, params = participant.gossip, participant.params
    members = participant.membership.members(now)
    return Snapshot(
        id=participant.author.id,
        boot=participant.boot,
        members=members,
        tasks=tasks,
        member_facts=gossip.ids(Family.MEMBERS),
        task_facts=gossip.ids(Family.TASKS),
        isolated=participant.membership.isolated,
        table_sizes=(
            *participant.trust.table_sizes(),
            *participant.membership.table_sizes(),
            *participant.table.sizes(),
            *participant.backlog.sizes(),
            ("streams", len(participant.bulk.channels), params.links.streams_max),
        ),
    )
