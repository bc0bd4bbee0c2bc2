"""A control client of one simulated node: asks, and writes down every answer and notification."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mesh.core.commands import (
    Command,
    TaskAccept,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskResume,
    TaskStart,
    TaskSubmit,
)
from mesh.core.effects import ClientId, Json, Reply, ReplyError
from mesh.core.inputs import CommandReceived
from mesh.sim.history import Event, What
from mesh.sim.host import Host, HostState
from mesh.sim.world import World

NOTICES_MAX = 1000
SETTLED_TOPIC = "task.settled"
END_TOPICS = ("task.lost", "task.canceled")
"""Notifications after which a claim is over."""
RIGHTFUL_ENDS = ("handed_over", "released", "timed_out")
"""Reasons for which a claim is lost without anybody having taken it away."""
NOT_RUNNING = "node_not_running"
DISCONNECTED = "disconnected"


class AnsweredTwice(Exception):  # noqa: N818  it says what happened
    """A node answered one request twice: our bug, found by the client."""


@dataclass(slots=True, eq=False)
class Answer:
    """What became of one request."""

    command: Command
    asked_s: float
    answered_s: float | None = None
    result: Json = None
    error: str | None = None
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether it was answered, refused or cut off."""
        return self.answered_s is not None

    def text(self, field: str) -> str:
        """Return a text of the result; empty when there is none."""
        return text_of(self.result, field)

    def number(self, field: str) -> int:
        """Return an integer of the result; 0 when there is none."""
        value = self.result.get(field) if isinstance(self.result, dict) else None
        return value if isinstance(value, int) else 0


@dataclass(slots=True, eq=False)
class Holding:
    """A claim that a client holds, by its handle."""

    handle: str
    task: str
    token: str
    kind: str
    granted: bool = True
    """Not while a provisional claim settles."""
    started: bool = False


Then = Callable[[Answer], None]


def text_of(body: object, field: str) -> str:
    """Return a text out of a JSON object; empty when there is none."""
    value = body.get(field) if isinstance(body, Mapping) else None
    return value if isinstance(value, str) else ""


