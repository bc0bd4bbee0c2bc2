"""`mesh doctor`: why does it not work? Looks around, changes nothing."""

import argparse
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from mesh.cli import exit_codes
from mesh.cli.options import add_json, add_socket, connect
from mesh.cli.output import Output
from mesh.cli.up import chosen_ticket
from mesh.control.client import NodeUnreachable, Refused

if TYPE_CHECKING:
    from mesh.cli.checkups import Finding

TASKS_LOOKED_AT = 1000


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh doctor`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument("--data", metavar="DIR", help="where its key and its log are")
    parser.add_argument(
        "--join",
        metavar="TICKET|@FILE|-",
        help="look at this ticket too, and at the way to its issuers; also from $MESH_TICKET",
    )
    parser.set_defaults(run=examine)


def examine(options: argparse.Namespace) -> int:
    """Print what was found; the exit code is 1 if anything is wrong."""
    from mesh.cli.checkups import WRONG

    output, findings = Output(options), list(_findings(options))
    if output.as_json:
        output.document({"findings": [finding.view() for finding in findings]})
    else:
        for finding in findings:
            output.fields({f"{finding.level:5}  {finding.check:8}": finding.says})
            if finding.hint:
                output.line(f"{'':17}  hint: {finding.hint}")
    is_wrong = any(finding.level == WRONG for finding in findings)
    return exit_codes.FAILED if is_wrong else exit_codes.OK


def _findings(options: argparse.Namespace) -> Iterator["Finding"]:
    import time

    from mesh.cli import checkups
    from mesh.daemon.options import UpOptions
    from mesh.daemon.places import data_directory

    place = UpOptions(data=options.data, instance=options.instance)
    yield from checkups.check_state(data_directory(place))
    own_mesh: str | None = None
    try:
        own_mesh = yield from _of_node(options)
    except NodeUnreachable as unreachable:
        yield checkups.Finding("node", checkups.WRONG, str(unreachable), unreachable.hint)
    except Refused as refused:
        yield checkups.Finding("node", checkups.WRONG, str(refused), refused.hint)
    ticket = chosen_ticket(options.join)
    if ticket is not None:
        yield from checkups.check_ticket(ticket, own_mesh, time.time())


def _of_node(options: argparse.Namespace) -> "Generator[Finding, None, str | None]":
    import time

    from mesh.cli import checkups
    from mesh.core.identity import MeshId

    with connect(options) as client:
        status = client.call("node.status")
        yield from checkups.check_status(status)
        if status["node"]["state"] in {"joining", "pending"}:
            return None
        mesh = client.call("node.id")["mesh"]["id"]
        members = client.request("member.list", {})["members"]
        yield from checkups.check_members(MeshId(bytes.fromhex(mesh)), members)
        tasks = client.call("task.list", limit=TASKS_LOOKED_AT)["tasks"]
        yield from checkups.check_clock(tasks, time.time())
    return str(mesh)
