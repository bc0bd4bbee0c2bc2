"""What `mesh work` keeps of a command for the next attempt, and hands to it: checkpoints."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from mesh.cli import freight
from mesh.cli.values import in_base64
from mesh.control.blobs import LEFT_BYTES_MAX
from mesh.control.client import Refused
from mesh.control.trio_client import TrioClient

FETCH_S = 30.0
"""Who is to have a checkpoint has it soon; without it the work begins anew."""


async def kept_by(client: TrioClient, kept: Mapping[str, Any] | None) -> bytes:
    """Return the checkpoint that a claim's answer names; raises Refused and WrongContent."""
    if not kept:
        return b""
    if kept.get("digest") is None:
        return b64decode(kept["data"])
    return await freight.get(client, kept, FETCH_S)


def packed(data: bytes) -> dict[str, str]:
    """Return the parameters of `task.progress` that carry a checkpoint; raises Refused."""
    if len(data) > LEFT_BYTES_MAX:
        raise Refused(
            "checkpoint_too_large",
            f"the checkpoint is over {LEFT_BYTES_MAX} bytes, so the one before it stays",
            "keep it short, and name a place where the rest can be read",
        )
    return {"checkpoint": in_base64(data)}
