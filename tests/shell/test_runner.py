"""Real child processes: what they get, what comes back, and that none survives."""

import os
import select
import signal
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.core.errors import LocalError
from mesh.daemon.runner import Ending, Finished, Runner, RunnerBounds

PATIENCE_S = 10
ENVIRONMENT: Mapping[str, str] = {"PATH": os.environ["PATH"]}


async def run(
    *argv: str,
    input_bytes: bytes = b"",
    bounds: RunnerBounds | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Finished:
    with trio.fail_after(PATIENCE_S):
        async with Runner(bounds) as runner:
            return await runner.run(argv, input_bytes, environment, trio.Event())


def wait_gone(pid: int) -> None:
    """Return once the process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    assert waiting.poll(PATIENCE_S * 1000), f"process {pid} lives on"
    os.close(descriptor)


async def pids_in(path: Path, count: int) -> list[int]:
    """Return the process ids that a command writes into a fifo, one per line."""
    found: list[int] = []
    with trio.fail_after(PATIENCE_S):
        async with await trio.open_file(path) as lines:
            async for line in lines:
                found.append(int(line))
                if len(found) == count:
                    break
    return found


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


async def test_input_output_errors_and_exit_code() -> None:
    program = "tr a-z A-Z; echo trouble >&2; exit 75"
    finished = await run("sh", "-c", program, input_bytes=b"payload")
    assert finished == Finished(Ending.EXITED, 75, b"PAYLOAD", b"trouble\n")


async def test_the_environment_is_the_given_one_and_arguments_are_no_shell() -> None:
    finished = await run("env", environment={**ENVIRONMENT, "MESH_TASK_ID": "7 $(id)"})
    names = sorted(line.partition(b"=")[0] for line in finished.stdout.splitlines())
    assert names == [b"MESH_RUN", b"MESH_RUNNER", b"MESH_TASK_ID", b"PATH"]
    assert b"MESH_TASK_ID=7 $(id)\n" in finished.stdout
    assert (await run("echo", "$(id); *")).stdout == b"$(id); *\n"


async def test_large_input_and_output_pass_at_once() -> None:
    data = os.urandom(1024 * 1024)
    finished = await run("cat", input_bytes=data)
    assert finished.stdout == data
    assert finished.ending is Ending.EXITED, "exactly at the bound"


async def test_a_command_need_not_read_its_input() -> None:
    finished = await run("true", input_bytes=bytes(1024 * 1024))
    assert (finished.ending, finished.exit_code) == (Ending.EXITED, 0)


async def test_one_byte_too_much_output_is_an_error() -> None:
    bounds = RunnerBounds(output_bytes_max=1000)
    fits = await run("head", "-c", "1000", "/dev/zero", bounds=bounds)
    assert fits.ending is Ending.EXITED
    finished = await run("head", "-c", "1001", "/dev/zero", bounds=bounds)
    assert finished.ending is Ending.OUTPUT_TOO_LARGE
    assert len(finished.stdout) == 1000


async def test_endless_output_is_stopped() -> None:
    finished = await run("yes", bounds=RunnerBounds(output_bytes_max=1 << 20))
    assert finished.ending is Ending.OUTPUT_TOO_LARGE
    assert len(finished.stdout) == 1 << 20
    assert finished.exit_code == -signal.SIGTERM


async def test_of_errors_the_last_are_kept() -> None:
    program = "seq 1 20000 >&2"
    finished = await run("sh", "-c", program, bounds=RunnerBounds(stderr_tail_bytes=12))
    assert finished.stderr_tail == b"19999\n20000\n"


async def test_commands_that_can_not_be_started(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as refused:
        await run("no-such-command-anywhere")
    assert refused.value.name == "command_not_found"
    (tmp_path / "text").touch()
    with pytest.raises(LocalError) as refused:
        await run(str(tmp_path / "text"))
    assert refused.value.name == "command_not_startable"


async def test_cancelling_ends_the_whole_family(fifo: Path) -> None:
    program = (
        f"sleep 1000 & echo $$ >{fifo}.all; echo $! >>{fifo}.all; cat {fifo}.all >{fifo}; wait"
    )
    cancel = trio.Event()
    finished: list[Finished] = []
    async with Runner() as runner, trio.open_nursery() as nursery:

        async def task() -> None:
            finished.append(await runner.run(["sh", "-c", program], b"", ENVIRONMENT, cancel))

        nursery.start_soon(task)
        leader, grandchild = await pids_in(fifo, 2)
        assert os.getpgid(grandchild) == leader
        cancel.set()
    assert (finished[0].ending, finished[0].exit_code) == (Ending.CANCELED, -signal.SIGTERM)
    wait_gone(leader)
    wait_gone(grandchild)


async def test_cancelling_ends_also_what_has_left_the_family(fifo: Path) -> None:
    """Found with work that has a child in another session: it outlived a lost claim for ever."""
    program = f"setsid sh -c 'echo $$ >{fifo}; exec sleep 1000' & wait"
    cancel = trio.Event()
    async with Runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, ["sh", "-c", program], b"", ENVIRONMENT, cancel)
        nursery.start_soon(runner.run, ["sleep", "0.5"], b"", ENVIRONMENT, trio.Event())
        (escaped,) = await pids_in(fifo, 1)
        cancel.set()
    wait_gone(escaped)


async def test_a_command_may_use_its_grace(fifo: Path) -> None:
    program = f"trap 'echo saved; exit 3' TERM; echo $$ >{fifo}; while :; do sleep 0.01; done"
    cancel = trio.Event()
    finished: list[Finished] = []
    async with Runner() as runner, trio.open_nursery() as nursery:

        async def task() -> None:
            finished.append(await runner.run(["sh", "-c", program], b"", ENVIRONMENT, cancel))

        nursery.start_soon(task)
        await pids_in(fifo, 1)
        cancel.set()
    assert (finished[0].ending, finished[0].exit_code) == (Ending.CANCELED, 3)
    assert finished[0].stdout == b"saved\n"


async def test_a_command_that_ignores_sigterm_is_killed_after_its_grace(fifo: Path) -> None:
    # What it ignores its children ignore too.
    program = f"trap '' TERM; sleep 1000 & echo $! >{fifo}; wait"
    cancel = trio.Event()
    finished: list[Finished] = []
    async with Runner(RunnerBounds(grace_s=0.05)) as runner, trio.open_nursery() as nursery:

        async def task() -> None:
            finished.append(await runner.run(["sh", "-c", program], b"", ENVIRONMENT, cancel))

        nursery.start_soon(task)
        (grandchild,) = await pids_in(fifo, 1)
        cancel.set()
    assert (finished[0].ending, finished[0].exit_code) == (Ending.CANCELED, -signal.SIGKILL)
    wait_gone(grandchild)


async def test_hurry_ends_what_is_left_of_the_grace(fifo: Path) -> None:
    program = f"trap '' TERM; sleep 1000 & echo $! >{fifo}; wait"
    cancel, hurry = trio.Event(), trio.Event()
    finished: list[Finished] = []
    async with Runner(RunnerBounds(grace_s=1000)) as runner, trio.open_nursery() as nursery:

        async def task() -> None:
            argv = ["sh", "-c", program]
            finished.append(await runner.run(argv, b"", ENVIRONMENT, cancel, hurry))

        nursery.start_soon(task)
        (grandchild,) = await pids_in(fifo, 1)
        cancel.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not finished
        hurry.set()
    assert (finished[0].ending, finished[0].exit_code) == (Ending.CANCELED, -signal.SIGKILL)
    wait_gone(grandchild)


async def test_a_cancelled_caller_leaves_no_process(fifo: Path) -> None:
    program = f"sleep 1000 & echo $! >{fifo}; wait"
    async with Runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, ["sh", "-c", program], b"", ENVIRONMENT, trio.Event())
        (grandchild,) = await pids_in(fifo, 1)
        nursery.cancel_scope.cancel()
    wait_gone(grandchild)


async def test_what_a_finished_command_left_running_is_ended() -> None:
    finished = await run("sh", "-c", "sleep 1000 & echo $!")
    assert finished.exit_code == 0
    wait_gone(int(finished.stdout))


async def test_a_process_that_left_the_group_does_not_hold_up_the_end() -> None:
    program = "setsid sleep 1000 & echo $!"
    finished = await run("sh", "-c", program, bounds=RunnerBounds(drain_s=0.05))
    assert finished.ending is Ending.EXITED
    escaped = int(finished.stdout)
    os.kill(escaped, signal.SIGKILL)
    wait_gone(escaped)


RUNNER_PROGRAM = """
    import os, sys, trio
    from mesh.daemon.runner import Runner
    async def main():
        async with Runner() as runner, trio.open_nursery() as nursery:
            for command in sys.argv[1:]:
                environment = {"PATH": os.environ["PATH"]}
                argv = ["sh", "-c", command]
                nursery.start_soon(runner.run, argv, b"", environment, trio.Event())
    trio.run(main)
"""


async def test_kill_9_of_the_runner_leaves_no_process(fifo: Path) -> None:
    # One stays in its group, with a child; one leaves it; one wipes the mark off, and is known by
    # its group alone: so it speaks once the keeper has surely been told of that.
    commands = [
        f"sleep 1000 & echo $$ >>{fifo}; echo $! >>{fifo}; wait",
        f"setsid sh -c 'echo $$ >>{fifo}; exec sleep 1000'",
        f"env -i sh -c 'sleep 0.5; echo $$ >>{fifo}; sleep 1000; true'",
    ]
    program = textwrap.dedent(RUNNER_PROGRAM)
    runner = await trio.lowlevel.open_process([sys.executable, "-c", program, *commands])
    # Held open for writing: the end of one writer is not the end of the file.
    keeps_open = os.open(fifo, os.O_RDWR)
    pids = await pids_in(fifo, 4)
    os.close(keeps_open)
    runner.kill()
    await runner.wait()
    for pid in pids:
        wait_gone(pid)


async def test_a_killed_keeper_is_replaced_and_knows_everything(fifo: Path) -> None:
    async with Runner() as runner, trio.open_nursery() as nursery:
        command = ["sh", "-c", f"echo $$ >{fifo}; exec sleep 1000"]
        nursery.start_soon(runner.run, command, b"", ENVIRONMENT, trio.Event())
        (pid,) = await pids_in(fifo, 1)
        assert runner._keeper is not None
        runner._keeper.kill()
        wait_gone(runner._keeper.pid)
        finished = await runner.run(["true"], b"", ENVIRONMENT, trio.Event())
        assert finished.exit_code == 0
        assert runner._keeper.poll() is None
        assert list(runner._groups) == [pid]
        nursery.cancel_scope.cancel()
