"""Questions on a task: asked by its owner, answered by anybody on any node, also much later.

While an owner waits for an answer its task reads input-required and stays its own. A question may
have a limit; when that has passed, the asker's node writes down that it waits no longer, so that
everybody sees it. An answer that comes later is kept and shown all the same.
"""

from dataclasses import dataclass

from mesh.core.claims.exchange import QuestionView
from mesh.core.claims.exchange_facts import TEXT_BYTES_MAX, Answer, Question
from mesh.core.claims.exchange_views import question_view
from mesh.core.claims.ledger import Ledger, task_name, wall_ms
from mesh.core.claims.record import Record
from mesh.core.claims.requests import Asker
from mesh.core.claims.texts import entered_ms, entered_text, fitting_bytes
from mesh.core.claims.waiters import AnswerWaiter
from mesh.core.claims.writing import Writing
from mesh.core.commands import TaskAnswer, TaskAsk, TaskAwaitAnswer
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.identity import FactId, TaskId, task_text
from mesh.core.instants import Instant, Now, later

AGENT_BYTES_MAX = 64
NODE_AGENT = "mesh"
RETRY_S = 1.0
MS = 1000


@dataclass(slots=True)
class Asking:
    """Questions of this node's agents, and answers to anybody's."""

    ledger: Ledger
    writing: Writing

    def ask(self, now: Now, asker: Asker, command: TaskAsk) -> None:
        """Write a question down; the answer comes as a notification, or is waited for."""
        self.ledger.check_room()
        text = fitting_bytes(command.text, TEXT_BYTES_MAX, "question")
        limit_ms = entered_ms(command.limit_s, "limit_s")
        holding = self.writing.holding(command.handle)
        fact = Question(
            task=holding.task,
            claim=holding.claim.id,
            boot=self.ledger.parts.boot,
            number=holding.next_number(),
            asked_ms=wall_ms(now),
            limit_ms=limit_ms,
            text=text,
        )
        _, (question,) = self.ledger.publish(now, [fact])
        self.ledger.count("questions")
        body: dict[str, Json] = {"task": task_name(holding), "question": question.id.hex()}
        self.writing.answer_after_commit(now, asker, command, body)

    def answer(self, now: Now, asker: Asker, command: TaskAnswer) -> None:
        """Write an answer down, however late."""
        self.ledger.check_room()
        text = fitting_bytes(command.text, TEXT_BYTES_MAX, "answer")
        agent = entered_text(command.agent, AGENT_BYTES_MAX, "agent")
        record = self.ledger.record(command.task)
        question = self._question(record, command.question)
        fact = Answer(record.task, question.fact.id, agent, text)
        if not self.ledger.said_already(fact):
            self.ledger.publish(now, [fact])
            self.ledger.count("answers")
        body: dict[str, Json] = {"task": command.task, "question": question.fact.id.hex()}
        self.writing.answer_after_commit(now, asker, command, body)

    def _question(self, record: Record, given: str | None) -> QuestionView:
        """Return the question that a client means; raises LocalError."""
        questions = record.exchange.questions
        if given is None:
            found = [view for view in questions if view.is_open]
        else:
            wanted = given.lower()
            found = [view for view in questions if view.fact.id.hex().startswith(wanted)]
        if len(found) == 1:
            return found[0]
        task = task_text(record.task)
        if found:
            raise LocalError(
                "ambiguous",
                f"{len(found)} questions on task {task} are meant",
                "name one, from `mesh task questions`",
            )
        raise LocalError(
            "not_found",
            f"task {task} has no such question" if given else f"task {task} has no open question",
            "see `mesh task questions`",
        )

    # --- time-outs

    def evaluate(self, now: Now, record: Record) -> None:
        """Count for questions of this node, and tell those who wait for an answer."""
        asked = self.ledger.asked
        for view in record.exchange.questions:
            timer = ("question", view.fact.id)
            if view.is_open and view.fact.author == self.ledger.self_id:
                asked[view.fact.id] = record.task
                due = self._due(now, view)
                if due is not None:
                    self.ledger.timers.set(timer, due)
            elif asked.pop(view.fact.id, None) is not None:
                self.ledger.timers.cancel(timer)
                self._tell_asker(record, view)
        for waiter in self.ledger.waiters.of_task(record.task):
            if isinstance(waiter, AnswerWaiter):
                self._tell(now, waiter, record)

    def forget(self, task: TaskId) -> None:
        """Drop the questions on a task that is let go of."""
        for question, about in list(self.ledger.asked.items()):
            if about == task:
                del self.ledger.asked[question]
                self.ledger.timers.cancel(("question", question))

    def _tell_asker(self, record: Record, view: QuestionView) -> None:
        """Tell the agent that asked what became of its question."""
        said = question_view(view, self.ledger.parts.liveness.name)
        body: dict[str, Json] = {"task": task_text(record.task), **said}
        for holding in self.ledger.sessions.of_task(record.task):
            if holding.claim.id == view.fact.fact.claim and holding.client is not None:
                self.ledger.parts.outbox.notify("task.answered", body, holding.client)

    def _due(self, now: Now, view: QuestionView) -> Instant | None:
        fact = view.fact.fact
        if fact.limit_ms is None:
            return None
        # What was asked in the future, as wall clocks go, waits no longer than its limit.
        left_ms = min(fact.asked_ms + fact.limit_ms - wall_ms(now), fact.limit_ms)
        return later(now.instant, max(left_ms, 0) / MS)

    def handle_question_due(self, now: Now, question: bytes) -> None:
        """A question has waited for as long as it may."""
        task = self.ledger.asked.get(FactId(question))
        if task is None:
            return
        fact = Answer(task, FactId(question), NODE_AGENT, b"", timed_out=True)
        try:
            self.ledger.publish(now, [fact])
            self.ledger.count("questions_timed_out")
        except LocalError:
            again = later(now.instant, RETRY_S)
            self.ledger.timers.set(("question", question), again)

    # --- waiting

    def wait(self, now: Now, asker: Asker, command: TaskAwaitAnswer) -> None:
        """Answer once a question is answered or timed out."""
        record = self.ledger.record(command.task)
        question = self._question(record, command.question).fact.id
        self.ledger.check_room()
        number = self.ledger.waiters.new_number()
        deadline = later(now.instant, command.wait_s)
        waiter = AnswerWaiter(number, asker, record.task, question, deadline)
        self.ledger.waiters.add(waiter)
        if self._tell(now, waiter, record):
            return
        if deadline > now.instant:
            self.ledger.timers.set(("answer", number), deadline)
        else:
            self.handle_wait_over(now, number)

    def _tell(self, now: Now, waiter: AnswerWaiter, record: Record) -> bool:
        view = _view_of(record, waiter.question)
        if view is None or view.is_open:
            return False
        self.ledger.waiters.take(waiter.number)
        self.ledger.timers.cancel(("answer", waiter.number))
        body = question_view(view, self.ledger.parts.liveness.name)
        self.ledger.answer(now, waiter.asker, {"task": task_text(record.task), **body})
        return True

    def handle_wait_over(self, now: Now, number: int) -> None:
        """A client has waited long enough for an answer."""
        waiter = self.ledger.waiters.take(number)
        if waiter is None:
            return
        error = LocalError(
            "timed_out",
            "the question is still open",
            "wait longer; whoever can answer does it with `mesh task answer`",
        )
        self.ledger.refuse(now, waiter.asker, error, had_effect=False)


def _view_of(record: Record, question: FactId) -> QuestionView | None:
    return next((view for view in record.exchange.questions if view.fact.id == question), None)
