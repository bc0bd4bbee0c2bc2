"""What `mesh up` says, to people and to a service manager, around a scripted node."""

import errno
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from mesh.control.server import ControlSettings
from mesh.core.commands import NodeStatus
from mesh.core.effects import Effect, Halt, Notify, Reply
from mesh.core.inputs import CommandReceived, Input
from mesh.core.node.node import Node
from mesh.core.params import params_for
from mesh.daemon.clock import SystemClock
from mesh.daemon.main import START_AGAIN, Front, _drive
from mesh.daemon.options import UpOptions
from mesh.daemon.readiness import Readiness
from mesh.daemon.shell import Plan
from mesh.daemon.sockets import bind_sockets
from mesh.daemon.talk import LINES_PER_S
from mesh.storage.log import Log
from tests.shell.test_shell import LOCAL, ScriptedNode


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


async def driven(folder: Path, node: ScriptedNode) -> int:
    """Run a node to its end as `mesh up` does."""
    clock = SystemClock()
    readiness = Readiness({"NOTIFY_SOCKET": str(folder / "notify")}, lambda: clock.now().instant)
    sockets = bind_sockets(LOCAL)
    control = ControlSettings(str(folder / "run" / "mesh.sock"))
    front = Front(UpOptions(), sockets, (sockets.address,), control, readiness)
    plan = Plan(Log(folder / "log.sqlite"), sockets, params_for("local"), front, clock, readiness)
    with trio.fail_after(10):
        return await _drive(cast("Node", node), plan, front)


def heard(manager: socket.socket) -> str:
    """Return all that was said to the service manager."""
    said = []
    while True:
        try:
            said.append(manager.recv(4096).decode())
        except BlockingIOError:
            return " ".join(said)


async def test_who_starts_again_does_not_say_that_it_stops(
    tmp_path: Path, manager: socket.socket
) -> None:
    """A service manager that hears of stopping waits for the end, and then makes one."""
    again = ScriptedNode(lambda _: [], [Halt("an old disk", again=True)])
    assert await driven(tmp_path, again) == START_AGAIN
    assert heard(manager) == ""
    assert await driven(tmp_path, ScriptedNode(lambda _: [], [Halt("left")])) == 0
    assert heard(manager) == "STOPPING=1"


async def test_why_joining_takes_long_is_said_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = ["nobody listens", "nobody listens", "used up", "used up"]
    state: dict[str, Any] = {"node": {"state": "joining"}}

    def rule(event: Input) -> list[Effect]:
        if not isinstance(event, CommandReceived) or not isinstance(event.command, NodeStatus):
            return []
        if not problems:
            return [Halt("left")]
        told = {**state["node"], "last_problem": problems.pop(0)}
        return [Reply(event.client, event.request, {"node": told})]

    monkeypatch.setattr("mesh.daemon.main.SLOW_JOIN_S", 0.01)
    monkeypatch.setattr("mesh.daemon.main.SLOW_JOIN_HIGH_S", 0.01)
    assert await driven(tmp_path, ScriptedNode(rule, [])) == 0
    said = capsys.readouterr().err
    assert said.count("still joining; nobody listens\n") == 1
    assert said.count("still joining; used up\n") == 1


async def test_a_flood_of_alarms_makes_few_lines_and_says_how_many_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever holds a copy of the key can have it alarmed as often as it likes."""
    alarms: list[Effect] = [Notify("alarm", {"kind": "key_lives_twice", "text": "..."})] * 1000
    assert await driven(tmp_path, ScriptedNode(lambda _: [], [*alarms, Halt("left")])) == 0
    lines = capsys.readouterr().err.splitlines()
    told, alarmed = [line for line in lines if "more alarms" in line], lines.count("ALARM: ...")
    assert 0 < alarmed <= LINES_PER_S * (1 + len(told)), "a slow machine may need some seconds"
    assert alarmed + sum(int(line.split()[2]) for line in told) == len(alarms)


class Closed(io.StringIO):
    """A terminal that is gone."""

    def flush(self) -> None:
        raise OSError(errno.EIO, "gone")


async def test_nobody_need_hear_what_a_node_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal was closed, or the disk of its log is full: the node goes on."""
    monkeypatch.setattr("sys.stderr", Closed())
    alarm = Notify("alarm", {"kind": "disk_failing", "text": "..."})
    assert await driven(tmp_path, ScriptedNode(lambda _: [], [alarm, Halt("left")])) == 0
