"""Where a command left off: a file that it writes, told to the mesh, and given to the next attempt.

`MESH_CHECKPOINT` names a file. At the start it holds what the last attempt kept, if there was one.
Whenever it has changed it is told to the mesh with `task.progress`, so that it outlives the
command, this machine and its node. It should be replaced by renaming another file over it.
"""

import tempfile
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

CHECKPOINT_BYTES_MAX = 512
LOOK_S = 1.0
FILE = "checkpoint"

Report = Callable[[str], Awaitable[None]]
"""Tells the mesh a checkpoint in base64."""


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
        """Return what the mesh does not know yet; None if that is nothing, or too much."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        is_new = data != self.said and 0 < len(data) <= CHECKPOINT_BYTES_MAX
        return data if is_new else None

    async def tell(self, report: Report) -> None:
        """Tell the mesh what is new."""
        data = await trio.to_thread.run_sync(self.news)
        if data is not None:
            await report(b64encode(data).decode())
            self.said = data

    async def follow(self, report: Report) -> None:
        """Tell the mesh what is new for as long as the command runs."""
        while True:
            await trio.sleep(LOOK_S)
            await self.tell(report)

    def close(self) -> None:
        """Remove the file."""
        self.folder.cleanup()


def checkpoint_of(kept: Mapping[str, Any] | None) -> Checkpoint:
    """Return a file that holds what the claim's answer says was kept."""
    made = Checkpoint(tempfile.TemporaryDirectory(prefix="mesh-", ignore_cleanup_errors=True))
    data = b64decode(kept["data"]) if kept and kept.get("data") else b""
    if data:
        made.path.write_bytes(data)
        made.said = data
    return made
