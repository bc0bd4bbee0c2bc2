"""A shell with real sockets and a real log around a scripted node."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from mesh.core.effects import (
    ClientId,
    CloseStream,
    Commit,
    CommitNumber,
    Effect,
    Halt,
    Json,
    OpenStream,
    Reply,
    ResolveSeeds,
    Row,
    SendDatagram,
    SendStream,
    StreamId,
)
from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.core.inputs import (
    ClientGone,
    CommitDone,
    CommitFailed,
    DatagramReceived,
    Input,
    SeedsResolved,
    StreamClosed,
    StreamOpened,
    StreamReceived,
)
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.params import params_for
from mesh.daemon.shell import Bounds, Plan, Shell
from mesh.daemon.sockets import bind_sockets
from mesh.storage.log import Log
from mesh.storage.writer import QUEUE_FULL, WriterBounds

LOCAL = Address("127.0.0.1", 0)
Rule = Callable[[Input], list[Effect]]


class ScriptedNode:
    """A node whose rule the test writes down."""

    def __init__(self, rule: Rule, at_start: list[Effect]) -> None:
        self.rule = rule
        self.at_start = at_start
        self.told: list[Input] = []
        self.deadline = NEVER
        self.timeouts = 0
        self.changed = trio.Event()

    def start(self, now: Now) -> list[Effect]:
        del now
        return self.at_start

    def handle_all(self, now: Now, inputs: Sequence[Input], /) -> list[Effect]:
        del now
        self.told += inputs
        self.changed.set()
        self.changed = trio.Event()
        return [effect for each in inputs for effect in self.rule(each)]

    def handle_timeout(self, now: Now) -> list[Effect]:
        self.timeouts += 1
        self.deadline = later(now.instant, 0.01)
        return []

    def next_deadline(self) -> Instant:
        return self.deadline

    async def wait_for(self, wanted: Input) -> None:
        with trio.fail_after(10):
            while wanted not in self.told:
                await self.changed.wait()


class Client:
    def __init__(self) -> None:
        self.replies: list[Json] = []

    def reply(self, client: ClientId, request: int, result: Json) -> None:
        del client, request
        self.replies.append(result)

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        del client, request, error

    def notify(self, topic: str, body: Mapping[str, Json], client: ClientId | None) -> None:
        del topic, body, client


def nothing(_: Input) -> list[Effect]:
    return []


@asynccontextmanager
async def running(
    path: Path, rule: Rule = nothing, at_start: list[Effect] | None = None
) -> AsyncIterator[tuple[Shell, ScriptedNode]]:
    node = ScriptedNode(rule, at_start or [])
    plan = Plan(Log(path), bind_sockets(LOCAL), params_for("local"))
    async with Shell(node, plan) as shell, trio.open_nursery() as nursery:
        await nursery.start(shell.run)
        yield shell, node
        shell.stop()


def commit(number: int, size: int = 1) -> Commit:
    return Commit(CommitNumber(number), (Row("fact", b"%d" % number, bytes(size)),))


async def test_two_nodes_talk_by_datagram_and_stream(tmp_path: Path) -> None:
    def echo(each: Input) -> list[Effect]:
        match each:
            case DatagramReceived(data, source):
                return [SendDatagram(source, b"echo " + data)]
            case StreamReceived(stream, data):
                return [SendStream(stream, b"echo " + data), CloseStream(stream)]
            case _:
                return []

    def speak(each: Input) -> list[Effect]:
        is_up = isinstance(each, StreamOpened)
        return [SendStream(StreamId(1), b"by stream")] if is_up else []

    async with running(tmp_path / "two", echo) as (two, _):
        at_start: list[Effect] = [
            SendDatagram(two.address, b"by datagram"),
            OpenStream(StreamId(1), two.address),
        ]
        async with running(tmp_path / "one", speak, at_start) as (one, node):
            await node.wait_for(DatagramReceived(b"echo by datagram", two.address))
            await node.wait_for(StreamReceived(StreamId(1), b"echo by stream"))
            await node.wait_for(StreamClosed(StreamId(1), "ended"))
            assert one.counters()["udp_received"] == 1


async def test_commits_are_on_disk_before_they_are_done(tmp_path: Path) -> None:
    async with running(tmp_path / "log", at_start=[commit(1), commit(2)]) as (_, node):
        await node.wait_for(CommitDone(CommitNumber(2)))
    reopened = Log(tmp_path / "log")
    assert reopened.restore() == {"fact": {b"1": b"\0", b"2": b"\0"}}
    reopened.close()


async def test_names_are_resolved(tmp_path: Path) -> None:
    effects: list[Effect] = [ResolveSeeds(("127.0.0.1:7", "dns+127.0.0.2:8"))]
    async with running(tmp_path / "log", at_start=effects) as (_, node):
        found = (Address("127.0.0.1", 7), Address("127.0.0.2", 8))
        await node.wait_for(SeedsResolved(found))


async def test_clients_are_heard_and_answered(tmp_path: Path) -> None:
    def answer(each: Input) -> list[Effect]:
        return [Reply(each.client, 1, "bye")] if isinstance(each, ClientGone) else []

    client = Client()
    async with running(tmp_path / "log", answer) as (shell, node):
        shell.attach(client)
        await shell.put(ClientGone(ClientId(1)))
        await node.wait_for(ClientGone(ClientId(1)))
    assert client.replies == ["bye"]


async def test_at_halt_the_last_commits_and_their_answers_still_get_out(tmp_path: Path) -> None:
    client = Client()

    def rule(each: Input) -> list[Effect]:
        if isinstance(each, ClientGone):
            return [commit(1), Halt("left")]
        return [Reply(ClientId(1), 1, "done")] if isinstance(each, CommitDone) else []

    node = ScriptedNode(rule, [])
    plan = Plan(Log(tmp_path / "log"), bind_sockets(LOCAL), params_for("local"), client)
    async with Shell(node, plan) as shell:
        shell.notice(ClientGone(ClientId(1)))
        with trio.fail_after(10):
            assert await shell.run() == "left"
    assert client.replies == ["done"]
    reopened = Log(tmp_path / "log")
    assert list(reopened.restore()["fact"]) == [b"1"]
    reopened.close()


async def test_time_passes_for_the_node_while_the_disk_is_stuck(tmp_path: Path) -> None:
    # The writer's thread is held inside a commit; probes must go on meanwhile.
    gate = threading.Event()
    log = Log(tmp_path / "log")
    append = log.append
    log.append = lambda rows: (gate.wait(10), append(rows))[1]  # type: ignore[method-assign]  # a stuck disk
    bounds = Bounds(writer=WriterBounds(commits_max=2))
    plan = Plan(log, bind_sockets(LOCAL), params_for("local"), bounds=bounds)
    node = ScriptedNode(nothing, [commit(1), commit(2), commit(3)])
    node.deadline = Instant(0.0)
    async with Shell(node, plan) as shell, trio.open_nursery() as nursery:
        await nursery.start(shell.run)
        await node.wait_for(CommitFailed(CommitNumber(3), QUEUE_FULL))
        with trio.fail_after(10):
            while node.timeouts < 5:
                await trio.lowlevel.checkpoint()
        assert not [each for each in node.told if isinstance(each, CommitDone)]
        gate.set()
        await node.wait_for(CommitDone(CommitNumber(2)))
        shell.stop()


async def test_a_bug_in_the_node_ends_the_run(tmp_path: Path) -> None:
    def crash(_: Input) -> list[Effect]:
        raise ZeroDivisionError

    plan = Plan(Log(tmp_path / "log"), bind_sockets(LOCAL), params_for("local"))
    shell = Shell(ScriptedNode(crash, []), plan)
    async with shell:
        shell.notice(ClientGone(ClientId(1)))
        with pytest.raises(ExceptionGroup) as crashed:
            await shell.run()
    assert crashed.value.subgroup(ZeroDivisionError) is not None
    bind_sockets(shell.address).close()


async def test_the_address_and_the_log_are_free_again(tmp_path: Path) -> None:
    async with running(tmp_path / "log") as (shell, _):
        address = shell.address
    bind_sockets(address).close()
    Log(tmp_path / "log").close()


async def test_a_client_is_heard_at_once_while_streams_bring_more_than_is_handled(
    tmp_path: Path,
) -> None:
    def slowly(each: Input) -> list[Effect]:
        if isinstance(each, StreamReceived):
            time.sleep(0.002)  # as verifying what is in a chunk does
        return []

    def chunks(inputs: Sequence[Input]) -> int:
        return sum(isinstance(each, StreamReceived) for each in inputs)

    async def push(shell: Shell) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", shell.address.port) as stream:
            await stream.send_all(bytes(2_000_000))

    async with running(tmp_path / "log", slowly) as (shell, node), trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(push, shell)
        with trio.fail_after(30):
            while shell.counters()["inbox_waiting"] < 10:
                await node.changed.wait()
        for number in range(20):
            before = chunks(node.told)
            await shell.put(ClientGone(ClientId(number)))
            await node.wait_for(ClientGone(ClientId(number)))
            at = node.told.index(ClientGone(ClientId(number)))
            assert chunks(node.told[:at]) - before <= 1, "a turn that was under way, and no more"
        nursery.cancel_scope.cancel()
