"""Facts with which nodes talk about a task: offers, questions, reviews, an operator's release.

None of them takes anything back. An accept, a refusing review and a release can be the `because`
of the next claim; until somebody makes that claim, the owner stays the owner.
"""

from dataclasses import dataclass
from typing import ClassVar

from mesh.core.claims.facts import BLOB, PAYLOAD_BYTES_MAX, Blob, TaskFact
from mesh.core.identity import Boot, FactId, NodeId
from mesh.core.wire.codec import Binary, Flag, Layout, Maybe, Text, Uint
from mesh.core.wire.envelope import Contexts

TEXT_BYTES_MAX = 600
REASON_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class ExchangeFact(TaskFact):
    """Something said about a task that answers one other fact about it."""

    @property
    def cited(self) -> FactId:
        """The fact that it is about."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Offer(ExchangeFact):
    """The owner would hand the task over, with what the next one has to know. Author: the claim's.

    Of the offers on one claim the greatest (boot, number) stands.
    """

    CONTEXT: ClassVar[str] = "offer/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Uint(64),
        Uint(32),
        Maybe(Binary(16)),
        Text(64),
        Binary(0, PAYLOAD_BYTES_MAX),
        BLOB,
        Flag(),
    )
    claim: FactId
    boot: Boot
    number: int
    to: NodeId | None
    """None: whoever can."""
    agent: str
    """Empty: any agent."""
    context: bytes
    """JSON: goal, done, pending, decisions, caveats."""
    context_blob: Blob | None = None
    withdrawn: bool = False
    """The owner keeps the task after all; whoever has accepted before keeps it as well."""

    @property
    def cited(self) -> FactId:
        """The claim."""
        return self.claim


@dataclass(frozen=True, slots=True)
class Accept(ExchangeFact):
    """Somebody takes what was offered; the claim that cites this follows in the same push."""

    CONTEXT: ClassVar[str] = "accept/1"
    LAYOUT: ClassVar[Layout] = (Binary(28), Binary(32), Uint(64), Text(64, 1))
    offer: FactId
    boot: Boot
    agent: str

    @property
    def cited(self) -> FactId:
        """The offer."""
        return self.offer


@dataclass(frozen=True, slots=True)
class Decline(ExchangeFact):
    """Somebody does not take what was offered."""

    CONTEXT: ClassVar[str] = "decline/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Text(64, 1),
        Binary(0, REASON_BYTES_MAX),
    )
    offer: FactId
    agent: str
    reason: bytes

    @property
    def cited(self) -> FactId:
        """The offer."""
        return self.offer


@dataclass(frozen=True, slots=True)
class Question(ExchangeFact):
    """The owner needs to know something before it can go on. Author: the claim's."""

    CONTEXT: ClassVar[str] = "question/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Uint(64),
        Uint(32),
        Uint(64),
        Maybe(Uint(32)),
        Binary(1, TEXT_BYTES_MAX),
    )
    claim: FactId
    boot: Boot
    number: int
    asked_ms: int
    """Wall, for display and for the time-out."""
    limit_ms: int | None
    """How long an answer is waited for; None: until there is one."""
    text: bytes

    @property
    def cited(self) -> FactId:
        """The claim."""
        return self.claim


@dataclass(frozen=True, slots=True)
class Answer(ExchangeFact):
    """What somebody says to a question; or its asker's node, that it waits no longer."""

    CONTEXT: ClassVar[str] = "answer/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Text(64, 1),
        Binary(0, TEXT_BYTES_MAX),
        Flag(),
    )
    question: FactId
    agent: str
    text: bytes
    timed_out: bool = False

    @property
    def cited(self) -> FactId:
        """The question."""
        return self.question


@dataclass(frozen=True, slots=True)
class Review(ExchangeFact):
    """A second agent's word on a result of a task that wants one. Author: not the result's."""

    CONTEXT: ClassVar[str] = "review/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Flag(),
        Text(64, 1),
        Binary(0, TEXT_BYTES_MAX),
    )
    result: FactId
    accepted: bool
    agent: str
    reason: bytes

    @property
    def cited(self) -> FactId:
        """The result."""
        return self.result


@dataclass(frozen=True, slots=True)
class Release(ExchangeFact):
    """A claim is over by an operator's word. Author: a spec's, an admin, or the claim's own.

    The claim's own author uses it to put a task off.
    """

    CONTEXT: ClassVar[str] = "release/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(28),
        Binary(32),
        Maybe(Uint(64)),
        Binary(0, REASON_BYTES_MAX),
    )
    claim: FactId
    not_before_ms: int | None
    """Wall: nobody shall begin it sooner."""
    reason: bytes

    @property
    def cited(self) -> FactId:
        """The claim."""
        return self.claim


EXCHANGE_CONTEXTS: Contexts = {
    kind.CONTEXT: kind for kind in (Offer, Accept, Decline, Question, Answer, Review, Release)
}
