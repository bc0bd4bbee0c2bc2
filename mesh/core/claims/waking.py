"""After the host slept: nothing starts until the mesh has been heard again.

While a machine sleeps, the others may have given its claims away. So on waking every claim is
suspended, its peers are told so, and only when they have acknowledged that (or, some staying
silent, a settle window after the first did) may anything start, or end. Whoever knows of a greater
claim, or of its result, answers with it, before that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.core.claims.claiming import Claiming
from mesh.core.claims.facts import ProgressState, TaskFact
from mesh.core.claims.ledger import Ledger, task_name
from mesh.core.claims.record import token_text
from mesh.core.claims.requests import Asker
from mesh.core.claims.sessions import Holding, Phase
from mesh.core.claims.writing import Writing
from mesh.core.commands import (
    TaskAsk,
    TaskComplete,
    TaskDecline,
    TaskFail,
    TaskOffer,
    TaskProgress,
    TaskRelease,
    TaskStart,
)
from mesh.core.effects import ClientId
from mesh.core.errors import LocalError
from mesh.core.gossip.vocabulary import PushNumber, Want
from mesh.core.identity import NodeId
from mesh.core.instants import Instant, Now, later

BATCH_FACTS_MAX = 64
ROUND = ("round", 0)
Gated = (
    TaskStart
    | TaskComplete
    | TaskFail
    | TaskRelease
    | TaskProgress
    | TaskDecline
    | TaskOffer
    | TaskAsk
)
"""What waits for the end of the round."""


@dataclass(slots=True)
class Waking:
    """One fresh round after a suspend."""

    ledger: Ledger
    claiming: Claiming
    writing: Writing
    do: Callable[[Now, Asker, Gated], None]
    """Does what a client has asked for, and answers."""
    _pushes: tuple[PushNumber, ...] = ()
    """Of one round: a peer was heard once it has acknowledged all of them."""
    _receipts: dict[NodeId, dict[PushNumber, None]] = field(default_factory=dict)
    _heard: dict[NodeId, None] = field(default_factory=dict)
    _handed_over: Instant | None = None
    _deferred: list[tuple[Asker, Gated]] = field(default_factory=list)

    def handle_suspend(self, now: Now) -> None:
        """Suspend every claim of this node."""
        live = self.ledger.sessions.live()
        if not live:
            return
        self.claiming.gated = True
        self.ledger.count("suspends")
        for holding in live:
            if holding.phase is Phase.OWNED:
                holding.suspended = True
                self._notify("task.suspended", holding)
        self._ask(now)

    def _notify(self, topic: str, holding: Holding) -> None:
        if holding.client is not None:
            body = {"task": task_name(holding), "token": token_text(holding.claim)}
            self.ledger.parts.outbox.notify(topic, body, holding.client)

    def _ask(self, now: Now) -> None:
        """Say to everybody that the claims are suspended, and wait for who hears it."""
        self._heard, self._receipts, self._handed_over = {}, {}, None
        live = self.ledger.sessions.live()
        self._pushes = pushes = self._say(now, live, ProgressState.SUSPENDED)
        if not pushes:
            # All claims went meanwhile, or there is no room to ask with: look again later, as long
            # as somebody is there who could know of something greater.
            if live and self.ledger.parts.liveness.alive():
                self._ask_later(now)
            else:
                self._pass(now)
            return
        self.ledger.after_commit(
            self.ledger.parts.outbox.commit(),
            lambda now: self._hand_over(now, pushes),
            lambda now, _: self._ask_later(now),
        )

    def _say(
        self, now: Now, holdings: list[Holding], state: ProgressState
    ) -> tuple[PushNumber, ...]:
        """Say the same of all claims; nothing is returned unless it was said of all."""
        pushes = []
        for at in range(0, len(holdings), BATCH_FACTS_MAX):
            batch = holdings[at : at + BATCH_FACTS_MAX]
            facts: list[TaskFact] = [self.writing.progress(holding, state) for holding in batch]
            try:
                push, _ = self.ledger.publish(now, facts, Want.RECEIPT)
            except LocalError:
                return ()
            pushes.append(push)
        return tuple(pushes)

    def _ask_later(self, now: Now) -> None:
        ceiling_s = max(self.ledger.parts.params.settle_ceiling_s, 0.01)
        self.ledger.timers.set(ROUND, later(now.instant, ceiling_s))

    def _hand_over(self, now: Now, pushes: tuple[PushNumber, ...]) -> None:
        if pushes != self._pushes:
            return
        self._handed_over = now.instant
        self.ledger.timers.set(ROUND, later(now.instant, self.ledger.samples.window_s()))
        self.check(now)

    def handle_acknowledged(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        """A peer has heard of suspended claims, and knows of nothing greater."""
        if not self.claiming.gated or push not in self._pushes:
            return
        receipts = self._receipts.setdefault(peer, {})
        receipts[push] = None
        if len(receipts) == len(self._pushes):
            self._heard[peer] = None
            self.check(now)

    def handle_round_over(self, now: Now) -> None:
        """The window has passed: some were heard, or all are asked again."""
        if not self.claiming.gated:
            return
        if self._heard or not self.ledger.sessions.live():
            self._pass(now)
        elif self._pushes and self._handed_over is not None:
            self._pushes = ()
            self._ask_later(now)
        else:
            self._ask(now)

    def check(self, now: Now) -> None:
        """End the round when every alive peer was heard."""
        if not self.claiming.gated or self._handed_over is None:
            return
        if all(peer in self._heard for peer in self.ledger.parts.liveness.alive()):
            self._pass(now)

    def _pass(self, now: Now) -> None:
        ledger = self.ledger
        self.claiming.gated = False
        self._pushes = ()
        ledger.timers.cancel(ROUND)
        live = ledger.sessions.live()
        owned = [held for held in live if held.suspended and ledger.is_owner(held)]
        self._say(now, owned, ProgressState.RUNNING)
        for holding in owned:
            holding.suspended = False
            self._notify("task.resumed", holding)
        for holding in live:
            if holding.settle is not None:
                holding.settle.restart(now.instant, ledger.samples.window_s(), self._heard)
                end = holding.settle.deadline(now.instant)
                ledger.timers.set(("settle", holding.key), end)
                self.claiming.check_settled(now, holding)
        deferred, self._deferred = self._deferred, []
        for asker, command in deferred:
            self.do(now, asker, command)

    def defer(self, asker: Asker, command: Gated) -> None:
        """Let a start or an end wait for the end of the round; raises LocalError when too many."""
        self.ledger.waiters.check_room(len(self._deferred))
        self._deferred.append((asker, command))

    def forget_client(self, client: ClientId) -> None:
        """Drop the starts of a client that is gone; what it has ended is ended all the same."""
        self._deferred = [
            (asker, command)
            for asker, command in self._deferred
            if asker.client != client or not isinstance(command, TaskStart)
        ]
