"""Seeing the mesh at work: `mesh top`, `mesh tax`, and `mesh task watch`."""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.options import add_json, add_lines, add_socket, connect
from mesh.cli.output import Output, cells, cut, escape, words
from mesh.cli.values import ago, count, duration_s
from mesh.control.client import Client

HOME_AND_CLEAR = "\x1b[H\x1b[J"
FAMILIES = ("push", "rumour", "sync", "probe", "vote", "relay")
"""What nodes tell each other, as `node.status` counts it."""
SHOWN_TASKS = 15


# --- task watch


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task watch`."""
    add_lines(parser)
    parser.add_argument("--kind", metavar="KIND", help="only of this kind")
    parser.add_argument("--count", metavar="N", type=count, help="end after so many changes")
    parser.set_defaults(run=watch)


def watch(options: argparse.Namespace) -> int:
    """Print each change of a task as it happens."""
    output, seen = Output(options), 0
    with connect(options) as client:
        client.watch("task")
        for event in client.notifications():
            if options.kind is not None and event.get("kind") not in {None, options.kind}:
                continue
            if output.as_json or output.as_lines:
                output.document(event)
            else:
                output.line(_change(event))
            seen += 1
            if seen == options.count:
                break
    return exit_codes.OK


def _change(event: Mapping[str, Any]) -> str:
    topic = str(event.get("topic", "task"))
    what = words(event.get("state")) if topic == "task" else escape(topic.removeprefix("task."))
    owner, who = event.get("owner"), ""
    if isinstance(owner, dict):
        who = f"  {words(owner.get('agent'))} on {words(owner.get('name'))}"
    kind, task = words(event.get("kind")), words(event.get("task"))
    return f"{time.strftime('%H:%M:%S')}  {what:11}  {kind}  {task}{who}"


# --- top


def add_top(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh top`."""
    add_socket(parser)
    parser.add_argument(
        "--every", metavar="T", type=duration_s, default=1.0, help="look so often (1s)"
    )
    parser.add_argument("--count", metavar="N", type=count, help="end after so many looks")
    parser.set_defaults(run=top)


def top(options: argparse.Namespace) -> int:
    """Show members, tasks and what the node does, until Ctrl-C; once where there is no terminal."""
    output, looks = Output(options), 0
    limit = options.count or (None if output.is_terminal else 1)
    before: dict[str, Any] | None = None
    with connect(options) as client:
        while True:
            status = client.call("node.status")
            frame = _frame(client, status, before, options.every)
            if output.can_move:
                frame = fitted(frame, *shutil.get_terminal_size())
                sys.stdout.write(HOME_AND_CLEAR)
            output.line("\n".join(frame))
            before, looks = status, looks + 1
            if looks == limit:
                return exit_codes.OK
            time.sleep(options.every)


def fitted(frame: Sequence[str], columns: int, lines: int) -> list[str]:
    """Return what of a frame fits a terminal: nothing wraps, and its head does not scroll away."""
    room = max(lines - 1, 1)  # the last line is the cursor's
    if len(frame) > room:
        frame = [*frame[: room - 1], f"{len(frame) - room + 1} more lines"]
    return [cut(line, columns) for line in frame]


def _frame(
    client: Client, status: Mapping[str, Any], before: Mapping[str, Any] | None, every_s: float
) -> list[str]:
    node, mesh = status["node"], status["mesh"]
    members = client.call("member.list")["members"]
    working = client.call("task.list", state="working", limit=SHOWN_TASKS)["tasks"]
    counts = ", ".join(f"{number} {state}" for state, number in status["tasks"].items() if number)
    title = (
        f"{words(node['name'])}  up {node['uptime_s']:.0f} s  mesh {words(mesh['name'])}  "
        f"{len(members)} members  tasks: {counts or 'none'}"
    )
    lines = [
        title,
        _rates(status["counters"], before, every_s),
        "",
        *_columns(
            ("MEMBER", "STATUS", "ADDRESS", "RTT"),
            [
                (
                    words(member["name"]),
                    words(member["status"]),
                    words(member["address"]),
                    "-" if member["rtt_ms"] is None else f"{member['rtt_ms']:.1f} ms",
                )
                for member in members
            ],
        ),
        "",
        *_columns(
            ("WORKING", "KIND", "OWNER", "STARTS", "SINCE"),
            [
                (
                    words(task["id"]),
                    words(task["kind"]),
                    f"{words(task['owner']['agent'])} on {words(task['owner'].get('name'))}",
                    words(task["starts"]),
                    words(ago(task["updated_at"])),
                )
                for task in working
            ],
        ),
    ]
    return lines + [f"warning: {words(warning)}" for warning in status.get("warnings", [])]


def _rates(counters: Mapping[str, int], before: Mapping[str, Any] | None, every_s: float) -> str:
    memory = counters.get("process_resident_kb", 0) // 1024
    if before is None or not every_s:
        return f"memory {memory} MB, {counters.get('datagrams_sent', 0)} datagrams sent so far"

    def rate(name: str) -> float:
        gained: int = counters.get(name, 0) - before["counters"].get(name, 0)
        return gained / every_s

    return (
        f"memory {memory} MB, cpu {rate('process_cpu_ms') / 10:.0f} %, "
        f"sent {rate('datagrams_sent'):.0f} datagrams/s {rate('bytes_sent') / 1000:.1f} kB/s, "
        f"claims {rate('claims'):.1f}/s, finished {rate('tasks_over'):.1f}/s"
    )


def _columns(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(cells, column)) for column in zip(headers, *rows, strict=True)]
    return [
        "  ".join(
            text + " " * (width - cells(text)) for text, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in (headers, *rows)
    ]


# --- tax


def add_tax(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh tax`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument(
        "--over", metavar="T", type=duration_s, help="measure so long, not since the node's start"
    )
    parser.set_defaults(run=tax)


def tax(options: argparse.Namespace) -> int:
    """Show what coordination costs this node: messages, bytes, verifications, time per task."""
    output = Output(options)
    with connect(options) as client:
        before: dict[str, int] = {}
        if options.over:
            before = client.call("node.status")["counters"]
            time.sleep(options.over)
        after = client.call("node.status")["counters"]
    spent = {name: value - before.get(name, 0) for name, value in after.items()}
    bill = bill_of(spent)
    if output.as_json:
        output.document({"tax": bill})
        return exit_codes.OK
    tasks = bill["tasks"]
    output.table(
        ("WHAT", "MESSAGES", "BYTES", "MESSAGES/TASK", "BYTES/TASK"),
        [
            (
                kind,
                part["messages"],
                part["bytes"],
                _per(part["messages"], tasks),
                _per(part["bytes"], tasks),
            )
            for kind, part in bill["kinds"].items()
        ],
    )
    output.fields(
        {
            "tasks finished": tasks,
            "verifications per task": _per(bill["verifications"], tasks),
            "datagrams per task": _per(bill["datagrams"], tasks),
            "settling per claim": "-"
            if bill["settle_ms_per_claim"] is None
            else f"{bill['settle_ms_per_claim']:.2f} ms",
        }
    )
    return exit_codes.OK


def bill_of(spent: Mapping[str, int]) -> dict[str, Any]:
    """Return what a node has spent, from the counters of its status."""
    settled = spent.get("settled", 0)
    settle_ms = None if not settled else spent.get("settle_us", 0) / settled / 1000
    return {
        "tasks": spent.get("tasks_over", 0),
        "kinds": {
            kind: {
                "messages": spent.get(f"sent_{kind}", 0),
                "bytes": spent.get(f"sent_{kind}_bytes", 0),
            }
            for kind in FAMILIES
        },
        "datagrams": spent.get("datagrams_sent", 0),
        "bytes": spent.get("bytes_sent", 0),
        "verifications": spent.get("verifications", 0),
        "claims_settled": settled,
        "settle_ms_per_claim": settle_ms,
    }


def _per(amount: int, tasks: int) -> str:
    return "-" if not tasks else f"{amount / tasks:.1f}"
