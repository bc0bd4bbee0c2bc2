"""What is left to the next owner of a task, on the command line: contexts and checkpoints.

What does not fit into a fact goes as a blob. Its content is checked here, for a node never looks
into a blob.
"""

import json
from typing import Any

from mesh.cli.parcels import Meter
from mesh.cli.values import in_base64
from mesh.control import blobs
from mesh.control.client import Client, Refused

EXAMPLE = (
    'for example {"goal": "...", "done": ["..."], "pending": ["..."], '
    '"decisions": [{"what": "...", "why": "..."}], "caveats": ["..."]}'
)
LISTS = ("done", "pending", "caveats")
FIELDS = ("goal", *LISTS, "decisions")
INLINE_BYTES_MAX = 700
"""A context beyond goes as a blob at once, for a line of task.offer may be short."""
KEEP_SHORT = "keep it short, and name a place where the rest can be read"


def context_in(data: bytes) -> dict[str, Any]:
    """Return the context that a JSON text holds; raises Refused."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as wrong:
        raise _bad(str(wrong)) from None
    if not isinstance(value, dict):
        raise _bad("not a JSON object")
    for name in value:
        if name not in FIELDS:
            raise _bad(f"no field {name!r}, only {', '.join(FIELDS)}")
    if not isinstance(value.get("goal"), str) or not value["goal"]:
        raise _bad("goal is missing, or not a text")
    for name in LISTS:
        if not _is_list_of(value.get(name, []), str):
            raise _bad(f"{name} is not a list of texts")
    _check_decisions(value.get("decisions", []))
    return value


def _check_decisions(decisions: object) -> None:
    if not isinstance(decisions, list):
        raise _bad("decisions is not a list")
    for made in decisions:
        is_one = isinstance(made, dict) and sorted(made) == ["what", "why"]
        if not is_one or not _is_list_of([*made.values()], str):
            raise _bad("a decision is not of the two texts what and why")


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(part, kind) for part in value)


def _bad(what: str) -> Refused:
    return Refused("usage", f"--context: {what}", EXAMPLE)


def packed_context(client: Client, context: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that carry a context: its fields, or the digest of a stored blob."""
    given = {name: value for name, value in context.items() if value}
    try:
        data = json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise _bad("half a character, which is no text") from None
    if len(data) <= INLINE_BYTES_MAX:
        return given
    _check_size(len(data), "context")
    return {"context_blob": blobs.put(client, data)}


def packed_checkpoint(data: bytes) -> dict[str, Any]:
    """Return the parameters that carry a checkpoint; raises Refused."""
    if not data:
        return {}
    _check_size(len(data), "checkpoint")
    return {"checkpoint": in_base64(data)}


def _check_size(size: int, what: str) -> None:
    if size > blobs.LEFT_BYTES_MAX:
        raise Refused(
            f"{what}_too_large",
            f"the {what} is {size} bytes, at most {blobs.LEFT_BYTES_MAX} (64 KiB) fit",
            KEEP_SHORT,
        )


def fill_handoff(client: Client, view: dict[str, Any], patience_s: float) -> None:
    """Put the context of a task's hand-over into its view."""
    if view.get("handoff"):
        fill(client, view["handoff"], patience_s)


def fill(client: Client, offer: dict[str, Any], patience_s: float) -> None:
    """Put the context of an offer into its view, if it is a blob that can be had in time."""
    blob = offer.get("context_blob")
    if not blob:
        return
    try:
        pieces = blobs.get(
            client, blob["digest"], blob["size"], wait_s=patience_s, progress=Meter("fetching")
        )
        offer["context"] = _read(b"".join(pieces))
    except (Refused, blobs.WrongContent) as lacking:
        offer["context"] = {"note": f"being fetched: {lacking}"}


def _read(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"note": data.decode(errors="replace")}
