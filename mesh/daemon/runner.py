"""The runner: child processes of `mesh work`, one command per task, ended with all their children.

Each command leads a process group of its own. When it has ended, by itself or not, whatever is
left of its group is killed: a task that is finished has no processes. It is waited for without
being reaped first, so that its number can not be taken by another process in between. When it was
stopped, what has left its group goes too: it is known by a mark in its environment.

If the runner itself is killed, the keeper process ends the groups (see keeper.py).
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

import trio

from mesh.core.errors import LocalError
from mesh.daemon import keeper

READ_BYTES = 65_536
RUN_MARK = "MESH_RUN"
"""Tells the processes of one command from those of the next."""


class Ending(StrEnum):
    """How a command came to its end."""

    EXITED = "exited"
    CANCELED = "canceled"
    OUTPUT_TOO_LARGE = "output_too_large"


@dataclass(frozen=True, slots=True)
class RunnerBounds:
    """What a command may take."""

    output_bytes_max: int = 64 * 1024 * 1024
    """More on its standard output than a blob can hold is an error: the command is stopped."""
    stderr_tail_bytes: int = 4096
    grace_s: float = 5.0
    """Between SIGTERM and SIGKILL."""
    drain_s: float = 1.0
    """Pipes may stay open so long after the end, held by a process that left the group."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What is left of a command; the exit code is -N after signal N."""

    ending: Ending
    exit_code: int
    stdout: bytes
    stderr_tail: bytes


@dataclass(slots=True)
class _Captured:
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    overflowed: trio.Event = field(default_factory=trio.Event)


class Runner:
    """Runs commands; enter it first, and leave it when no command runs any more."""

    def __init__(self, bounds: RunnerBounds | None = None) -> None:
        self._bounds = bounds or RunnerBounds()
        self._mark = secrets.token_hex(16)
        self._groups: dict[int, None] = {}
        self._keeper: subprocess.Popen[bytes] | None = None

    async def run(
        self,
        argv: Sequence[str],
        input_bytes: bytes,
        environment: Mapping[str, str],
        cancel: trio.Event,
        hurry: trio.Event | None = None,
    ) -> Finished:
        """Run one command to its end, with exactly this environment and a mark of ours.

        Once `cancel` is set, or when the caller is cancelled, its whole group gets SIGTERM and,
        after the grace or once `hurry` is set, SIGKILL. Raises LocalError if the command can not
        be started.
        """
        mark = secrets.token_hex(16)
        process = await self._start(argv, {**environment, RUN_MARK: mark})
        captured = _Captured()
        ending = Ending.CANCELED
        try:
            async with trio.open_nursery() as pipes:
                pipes.start_soon(_feed, process, input_bytes)
                pipes.start_soon(self._collect_output, process, captured)
                pipes.start_soon(self._collect_errors, process, captured)
                try:
                    ending = await _first_of(process, cancel, captured.overflowed)
                finally:
                    await self._end(process, hurry, at_once=ending is Ending.EXITED)
                    if ending is not Ending.EXITED:
                        await _end_runaways(mark)
                pipes.cancel_scope.deadline = trio.current_time() + self._bounds.drain_s
        finally:
            with trio.CancelScope(shield=True):
                await _close_pipes(process)
                exit_code = await process.wait()
        if captured.overflowed.is_set():
            ending = Ending.OUTPUT_TOO_LARGE
        return Finished(ending, exit_code, bytes(captured.stdout), bytes(captured.stderr))

    async def _start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        stderr: int | None = subprocess.PIPE,
    ) -> trio.Process:
        marked = {**environment, keeper.MARK: self._mark}
        try:
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env=marked,
            )
        except FileNotFoundError as error:
            raise LocalError(
                "command_not_found",
                f"{argv[0]} was not found",
                "give the path of a program, or put it on PATH",
            ) from error
        except (OSError, ValueError) as error:
            raise LocalError(
                "command_not_startable",
                f"{argv[0]}: {error}",
                "check that it is an executable program and its arguments are not too long",
            ) from error
        self._groups[process.pid] = None
        self._tell(f"+{process.pid}\n")
        return process

    async def _end(self, process: trio.Process, hurry: trio.Event | None, *, at_once: bool) -> None:
        """See to it that the whole group is gone; the leader stays unreaped until then."""
        with trio.CancelScope(shield=True):
            if not at_once:
                os.killpg(process.pid, signal.SIGTERM)
                with trio.move_on_after(self._bounds.grace_s) as grace:
                    async with trio.open_nursery() as nursery:
                        if hurry is not None:
                            nursery.start_soon(_cancel_once, hurry, grace)
                        await _exited(process)
                        nursery.cancel_scope.cancel()
            os.killpg(process.pid, signal.SIGKILL)
            await _exited(process)
        del self._groups[process.pid]
        self._tell(f"-{process.pid}\n")

    async def _collect_output(self, process: trio.Process, captured: _Captured) -> None:
        assert process.stdout is not None
        async for data in process.stdout:
            room = self._bounds.output_bytes_max - len(captured.stdout)
            captured.stdout += data[:room]
            if len(data) > room:
                # Read on: a command that is stopped must not hang on a full pipe.
                captured.overflowed.set()

    async def _collect_errors(self, process: trio.Process, captured: _Captured) -> None:
        assert process.stderr is not None
        async for data in process.stderr:
            captured.stderr += data
            del captured.stderr[: -self._bounds.stderr_tail_bytes]

    def _tell(self, line: str) -> None:
        assert self._keeper is not None, "enter the runner first"
        assert self._keeper.stdin is not None
        try:
            self._keeper.stdin.write(line.encode())
        except BrokenPipeError:
            # Somebody has killed it: a new one is told everything.
            self._dismiss_keeper()
            self._keeper = self._start_keeper()

    def _start_keeper(self) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,
        )
        assert started.stdin is not None
        started.stdin.write("".join(f"+{group}\n" for group in self._groups).encode())
        return started

    def _dismiss_keeper(self) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.write(keeper.GOODBYE)
        self._keeper.stdin.close()
        self._keeper.wait()

    async def __aenter__(self) -> Self:
        self._keeper = self._start_keeper()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert not self._groups, "commands are still running"
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._dismiss_keeper)


async def _end_runaways(mark: str) -> None:
    """Kill what a stopped command has left behind outside its group."""
    named = f"{RUN_MARK}={mark}".encode()
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(keeper.kill_all_marked, named)


async def _cancel_once(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _first_of(process: trio.Process, cancel: trio.Event, overflowed: trio.Event) -> Ending:
    """Return what happens first; a command that has exited counts as that in any case."""
    first: list[Ending] = []

    async def wait_for(ending: Ending) -> None:
        match ending:
            case Ending.EXITED:
                await _exited(process)
            case Ending.CANCELED:
                await cancel.wait()
            case Ending.OUTPUT_TOO_LARGE:
                await overflowed.wait()
        first.append(ending)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for each in Ending:
            nursery.start_soon(wait_for, each)
    return Ending.EXITED if Ending.EXITED in first else first[0]


async def _exited(process: trio.Process) -> None:
    """Wait until the process has ended, without reaping it."""
    descriptor = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def _feed(process: trio.Process, input_bytes: bytes) -> None:
    assert process.stdin is not None
    # A command need not read its input.
    with contextlib.suppress(trio.BrokenResourceError):
        await process.stdin.send_all(input_bytes)
    await process.stdin.aclose()


async def _close_pipes(process: trio.Process) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            await pipe.aclose()
