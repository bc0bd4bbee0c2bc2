"""The part of the desk at which nodes talk about a task: reports, offers, questions, reviews."""

from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.asking import Asking
from mesh.core.claims.claiming import Claiming
from mesh.core.claims.handing_over import HandingOver
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.claims.reporting import Reporting
from mesh.core.claims.requests import Asker
from mesh.core.claims.reviewing import Reviewing
from mesh.core.claims.timers import TimerName
from mesh.core.claims.writing import Writing
from mesh.core.commands import (
    Command,
    TaskAccept,
    TaskAnswer,
    TaskAsk,
    TaskDecline,
    TaskForceRelease,
    TaskOffer,
    TaskProgress,
    TaskRefuse,
    TaskReopen,
    TaskReview,
)
from mesh.core.instants import Now


@dataclass(slots=True)
class Exchanging:
    """Everything about tasks that is neither submitting, claiming nor ending them."""

    ledger: Ledger
    claiming: Claiming
    writing: Writing
    reporting: Reporting = field(init=False)
    asking: Asking = field(init=False)
    _handing_over: HandingOver = field(init=False)
    _reviewing: Reviewing = field(init=False)

    def __post_init__(self) -> None:
        self.reporting = Reporting(self.ledger, self.writing)
        self.asking = Asking(self.ledger, self.writing)
        self._handing_over = HandingOver(self.ledger, self.claiming, self.writing)
        self._reviewing = Reviewing(self.ledger, self.writing)
        self.ledger.forgetters.append(self.asking.forget)

    def write(self, now: Now, asker: Asker, command: Command) -> bool:
        """Do what a client asks, if it is asked here."""
        match command:
            case TaskProgress():
                self.reporting.report(now, asker, command)
            case TaskDecline():
                self.reporting.decline(now, asker, command)
            case TaskOffer():
                self._handing_over.offer(now, asker, command)
            case TaskAccept():
                self._handing_over.accept(now, asker, command)
            case TaskRefuse():
                self._handing_over.refuse(now, asker, command)
            case _:
                return self._write_more(now, asker, command)
        return True

    def _write_more(self, now: Now, asker: Asker, command: Command) -> bool:
        match command:
            case TaskAsk():
                self.asking.ask(now, asker, command)
            case TaskAnswer():
                self.asking.answer(now, asker, command)
            case TaskReview():
                self._reviewing.review(now, asker, command)
            case TaskForceRelease():
                self._reviewing.release(now, asker, command)
            case TaskReopen():
                self._reviewing.reopen(now, asker, command)
            case _:
                return False
        return True

    def evaluate(self, now: Now, record: Record) -> None:
        """Look at a task whose record may have changed."""
        if self.ledger.sessions.holds(record.task):
            self.reporting.evaluate(now, record)
        if record.exchange.questions:
            self.asking.evaluate(now, record)

    def handle_due(self, now: Now, due: TimerName) -> None:
        """Do what is due."""
        subject: Any
        purpose, subject = due
        match purpose:
            case "report":
                self.reporting.handle_report_due(now, subject)
            case "silent":
                self.reporting.handle_silence(now, subject)
            case "question":
                self.asking.handle_question_due(now, subject)
            case "answer":
                self.asking.handle_wait_over(now, subject)
            case _:
                raise AssertionError(purpose)
