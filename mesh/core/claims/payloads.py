"""Blobs that tasks name: fetched where they will be needed, kept where they have to be.

A payload is fetched by a node on which somebody waits for such a task, before the task is offered
there: a claim never waits for a transfer. A result, a checkpoint and the context of an offer are
fetched by the node of the submitter, so that they are on two disks whatever becomes of the owner;
the latter two also by the node that the offer names, or else by the one that would claim next.
What is not large is fetched besides by its keepers, so that an answer may count copies of it.
"""

from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.allocation import stagger_order
from mesh.core.claims.copying import keepers
from mesh.core.claims.facts import Blob, Spec
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.identity import BlobId, NodeId, TaskId
from mesh.core.instants import Now
from mesh.core.wire.envelope import Verified


@dataclass(slots=True)
class Payloads:
    """Which open tasks lack their payload, and nobody here has waited for them yet."""

    ledger: Ledger
    _lacking: dict[str, dict[TaskId, tuple[Blob, NodeId]]] = field(default_factory=dict)
    _kind_of: dict[TaskId, str] = field(default_factory=dict)
    _checkpoints: dict[TaskId, BlobId] = field(default_factory=dict)
    """The newest of each task; those before it may go."""

    def evaluate(self, now: Now, record: Record) -> None:
        """Look at a task whose record has changed."""
        spec = record.spec
        if spec is None:
            return
        self._drop_replaced(now, record)
        if spec.fact.blob is not None:
            self._evaluate_payload(now, record, spec, spec.fact.blob)
        mine = spec.author == self.ledger.self_id
        for view in record.claims:
            if view.valid and view.result is not None and view.result.fact.size is not None:
                blob = (view.result.fact.digest, view.result.fact.size)
                wanted = mine or self._is_keeper(record, view.result)
                self._keep(now, record.task, blob, view.fact.author, wanted=wanted)
        self._evaluate_left(now, record, mine=mine)

    def _evaluate_left(self, now: Now, record: Record, *, mine: bool) -> None:
        """Keep what owners leave to the next: the newest checkpoint, and the contexts of offers."""
        said = record.checkpoint
        if said is not None and said.fact.checkpoint_blob is not None:
            wanted = mine or self._is_heir(record, said.author)
            wanted = wanted or (not record.is_over and self._is_keeper(record, said))
            self._keep(now, record.task, said.fact.checkpoint_blob, said.author, wanted=wanted)
        for offer in record.exchange.offers:
            fact, author = offer.fact.fact, offer.fact.author
            if fact.context_blob is not None:
                named = fact.to == self.ledger.self_id
                meant = named or (fact.to is None and self._is_heir(record, author))
                self._keep(now, record.task, fact.context_blob, author, wanted=mine or meant)

    def _drop_replaced(self, now: Now, record: Record) -> None:
        """Let go of the checkpoint before the newest; what else names it keeps it afterwards."""
        task, said = record.task, record.checkpoint
        blob = None if said is None else said.fact.checkpoint_blob
        before = self._checkpoints.pop(task, None)
        if before is not None and (blob is None or before != blob[0]):
            self.ledger.parts.blobs.disuse(now, task, before)
        if blob is not None:
            self._checkpoints[task] = BlobId(blob[0])

    def _is_heir(self, record: Record, author: NodeId) -> bool:
        """Whether this node is the first in the order of those who may claim after an author."""
        me, liveness = self.ledger.self_id, self.ledger.parts.liveness
        if record.is_over or author == me:
            return False
        others = (me, *(node for node in liveness.alive() if node != author))
        return stagger_order(record.task, record.epoch + 1, others)[0] == me

    def _is_keeper(self, record: Record, said: Verified[Any]) -> bool:
        """Whether this node is one of those that keep a copy of what others have said."""
        ledger = self.ledger
        nodes = (ledger.self_id, *ledger.parts.liveness.alive())
        others = said.author != ledger.self_id
        return others and ledger.self_id in keepers(record, said, nodes, ledger.parts.params)

    def _evaluate_payload(self, now: Now, record: Record, spec: Verified[Spec], blob: Blob) -> None:
        is_here = self.ledger.parts.blobs.has(BlobId(blob[0]))
        wanted = not is_here and (
            spec.author == self.ledger.self_id
            or (not record.is_over and self._is_keeper(record, spec))
        )
        self._keep(now, record.task, blob, spec.author, wanted=wanted)
        self._forget_lacking(record.task)
        if not is_here and not record.is_over:
            self._lacking.setdefault(spec.fact.kind, {})[record.task] = (blob, spec.author)
            self._kind_of[record.task] = spec.fact.kind

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
        """Fetch payloads of tasks for which somebody waits here; each is asked for once."""
        if not self._lacking:
            return
        ledger = self.ledger
        for kind in (*ledger.sessions.waiting_kinds(), *ledger.waiters.kinds()):
            for task in tuple(self._lacking.get(kind, ())):
                self._want(now, task)
        for task in ledger.waiters.waited_for(self._kind_of):
            self._want(now, task)

    def _want(self, now: Now, task: TaskId) -> None:
        blob, author = self._lacking[self._kind_of[task]][task]
        self._forget_lacking(task)
        self.ledger.parts.blobs.want(now, task, (BlobId(blob[0]), blob[1]), (author,))

    def forget(self, task: TaskId) -> None:
        """A task is let go of."""
        self._checkpoints.pop(task, None)
        self._forget_lacking(task)

    def _forget_lacking(self, task: TaskId) -> None:
        kind = self._kind_of.pop(task, None)
        if kind is not None:
            del self._lacking[kind][task]
            if not self._lacking[kind]:
                del self._lacking[kind]
