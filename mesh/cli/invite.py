"""`mesh invite`, `pending`, `admit` and `deny`: letting machines in."""

import argparse

from mesh.cli import exit_codes
from mesh.cli.asking import ask
from mesh.cli.options import add_json, add_quiet, add_socket, connect
from mesh.cli.output import Output, say, words
from mesh.cli.values import count, duration_s, given_bytes
from mesh.control.client import Refused

TICKET_HEADERS = ("TICKET", "STATE", "USES LEFT", "EXPIRES", "LET IN")
PENDING_HEADERS = ("NAME", "FINGERPRINT", "SINCE", "ID")


def add_invite(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh invite`."""
    add_socket(parser)
    add_json(parser)
    add_quiet(parser, "the ticket only")
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "revoke"),
        help="show the tickets of this node, or let one expire; a new ticket if left out",
    )
    parser.add_argument("ticket", metavar="ID|@FILE|-", nargs="?", help="which one to revoke")
    parser.add_argument("--uses", metavar="N", type=count, default=1, help="machines (1)")
    parser.add_argument(
        "--ttl", metavar="T", type=duration_s, default=900.0, help="how long it is good for (15m)"
    )
    parser.set_defaults(run=invite)


def invite(options: argparse.Namespace) -> int:
    """Make a ticket; on stdout stands the ticket alone, for people the rest is on stderr."""
    output = Output(options)
    if options.action == "list":
        return _list(options, output)
    if options.action == "revoke":
        return _revoke(options, output)
    with connect(options) as client:
        answer = client.call("trust.invite", uses=options.uses, ttl_s=options.ttl)
    if output.as_json:
        output.document(answer)
        return exit_codes.OK
    if not output.quiet:
        uses = "once" if options.uses == 1 else f"{options.uses} times"
        say(f"good {uses}, until {words(answer['expires_at'])}; on the next machine:")
        say("  mesh up --join TICKET     or, to keep it off the command line, --join - or @FILE")
    output.line(words(answer["ticket"]))
    return exit_codes.OK


def _list(options: argparse.Namespace, output: Output) -> int:
    with connect(options) as client:
        answer = client.call("trust.invites")
    if output.as_json:
        output.document(answer)
        return exit_codes.OK
    output.table(
        TICKET_HEADERS,
        [
            (
                ticket["ticket"],
                ticket["state"],
                ticket["uses_left"],
                ticket["expires_at"],
                len(ticket["admitted"]),
            )
            for ticket in answer["tickets"]
        ],
    )
    return exit_codes.OK


def _revoke(options: argparse.Namespace, output: Output) -> int:
    if options.ticket is None:
        raise Refused("usage", "which ticket?", "give the start of its id from `mesh invite list`")
    text = given_bytes(options.ticket).decode("ascii", "replace").strip()
    with connect(options) as client:
        answer = client.call("trust.uninvite", ticket="".join(text.split()))
    if output.as_json:
        output.document(answer)
    else:
        output.line(f"{words(answer['ticket'])} lets nobody in any more")
    return exit_codes.OK


def add_pending(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh pending`."""
    add_socket(parser)
    add_json(parser)
    add_quiet(parser)
    parser.set_defaults(run=show_pending)


def show_pending(options: argparse.Namespace) -> int:
    """Show who waits here to be let in."""
    output, answer = ask(options, "trust.pending", {})
    if output.as_json:
        return exit_codes.OK
    if output.quiet:
        for one in answer["pending"]:
            output.line(words(one["id"]))
    else:
        rows = [
            (one["name"], one["fingerprint"], one["since"], one["id"]) for one in answer["pending"]
        ]
        output.table(PENDING_HEADERS, rows)
        if answer["listening_s"]:
            say(f"strangers get an answer for another {answer['listening_s']:.0f} s")
    return exit_codes.OK


def add_admit(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh admit`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument("node", metavar="NODE", nargs="?", help="name, id or fingerprint")
    parser.add_argument(
        "--listen",
        metavar="T",
        type=duration_s,
        help="for so long answer strangers who know no mesh id; they wait in `mesh pending`",
    )
    parser.set_defaults(run=admit)


def admit(options: argparse.Namespace) -> int:
    """Let somebody in who waits here."""
    if options.node is None and options.listen is None:
        raise Refused("usage", "nobody is named", "give a NODE of `mesh pending`, or --listen 10m")
    parameters = {"node": options.node, "listen_s": options.listen}
    return _decide(options, "trust.admit", {k: v for k, v in parameters.items() if v is not None})


def add_deny(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh deny`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument("node", metavar="NODE", help="name, id or fingerprint")
    parser.set_defaults(run=deny)


def deny(options: argparse.Namespace) -> int:
    """Send somebody off who waits here."""
    return _decide(options, "trust.deny", {"node": options.node})


def _decide(options: argparse.Namespace, method: str, parameters: dict[str, object]) -> int:
    output, answer = ask(options, method, parameters)
    if output.as_json:
        return exit_codes.OK
    for done in ("admitted", "denied"):
        if done in answer:
            output.line(f"{done} {words(answer[done])}  {words(answer['fingerprint'])}")
    if "listening_s" in answer:
        output.line(f"strangers get an answer for {answer['listening_s']:.0f} s")
    return exit_codes.OK
