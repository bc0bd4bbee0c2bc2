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
    elif task["text"] == "chat":
        print('{"output": "first"}\\n{"output": "stray"}', flush=True)
    elif task["text"] == "mixed up":
        print('{"task": "0-0-other", "output": "x"}', flush=True)
    elif task["text"] == "go":
        print('{"output": "gone"}', flush=True)
        sys.stdin.readline()
        sys.exit(0)
    else:
        print(json.dumps({"output": f"{os.getpid()} {task['kind']} {task['text']}"}), flush=True)
"""


@pytest.fixture
async def runner() -> AsyncIterator[StreamRunner]:
    async with StreamRunner(RunnerBounds(grace_s=0.5)) as made:
        yield made


async def give(runner: StreamRunner, text: str, cancel: trio.Event | None = None) -> Finished:
    environment = {**os.environ, "MESH_TASK_KIND": "k", "MESH_TASK_ID": "1-2-aa"}
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
    assert b"no answer to this task" in finished.stderr_tail
    assert (await give(runner, "mixed up")).exit_code == 1


async def test_what_is_said_out_of_turn_is_no_answer_to_the_next_task() -> None:
    told: list[str] = []
    async with StreamRunner(RunnerBounds(grace_s=0.5), told.append) as runner:
        assert (await give(runner, "chat")).stdout == b"first"
        assert (await give(runner, "a")).stdout.endswith(b" k a")
        assert (await give(runner, "b")).stdout.endswith(b" k b")
    assert told == [
        f'{sys.executable} is replaced: it said \'{{"output": "stray"}}\' without a task'
    ]


async def test_who_goes_after_its_work_fails_no_task_that_it_has_just_missed(
    runner: StreamRunner,
) -> None:
    assert (await give(runner, "go")).stdout == b"gone"
    assert (await give(runner, "a")).stdout.endswith(b" k a")


async def test_who_stays_is_told_to_go_with_all_others_at_once() -> None:
    stubborn = "trap '' TERM; while read line; do echo '{\"output\": \"x\"}'; done; sleep 600"
    environment = {**os.environ, "MESH_TASK_ID": "1-2-aa"}
    began = trio.current_time()
    async with StreamRunner(RunnerBounds(grace_s=1.0)) as runner, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(runner.run, ("sh", "-c", stubborn), b"", environment, trio.Event())
    assert trio.current_time() - began < 3.5, "one grace, and not four"


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
        (b'{"output": {"a": [1, "\xc3\xa4"]}}', 0, '{"a": [1, "ä"]}'.encode()),
        (b'{"output": null, "error": null}', 0, b"null"),
        (b'{"task": "1-2-aa", "output": 5}', 0, b"5"),
        (b'{"output_base64": "/w=="}', 0, b"\xff"),
        (b'{"error": "no"}', 1, b""),
        (b'{"release": true}', 75, b""),
    ],
)
def test_answers(line: bytes, code: int, output: bytes) -> None:
    finished = finished_of(line, "1-2-aa")
    assert finished is not None
    assert (finished.exit_code, finished.stdout) == (code, output)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"[]", b"{}", b"{", b"[" * 100_000, b'{"output_base64": "?"}'),
        *(b'{"output": "\\ud800"}', b'{"task": "2-2-aa", "output": "x"}'),
    ],
)
def test_no_answers(line: bytes) -> None:
    assert finished_of(line, "1-2-aa") is None


def test_a_payload_that_is_no_text_is_said_to_be_none() -> None:
    assert b'"text": null' in task_line(b"\xff", {})
