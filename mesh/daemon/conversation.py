"""Commands that stay: `mesh work --stream` starts a command once and gives it a line per task.

    in   {"task": "...", "kind": "...", "token": "...", "handle": "...",
          "checkpoint": "path", "text": "...", "payload": "base64"}
    out  {"output": ...}, {"output_base64": "..."}, {"error": "..."} or {"release": true}

A command has one task at a time, so it is never given more than it can do. One that ends, says
something else, or is stopped because its task was lost, is replaced at the next task. So is one
that talks out of turn: what it says may be about any of its tasks. An answer may name its `task`,
and then it is never taken for the answer to another.
"""

import contextlib
import json
import os
import signal
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import trio

from mesh.daemon.runner import Ending, Finished, Runner, RunnerBounds

READ_BYTES = 65_536
LINE_BYTES_MAX = 96 * 1024 * 1024
"""An output of 64 MiB in base64, and what stands around it."""
SHOWN_MAX = 80
GIVE_BACK = 75
FAILED = 1
TASK_VARIABLES = {
    "task": "MESH_TASK_ID",
    "kind": "MESH_TASK_KIND",
    "token": "MESH_TASK_TOKEN",
    "handle": "MESH_TASK_HANDLE",
    "checkpoint": "MESH_CHECKPOINT",
}
PRIVATE = frozenset(TASK_VARIABLES.values())


@dataclass(slots=True, eq=False)
class Child:
    """One command that stays, and what it has said beyond the last whole line."""

    process: trio.Process
    said: bytearray = field(default_factory=bytearray)
    has_answered: bool = False


class StreamRunner(Runner):
    """Gives tasks to commands that stay; used like `Runner`."""

    def __init__(
        self, bounds: RunnerBounds | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(bounds)
        self._tell_user = tell
        self._idle: list[Child] = []

    async def run(
        self,
        argv: Sequence[str],
        input_bytes: bytes,
        environment: Mapping[str, str],
        cancel: trio.Event,
        hurry: trio.Event | None = None,
    ) -> Finished:
        """Give a task to a command that waits, or to a new one; raises LocalError."""
        line = task_line(input_bytes, environment)
        while self._idle:
            child = self._idle.pop()
            if _has_spoken(child):
                if self._tell_user is not None and child.said:
                    said = bytes(child.said[:SHOWN_MAX]).decode(errors="replace").strip()
                    self._tell_user(f"{argv[0]} is replaced: it said {said!r} without a task")
                await self._dismiss(child, hurry)
                continue
            finished = await self._ask(child, line, cancel, hurry)
            if finished is not None:
                return finished
            # It ended while it had nothing to do: that is nobody's failure.
        bare = {name: value for name, value in environment.items() if name not in PRIVATE}
        child = Child(await self._start(argv, bare, stderr=None))
        return await self._ask(child, line, cancel, hurry) or _died(child)

    async def _ask(
        self, child: Child, line: bytes, cancel: trio.Event, hurry: trio.Event | None
    ) -> Finished | None:
        """Return what becomes of a task; None if the command was gone before it took it."""
        answers: list[bytes | None] = []
        process = child.process
        assert process.stdin is not None
        is_taken = False
        try:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    await cancel.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop)
                await process.stdin.send_all(line)
                is_taken = True
                answers.append(await _next_line(child))
                nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            answers.append(None)
        finally:
            if not answers or answers[0] is None:
                await self._dismiss(child, hurry)
        if not answers:
            return Finished(Ending.CANCELED, -signal.SIGTERM, b"", b"")
        if answers[0] is None:
            # Who has done its work and goes may have missed the task by a moment.
            has_left = child.has_answered and child.process.returncode == 0 and not child.said
            return _died(child) if is_taken and not has_left else None
        finished = finished_of(answers[0], json.loads(line)["task"])
        if finished is None:
            await self._dismiss(child, hurry)
            return Finished(Ending.EXITED, FAILED, b"", b"its answer is no answer to this task")
        child.has_answered = True
        self._idle.append(child)
        return finished

    async def _dismiss(self, child: Child, hurry: trio.Event | None) -> None:
        """End a command and its group, however it stands."""
        await self._end(child.process, hurry, at_once=False)
        with trio.CancelScope(shield=True):
            for pipe in (child.process.stdin, child.process.stdout):
                assert pipe is not None
                await pipe.aclose()
            await child.process.wait()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with trio.open_nursery() as nursery:
            for child in self._idle:
                nursery.start_soon(self._dismiss, child, None)
        self._idle.clear()
        await super().__aexit__(kind, error, trace)


def task_line(payload: bytes, environment: Mapping[str, str]) -> bytes:
    """Return the line that describes a task."""
    told: dict[str, str | None] = {
        name: environment.get(variable) for name, variable in TASK_VARIABLES.items()
    }
    try:
        told["text"] = payload.decode()
    except UnicodeDecodeError:
        told["text"] = None
    told["payload"] = b64encode(payload).decode()
    return json.dumps(told).encode() + b"\n"


def finished_of(line: bytes, task: str | None = None) -> Finished | None:
    """Return what an answer means for its task; None if it means nothing."""
    try:
        answer = json.loads(line)
        if not isinstance(answer, dict) or answer.get("task", task) != task:
            return None
        if answer.get("release") is True:
            return Finished(Ending.EXITED, GIVE_BACK, b"", b"")
        if answer.get("error") is not None:
            return Finished(Ending.EXITED, FAILED, b"", _text_of(answer["error"]))
        if answer.get("output_base64") is not None:
            output = b64decode(answer["output_base64"], validate=True)
        else:
            output = _text_of(answer["output"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Finished(Ending.EXITED, 0, output, b"")


def _text_of(value: object) -> bytes:
    """Return a text as it is, and whatever else as JSON."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()


def _has_spoken(child: Child) -> bool:
    """Whether a command without a task has said something all the same, or has ended."""
    pipe = child.process.stdout
    assert isinstance(pipe, trio.lowlevel.FdStream)
    with contextlib.suppress(BlockingIOError):
        news = os.read(pipe.fileno(), READ_BYTES)
        child.said += news
        return not news or bool(child.said.strip())
    return bool(child.said.strip())


async def _next_line(child: Child) -> bytes | None:
    """Return the next line that a command says; None at its end."""
    assert child.process.stdout is not None
    said, scanned = child.said, 0
    while (end := said.find(b"\n", scanned)) < 0:
        scanned = len(said)
        data = await child.process.stdout.receive_some(READ_BYTES)
        said += data
        if not data or len(said) > LINE_BYTES_MAX:
            return None
    line = bytes(said[:end])
    del said[: end + 1]
    return line


def _died(child: Child) -> Finished:
    code = child.process.returncode
    said = f"the command ended in the middle of a task (code {code})"
    return Finished(Ending.EXITED, code or FAILED, b"", said.encode())
