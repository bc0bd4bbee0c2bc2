"""Where a command left off: a file that it writes, told to the mesh, and given to the next attempt.

`MESH_CHECKPOINT` names a file. At the start it holds what the last attempt kept, if there was one.
Whenever it has changed it is told to the mesh with `task.progress`, so that it outlives the
command, this machine and its node. It should be replaced by renaming another file over it.
"""

import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from mesh.control.blobs import LEFT_BYTES_MAX

LOOK_S = 1.0
FILE = "checkpoint"

Report = Callable[[bytes], Awaitable[bool]]
"""Tells the mesh a checkpoint, or its user that it is refused; returns false to be tried again."""


@dataclass(slots=True)
class Checkpoint:
    """The file of one attempt."""

    folder: "tempfile.TemporaryDirectory[str]"
    said: bytes = b""
    """What the mesh knows."""

    @property
    def path(self) -> Path:
        """Where the file is, if it was written."""
        return Path(self.folder.name) / FILE

    def news(self) -> bytes | None:
        """Return what was not told yet, at most a byte more than fits; None if that is nothing."""
        try:
            # A pipe that nobody writes to must not hold anybody up; only a file holds something.
            with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                data = file.read(LEFT_BYTES_MAX + 1)
        except OSError:
            return None
        return data if data and data != self.said else None

    async def tell(self, report: Report) -> None:
        """Tell the mesh what is new."""
        data = await trio.to_thread.run_sync(self.news)
        if data is not None and await report(data):
            self.said = data

    async def follow(self, report: Report) -> None:
        """Tell the mesh what is new for as long as the command runs."""
        while True:
            await trio.sleep(LOOK_S)
            await self.tell(report)

    def close(self) -> None:
        """Remove the file."""
        self.folder.cleanup()


def checkpoint_of(data: bytes) -> Checkpoint:
    """Return a file that holds what was kept."""
    made = Checkpoint(tempfile.TemporaryDirectory(prefix="mesh-", ignore_cleanup_errors=True))
    if data:
        made.path.write_bytes(data)
        made.said = data
    return made
