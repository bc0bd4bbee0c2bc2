"""`mesh invite`: a ticket for the next machine."""

import argparse

from mesh.cli import exit_codes
from mesh.cli.options import add_json, add_quiet, add_socket, connect
from mesh.cli.output import Output, say, words
from mesh.cli.values import count, duration_s


def add_invite(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh invite`."""
    add_socket(parser)
    add_json(parser)
    add_quiet(parser, "the ticket only")
    parser.add_argument("--uses", metavar="N", type=count, default=1, help="machines (1)")
    parser.add_argument(
        "--ttl", metavar="T", type=duration_s, default=900.0, help="how long it is good for (15m)"
    )
    parser.set_defaults(run=invite)


def invite(options: argparse.Namespace) -> int:
    """Make a ticket; on stdout stands the ticket alone, for people the rest is on stderr."""
    output = Output(options)
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
