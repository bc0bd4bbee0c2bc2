"""`mesh status`, `info`, `id`, `leave`, `events` and `rpc`."""

import argparse
import json
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.asking import ask
from mesh.cli.options import add_json, add_lines, add_quiet, add_socket, connect
from mesh.cli.output import Output, words
from mesh.cli.values import count, standard_input
from mesh.control.client import Refused


def add_status(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh status`."""
    add_socket(parser)
    add_json(parser)
    parser.set_defaults(run=show_status)


def show_status(options: argparse.Namespace) -> int:
    """Show the node, its mesh and its counters."""
    return _show(options, "node.status", {})


def add_info(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh info`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument("node", metavar="NODE", nargs="?", help="name or id; this one if left out")
    parser.set_defaults(run=show_info)


def show_info(options: argparse.Namespace) -> int:
    """Show all that is known of one node."""
    return _show(options, "node.info", {} if options.node is None else {"node": options.node})


def add_id(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh id`."""
    add_socket(parser)
    add_json(parser)
    add_quiet(parser, "the id only")
    parser.set_defaults(run=show_id)


def show_id(options: argparse.Namespace) -> int:
    """Show who the node is, so that people can compare fingerprints."""
    return _show(options, "node.id", {})


def _show(options: argparse.Namespace, method: str, parameters: dict[str, Any]) -> int:
    output, answer = ask(options, method, parameters)
    if output.quiet and not output.as_json:
        output.line(words(answer["id"]))
    elif not output.as_json:
        output.sections(answer)
    return exit_codes.OK


def add_leave(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh leave`."""
    add_socket(parser)
    add_json(parser)
    parser.set_defaults(run=leave)


def leave(options: argparse.Namespace) -> int:
    """Take the node out of the mesh and stop it."""
    output, answer = ask(options, "node.leave", {})
    if not output.as_json:
        output.line("left" if answer.get("left") else "stopped; it was no member")
    return exit_codes.OK


def add_events(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh events`."""
    add_socket(parser)
    add_lines(parser)
    parser.add_argument(
        "--topic",
        metavar="T",
        action="append",
        help="alarm, blob, join, member, node, task or a longer one, such as task.lost; may be "
        "repeated; all if left out",
    )
    parser.add_argument("--count", metavar="N", type=count, help="end after so many events")
    parser.set_defaults(run=show_events)


def show_events(options: argparse.Namespace) -> int:
    """Print what happens, as it happens."""
    from datetime import UTC, datetime

    output = Output(options)
    with connect(options) as client:
        client.watch(*(options.topic or ["*"]))
        for number, event in enumerate(client.notifications(), start=1):
            at = datetime.now(UTC)
            if output.as_lines:
                moment = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                output.document({"at": moment, **event})
            else:
                topic = words(event.pop("topic", None))
                output.line(f"{at.astimezone():%H:%M:%S}  {topic:12}  {words(event)}")
            if number == options.count:
                break
    return exit_codes.OK


def add_rpc(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh rpc`."""
    add_socket(parser)
    parser.add_argument("method", metavar="METHOD", help="for example node.status")
    parser.add_argument(
        "params", metavar="JSON|-", nargs="?", default="{}", help="its fields; - reads them"
    )
    parser.set_defaults(run=call_method)


def call_method(options: argparse.Namespace) -> int:
    """Send one request to the control socket as it is, and print the result as it is."""
    try:
        text = standard_input().read() if options.params == "-" else options.params
        params = json.loads(text)
    except ValueError as wrong:
        raise Refused("usage", f"not JSON: {wrong}", 'for example {"task": "..."}') from None
    if not isinstance(params, dict):
        raise Refused("usage", "not a JSON object", 'for example {"task": "..."}')
    output = Output(options)
    with connect(options) as client:
        result = client.request(options.method, params)
    output.line(json.dumps(result, indent=2 if output.is_terminal else None))
    return exit_codes.OK
