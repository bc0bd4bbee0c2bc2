"""`mesh members` and `mesh wait`."""

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.options import add_json, add_lines, add_quiet, add_socket, connect
from mesh.cli.output import SHAPE_VERSION, Output, words
from mesh.cli.values import count, duration_s, pair
from mesh.control.client import Client, NodeUnreachable, Refused

START_PATIENCE_S = 3.0
"""`mesh wait` may be called while the node is still starting."""
RETRY_S = 0.1
HEADERS = ("NAME", "STATUS", "ADDRESS", "RTT", "TAGS", "ID")


def add_members(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh members`."""
    add_socket(parser)
    add_json(parser)
    add_lines(parser)
    add_quiet(parser)
    parser.add_argument("--status", metavar="RE", help="only those whose whole status matches")
    parser.add_argument(
        "--tag", metavar="K=RE", type=pair, action="append", default=[], help="only with this tag"
    )
    parser.add_argument("--watch", action="store_true", help="go on and print every change")
    parser.set_defaults(run=show_members)


def show_members(options: argparse.Namespace) -> int:
    """List the members, and with `--watch` their changes."""
    output = Output(options)
    wanted: dict[str, Any] = {"tags": dict(options.tag)}
    if options.status is not None:
        wanted["status"] = options.status
    with connect(options) as client:
        if options.watch:
            client.watch("member")
        members = client.request("member.list", wanted)["members"]
        _print(output, members)
        if options.watch:
            _follow(output, client)
    return exit_codes.OK


def _print(output: Output, members: list[dict[str, Any]]) -> None:
    if output.as_lines:
        for member in members:
            output.line(json.dumps({"v": SHAPE_VERSION, "member": member}))
    elif output.as_json:
        output.document({"members": members})
    elif output.quiet:
        for member in members:
            output.line(words(member["id"]))
    else:
        output.table(HEADERS, [_row(member) for member in members])


def _row(member: Mapping[str, Any]) -> tuple[Any, ...]:
    rtt = member["rtt_ms"]
    tags = [f"{key}={value}" for key, value in member["tags"].items()]
    name = f"{member['name']} *" if member["is_self"] else member["name"]
    status = " ".join((member["status"], *member.get("flags", ())))
    shown_rtt = None if rtt is None else f"{rtt:.1f} ms"
    return name, status, member["address"], shown_rtt, tags, member["id"]


def _follow(output: Output, client: Client) -> None:
    for event in client.notifications():
        if output.as_json or output.as_lines:
            output.document(event)
        elif output.quiet:
            output.line(words(event.get("node")))
        else:
            old, new = words(event.get("old")), words(event.get("new"))
            output.line(f"{words(event.get('name'))}: {old} -> {new}")


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh wait`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument(
        "--members", metavar="N", type=count, default=1, help="so many, this node included"
    )
    parser.add_argument(
        "--timeout", metavar="T", type=duration_s, default=30.0, help="give up after this (30s)"
    )
    parser.set_defaults(run=wait_for_members)


def wait_for_members(options: argparse.Namespace) -> int:
    """Wait until so many members are alive."""
    output = Output(options)
    begun = time.monotonic()
    while (answer := _wait_once(options, time.monotonic() - begun)) is None:
        time.sleep(RETRY_S)
    if output.as_json:
        output.document(answer)
    else:
        output.line(f"{answer['alive']} alive")
    return exit_codes.OK


def _wait_once(options: argparse.Namespace, waited_s: float) -> dict[str, Any] | None:
    """Return the node's answer, or None while it is still starting or joining."""
    left_s = max(options.timeout - waited_s, 0)
    try:
        with connect(options) as client:
            answer: dict[str, Any] = client.call(
                "member.wait", members=options.members, wait_s=left_s
            )
            return answer
    except NodeUnreachable:
        if waited_s >= min(options.timeout, START_PATIENCE_S):
            raise
    except Refused as refused:
        if refused.name != "not_joined":
            raise
        if not left_s:
            late = "the node has not joined a mesh yet"
            raise Refused("timed_out", late, refused.hint) from None
    return None
