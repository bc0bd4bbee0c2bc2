"""Small nodes that do as they are told, to test the simulator without the rules of a mesh."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mesh.core.claims.allocation import claim_rank
from mesh.core.commands import (
    AgentAttach,
    Command,
    NodeLeave,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskResume,
    TaskStart,
    TaskSubmit,
)
from mesh.core.effects import ClientId, Commit, CommitNumber, Effect, Halt, Reply, ReplyError, Row
from mesh.core.identity import Address, Boot, FactId, Incarnation, NodeId, TaskId, task_text
from mesh.core.inputs import ClientGone, CommandReceived, CommitDone, CommitFailed, Input
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.params import Params
from mesh.core.snapshot import MemberView, Snapshot, Status, TaskState, TaskView
from mesh.sim.checkers import said
from mesh.sim.engine import Conditions
from mesh.sim.host import Birth, HostState
from mesh.sim.world import World

RESUME_GRACE_S = 6.0
STILL = Conditions(latency_s=(0.01, 0.01), commit_s=(0.002, 0.002), drift=0.0, wall_error_s=0.0)
"""Every packet takes 10 ms, every commit 2 ms."""

React = Callable[[Now, Input], list[Effect]]


@dataclass
class Script:
    """A node that writes down what it is given and answers with what it was handed."""

    birth: Birth
    first: list[Effect] = field(default_factory=list)
    react: React = lambda _now, _event: []
    every_s: float = 0.0
    tick: Callable[[Now], list[Effect]] = lambda _now: []
    inputs: list[tuple[Now, Input]] = field(default_factory=list)
    ticks: list[Now] = field(default_factory=list)
    drawn: list[Now] = field(default_factory=list)
    """When somebody wanted a snapshot."""
    deadline: Instant = NEVER

    def start(self, now: Now) -> list[Effect]:
        if self.every_s:
            self.deadline = later(now.instant, self.every_s)
        return self.first

    def handle(self, now: Now, event: Input) -> list[Effect]:
        self.inputs.append((now, event))
        return self.react(now, event)

    def handle_timeout(self, now: Now) -> list[Effect]:
        self.ticks.append(now)
        self.deadline = later(now.instant, self.every_s)
        return self.tick(now)

    def next_deadline(self) -> Instant:
        return self.deadline

    def snapshot(self, now: Now) -> Snapshot:
        self.drawn.append(now)
        return empty_snapshot(self.birth.name)

    def heard(self, kind: type[Input]) -> list[Input]:
        return [event for _, event in self.inputs if isinstance(event, kind)]


def scripts(**options: object) -> Callable[[World, Birth], Script]:
    """Return a factory of scripts that are all alike."""

    def make(_world: World, birth: Birth) -> Script:
        return replace(Script(birth), **options)  # type: ignore[arg-type]  # fields of Script

    return make


def world_of(
    *names: str, seed: int = 1, conditions: Conditions = STILL, **options: object
) -> World:
    """Return a world of running scripts."""
    world = World(seed, Params(), scripts(**options), conditions=conditions)
    for name in names:
        world.add_host(name)
        world.start(name)
    return world


def script(world: World, name: str) -> Script:
    node = world.hosts[name].node
    assert isinstance(node, Script)
    return node


def id_of(name: str, disk: int = 0) -> NodeId:
    return NodeId(hashlib.blake2b(f"{name}/{disk}".encode(), digest_size=16).digest())


def empty_snapshot(name: str) -> Snapshot:
    return Snapshot(id_of(name), Boot(1), (), (), (), (), isolated=False, table_sizes=())


@dataclass
class Board:
    """A task table that all toy nodes of a world share by magic."""

    tasks: dict[str, TaskView] = field(default_factory=dict)
    handles: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Task, token and host of each claim."""
    requests: dict[str, str] = field(default_factory=dict)
    forgetful: bool = False
    """A planted bug: submits are acknowledged and not kept."""
    generous: bool = False
    """A planted bug: whoever asks for a task gets it."""


