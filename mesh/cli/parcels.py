"""Payloads and outputs of any size on the command line: small ones inline, large ones as blobs."""

import argparse
import base64
import os
import time
from collections.abc import Mapping
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.options import connect
from mesh.cli.output import Output, say
from mesh.cli.values import duration_s, given_bytes, in_base64, standard_input
from mesh.control import blobs
from mesh.control.client import Client, Refused

WAIT_S = 600.0
SLOW_S = 1.0


class Meter:
    """Shows how far a transfer has come, once it has taken a second."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = time.monotonic()
        self._has_spoken = False

    def __call__(self, done: int, size: int) -> None:
        """Say how far it is, at most once a second."""
        now = time.monotonic()
        if now - self._said >= SLOW_S or (self._has_spoken and done == size):
            self._said, self._has_spoken = now, True
            share = 100 * done // size if size else 100
            say(f"{self._what}: {done} of {size} bytes, {share} %")


def check_size(size: int) -> None:
    """Raise Refused for what no blob can hold, before it is read."""
    if size > blobs.BLOB_BYTES_MAX:
        raise Refused(
            "payload_too_large",
            f"{size} bytes, at most {blobs.BLOB_BYTES_MAX} (64 MiB) fit",
            "split it, or put it where agents can fetch it and send its address",
        )


def given(text: str) -> bytes:
    """Return the bytes that `TEXT`, `@FILE` or `-` stands for; raises Refused when too large."""
    if text.startswith("@") and os.path.isfile(text[1:]):  # noqa: PTH113  start-up time
        check_size(os.path.getsize(text[1:]))  # noqa: PTH202  start-up time
    elif text == "-":
        data = standard_input().read(blobs.BLOB_BYTES_MAX + 1)
        check_size(len(data))
        return data
    return given_bytes(text)


def packed(client: Client, data: bytes, field: str) -> dict[str, Any]:
    """Return the parameters that carry bytes: in `field`, or as the digest of a stored blob."""
    if len(data) <= blobs.INLINE_BYTES_MAX:
        return {field: in_base64(data)}
    return {"blob": blobs.put(client, data, Meter("storing"))}


def unpacked(client: Client, result: Mapping[str, Any], patience_s: float = WAIT_S) -> bytes:
    """Return the output of a result, from wherever it is."""
    blob = result.get("blob")
    if blob is None:
        return base64.b64decode(result["output"])
    pieces = blobs.get(
        client, blob["digest"], blob["size"], wait_s=patience_s, progress=Meter("fetching")
    )
    try:
        return b"".join(pieces)
    except blobs.WrongContent as damaged:
        hint = "ask another node: give its --socket, or run the command there"
        raise Refused("content_damaged", str(damaged), hint) from None


def add_result(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task result`."""
    parser.add_argument("task", metavar="ID", help="a task id")
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there, not to stdout")
    parser.add_argument(
        "--timeout", metavar="T", type=duration_s, default=WAIT_S, help="fetch no longer (10m)"
    )
    parser.set_defaults(run=result)


def result(options: argparse.Namespace) -> int:
    """Print the output of a completed task, or write it to a file."""
    output = Output(options)
    with connect(options) as client:
        task = client.call("task.show", task=options.task)["task"]
        if task["result"] is None:
            raise Refused(
                "not_found",
                f"task {options.task} is {task['state']} and has no result",
                "wait for it with `mesh task wait`",
            )
        if output.as_json:
            output.document({"result": task["result"]})
            return exit_codes.OK
        data = unpacked(client, task["result"], options.timeout)
    if options.output is None:
        output.bytes(data)
    else:
        write_whole(options.output, data)
    return exit_codes.OK


def write_whole(path: str, data: bytes) -> None:
    """Write a file that is either all there or not there."""
    draft = f"{path}.part"
    try:
        with open(draft, "wb") as file:  # noqa: PTH123  start-up time
            file.write(data)
        os.replace(draft, path)  # noqa: PTH105  start-up time
    except OSError as wrong:
        raise Refused("usage", str(wrong), "give -o FILE where you may write") from None
