"""Both clients on a real socket, with a scripted node behind it."""

from pathlib import Path
from typing import Any

import pytest
import trio

from mesh.control import client as plain
from mesh.control.client import Client, NodeUnreachable, Refused
from mesh.control.framing import BUNDLE_MAX, PAYLOAD_LINE_BYTES_MAX
from mesh.control.trio_client import TrioClient
from mesh.core.commands import Hello, MemberList, TaskShow
from tests.unit.control.fake_node import fake_node, refusing


async def test_plain_client_asks_and_watches(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {MemberList: lambda _: {"members": []}}) as node:

        def ask() -> list[Any]:
            with Client.connect(node.path) as client:
                client.watch("member")
                answer = client.call("member.list", status="alive", tags={"a": "b"})
                trio.from_thread.run_sync(node.server.notify, "member", {"name": "b"})
                return [answer, next(client.notifications(timeout_s=5))]

        assert await trio.to_thread.run_sync(ask) == [
            {"members": []},
            {"topic": "member", "name": "b"},
        ]
        assert node.asked(MemberList) == [MemberList(status="alive", tags={"a": "b"})]


async def test_plain_client_is_told_what_is_wrong(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:

        def ask() -> None:
            with Client.connect(node.path) as client:
                client.call("task.show", tsk="x")

        with pytest.raises(Refused, match="has no field 'tsk'") as refused:
            await trio.to_thread.run_sync(ask)
        assert refused.value.name == "invalid_params"


async def test_plain_client_asks_a_bundle(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {TaskShow: lambda asked: {"task": asked.task}}) as node:

        def ask() -> list[Any]:
            with Client.connect(node.path) as client:
                client.call("hello")
                wanted = [("task.show", {"task": task}) for task in ("a", "b")]
                return client.bundle([*wanted, ("task.show", {"tsk": "c"}), ("watch", {})])

        *shown, wrong, silent = await trio.to_thread.run_sync(ask)
        assert shown == [{"task": "a"}, {"task": "b"}]
        assert isinstance(wrong, Refused)
        assert isinstance(silent, Refused)
        assert wrong.name == silent.name == "invalid_params"


async def test_bundle_beyond_its_bound_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:

        def ask() -> None:
            with Client.connect(node.path) as client:
                client.bundle([("hello", {})] * (BUNDLE_MAX + 1))

        with pytest.raises(Refused, match="an array of 65 requests"):
            await trio.to_thread.run_sync(ask)
        assert not node.asked(Hello)


def test_clients_know_the_bounds_of_a_line() -> None:
    assert plain.BUNDLE_MAX == BUNDLE_MAX
    assert plain.LINE_BYTES_MAX == PAYLOAD_LINE_BYTES_MAX


async def test_trio_client_has_many_calls_under_way(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node, trio.open_nursery() as nursery:
        client = await TrioClient.connect(nursery, node.path)
        answers: dict[str, Any] = {}

        async def show(task: str) -> None:
            answers[task] = await client.call("task.show", task=task)

        for task in ("a", "b", "c"):
            nursery.start_soon(show, task)
        await node.until(lambda: len(node.received) == 3)
        for asked in reversed(node.received):
            assert isinstance(asked.command, TaskShow)
            node.server.reply(asked.client, asked.request, {"task": asked.command.task})
        with trio.fail_after(5):
            while len(answers) < 3:
                await trio.testing.wait_all_tasks_blocked()
        assert answers == {task: {"task": task} for task in ("a", "b", "c")}
        nursery.cancel_scope.cancel()


async def test_trio_client_asks_bundles_beside_other_calls(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node, trio.open_nursery() as nursery:
        client = await TrioClient.connect(nursery, node.path)
        got: dict[str, list[Any]] = {}

        async def ask(name: str, *tasks: str) -> None:
            wanted = [("task.show", {"task": task}) for task in tasks]
            got[name] = await client.bundle([*wanted, ("task.show", {"tsk": "c"})])

        nursery.start_soon(ask, "one", "a", "b")
        nursery.start_soon(ask, "two", "c")
        await node.until(lambda: len(node.received) == 3)
        with pytest.raises(Refused, match="an array of 65 requests"):
            await client.bundle([("hello", {})] * (BUNDLE_MAX + 1))
        with pytest.raises(Refused, match="at most 1048576"):
            await client.bundle([("task.show", {"task": "x" * 20_000})] * BUNDLE_MAX)
        for asked in reversed(node.received):
            assert isinstance(asked.command, TaskShow)
            node.server.reply(asked.client, asked.request, {"task": asked.command.task})
        with trio.fail_after(5):
            while len(got) < 2:
                await trio.testing.wait_all_tasks_blocked()
        assert got["one"][:2] == [{"task": "a"}, {"task": "b"}]
        assert got["two"][:1] == [{"task": "c"}]
        for answers in got.values():
            assert isinstance(answers[-1], Refused)
            assert answers[-1].name == "invalid_params"
        nursery.cancel_scope.cancel()


async def test_trio_client_hears_events_and_refusals(tmp_path: Path) -> None:
    heard: list[Any] = []
    async with fake_node(tmp_path, {TaskShow: refusing("not_found", "m", "h")}) as node:
        async with trio.open_nursery() as nursery:
            client = await TrioClient.connect(nursery, node.path, heard.append)
            await client.call("watch", topics=["*"])
            node.server.notify("member", {"n": 1})
            with pytest.raises(Refused) as refused:
                await client.call("task.show", task="t")
            client.close()
        assert (refused.value.name, refused.value.hint) == ("not_found", "h")
        assert heard == [{"topic": "member", "n": 1}]


async def test_trio_client_calls_end_when_the_node_does(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        async with fake_node(tmp_path) as node:
            client = await TrioClient.connect(nursery, node.path)
            ended = trio.Event()

            async def wait() -> None:
                with pytest.raises(NodeUnreachable):
                    await client.call("task.wait", task="t")
                ended.set()

            nursery.start_soon(wait)
            await node.until(lambda: bool(node.received))
        with trio.fail_after(5):
            await client.closed.wait()
            await ended.wait()
        with pytest.raises(NodeUnreachable):
            await client.call("hello")


async def test_trio_client_survives_a_call_given_up(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node, trio.open_nursery() as nursery:
        client = await TrioClient.connect(nursery, node.path)
        with trio.move_on_after(0.05) as patience:
            await client.call("task.wait", task="t")
        assert patience.cancelled_caught
        late = node.received[0]
        node.server.reply(late.client, late.request, {})
        assert await client.call("hello") == {"version": "test", "api": 1}
        assert len(node.asked(Hello)) == 1
        nursery.cancel_scope.cancel()


async def test_trio_client_needs_a_node(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(NodeUnreachable, match="no such socket"):
            await TrioClient.connect(nursery, str(tmp_path / "mesh.sock"))


async def test_another_program_on_the_socket_is_told_from_a_node(tmp_path: Path) -> None:
    """Such as the socket of a container engine, which answers in HTTP."""
    path = str(tmp_path / "other.sock")

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def ask() -> None:
        with Client.connect(path) as client:
            client.call("hello")

    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(path)
        listening.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(listening)])
            with pytest.raises(NodeUnreachable, match="no mesh node"):
                await trio.to_thread.run_sync(ask)
            client = await TrioClient.connect(nursery, path)
            with pytest.raises(NodeUnreachable):
                await client.call("hello")
            nursery.cancel_scope.cancel()


async def test_what_is_no_socket_is_told_from_a_node_that_has_ended(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path):
        with pytest.raises(NodeUnreachable, match="that is no socket") as unreachable:
            Client.connect(str(path))
        assert "--socket" in unreachable.value.hint


async def test_half_a_character_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node, trio.open_nursery() as nursery:
        client = await TrioClient.connect(nursery, node.path)
        with pytest.raises(Refused, match="not UTF-8") as refused:
            await client.call("task.show", task="a\udcff")
        assert refused.value.name == "invalid_params"
        client.close()
