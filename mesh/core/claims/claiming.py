"""From "I want a task" to "you may start": matching, staggering, claiming, settling, losing."""

from dataclasses import dataclass, field

from mesh.core.claims.auction import is_auction
from mesh.core.claims.choosing import Choice, Choosing
from mesh.core.claims.facts import Claim, Progress, ProgressState, TaskFact
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.limits import rival
from mesh.core.claims.openings import Opening, Openings
from mesh.core.claims.record import Record, token_text
from mesh.core.claims.refusals import (
    claim_lost,
    lost_body,
    no_auction,
    no_capacity,
    no_task,
    not_attached,
    not_capable,
    not_open,
)
from mesh.core.claims.requests import Answer, Asker
from mesh.core.claims.schedule_views import held_view
from mesh.core.claims.sessions import Bid, Holding, Phase, handle_key, new_handle
from mesh.core.claims.settle import Settle
from mesh.core.claims.texts import entered_text
from mesh.core.claims.views import TERMINAL
from mesh.core.claims.waiters import ClaimWaiter
from mesh.core.commands import TaskBid, TaskClaim
from mesh.core.effects import CommitNumber, Json
from mesh.core.errors import LocalError
from mesh.core.gossip.vocabulary import PushNumber, Want
from mesh.core.identity import NodeId, TaskId
from mesh.core.instants import Instant, Now, later
from mesh.core.wire.envelope import Verified

CEILING_LOW_S = 0.001
CLI_AGENT = "cli"


