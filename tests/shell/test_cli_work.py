"""`mesh work` as a process that runs real commands, against a scripted node."""

import base64
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from mesh.core.commands import (
    AgentAttach,
    Command,
    NodeIdentity,
    TaskClaim,
    TaskComplete,
    TaskDecline,
    TaskFail,
    TaskRelease,
    TaskStart,
)
from tests.unit.cli.test_worker import claims
from tests.unit.control.fake_node import Answer, FakeNode, fake_node, refusing

PATIENCE_S = 20


def done(_command: Command) -> dict[str, Any]:
    return {"task": "1-2-aa"}


def script(*payloads: bytes) -> dict[type[Command], Answer]:
    return {
        NodeIdentity: done,
        AgentAttach: done,
        TaskClaim: claims(*payloads),
        TaskStart: done,
        TaskComplete: done,
        TaskFail: done,
        TaskRelease: done,
        TaskDecline: done,
    }


@asynccontextmanager
async def work(node: FakeNode, *arguments: str) -> AsyncIterator[trio.Process]:
    """Run `mesh work`; it is told to end, and must."""
    line = [sys.executable, "-m", "mesh", "work", "--socket", node.path, *arguments]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(trio.run_process, line, stderr=subprocess.PIPE, check=False)
            )
            yield process
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def test_command_gets_the_payload_and_gives_the_output(tmp_path: Path) -> None:
    command = 'tr a-z A-Z; echo "$MESH_TASK_KIND $MESH_TASK_ID $MESH_TASK_HANDLE $MESH_SOCKET"'
    async with fake_node(tmp_path, script(b"hello ", b"world ")) as node:
        async with work(node, "--kind", "k", "--", "sh", "-c", command) as process:
            await node.until(lambda: len(node.asked(TaskComplete)) == 2)
        outputs = [base64.b64decode(each.output).decode() for each in node.asked(TaskComplete)]
        assert outputs == [
            f"HELLO k 1-2-aa handle-1 {node.path}\n",
            f"WORLD k 2-2-aa handle-2 {node.path}\n",
        ]
        assert process.returncode == 0


async def test_exit_code_says_how_it_went(tmp_path: Path) -> None:
    command = 'read code; echo "broken with $code" >&2; exit $code'
    async with fake_node(tmp_path, script(b"3\n", b"75\n")) as node:
        async with work(node, "--kind", "k", "--name", "bot", "--", "sh", "-c", command) as process:
            await node.until(lambda: bool(node.asked(TaskDecline)))
            assert process.stderr is not None
            said = await process.stderr.receive_some()
        assert node.asked(TaskFail) == [
            TaskFail("handle-1", "broken with 3", node.asked(TaskFail)[0].request_id)
        ]
        declined = node.asked(TaskDecline)[0]
        assert (declined.handle, declined.reason) == ("handle-2", "broken with 75")
        assert node.asked(AgentAttach)[0].name == "bot"
        assert said.startswith(b"mesh work: failed     k  1-2-aa  0.")


async def test_cancel_ends_the_whole_process_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    command = f"sleep 1000 & echo $$ $! > {pids}; wait"
    async with fake_node(tmp_path, script(b"")) as node:
        async with work(node, "--kind", "k", "--grace", "5s", "--", "sh", "-c", command):
            line = await trio.to_thread.run_sync(pids.read_text)
            handles = [os.pidfd_open(int(pid)) for pid in line.split()]
            client = node.received[-1].client
            node.server.notify("task.lost", {"token": "token-1", "reason": "canceled"}, client)
            for handle in handles:
                await trio.lowlevel.wait_readable(handle)
                os.close(handle)
            await node.until(lambda: len(node.asked(TaskClaim)) == 2)
        assert not node.asked(TaskFail)


async def test_stubborn_command_is_killed_after_the_grace(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    command = f"trap '' TERM; echo $$ > {pids}; while :; do sleep 0.05; done"
    async with fake_node(tmp_path, script(b"")) as node:
        async with work(
            node, "--kind", "k", "--grace", "100ms", "--", "sh", "-c", command
        ) as process:
            handle = os.pidfd_open(int(await trio.to_thread.run_sync(pids.read_text)))
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)  # the second one: do not wait for the command
            await trio.lowlevel.wait_readable(handle)
            os.close(handle)
            assert await process.wait() == 0
        assert node.asked(TaskRelease)[0].handle == "handle-1"


async def test_sigterm_lets_the_command_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with fake_node(tmp_path, script(b"")) as node:
        async with work(node, "--kind", "k", "--", "sh", "-c", f"cat {gate}") as process:
            opened = await trio.to_thread.run_sync(os.open, gate, os.O_WRONLY)
            process.terminate()
            poll = select.poll()
            poll.register(opened, select.POLLERR)
            assert not poll.poll(200), "the command must not be ended"
            os.write(opened, b"through the gate")
            os.close(opened)
            assert await process.wait() == 0
        assert base64.b64decode(node.asked(TaskComplete)[0].output) == b"through the gate"
        assert len(node.asked(TaskClaim)) == 1


async def test_what_cannot_work_ends_at_once(tmp_path: Path) -> None:
    run = partial(trio.run_process, capture_stderr=True, check=False)
    base = [
        sys.executable,
        "-m",
        "mesh",
        "work",
        "--kind",
        "k",
        "--socket",
        f"{tmp_path}/mesh.sock",
    ]
    gone = await run([*base, "--", "true"])
    assert gone.returncode == 3
    assert b"mesh up" in gone.stderr
    missing = await run([*base, "--", "no-such-program"])
    assert missing.returncode == 2
    async with fake_node(tmp_path, {NodeIdentity: refusing("permission")}):
        assert (await run([*base, "--", "true"])).returncode == 5
    async with fake_node(tmp_path, {NodeIdentity: done, AgentAttach: refusing("invalid_params")}):
        assert (await run([*base, "--", "true"])).returncode == 2
