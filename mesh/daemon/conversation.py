"""Commands that stay: `mesh work --stream` starts a command once and gives it a line per task.

    in   {"task": "...", "kind": "...", "token": "...", "handle": "...",
          "checkpoint": "path", "text": "...", "payload": "base64"}
    out  {"output": "..."}, {"output_base64": "..."}, {"error": "..."} or {"release": true}

A command has one task at a time, so it is never given more than it can do. One that ends, says
something else, or is stopped because its task was lost, is replaced at the next task.
"""

import json
import signal
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import trio

from mesh.daemon.runner import Ending, Finished, Runner, RunnerBounds

READ_BYTES = 65_536
LINE_BYTES_MAX = 96 * 1024 * 1024
"""An output of 64 MiB in base64, and what stands around it."""
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


class StreamRunner(Runner):
    """Gives tasks to commands that stay; used like `Runner`."""

    def __init__(self, bounds: RunnerBounds | None = None) -> None:
        super().__init__(bounds)
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
            return _died(child) if is_taken else None
        finished = finished_of(answers[0])
        if finished is None:
            await self._dismiss(child, hurry)
            return Finished(Ending.EXITED, FAILED, b"", b"its answer is no line of JSON")
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
        for child in self._idle:
            await self._dismiss(child, None)
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


def finished_of(line: bytes) -> Finished | None:
    """Return what an answer means for its task; None if it means nothing."""
    try:
        answer = json.loads(line)
        if not isinstance(answer, dict):
            return None
        if answer.get("release") is True:
            return Finished(Ending.EXITED, GIVE_BACK, b"", b"")
        if "error" in answer:
            return Finished(Ending.EXITED, FAILED, b"", str(answer["error"]).encode())
        if "output_base64" in answer:
            output = b64decode(answer["output_base64"], validate=True)
        else:
            output = str(answer["output"]).encode()
    except (ValueError, TypeError, KeyError):
        return None
    return Finished(Ending.EXITED, 0, output, b"")


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
