"""A control server with a scripted node behind it: real sockets, invented answers."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from mesh.control.server import ControlServer, ControlSettings
from mesh.core.commands import Command, Hello
from mesh.core.effects import ClientId
from mesh.core.errors import LocalError
from mesh.core.inputs import ClientGone, CommandReceived

PATIENCE_S = 10

Answer = Callable[[Any], Any]
"""Given the command: its result; None leaves it unanswered; LocalError refuses it."""


@dataclass
class FakeNode:
    """What the node behind the socket was asked, and how it answers."""

    path: str
    script: Mapping[type[Command], Answer]
    received: list[CommandReceived] = field(default_factory=list)
    clients: list[trio.SocketStream] = field(default_factory=list)
    """Closed with the node."""
    gone: list[ClientId] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)
    server: ControlServer = field(init=False)

    async def put(self, each: CommandReceived | ClientGone) -> None:
        """Stand in for the pump."""
        await trio.lowlevel.checkpoint()
        if isinstance(each, ClientGone):
            self.gone.append(each.client)
        else:
            self.received.append(each)
            self._answer(each)
        self.changed.set()
        self.changed = trio.Event()

    def _answer(self, asked: CommandReceived) -> None:
        answer = self.script.get(type(asked.command))
        if answer is None:
            answer = _hello if isinstance(asked.command, Hello) else _nothing
        try:
            result = answer(asked.command)
        except LocalError as refused:
            self.server.refuse(asked.client, asked.request, refused)
            return
        if result is not None:
            self.server.reply(asked.client, asked.request, result)

    def asked(self, kind: type[Command]) -> list[Any]:
        """Return the commands of one kind, in order."""
        return [each.command for each in self.received if isinstance(each.command, kind)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what was received makes this true."""
        with trio.fail_after(PATIENCE_S):
            while not holds():
                await self.changed.wait()


def _hello(_command: Command) -> dict[str, Any]:
    return {"version": "test", "api": 1}


def _nothing(_command: Command) -> None:
    return None


def refusing(name: str, message: str = "no", hint: str = "do otherwise") -> Answer:
    """Return an answer that refuses."""

    def answer(_command: Command) -> None:
        raise LocalError(name, message, hint)

    return answer


@asynccontextmanager
async def fake_node(
    folder: Path, script: Mapping[type[Command], Answer] | None = None, group: int | None = None
) -> AsyncIterator[FakeNode]:
    """Serve a scripted node on a socket in a folder."""
    path = str(folder / "mesh.sock")
    node = FakeNode(path, script or {})
    node.server = ControlServer(ControlSettings(path, group), node.put)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.server.serve)
        yield node
        for client in node.clients:
            await trio.aclose_forcefully(client)
        nursery.cancel_scope.cancel()