@dataclass(slots=True)
class Claiming:
    """The claims of this node, from the first wish until they are owned or lost."""

    ledger: Ledger
    openings: Openings
    gated: bool = False
    """Nothing may start: the host slept, and no fresh round has been heard."""
    _to_try: dict[int, None] = field(default_factory=dict)
    _overdue: dict[int, None] = field(default_factory=dict)
    """Waiters past their time for which an open task's turn in the order is still to come."""
    _pushes: dict[PushNumber, tuple[Settle, bytes]] = field(default_factory=dict)
    _choosing: Choosing = field(init=False)

    def __post_init__(self) -> None:
        self._choosing = Choosing(self.ledger, self.openings)

    # --- wishes

    def claim(self, now: Now, asker: Asker, command: TaskClaim) -> None:
        """Let a client wait for a task; it is tried before the turn ends."""
        ledger = self.ledger
        if ledger.stopped is not None:
            raise ledger.stopped
        ledger.check_room()
        ledger.sessions.check_room()
        session = ledger.sessions.session(asker.client)
        task, kinds = None, tuple(entered_text(kind, 64, "kind") for kind in command.kinds)
        if command.task is not None:
            task = ledger.record(command.task).task
            kinds = ()
        elif not kinds:
            kinds = () if session is None else session.kinds
            if not kinds:
                raise LocalError(
                    "no_kinds",
                    "neither a task nor a kind is named",
                    "name a task id, or the kinds of task to wait for",
                )
        agent = entered_text(command.agent, 64, "agent")
        if session is not None and agent == CLI_AGENT:
            agent = session.agent
        deadline = later(now.instant, command.wait_s)
        number = ledger.waiters.new_number()
        waiter = ClaimWaiter(number, asker, command, agent, task, kinds, deadline)
        if task is not None:
            self._check_worth_waiting(now, waiter)
        ledger.requests.begin(now, asker.key, command)
        self._wait(now, waiter)
        if task is not None:
            self.evaluate(now, task)

    def bid(self, now: Now, asker: Asker, command: TaskBid) -> None:
        """Note what an agent bids for one task, for as long as that auction goes on."""
        agent = self.ledger.sessions.session(asker.client)
        if agent is None:
            raise not_attached()
        record = self.ledger.record(command.task)
        if record.spec is None or not is_auction(record.spec.fact):
            raise no_auction(record)
        agent.set_bid(record.task, Bid(now.instant, command.score))
        self.ledger.stirred[record.spec.fact.kind] = None
        self.ledger.answer(now, asker, {"task": command.task, "score": command.score})

    def _check_worth_waiting(self, now: Now, waiter: ClaimWaiter) -> None:
        assert waiter.task is not None
        record = self.ledger.known(waiter.task)
        if record.spec is not None and not self.openings.is_capable(record.spec.fact):
            raise not_capable(record)
        opening = self.openings.opening(now, record)
        is_open = opening is not None and opening.at <= now.instant
        can_wait = waiter.deadline > now.instant or self.openings.rests(now, record)
        if record.state in TERMINAL or not (is_open or can_wait):
            raise not_open(record, self.ledger.parts.liveness.name)
        if not self.ledger.sessions.has_capacity(waiter.asker.client):
            raise no_capacity()

    def stop(self, now: Now, why: LocalError) -> None:
        """Take no work from now on: whoever waits for some is told so."""
        self.ledger.stopped = why
        for waiter in self.ledger.waiters.claimants():
            self.forget_waiter(waiter.number)
            self.ledger.refuse(now, waiter.asker, why, had_effect=False)

    def _wait(self, now: Now, waiter: ClaimWaiter) -> None:
        self.ledger.waiters.add(waiter)
        self._to_try[waiter.number] = None
        if waiter.deadline > now.instant:
            self.ledger.timers.set(("claim", waiter.number), waiter.deadline)

    def handle_claim_deadline(self, now: Now, number: int) -> None:
        """A client has waited long enough for a task."""
        waiter, disk_error = self.ledger.waiters.get(number), self.ledger.disk_error
        if disk_error is not None and waiter is not None:
            self.forget_waiter(number)
            self.ledger.refuse(now, waiter.asker, disk_error, had_effect=False)
            return
        if isinstance(waiter, ClaimWaiter) and waiter.task is not None:
            self.evaluate(now, waiter.task)  # it may have rested long enough by this moment
        self._to_try[number] = None

    def forget_waiter(self, number: int) -> None:
        """Stop waiting for a client that is gone."""
        self._to_try.pop(number, None)
        self._overdue.pop(number, None)
        self.ledger.timers.cancel(("claim", number))
        self.ledger.waiters.take(number)

    def evaluate(self, now: Now, task: TaskId) -> None:
        """Bring the board in line with a task's record; who waits for it may try again."""
        if self.openings.evaluate(now, task):
            for waiter in self.ledger.waiters.of_task(task):
                if isinstance(waiter, ClaimWaiter):
                    self._to_try[waiter.number] = None

    # --- matching

    def has_work(self) -> bool:
        """Whether waiters and open tasks are still to be matched in this turn."""
        return self.ledger.disk_error is None and bool(self._to_try or self.ledger.stirred)

    def match(self, now: Now) -> None:
        """Let waiters claim open tasks: first come, first served."""
        ledger = self.ledger
        if ledger.disk_error is not None:
            return
        stirred, ledger.stirred = ledger.stirred, {}
        for kind in stirred:
            # Who asks for more in auctions comes first, and otherwise who came first.
            waiters = sorted(ledger.waiters.of_kind(kind), key=lambda w: -(w.command.score or 0))
            is_barren = False
            for waiter in waiters:
                if is_barren and not waiter.command.by_task:
                    continue
                task = self._choosing.choose(now, (kind,), waiter).task
                if task is None:
                    # Whoever asks for less gets nothing either, but who bids task by task may.
                    is_barren = is_barren or not waiter.command.by_task
                elif ledger.sessions.has_capacity(waiter.asker.client):
                    self._take_and_claim(now, waiter, task)
        if stirred:
            self._to_try.update(self._overdue)
        tries, self._to_try = self._to_try, {}
        for number in tries:
            waiter_or_none = ledger.waiters.get(number)
            if isinstance(waiter_or_none, ClaimWaiter):
                self._try(now, waiter_or_none)

    def _try(self, now: Now, waiter: ClaimWaiter) -> None:
        ledger, score = self.ledger, waiter.command.score
        has_capacity = ledger.sessions.has_capacity(waiter.asker.client)
        if waiter.task is not None:
            is_open = ledger.board.open_since(waiter.task) is not None
            may_win = is_open and self.openings.outbids(now, ledger.known(waiter.task), score)
            choice = Choice(waiter.task if may_win else None, is_near=False)
        else:
            choice = self._choosing.choose(now, waiter.kinds, waiter)
        if choice.task is not None and has_capacity:
            self._take_and_claim(now, waiter, choice.task)
        elif waiter.deadline > now.instant:
            return
        elif waiter.task is not None and self.openings.rests(now, ledger.known(waiter.task)):
            ledger.timers.set(("claim", waiter.number), ledger.resting.until(now, waiter.task))
        elif has_capacity and choice.is_near:
            self._overdue[waiter.number] = None
        else:
            self._give_up(now, waiter, has_capacity=has_capacity)

    def _give_up(self, now: Now, waiter: ClaimWaiter, *, has_capacity: bool) -> None:
        ledger = self.ledger
        self.forget_waiter(waiter.number)
        if not has_capacity:
            error = no_capacity()
        elif waiter.task is None:
            error = no_task(waiter.kinds)
        else:
            error = not_open(ledger.known(waiter.task), ledger.parts.liveness.name)
        ledger.refuse(now, waiter.asker, error, had_effect=False)

    def refuse_finished(self, now: Now, record: Record) -> None:
        """Tell those who wait to claim a task that it is over."""
        for waiter in self.ledger.waiters.of_task(record.task):
            if isinstance(waiter, ClaimWaiter):
                self.forget_waiter(waiter.number)
                error = not_open(record, self.ledger.parts.liveness.name)
                self.ledger.refuse(now, waiter.asker, error, had_effect=False)

    # --- claims

    def _take_and_claim(self, now: Now, waiter: ClaimWaiter, task: TaskId) -> None:
        self.forget_waiter(waiter.number)
        record = self.ledger.known(task)
        opening = self.openings.opening(now, record)
        if opening is None or opening.at > now.instant:
            # The owner's node came back since the task was listed.
            self.evaluate(now, task)
            self._wait(now, waiter)
            return
        self.claim_now(now, waiter, record, opening)

    def claim_now(self, now: Now, waiter: ClaimWaiter, record: Record, opening: Opening) -> None:
        """Claim a task by the right that an opening gives."""
        try:
            self._publish_claim(now, waiter, record, opening)
        except LocalError as full:
            self.ledger.refuse(now, waiter.asker, full, had_effect=False)
        self.evaluate(now, record.task)

    def _publish_claim(
        self, now: Now, waiter: ClaimWaiter, record: Record, opening: Opening
    ) -> None:
        ledger, parts = self.ledger, self.ledger.parts
        ledger.sessions.check_room()
        score = self.openings.auctions.asked(now, waiter, record)
        fact, cited = self.openings.draft(record, opening, waiter.agent, score)
        if opening.ended is not None:
            ledger.count("takeovers")
        facts: list[TaskFact] = [fact] if opening.ahead is None else [opening.ahead, fact]
        push, published = ledger.publish(now, facts, Want.RECEIPT, cited)
        claim: Verified[Claim] = published[-1]
        handle = new_handle(parts.rng)
        holding = Holding(
            key=handle_key(handle),
            claim=claim,
            handle=handle,
            client=waiter.asker.client,
            detached=waiter.command.detached,
            waiter=waiter,
            request_key=waiter.asker.key,
            provisional=waiter.command.provisional,
        )
        ledger.sessions.add(holding)
        ledger.count("claims")
        owned: dict[str, Json] = {}
        if waiter.asker.key or holding.provisional:
            owned = held_view(ledger, ledger.known(record.task), claim, handle, "owned")
        rows = ledger.requests.expect(waiter.asker.key, Answer(owned))
        number = parts.outbox.commit(holding.row(), *rows)
        if holding.provisional:
            ledger.answer(now, waiter.asker, owned | {"state": "settling"})
        else:
            holding.askers.append(waiter.asker)
        assert record.spec is not None
        hold_s = self.openings.auctions.hold_s(record.spec.fact)
        self.settle(holding, push, number, hold_s)

    # --- settling

    def settle(
        self, holding: Holding, push: PushNumber, number: CommitNumber, hold_s: float = 0.0
    ) -> None:
        """Hold a claim still until everybody knows of the push, or had time to object."""
        holding.phase = Phase.SETTLING
        holding.settle = Settle(push, number, hold_s=hold_s)
        self._pushes[push] = (holding.settle, holding.key)
        self.ledger.after_commit(
            number,
            lambda now: self._hand_over(now, push),
            lambda now, error: self._fail(now, push, error),
        )

    def _fail(self, now: Now, push: PushNumber, error: LocalError) -> None:
        """The disk did not take a claim: it is in nobody's hands, but still to be withdrawn.

        It stays in the table and is on its way to the disk again. A new one is given up at once;
        one that was only taken up again waits for its agent as after a lost connection.
        """
        settle, key = self._pushes.pop(push)
        ledger, holding = self.ledger, self.ledger.sessions.get(key)
        if holding is None or holding.settle is not settle:
            return
        askers, holding.askers = holding.askers, []
        if holding.provisional and not holding.resuming and holding.client is not None:
            body = lost_body(ledger.known(holding.task), token_text(holding.claim))
            ledger.parts.outbox.notify(
                "task.lost", body | {"reason": "not_durable"}, holding.client
            )
        grace_s = ledger.parts.params.agent_grace_s if holding.resuming else 0.0
        ledger.timers.set(("grace", holding.key), later(now.instant, grace_s))
        holding.phase, holding.settle, holding.waiter = Phase.OWNED, None, None
        ledger.sessions.hand_to(holding, None)
        for asker in askers:
            ledger.refuse(now, asker, error, had_effect=False)

    def _hand_over(self, now: Now, push: PushNumber) -> None:
        settle, key = self._pushes[push]
        settle.hand_over(now.instant, self.ledger.samples.window_s())
        timers = self.ledger.timers
        timers.set(("untrack", push), self._ceiling(now))
        holding = self.ledger.sessions.get(key)
        if holding is not None and holding.settle is settle:
            timers.set(("settle", key), settle.deadline(now.instant))
            self.check_settled(now, holding)

    def _ceiling(self, now: Now) -> Instant:
        return later(now.instant, max(self.ledger.parts.params.settle_ceiling_s, CEILING_LOW_S))

    def handle_acknowledged(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        """A peer has received a claim; late ones count too, or the window would shrink."""
        settle, key = self._pushes.get(push, (None, b""))
        if settle is None:
            return
        delay_s = settle.acknowledge(peer, now.instant)
        if delay_s is not None:
            self.ledger.samples.add(delay_s)
        holding = self.ledger.sessions.get(key)
        if holding is not None and holding.settle is settle:
            self.check_settled(now, holding)
        elif settle.known_to(self.ledger.parts.liveness.alive()):
            self.untrack(push)

    def handle_objected(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        """A peer knows of a greater claim, which it may not say before its disk has it: wait."""
        settle, key = self._pushes.get(push, (None, b""))
        holding = self.ledger.sessions.get(key)
        if settle is None or holding is None or holding.settle is not settle:
            return
        settle.object(peer, self._ceiling(now))
        self.ledger.timers.set(("settle", key), settle.deadline(now.instant))

    def untrack(self, push: PushNumber) -> None:
        """Stop measuring a push: all have answered, or whoever has not is too late."""
        del self._pushes[push]
        self.ledger.timers.cancel(("untrack", push))

    def handle_push_old(self, now: Now, push: PushNumber) -> None:
        """A push was measured long enough, unless its claim still waits for it."""
        settle, key = self._pushes[push]
        holding = self.ledger.sessions.get(key)
        if holding is not None and holding.settle is settle:
            self.ledger.timers.set(("untrack", push), self._ceiling(now))
        else:
            self.untrack(push)

    def handle_settle_over(self, now: Now, key: bytes) -> None:
        """The window of a claim has passed."""
        holding = self.ledger.sessions.get(key)
        if holding is None:
            return
        self.check_settled(now, holding)
        if holding.settle is not None and holding.settle.deadline(now.instant) > now.instant:
            end = holding.settle.deadline(now.instant)
            self.ledger.timers.set(("settle", key), end)

    def check_settled(self, now: Now, holding: Holding) -> None:
        """Let a claim start if its wait is over."""
        settle = holding.settle
        if self.gated or settle is None or holding.phase is not Phase.SETTLING:
            return
        if not settle.may_start(now.instant, self.ledger.parts.liveness.alive()):
            return
        self._drop_settle(holding)
        if not self.ledger.is_owner(holding):
            self.lose(now, holding)
            return
        holding.phase = Phase.OWNED
        holding.waiter = None
        self.ledger.begun[holding.task] = None
        self.ledger.count("settled")
        if settle.handed_over is not None:
            self.ledger.count("settle_us", int((now.instant - settle.handed_over) * 1e6))
        record = self.ledger.known(holding.task)
        owned = held_view(self.ledger, record, holding.claim, holding.handle, "owned")
        askers, holding.askers = holding.askers, []
        for asker in askers:
            self.ledger.answer(now, asker, owned)
        if holding.provisional and not holding.resuming:
            self.ledger.parts.outbox.notify("task.settled", owned, holding.client)

    def _drop_settle(self, holding: Holding) -> None:
        settle, holding.settle = holding.settle, None
        self.ledger.timers.cancel(("settle", holding.key))
        if settle is None or settle.handed_over is None:
            return
        if settle.known_to(self.ledger.parts.liveness.alive()):
            self.untrack(settle.push)

    # --- losing

    def check_lost(self, now: Now, task: TaskId) -> None:
        """End the claims of this node that the table no longer knows as the owner's."""
        for holding in self.ledger.sessions.of_task(task):
            if not self.ledger.is_owner(holding):
                self.lose(now, holding)

    def check_slots(self, now: Now, record: Record) -> None:
        """Give back what this node has claimed on slots that others have, if it has not begun."""
        if record.spec is None or record.spec.fact.limit is None:
            return
        table = self.ledger.parts.table
        for task in table.limited_by(record.spec.fact.limit[0]):
            for holding in self.ledger.sessions.of_task(task):
                if not holding.started and rival(table, self.ledger.known(task)) is not None:
                    self.step_back(now, holding)

    def step_back(self, now: Now, holding: Holding) -> None:
        """Give a task back whose slot another one has, before any work on it; costs no attempt."""
        holding.progress_number += 1
        boot, number = self.ledger.parts.boot, holding.progress_number
        released = Progress(
            holding.task, holding.claim.id, boot, number, ProgressState.RELEASED, b""
        )
        self.ledger.publish(now, [released])
        self.ledger.count("stepped_back")
        self.lose(now, holding, "limit")

    def lose(self, now: Now, holding: Holding, reason: str | None = None) -> None:
        """Tell the agent to stop, or let its wish go on with the next task."""
        ledger = self.ledger
        record = ledger.known(holding.task)
        name = ledger.parts.liveness.name
        error = claim_lost(record, name)
        body = lost_body(record, token_text(holding.claim), reason)
        ledger.count("lost")
        waiter, askers, client = holding.waiter, holding.askers, holding.client
        was_settling = holding.phase is Phase.SETTLING
        self._drop_settle(holding)
        ledger.timers.cancel(("grace", holding.key))
        ledger.close_holding(holding, Phase.LOST)
        holding.askers = []
        goes_on = waiter is not None and waiter.task is None and not holding.provisional
        if was_settling and goes_on and askers:
            assert waiter is not None
            self._wait(now, waiter)
            return
        for asker in askers:
            ledger.refuse(now, asker, error, had_effect=True)
        rows = ledger.requests.replace(holding.request_key, Answer.of_error(error))
        if rows:
            ledger.parts.outbox.commit(*rows)
        if not was_settling or holding.provisional or holding.resuming:
            if client is not None:
                ledger.parts.outbox.notify("task.lost", body, client)
            ledger.parts.outbox.notify("task.lost", body)
