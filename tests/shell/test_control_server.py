"""The control server on a real socket, with a scripted node behind it."""

import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from mesh.control import server
from mesh.control.access import Credentials
from mesh.control.framing import LINE_BYTES_MAX, PAYLOAD_LINE_BYTES_MAX
from mesh.control.server import CLIENTS_MAX, QUEUE_MAX, ControlServer, ControlSettings
from mesh.core.commands import NodeStatus, TaskClaim, TaskShow, TaskSubmit
from mesh.core.errors import LocalError
from tests.unit.control.fake_node import PATIENCE_S, FakeNode, fake_node, refusing

Frame = dict[str, Any]


class Wire:
    """A client that sends what it likes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def ask(self, id_: int | None, method: str, **params: object) -> None:
        frame = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
        await self.send(json.dumps(frame).encode() + b"\n")

    async def send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE_S):
            await self.stream.send_all(data)

    async def frame(self) -> Frame | None:
        """Return the next frame, or None at the end."""
        with trio.fail_after(PATIENCE_S):
            while b"\n" not in self.buffer:
                try:
                    data = await self.stream.receive_some(65_536)
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", maxsplit=1)
        found: Frame = json.loads(line)
        return found

    async def refusal(self) -> tuple[Any, str]:
        frame = await self.frame()
        assert frame is not None
        assert frame["error"]["data"]["hint"]
        return frame["id"], frame["error"]["data"]["name"]


async def wire_to(node: FakeNode) -> Wire:
    stream = await trio.open_unix_socket(node.path)
    node.clients.append(stream)
    return Wire(stream)


async def test_question_reaches_the_node_and_its_answer_comes_back(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {NodeStatus: lambda _: {"node": {"name": "a"}}}) as node:
        wire = await wire_to(node)
        await wire.ask(7, "node.status")
        assert await wire.frame() == {
            "jsonrpc": "2.0",
            "id": 7,
            "result": {"node": {"name": "a"}},
        }
        assert node.received[0].uid == os.geteuid()


async def test_requests_overtake_each_other(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {TaskShow: lambda _: {}}) as node:
        wire = await wire_to(node)
        await wire.ask(1, "task.claim", kinds=["k"], wait_s=30)
        await wire.ask(2, "task.show", task="t")
        second = await wire.frame()
        claim = node.received[0]
        node.server.reply(claim.client, claim.request, {"task": "t"})
        first = await wire.frame()
        assert (second or {})["id"] == 2
        assert (first or {})["id"] == 1


async def test_refusal_of_the_node_keeps_its_name_and_hint(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {TaskShow: refusing("not_found", "m", "h")}) as node:
        wire = await wire_to(node)
        await wire.ask(1, "task.show", task="t")
        frame = await wire.frame()
        assert (frame or {})["error"] == {
            "code": -32000,
            "message": "m",
            "data": {"name": "not_found", "hint": "h"},
        }


async def test_half_a_frame_waits_and_bad_ones_do_no_harm(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        await wire.send(b"not json\n")
        assert await wire.refusal() == (None, "parse_error")
        await wire.ask(1, "no.such.method")
        assert await wire.refusal() == (1, "unknown_method")
        await wire.ask(2, "hello", extra=1)
        assert await wire.refusal() == (2, "invalid_params")
        await wire.ask(None, "hello")
        assert await wire.refusal() == (None, "invalid_request")
        await wire.send(b'{"jsonrpc":"2.0","id":3,')
        await wire.send(b'"method":"hello"}\n')
        assert (await wire.frame() or {})["id"] == 3
        assert [type(each.command).__name__ for each in node.received] == ["Hello"]


async def test_half_a_frame_at_the_end_is_nothing(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        await wire.send(b'{"jsonrpc":"2.0","id":3,"method":"hello"}')
        await wire.stream.aclose()
        await node.until(lambda: bool(node.gone))
        assert not node.received


def padded(method: str, size: int) -> bytes:
    """Return a request whose line has exactly this size, by means of spaces."""
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"kind": "k"}})
    return line.encode().ljust(size) + b"\n"


async def test_line_has_a_bound(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        await wire.send(padded("hello", LINE_BYTES_MAX))
        assert await wire.refusal() == (1, "invalid_params")  # it was read: hello has no `kind`
        await wire.send(padded("hello", LINE_BYTES_MAX + 1))
        assert await wire.refusal() == (1, "frame_too_large")


async def test_line_with_a_payload_has_a_greater_one(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {TaskSubmit: lambda _: {"task": "t"}}) as node:
        wire = await wire_to(node)
        await wire.send(padded("task.submit", PAYLOAD_LINE_BYTES_MAX))
        assert (await wire.frame() or {})["result"] == {"task": "t"}
        await wire.send(padded("task.submit", PAYLOAD_LINE_BYTES_MAX + 1))
        assert await wire.refusal() == (None, "frame_too_large")
        await wire.ask(5, "hello")
        assert (await wire.frame() or {})["id"] == 5


async def test_one_client_too_many_is_told_so(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wires = [await wire_to(node) for _ in range(CLIENTS_MAX)]
        await wires[-1].ask(1, "hello")
        assert await wires[-1].frame()
        late = await wire_to(node)
        assert await late.refusal() == (None, "too_many_clients")
        assert await late.frame() is None
        await wires[0].stream.aclose()
        await node.until(lambda: len(node.gone) == 1)
        again = await wire_to(node)
        await again.ask(1, "hello")
        assert await again.frame()


async def test_open_requests_of_a_client_have_a_bound(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        for number in range(server.UNDER_WAY_MAX):
            await wire.ask(number, "task.wait", task="t")
        await wire.ask(999, "hello")
        assert await wire.refusal() == (999, "busy")
        first = node.received[0]
        node.server.reply(first.client, first.request, {})
        assert (await wire.frame() or {})["id"] == 0
        await wire.ask(1000, "hello")
        assert (await wire.frame() or {})["id"] == 1000


async def test_slow_reader_is_told_dropped_and_harms_nobody(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        slow, quick = await wire_to(node), await wire_to(node)
        for wire in (slow, quick):
            await wire.ask(1, "watch", topics=["member"])
            assert (await wire.frame() or {})["result"] == {"topics": ["member"]}
        filler = {"text": "x" * 40_000}
        lines = 0
        while not next(iter(node.server._clients.values()))._queue:
            node.server.notify("member", filler)
            lines += 1
            assert await quick.frame()
        for number in range(QUEUE_MAX):
            node.server.notify("member", {"number": number})
            frame = await quick.frame()
            assert (frame or {})["params"] == {"topic": "member", "number": number}
        received = [frame async for frame in frames_of(slow)]
        assert len(received) == lines + 1
        assert received[-1]["params"]["topic"] == "lagged"
        assert received[-1]["params"]["missed"] == QUEUE_MAX
        await node.until(lambda: len(node.gone) == 1)


async def frames_of(wire: Wire) -> Any:  # noqa: ANN401  an async generator of frames
    while (frame := await wire.frame()) is not None:
        yield frame


async def test_events_reach_those_who_watch_and_those_they_are_for(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        watcher, other = await wire_to(node), await wire_to(node)
        await other.ask(1, "hello")
        await other.frame()
        await watcher.ask(1, "watch", topics=["task"])
        await watcher.frame()
        node.server.notify("member", {"n": 1})
        node.server.notify("task.lost", {"n": 2})
        node.server.notify("task.lost", {"n": 3}, node.received[0].client)
        assert (await watcher.frame() or {})["params"] == {"topic": "task.lost", "n": 2}
        assert (await other.frame() or {})["params"] == {"topic": "task.lost", "n": 3}
        await watcher.ask(2, "watch", topics=[])
        await watcher.frame()
        node.server.notify("task", {})
        await watcher.ask(3, "hello")
        assert (await watcher.frame() or {})["id"] == 3


async def test_client_that_leaves_is_gone_and_late_answers_are_dropped(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        await wire.ask(1, "task.claim", kinds=["k"], wait_s=100)
        await node.until(lambda: bool(node.asked(TaskClaim)))
        await wire.stream.aclose()
        await node.until(lambda: bool(node.gone))
        claim = node.received[0]
        assert node.gone == [claim.client]
        node.server.reply(claim.client, claim.request, {})
        node.server.refuse(claim.client, claim.request, LocalError("a", "b", "c"))
        node.server.notify("task.lost", {}, claim.client)


async def test_client_that_only_stops_sending_gets_its_answers(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        await wire.ask(1, "task.wait", task="t")
        await wire.stream.send_eof()
        await node.until(lambda: bool(node.received))
        await trio.testing.wait_all_tasks_blocked()
        asked = node.received[0]
        node.server.reply(asked.client, asked.request, {"task": {}})
        assert (await wire.frame() or {})["result"] == {"task": {}}
        assert await wire.frame() is None


async def test_client_that_stops_sending_and_then_dies_is_gone(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        wire = await wire_to(node)
        await wire.ask(1, "task.wait", task="t")
        await wire.stream.send_eof()
        await node.until(lambda: bool(node.received))
        await wire.stream.aclose()
        await node.until(lambda: bool(node.gone))


@contextmanager
def pretending(monkeypatch: pytest.MonkeyPatch, *groups: int) -> Iterator[None]:
    """Let clients be of another user, with these groups."""

    def credentials(_sock: socket.socket) -> Credentials:
        return Credentials(1, os.geteuid() + 4321, groups)

    with monkeypatch.context() as patch:
        patch.setattr(server, "peer_credentials", credentials)
        yield


async def test_strangers_may_look_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_node(tmp_path, {NodeStatus: lambda _: {}}) as node:
        with pretending(monkeypatch, 4242):
            wire = await wire_to(node)
            await wire.ask(1, "node.status")
            assert (await wire.frame() or {})["result"] == {}
            for method in ("member.list", "task.list", "node.leave", "node.id"):
                await wire.ask(2, method)
                assert await wire.refusal() == (2, "permission")
            await wire.ask(3, "watch", topics=["*"])
            assert await wire.refusal() == (3, "permission")
        assert len(node.received) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
async def test_operators_may_work_but_not_stop_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake_node(tmp_path, {TaskSubmit: lambda _: {}}, group=4242) as node:
        with pretending(monkeypatch, 1, 4242):
            wire = await wire_to(node)
            await wire.ask(1, "task.submit", kind="k")
            assert (await wire.frame() or {})["result"] == {}
            for method in ("node.leave", "trust.invite"):
                await wire.ask(2, method)
                assert await wire.refusal() == (2, "permission")


def let_everybody_in(folder: Path) -> None:
    for each in (folder, *folder.parents):
        if each.stat().st_mode & stat.S_ISVTX:
            break  # the system's directory for temporary files
        each.chmod(each.stat().st_mode | stat.S_IXOTH)
    (folder / "mesh.sock").chmod(0o666)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
async def test_kernel_tells_another_user_apart(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {NodeStatus: lambda _: {}}) as node:
        let_everybody_in(tmp_path)
        script = (
            "import os, socket, sys; os.setgroups([]); os.setgid(4321); os.setuid(4321);"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            's.sendall(b\'{"jsonrpc":"2.0","id":1,"method":"task.list"}\\n\');'
            "print(s.makefile().readline())"
        )
        done = await trio.run_process(
            [sys.executable, "-I", "-c", script, node.path], capture_stdout=True
        )
        assert json.loads(done.stdout)["error"]["data"]["name"] == "permission"


async def test_second_node_on_the_socket_is_refused(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        second = ControlServer(ControlSettings(node.path), node.put)
        with pytest.raises(LocalError) as refused:
            await second.serve()
        assert refused.value.name == "already_running"
        assert str(os.getpid()) in refused.value.message
        wire = await wire_to(node)
        await wire.ask(1, "hello")
        assert await wire.frame()
    assert [each.name for each in os.scandir(tmp_path)] == ["mesh.sock.lock"]
