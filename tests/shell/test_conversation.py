"""Commands that stay: a line in, a line out; and those that do not keep to it."""

import os
import sys
from collections.abc import AsyncIterator

import pytest
import trio

from mesh.daemon.conversation import StreamRunner, finished_of, task_line
from mesh.daemon.runner import Ending, Finished, RunnerBounds

ECHO = """
import json, os, sys
for line in sys.stdin:
    task = json.loads(line)
    if task["text"] == "die":
        sys.exit(3)
    if task["text"] == "babble":
        print("hello", flush=True)
    elif task["text"] == "hang":
        import time
        time.sleep(600)
    else:
        print(json.dumps({"output": f"{os.getpid()} {task['kind']} {task['text']}"}), flush=True)
"""


@pytest.fixture
async def runner() -> AsyncIterator[StreamRunner]:
    async with StreamRunner(RunnerBounds(grace_s=0.5)) as made:
        yield made


async def give(runner: StreamRunner, text: str, cancel: trio.Event | None = None) -> Finished:
    environment = {**os.environ, "MESH_TASK_KIND": "k"}
    argv = (sys.executable, "-c", ECHO)
    with trio.fail_after(30):
        return await runner.run(
            argv, text.encode(), environment, trio.Event() if cancel is None else cancel
        )


async def test_one_command_does_one_task_after_the_other(runner: StreamRunner) -> None:
    outputs = [(await give(runner, text)).stdout.decode().split() for text in ("a", "b")]
    assert [output[1:] for output in outputs] == [["k", "a"], ["k", "b"]]
    assert outputs[0][0] == outputs[1][0], "the same process"


async def test_a_command_that_dies_fails_its_task_and_is_replaced(runner: StreamRunner) -> None:
    first = (await give(runner, "a")).stdout.decode().split()[0]
    died = await give(runner, "die")
    assert (died.ending, died.exit_code) == (Ending.EXITED, 3)
    assert (await give(runner, "b")).stdout.decode().split()[0] != first


async def test_a_command_that_died_idle_fails_nothing(runner: StreamRunner) -> None:
    pid = int((await give(runner, "a")).stdout.split()[0])
    os.kill(pid, 9)
    await trio.to_thread.run_sync(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (await give(runner, "b")).exit_code == 0


async def test_what_is_no_answer_is_a_failure(runner: StreamRunner) -> None:
    finished = await give(runner, "babble")
    assert finished.exit_code == 1
    assert b"no line of JSON" in finished.stderr_tail


async def test_a_task_that_is_lost_stops_its_command(runner: StreamRunner) -> None:
    cancel, finished = trio.Event(), []
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            finished.append(await give(runner, "hang", cancel))

        nursery.start_soon(work)
        await trio.sleep(0.3)
        cancel.set()
    assert finished[0].ending is Ending.CANCELED
    assert (await give(runner, "a")).exit_code == 0


@pytest.mark.parametrize(
    ("line", "code", "output"),
    [
        (b'{"output": "x"}', 0, b"x"),
        (b'{"output_base64": "/w=="}', 0, b"\xff"),
        (b'{"error": "no"}', 1, b""),
        (b'{"release": true}', 75, b""),
    ],
)
def test_answers(line: bytes, code: int, output: bytes) -> None:
    finished = finished_of(line)
    assert finished is not None
    assert (finished.exit_code, finished.stdout) == (code, output)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"output_base64": "?"}', b"{"])
def test_no_answers(line: bytes) -> None:
    assert finished_of(line) is None


def test_a_payload_that_is_no_text_is_said_to_be_none() -> None:
    assert b'"text": null' in task_line(b"\xff", {})
