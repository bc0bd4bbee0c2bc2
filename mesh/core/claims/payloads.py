"""Blobs that tasks name: fetched where they will be needed, kept where they have to be.

A payload is fetched by a node on which somebody waits for such a task, before the task is offered
there: a claim never waits for a transfer. A result and a checkpoint are fetched by the node of the
submitter, so that they are on two disks whatever becomes of the owner.
"""

from dataclasses import dataclass, field

from mesh.core.claims.facts import Blob, Spec
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.identity import BlobId, NodeId, TaskId
from mesh.core.instants import Now


@dataclass(slots=True)
class Payloads:
    """Which open tasks wait for their payload, and for whom."""

    ledger: Ledger
    _lacking: dict[str, dict[TaskId, tuple[Blob, NodeId]]] = field(default_factory=dict)
    _kind_of: dict[TaskId, str] = field(default_factory=dict)

    def evaluate(self, now: Now, record: Record) -> None:
        """Look at a task whose record has changed."""
        spec = record.spec
        if spec is None:
            return
        if spec.fact.blob is not None:
            self._evaluate_payload(now, record, spec.fact, spec.fact.blob, spec.author)
        mine = spec.author == self.ledger.self_id
        for view in record.claims:
            author = view.fact.author
            named = [] if view.progress is None else [view.progress.fact.checkpoint_blob]
            if view.result is not None and view.result.fact.size is not None:
                named.append((view.result.fact.digest, view.result.fact.size))
            for blob in named:
                if blob is not None and view.valid:
                    self._keep(now, record.task, blob, author, wanted=mine)

    def _evaluate_payload(
        self, now: Now, record: Record, spec: Spec, blob: Blob, author: NodeId
    ) -> None:
        is_here = self.ledger.parts.blobs.has(BlobId(blob[0]))
        mine = author == self.ledger.self_id
        self._keep(now, record.task, blob, author, wanted=mine and not is_here)
        self.forget(record.task)
        if not is_here and not record.is_over:
            self._lacking.setdefault(spec.kind, {})[record.task] = (blob, author)
            self._kind_of[record.task] = spec.kind

    def _keep(self, now: Now, task: TaskId, blob: Blob, author: NodeId, *, wanted: bool) -> None:
        blobs, named = self.ledger.parts.blobs, (BlobId(blob[0]), blob[1])
        if wanted:
            blobs.want(now, task, named, (author,))
        else:
            blobs.use(task, named[0])

    def lacks(self, record: Record) -> bool:
        """Whether the payload of a task is not here, so that nobody here may claim it."""
        blob = None if record.spec is None else record.spec.fact.blob
        return blob is not None and not self.ledger.parts.blobs.has(BlobId(blob[0]))

    def fetch(self, now: Now) -> None:
        """Fetch payloads of tasks for which somebody waits here."""
        if not self._lacking:
            return
        ledger = self.ledger
        kinds = ledger.sessions.waiting_kinds() | ledger.waiters.kinds()
        for kind, tasks in self._lacking.items():
            for task, (blob, author) in tasks.items():
                if kind in kinds or ledger.waiters.of_task(task):
                    ledger.parts.blobs.want(now, task, (BlobId(blob[0]), blob[1]), (author,))

    def forget(self, task: TaskId) -> None:
        """A task is let go of, or looked at anew."""
        kind = self._kind_of.pop(task, None)
        if kind is not None:
            del self._lacking[kind][task]
            if not self._lacking[kind]:
                del self._lacking[kind]
