"""Claims that outlive a connection: agents that go and come back, nodes that restart."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.core.claims.claiming import Claiming
from mesh.core.claims.dominance import view_of
from mesh.core.claims.facts import ProgressState, TaskFact
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.refusals import already_finished, claim_lost
from mesh.core.claims.requests import Asker
from mesh.core.claims.schedule_views import held_view
from mesh.core.claims.sessions import (
    HANDLE_ROW,
    Holding,
    Phase,
    StoredHandle,
    decode_handle,
)
from mesh.core.claims.takeover import session_boot
from mesh.core.claims.views import TERMINAL
from mesh.core.claims.writing import Writing
from mesh.core.effects import ClientId, Row
from mesh.core.errors import LocalError
from mesh.core.gossip.vocabulary import Want
from mesh.core.identity import TaskId
from mesh.core.instants import Now, later

RETRY_S = 1.0
"""A claim that cannot be given up for want of room in the table is tried again so soon."""
BATCH_FACTS_MAX = 64


@dataclass(slots=True)
class Returning:
    """Graces, and taking claims up again."""

    ledger: Ledger
    claiming: Claiming
    writing: Writing
    _stored: list[StoredHandle] = field(default_factory=list)
    _damaged: list[bytes] = field(default_factory=list)

    # --- connections

    def handle_client_gone(self, now: Now, client: ClientId) -> None:
        """Let the claims of a connection rest until somebody resumes them, or their grace ends."""
        ledger = self.ledger
        for number in ledger.waiters.of_client(client):
            waiter = ledger.waiters.get(number)
            self.claiming.forget_waiter(number)
            if waiter is not None:
                ledger.abandon(waiter.asker)
        for holding in ledger.sessions.detach(client):
            holding.waiter = None
            if not holding.is_live:
                continue
            holding.askers = []
            if self._is_unheard_of(holding):
                self._give_up(now, holding)
            elif not holding.detached:
                at = later(now.instant, ledger.parts.params.agent_grace_s)
                ledger.timers.set(("grace", holding.key), at)

    def _is_unheard_of(self, holding: Holding) -> bool:
        """Whether nobody can know the handle: it was never answered, nor can it be asked for."""
        silent = holding.phase is Phase.SETTLING and not holding.provisional
        return silent and not holding.request_key and not holding.resuming

    def handle_grace_over(self, now: Now, key: bytes) -> None:
        """Nobody came back for a claim."""
        holding = self.ledger.sessions.get(key)
        if holding is not None and holding.is_live and holding.client is None:
            self._give_up(now, holding)

    def _give_up(self, now: Now, holding: Holding) -> None:
        try:
            self.writing.give_up(now, holding, lost=True)
        except LocalError:
            again = later(now.instant, RETRY_S)
            self.ledger.timers.set(("grace", holding.key), again)

    # --- resuming

    def resume(self, now: Now, asker: Asker, handle: str) -> None:
        """Put a claim into the hands of another connection, which goes on with it."""
        ledger = self.ledger
        ledger.check_room()
        holding = ledger.sessions.find(handle)
        record = ledger.known(holding.task)
        if not holding.is_live:
            if holding.phase is Phase.ENDED or record.state in TERMINAL:
                raise already_finished(record)
            raise claim_lost(record, ledger.parts.liveness.name)
        ledger.timers.cancel(("grace", holding.key))
        holding.handle = handle
        ledger.sessions.hand_to(holding, asker.client)
        view = view_of(record, holding.claim.id)
        assert view is not None
        if holding.phase is Phase.SETTLING:
            holding.askers.append(asker)
        elif session_boot(view) == ledger.parts.boot:
            owned = held_view(ledger, record, holding.claim, handle, "owned")
            ledger.answer(now, asker, owned)
        else:
            running = self.writing.progress(holding, ProgressState.RUNNING)
            push, _ = ledger.publish(now, [running], Want.RECEIPT)
            holding.resuming = True
            holding.askers.append(asker)
            self.claiming.settle(holding, push, ledger.parts.outbox.commit())
        ledger.count("resumed")

    # --- restarts

    def restore(self, rows: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take the handles of earlier boots from the durable log."""
        for key, value in rows.get(HANDLE_ROW, {}).items():
            stored = decode_handle(key, value)
            if stored is None:
                self._damaged.append(key)
            else:
                self._stored.append(stored)

    def start(self, now: Now) -> None:
        """Let agents of earlier boots re-attach; detached claims go on at once."""
        ledger = self.ledger
        stale = [Row(HANDLE_ROW, key, None) for key in self._damaged]
        known: dict[TaskId, None] = {}
        detached = []
        for stored in self._stored:
            holding = self._revive(stored)
            if holding is None:
                stale.append(Row(HANDLE_ROW, stored.key, None))
                continue
            known[holding.task] = None
            if holding.detached:
                detached.append(holding)
            else:
                self._wait_for_agent(now, holding)
        self._stored, self._damaged = [], []
        for task in ledger.parts.table.owned_by(ledger.self_id):
            if task not in known:
                self._wait_for_agent(now, self._without_handle(task))
        if stale:
            ledger.parts.outbox.commit(*stale)
        self._go_on(now, detached)

    def _revive(self, stored: StoredHandle) -> Holding | None:
        record = self.ledger.parts.table.record(stored.task)
        view = None if record is None else view_of(record, stored.claim)
        if view is None or view.fact.author != self.ledger.self_id:
            return None
        holding = Holding(
            key=stored.key,
            claim=view.fact,
            detached=stored.detached,
            phase=Phase.OWNED,
            started=view.started,
        )
        if not self.ledger.is_owner(holding):
            return None
        self.ledger.sessions.add(holding)
        return holding

    def _without_handle(self, task: TaskId) -> Holding:
        """Return an own claim whose handle is not on disk: nobody can resume it."""
        owner = self.ledger.known(task).owner
        assert owner is not None
        holding = Holding(owner.fact.id[:16], owner.fact, phase=Phase.OWNED, started=owner.started)
        self.ledger.sessions.add(holding)
        return holding

    def _wait_for_agent(self, now: Now, holding: Holding) -> None:
        at = later(now.instant, self.ledger.parts.params.resume_grace_s)
        self.ledger.timers.set(("grace", holding.key), at)

    def _go_on(self, now: Now, detached: list[Holding]) -> None:
        for at in range(0, len(detached), BATCH_FACTS_MAX):
            facts: list[TaskFact] = [
                self.writing.progress(holding, ProgressState.RUNNING)
                for holding in detached[at : at + BATCH_FACTS_MAX]
            ]
            try:
                self.ledger.publish(now, facts)
            except LocalError:
                for holding in detached[at:]:
                    self._wait_for_agent(now, holding)
                return
