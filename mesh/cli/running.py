"""How the programs of `mesh work` are run, and what their ends mean."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import trio

from mesh.daemon.runner import Ending, Finished

GIVE_BACK = 75
"""EX_TEMPFAIL of sysexits.h: the command wants the task to be done later or elsewhere."""
ERROR_BYTES_MAX = 600


class Runs(Protocol):
    """The slice of `mesh.daemon.runner.Runner` that a worker uses."""

    async def run(
        self,
        argv: Sequence[str],
        input_bytes: bytes,
        environment: Mapping[str, str],
        cancel: trio.Event,
        hurry: trio.Event | None = None,
    ) -> Finished:
        """Run one command to its end."""
        ...


def error_of(finished: Finished) -> str:
    """Return the end of what a command said on stderr, or else how it ended."""
    if finished.ending is Ending.OUTPUT_TOO_LARGE:
        return "its output is too large: over 64 MiB, so write it elsewhere and say where"
    said = finished.stderr_tail.decode(errors="replace").strip()
    if said:
        return said.encode()[-ERROR_BYTES_MAX:].decode(errors="ignore")
    code = finished.exit_code
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def said_last(finished: Finished) -> str:
    """Return the last line that a command said on stderr, if it said something."""
    said = finished.stderr_tail.decode(errors="replace").strip()
    return said.splitlines()[-1] if said else ""