class SimClient:
    """A program with a connection to the node of its machine; connects when it first asks."""

    def __init__(self, world: World, host: Host, name: str = "client", uid: int = 0) -> None:
        self.world = world
        self.host = host
        self.name = name
        self.uid = uid
        self.rng = random.Random(world.rng.getrandbits(64))
        self.connection: ClientId | None = None
        self.answers: list[Answer] = []
        self.notices: deque[tuple[float, str, Mapping[str, Json]]] = deque(maxlen=NOTICES_MAX)
        self.holdings: dict[str, Holding] = {}
        self._requests = 0
        self._waiting: dict[int, tuple[Answer, Then | None]] = {}
        host.programs.append(self)

    def ask(self, command: Command, then: Then | None = None) -> Answer:
        """Send a request; its answer fills in later, and `then` is called with it."""
        answer = Answer(command, self.world.now_s)
        self.answers.append(answer)
        if self.host.state not in {HostState.RUNNING, HostState.PAUSED}:
            answer.answered_s, answer.error = self.world.now_s, NOT_RUNNING
            if then is not None:
                self.later(0.0, lambda: then(answer))
            return answer
        if self.connection is None:
            self.connection = self.world.connect(self.host, self)
        self._requests += 1
        self._waiting[self._requests] = (answer, then)
        self.world.command(
            self.host, CommandReceived(self.connection, self._requests, command, self.uid)
        )
        return answer

    def hang_up(self) -> None:
        """Close the connection; what was asked stays unanswered."""
        if self.connection is not None:
            self.world.disconnect(self.host, self.connection)
        self._cut_off()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a while, or when this machine wakes."""
        self.world.call_on(self.host, delay_s, action)

    def handle_reply(self, reply: Reply | ReplyError) -> None:
        """Take the answer to one request."""
        if reply.request not in self._waiting:
            raise AnsweredTwice(f"{self.host.name}: {reply}")
        answer, then = self._waiting.pop(reply.request)
        answer.answered_s = self.world.now_s
        if isinstance(reply, Reply):
            answer.result = reply.result
            self._record(answer)
        else:
            answer.error, answer.message = reply.name, reply.message
        if then is not None:
            then(answer)

    def handle_notice(self, topic: str, body: Mapping[str, Json]) -> None:
        """Take a notification."""
        self.notices.append((self.world.now_s, topic, body))
        held = self._held(body)
        if held is None:
            return
        if topic == SETTLED_TOPIC and not held.granted:
            held.granted = True
            self.note(What.CLAIMED, held)
        elif topic in END_TOPICS:
            if topic == END_TOPICS[0] and text_of(body, "reason") not in RIGHTFUL_ENDS:
                self.note(What.LOST, held)
            self.handle_lost(held)

    def handle_lost(self, held: Holding) -> None:
        """The node says that a claim is over; called once."""
        self.let_go(held)

    def handle_disconnected(self, *, machine: bool) -> None:
        """The node is gone; with `machine`, this client dies with it and holds nothing more."""
        self._cut_off()
        if machine:
            self.let_go_all()

    def handle_started(self) -> None:
        """A node runs here again: the next request connects."""

    def let_go(self, held: Holding) -> None:
        """Stop working on a claim."""
        if self.holdings.pop(held.handle, None) is not None and held.started:
            self.note(What.STOPPED, held)

    def let_go_all(self) -> None:
        """Stop working on every claim."""
        for held in list(self.holdings.values()):
            self.let_go(held)

    def note(self, what: What, held: Holding, answer: Answer | None = None) -> None:
        """Record what happened to a claim, and by which answer it was acknowledged."""
        self._event(what, held.task, held.kind, held.token, answer)

    def _event(
        self, what: What, task: str, kind: str = "", token: str = "", answer: Answer | None = None
    ) -> None:
        self.world.history.add(
            Event(
                what,
                self.world.now_s,
                self.host.name,
                self.host.run,
                task,
                kind,
                token,
                self.name,
                0 if answer is None else answer.number("copies"),
                None if answer is None else answer.asked_s,
            )
        )

    def _cut_off(self) -> None:
        self.connection = None
        waiting, self._waiting = list(self._waiting.values()), {}
        for answer, then in waiting:
            answer.answered_s, answer.error = self.world.now_s, DISCONNECTED
            if then is not None:
                then(answer)

    def _held(self, body: Mapping[str, Json]) -> Holding | None:
        handle = text_of(body, "handle")
        if handle in self.holdings:
            return self.holdings[handle]
        token, task = text_of(body, "token"), text_of(body, "task")
        for held in self.holdings.values():
            if held.token == token or (not token and held.task == task):
                return held
        return None

    def _record(self, answer: Answer) -> None:
        """Write down what an accepted request means."""
        command = answer.command
        match command:
            case TaskSubmit(kind=kind):
                task = answer.text("task")
                self._event(What.SUBMITTED, task, kind, answer=answer)
            case TaskCancel(task=task):
                self._event(What.CANCELED, task)
            case TaskClaim() | TaskResume() | TaskAccept():
                self._record_claim(answer)
            case TaskStart() | TaskComplete() | TaskFail() | TaskRelease():
                held = self.holdings.get(command.handle)
                if held is not None:
                    self._record_write(answer, held)
            case _:
                pass

    def _record_claim(self, answer: Answer) -> None:
        command = answer.command
        resumed = isinstance(command, TaskResume)
        handle = command.handle if isinstance(command, TaskResume) else answer.text("handle")
        if not handle:
            return
        held = self.holdings.get(handle)
        if held is None:
            settling = answer.text("state") == "settling"
            task, token, kind = (answer.text(field) for field in ("task", "token", "kind"))
            held = Holding(handle, task, token, kind, granted=not settling)
            self.holdings[handle] = held
        if held.granted:
            self.note(What.RESUMED if resumed else What.CLAIMED, held)

    def _record_write(self, answer: Answer, held: Holding) -> None:
        match answer.command:
            case TaskStart():
                held.started = True
                self.note(What.STARTED, held)
                return
            case TaskComplete():
                self.note(What.COMPLETED, held, answer)
            case TaskFail():
                self.note(What.FAILED, held)
            case _:
                self.note(What.RELEASED, held)
        self.let_go(held)
