"""What the agents and clients of a world saw: the record against which a mesh is checked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class What(StrEnum):
    """What happened, from the point of view of a client."""

    SUBMITTED = "submitted"
    """A submit was acknowledged; `copies` says on how many nodes it is durable."""
    CANCELED = "canceled"
    """A cancel was acknowledged."""
    CLAIMED = "claimed"
    """A claim was granted: the token was handed out."""
    RESUMED = "resumed"
    """A claim of an earlier connection was granted again."""
    STARTED = "started"
    """The node acknowledged that work begins: from here on the agent works."""
    STOPPED = "stopped"
    """The agent no longer works on the token: finished, told to stop, or dead."""
    COMPLETED = "completed"
    """A completion was acknowledged."""
    FAILED = "failed"
    """A failed attempt was acknowledged."""
    RELEASED = "released"
    """A release was acknowledged."""
    LOST = "lost"
    """The agent was told that the claim is lost."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a client saw: when, at which host and run of its node."""

    what: What
    at_s: float
    host: str
    run: int
    task: str
    kind: str = ""
    token: str = ""
    agent: str = ""
    copies: int = 0
    asked_s: float | None = None
    """When the client asked for what is acknowledged here; None where nothing is."""

    @property
    def copied_s(self) -> float:
        """From when on disks may hold it that count as copies, and be lost before it is said."""
        return self.at_s if self.asked_s is None else self.asked_s


@dataclass(slots=True)
class History:
    """All events in their order, and who wants to hear of them at once."""

    events: list[Event] = field(default_factory=list)
    listeners: list[Callable[[Event], None]] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Record one event; a listener may raise."""
        self.events.append(event)
        for listener in self.listeners:
            listener(event)

    def of(self, what: What, task: str | None = None) -> list[Event]:
        """Return the events of one sort, of one task when it is given."""
        return [
            event
            for event in self.events
            if event.what is what and (task is None or event.task == task)
        ]

    def starts(self, task: str) -> int:
        """Return how many times work on a task was started."""
        return len(self.of(What.STARTED, task))
