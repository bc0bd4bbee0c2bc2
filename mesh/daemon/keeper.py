"""The keeper: a small process that outlives a runner just long enough to end its commands.

Started as a script with a pipe as its input, it is told the process groups of running commands
(`+123`, `-123`). When the pipe ends without a goodbye, the runner has died, in whatever way: the
keeper kills those groups, then every process that carries the runner's mark in its environment
(a command started in the very last moment, or one that has left its group), and ends.

This needs no code between fork and exec. PR_SET_PDEATHSIG would: it also fires when the *thread*
that started a command ends, and does not reach the command's own children.

It uses the standard library alone and imports nothing of mesh: it starts in about 10 ms.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

MARK = "MESH_RUNNER"
GOODBYE = b"bye\n"
SWEEPS_MAX = 8
SWEEP_PAUSE_S = 0.01


def keep(commands: BinaryIO, mark: bytes, proc: Path = Path("/proc")) -> None:
    """Follow the runner's words; on a sudden end kill what it has left behind."""
    groups: dict[int, None] = {}
    for line in commands:
        if line == GOODBYE:
            return
        if not line.endswith(b"\n") or not line[1:-1].isdigit():
            continue
        if line[:1] == b"+":
            groups[int(line[1:])] = None
        else:
            groups.pop(int(line[1:]), None)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    kill_all_marked(mark, proc)


def kill_all_marked(mark: bytes, proc: Path = Path("/proc")) -> None:
    """Kill every process with this mark in its environment, and those it starts meanwhile."""
    # What is killed may have started another just before: look until nothing is found.
    for _ in range(SWEEPS_MAX):
        if not kill_marked(mark, proc):
            return
        time.sleep(SWEEP_PAUSE_S)


def kill_marked(mark: bytes, proc: Path) -> int:
    """Kill every process with this mark; returns how many there were, or may have been.

    Of a process that is just replacing its program the environment cannot be read: it is empty.
    """
    found = 0
    for process in proc.glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if not environment:
                (process / "exe").readlink()  # raises for those that are over, and the kernel's own
            elif mark in environment.split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
            else:
                continue
        except OSError:
            # Another user's, or gone meanwhile.
            continue
        found += 1
    return found


def main() -> None:
    """Run as a script: the mark's value is the only argument."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    keep(sys.stdin.buffer, f"{MARK}={sys.argv[1]}".encode())


if __name__ == "__main__":
    main()