class Toy:
    """A node of a mesh that works by magic: it commits, answers, and shares one board."""

    def __init__(self, world: World, birth: Birth, board: Board) -> None:
        self.world = world
        self.birth = birth
        self.board = board
        self.id = id_of(birth.name, birth.disk)
        self.boot = Boot(birth.starts + 1)
        self._commits = 0
        self._waiting: dict[int, list[Effect]] = {}
        self._undo: dict[int, dict[str, TaskView]] = {}
        self._claims: list[CommandReceived] = []
        self._now = Instant(0.0)
        self._resume_until = Instant(0.0)
        self._holders: dict[str, ClientId] = {}

    def start(self, now: Now) -> list[Effect]:
        self._now = now.instant
        self._resume_until = later(now.instant, RESUME_GRACE_S)
        return []

    def handle(self, now: Now, event: Input) -> list[Effect]:
        self._now = now.instant
        match event:
            case CommandReceived():
                return self._command(event, event.command)
            case ClientGone(client):
                self._claims = [asked for asked in self._claims if asked.client != client]
                gone = [handle for handle, holder in self._holders.items() if holder == client]
                for handle in gone:
                    del self._holders[handle]
                return []
            case CommitDone(number):
                return self._waiting.pop(number)
            case CommitFailed(number, reason):
                self.board.tasks.update(self._undo.pop(number))
                replies = [e for e in self._waiting.pop(number) if isinstance(e, Reply)]
                return [ReplyError(e.client, e.request, "disk", reason, "wait") for e in replies]
            case _:
                return []

    def handle_timeout(self, now: Now) -> list[Effect]:
        self._now = now.instant
        if now.instant > self._resume_until:
            self._release(
                lambda handle, name: name == self.birth.name and handle not in self._holders
            )
        effects: list[Effect] = []
        for waiting in list(self._claims):
            effects += self._claim(waiting, waiting.command)
        return effects

    def next_deadline(self) -> Instant:
        return later(self._now, 0.2)

    def snapshot(self, now: Now) -> Snapshot:
        del now
        tasks = tuple(self.board.tasks.values())
        members = tuple(self._member(host.name) for host in self.world.hosts.values())
        facts = tuple(
            FactId(hashlib.blake2b(repr(item).encode(), digest_size=32).digest())
            for item in (*tasks, *map(said, members))
        )
        return Snapshot(
            self.id,
            self.boot,
            members,
            tasks,
            facts,
            facts,
            isolated=False,
            table_sizes=(),
        )

    def _member(self, name: str) -> MemberView:
        host = self.world.hosts[name]
        off = host.state is HostState.OFF
        boot = host.node.boot if isinstance(host.node, Toy) else 0
        return MemberView(
            id=id_of(name, host.disk_number),
            name=name,
            address=host.address,
            status=Status.DEAD if off else Status.ALIVE,
            boot=Boot(boot),
            incarnation=Incarnation(0),
            rtt_s=None,
            tags=(),
            is_self=name == self.birth.name,
        )

    def _command(self, asked: CommandReceived, command: Command) -> list[Effect]:
        match command:
            case TaskSubmit():
                return self._submit(asked, command)
            case TaskClaim():
                self._claims.append(asked)
                return self._claim(asked, command)
            case TaskStart() | TaskComplete() | TaskFail() | TaskRelease() | TaskResume():
                return self._write(asked, command.handle)
            case TaskCancel(task=task):
                view = replace(self.board.tasks[task], state=TaskState.CANCELED)
                return self._durably(asked, view, {})
            case AgentAttach():
                return [Reply(asked.client, asked.request, {})]
            case NodeLeave():
                return [Reply(asked.client, asked.request, {}), Halt("left")]
            case _:
                return [ReplyError(asked.client, asked.request, "what", "?", "ask well")]

    def _submit(self, asked: CommandReceived, command: TaskSubmit) -> list[Effect]:
        known = self.board.requests.get(command.request_id or "")
        if known is not None:
            return [Reply(asked.client, asked.request, {"task": known, "copies": 99})]
        number = len(self.board.tasks) + 1
        task = TaskId(self.id + self.boot.to_bytes(8, "big") + number.to_bytes(4, "big"))
        view = TaskView(
            id=task,
            kind=command.kind,
            state=TaskState.SUBMITTED,
            owner=None,
            agent="",
            token="",
            epoch=0,
            starts=0,
            attempts_used=0,
            outcome=None,
            result_token="",
            result_digest=b"",
        )
        if command.request_id:
            self.board.requests[command.request_id] = task_text(task)
        result: dict[str, object] = {"task": task_text(task), "copies": 99}
        return self._durably(asked, None if self.board.forgetful else view, result)

    def _claim(self, asked: CommandReceived, command: Command) -> list[Effect]:
        assert isinstance(command, TaskClaim)
        self._release(self._is_off)
        for text, view in self.board.tasks.items():
            wanted = text == command.task or view.kind in command.kinds
            free = view.state is TaskState.SUBMITTED or self.board.generous
            if not (wanted and free):
                continue
            epoch, rank = view.epoch + 1, claim_rank(view.id, view.epoch + 1, self.id)
            nonce = len(self.board.handles)
            token = f"{epoch:08x}-{rank:016x}-{self.id.hex()}-{nonce:016x}"
            handle = f"handle-{len(self.board.handles)}"
            self._holders[handle] = asked.client
            self.board.handles[handle] = (text, token, self.birth.name)
            self._claims.remove(asked)
            owned = replace(
                view, state=TaskState.WORKING, owner=self.id, token=token, epoch=view.epoch + 1
            )
            result: dict[str, object] = {"task": text, "token": token, "handle": handle}
            return self._durably(asked, owned, result)
        if command.task is not None:
            self._claims.remove(asked)
            return [ReplyError(asked.client, asked.request, "lost", "owned", "wait")]
        return []

    def _write(self, asked: CommandReceived, handle: str) -> list[Effect]:
        text, token, host = self.board.handles.get(handle, ("", "", ""))
        view = self.board.tasks.get(text)
        if view is None or host != self.birth.name or view.token != token:
            return [ReplyError(asked.client, asked.request, "unknown", "no claim", "claim")]
        self._holders[handle] = asked.client
        match asked.command:
            case TaskStart():
                view = replace(view, starts=view.starts + 1)
            case TaskComplete():
                view = replace(view, state=TaskState.COMPLETED, result_token=token)
            case TaskFail() | TaskRelease():
                view = replace(view, state=TaskState.SUBMITTED, owner=None)
            case _:
                pass
        return self._durably(asked, view, {"copies": 99})

    def _durably(
        self, asked: CommandReceived, view: TaskView | None, result: Mapping[str, object]
    ) -> list[Effect]:
        self._commits += 1
        number = CommitNumber(self._commits)
        self._undo[number] = {}
        if view is not None:
            text = task_text(view.id)
            if text in self.board.tasks:
                self._undo[number][text] = self.board.tasks[text]
            self.board.tasks[text] = view
        self._waiting[number] = [Reply(asked.client, asked.request, dict(result))]  # type: ignore[arg-type]  # JSON all the same
        return [Commit(number, (Row("toy", number.to_bytes(4, "big"), b"x"),))]

    def _release(self, ended: Callable[[str, str], bool]) -> None:
        for handle, (text, token, name) in self.board.handles.items():
            view = self.board.tasks[text]
            if view.token == token and view.state is TaskState.WORKING and ended(handle, name):
                self.board.tasks[text] = replace(view, state=TaskState.SUBMITTED, owner=None)

    def _is_off(self, _handle: str, name: str) -> bool:
        return self.world.hosts[name].state is HostState.OFF


def toys(board: Board | None = None) -> Callable[[World, Birth], Toy]:
    """Return a factory of toy nodes around one board."""
    shared = board or Board()
    return lambda world, birth: Toy(world, birth, shared)


NOWHERE = Address("192.0.2.1", 1)
