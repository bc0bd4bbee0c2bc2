"""`mesh task claim` and what follows it: start, complete, fail, release; and cancel."""

import argparse
from typing import Any

from mesh.cli import exit_codes, parcels
from mesh.cli.asking import ask
from mesh.cli.options import add_quiet, connect
from mesh.cli.output import Output, words
from mesh.cli.values import duration_s, score
from mesh.control.client import Refused

WAIT_S = 86_400.0


def add_claim(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task claim`."""
    add_quiet(parser, "the handle only")
    parser.add_argument("task", metavar="ID", nargs="?", help="this task")
    parser.add_argument(
        "--kind", metavar="KIND", action="append", default=[], help="the next task of these kinds"
    )
    parser.add_argument("--wait", action="store_true", help="wait until there is one to claim")
    parser.add_argument(
        "--timeout", metavar="T", type=duration_s, help="wait, but no longer than this"
    )
    parser.add_argument("--agent", metavar="NAME", default="cli", help="who works on it (cli)")
    parser.add_argument("--request-id", metavar="ID", help="the same id again claims once")
    parser.add_argument(
        "--score", metavar="N", type=score, help="what to bid in auctions, to 65535"
    )
    parser.set_defaults(run=claim)


def claim(options: argparse.Namespace) -> int:
    """Own a task for as long as the node lives, or until it is finished with the handle."""
    if (options.task is None) == (not options.kind):
        raise Refused("usage", "name either a task or kinds", "mesh task claim ID, or --kind KIND")
    patience_s = options.timeout if options.timeout is not None else WAIT_S if options.wait else 0
    # This command ends at once: the claim must not end with its connection.
    wanted = {"wait_s": patience_s, "agent": options.agent, "detached": True}
    if options.task is not None:
        wanted["task"] = options.task
    else:
        wanted["kinds"] = options.kind
    if options.request_id is not None:
        wanted["request_id"] = options.request_id
    if options.score is not None:
        wanted["score"] = options.score
    output = Output(options)
    with connect(options) as client:
        answer = client.request("task.claim", wanted)
    if output.as_json:
        output.document(answer)
    elif output.quiet:
        output.line(words(answer["handle"]))
    else:
        output.sections(answer)
    return exit_codes.OK


def _add_handle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("handle", metavar="HANDLE", help="from `mesh task claim`")


def add_start(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task start`."""
    _add_handle(parser)
    parser.set_defaults(run=lambda options: _write(options, "task.start", {}))


def add_complete(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task complete`."""
    _add_handle(parser)
    parser.add_argument(
        "output", metavar="OUTPUT|-|@FILE", nargs="?", default="", help="the result of the work"
    )
    parser.set_defaults(run=complete)


def complete(options: argparse.Namespace) -> int:
    """Hand in the output of a claim."""
    data = parcels.given(options.output)
    with connect(options) as client:
        carried = parcels.packed(client, data, "output")
    return _write(options, "task.complete", carried)


def add_fail(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task fail`."""
    _add_handle(parser)
    parser.add_argument("error", metavar="ERROR", nargs="?", default="", help="what went wrong")
    parser.set_defaults(run=lambda options: _write(options, "task.fail", {"error": options.error}))


def add_cancel(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task cancel`."""
    parser.add_argument("task", metavar="ID", help="a task id")
    parser.set_defaults(run=cancel)


def cancel(options: argparse.Namespace) -> int:
    """Have nobody do a task any more; who works on it is told to stop."""
    return _answer(options, "task.cancel", {"task": options.task})


def _write(options: argparse.Namespace, method: str, more: dict[str, Any]) -> int:
    return _answer(options, method, {"handle": options.handle, **more})


def _answer(options: argparse.Namespace, method: str, parameters: dict[str, Any]) -> int:
    output, answer = ask(options, method, parameters)
    if not output.as_json:
        output.fields(answer)
    return exit_codes.OK
