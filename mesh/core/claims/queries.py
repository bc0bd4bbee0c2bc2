"""What clients may read: one task, many tasks, a task's history, and the end of a task."""

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.core.claims.facts import Claim, Evidence, Spec
from mesh.core.claims.garbage import Garbage
from mesh.core.claims.ledger import Ledger, wall_ms
from mesh.core.claims.listing import Listing
from mesh.core.claims.record import Record
from mesh.core.claims.requests import Asker
from mesh.core.claims.runs import runs_view
from mesh.core.claims.schedule_views import schedule_view
from mesh.core.claims.views import SHAPE_VERSION, TERMINAL
from mesh.core.claims.waiters import TaskWaiter
from mesh.core.commands import TaskHistory, TaskList, TaskShow, TaskWait
from mesh.core.effects import Json
from mesh.core.errors import LocalError
from mesh.core.identity import task_text
from mesh.core.instants import Now, later


@dataclass(slots=True)
class Queries:
    """Reading the table; nothing here changes it."""

    ledger: Ledger
    garbage: Garbage

    def look(self, now: Now, command: TaskShow | TaskList | TaskHistory) -> Json:
        """Return what is asked for; raises LocalError."""
        match command:
            case TaskShow():
                return self.show(now, command)
            case TaskList():
                return self.list(now, command)
            case TaskHistory():
                return self.history(command)

    def show(self, now: Now, command: TaskShow) -> Json:
        """Return one task in full."""
        record, ledger = self.ledger.record(command.task), self.ledger
        facts = ledger.parts.table.facts_of(record.task)
        runs = runs_view(record, facts, ledger.sightings, ledger.parts.liveness.name)
        return {"v": SHAPE_VERSION, "task": self._view(now, record) | {"runs": runs}}

    def list(self, now: Now, command: TaskList) -> Json:
        """Return the tasks that are asked for, oldest first."""
        if command.conflicts:
            return {"v": SHAPE_VERSION, "tasks": self.garbage.conflicts()[: command.limit]}
        listing = Listing(command, wall_ms(now), self.ledger.parts.liveness.name)
        tasks: list[Json] = []
        for record in self._records():
            if len(tasks) >= command.limit:
                break
            if listing.shows(record, self.ledger.shown.get(record.task)):
                tasks.append(self._view(now, record))
        return {"v": SHAPE_VERSION, "tasks": tasks}

    def _records(self) -> Iterator[Record]:
        for task in self.ledger.parts.table.tasks():
            record = self.ledger.known(task)
            if record.spec is not None:
                yield record

    def _view(self, now: Now, record: Record) -> dict[str, Json]:
        view = self.ledger.views.task(record, self.ledger.shown.get(record.task))
        return view | schedule_view(self.ledger, now, record)

    def history(self, command: TaskHistory) -> Json:
        """Return the signed facts of one task, each claim before what was said about it."""
        record = self.ledger.record(command.task)
        facts: list[Json] = []
        for verified in self.ledger.parts.table.facts_of(record.task):
            fact = verified.fact
            seen_ms = self.ledger.sightings.get(verified.id)
            if isinstance(fact, Spec):
                seen_ms = fact.created_ms
            view = self.ledger.views.fact(verified, seen_ms)
            if isinstance(fact, Claim) and fact.because is not None:
                evidence = self.ledger.parts.table.evidence(fact.because)
                if evidence is not None:
                    view["evidence"] = self._evidence_view(evidence)
            facts.append(view)
        return {"v": SHAPE_VERSION, "task": task_text(record.task), "facts": facts}

    def _evidence_view(self, evidence: Evidence) -> Json:
        # How many observers there were is the word of whoever wrote the verdict; how many there
        # would be if everybody admitted were here is not.
        is_verdict = evidence.kind == "verdict"
        few = is_verdict and evidence.accusers < self.ledger.parts.majority()
        return {
            "kind": evidence.kind,
            "subject": evidence.subject.hex(),
            "local": evidence.local or few,
        }

    # --- waiting

    def wait(self, now: Now, asker: Asker, command: TaskWait) -> None:
        """Answer once a task is over."""
        record = self.ledger.record(command.task)
        if record.state in TERMINAL:
            self.ledger.answer(now, asker, {"task": self._view(now, record)})
            return
        self.ledger.check_room()
        number = self.ledger.waiters.new_number()
        deadline = later(now.instant, command.wait_s)
        self.ledger.waiters.add(TaskWaiter(number, asker, record.task, deadline))
        if deadline > now.instant:
            self.ledger.timers.set(("wait", number), deadline)
        else:
            self.handle_wait_over(now, number)

    def handle_wait_over(self, now: Now, number: int) -> None:
        """A client has waited long enough for the end of a task."""
        waiter = self.ledger.waiters.take(number)
        if not isinstance(waiter, TaskWaiter):
            return
        record = self.ledger.known(waiter.task)
        error = LocalError(
            "timed_out",
            f"task {task_text(waiter.task)} is still {record.state.value}",
            "wait longer, or look at it with `mesh task show`",
        )
        self.ledger.refuse(now, waiter.asker, error, had_effect=False)

    def answer_finished(self, now: Now, record: Record) -> None:
        """Answer everybody who waited for the end of a task."""
        for waiter in self.ledger.waiters.of_task(record.task):
            if isinstance(waiter, TaskWaiter):
                self.ledger.waiters.take(waiter.number)
                self.ledger.timers.cancel(("wait", waiter.number))
                self.ledger.answer(now, waiter.asker, {"task": self._view(now, record)})
