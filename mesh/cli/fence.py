"""`mesh fence`: is a token still the greatest, asked of a node or proved offline."""

import argparse

from mesh.cli import exit_codes
from mesh.cli.options import Subcommands, add_json, add_quiet, add_socket, add_subcommands, connect
from mesh.cli.output import Output, words
from mesh.cli.values import given_bytes
from mesh.control.client import Refused

MESH_HEX = 64
CODES = {
    "current": exit_codes.OK,
    "stale": exit_codes.CONFLICT,
    "unknown": exit_codes.NOT_FOUND,
}


def add_fence(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `mesh fence`."""
    subcommands: Subcommands = {
        "check": (_add_check, "ask the node whether a token owns its task: exit 0, 7 stale, 4"),
        "certificate": (_add_certificate, "print the owner's claim with what proves it"),
        "verify": (_add_verify, "check a certificate without any node"),
    }
    for subparser, add in add_subcommands(parser, subcommands):
        add_json(subparser)
        add(subparser)


def _add_check(parser: argparse.ArgumentParser) -> None:
    add_socket(parser)
    add_quiet(parser, "nothing; the exit code says it")
    parser.add_argument("task", metavar="ID", help="a task id")
    parser.add_argument("token", metavar="TOKEN", help="what the worker shows")
    parser.set_defaults(run=check)


def check(options: argparse.Namespace) -> int:
    """Ask the node whether a token owns its task."""
    output = Output(options)
    with connect(options) as client:
        answer = client.call("task.fence", task=options.task, token=options.token)
    if output.as_json:
        output.document(answer)
    elif not output.quiet:
        output.fields(answer)
    return CODES.get(answer["fence"], exit_codes.FAILED)


def _add_certificate(parser: argparse.ArgumentParser) -> None:
    add_socket(parser)
    parser.add_argument("task", metavar="ID", help="a task that somebody owns")
    parser.set_defaults(run=certificate)


def certificate(options: argparse.Namespace) -> int:
    """Print the certificate of a task's owner."""
    output = Output(options)
    with connect(options) as client:
        answer = client.call("task.certificate", task=options.task)
    if output.as_json:
        output.document(answer)
    else:
        output.line(words(answer["certificate"]))
    return exit_codes.OK


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mesh", metavar="ID", required=True, help="whole mesh id, from `mesh id`")
    parser.add_argument("--task", metavar="ID", help="refuse a certificate of another task")
    parser.add_argument(
        "--greatest", metavar="TOKEN", help="refuse a lesser token than this one, seen before"
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="take also a claim without the reasons why its task changed hands, of which there "
        "were too many",
    )
    parser.add_argument(
        "certificate", metavar="CERTIFICATE|-|@FILE", help="from `mesh fence certificate`"
    )
    parser.set_defaults(run=verify)


def verify(options: argparse.Namespace) -> int:
    """Check a certificate, and print what it proves."""
    # Offline, and the only command of a client that needs more than the standard library.
    from mesh.core.claims.record import is_token
    from mesh.core.crypto.primitives import RealSuite
    from mesh.core.errors import RemoteError
    from mesh.core.fence_proof import decode_certificate_untrusted
    from mesh.core.identity import MeshId

    output = Output(options)
    if options.greatest is not None and not is_token(options.greatest):
        hint = "give the whole token as it was shown: hex in small letters, 8-16-32-16 digits"
        raise Refused("usage", f"--greatest: {options.greatest!r} is no token", hint)
    text = given_bytes(options.certificate).decode("ascii", "replace").strip()
    try:
        mesh = MeshId(bytes.fromhex(options.mesh))
    except ValueError:
        mesh = MeshId(b"")
    if len(options.mesh) != MESH_HEX or len(mesh) * 2 != MESH_HEX:
        raise Refused("usage", "--mesh: not a whole mesh id", "take it from `mesh id --json`")
    try:
        proof = decode_certificate_untrusted(text, mesh, RealSuite())
    except RemoteError as wrong:
        hint = "have its owner print a new one with `mesh fence certificate`"
        raise Refused("not_permitted", f"the certificate proves nothing: {wrong}", hint) from None
    if options.task is not None and options.task != proof.task:
        raise Refused("not_permitted", f"it is about task {proof.task}", "show the right one")
    if not proof.is_whole and not options.alone:
        hint = "ask a node with `mesh fence check`, or take it all the same with --alone"
        what = "it proves that a member claims the task, and not by what right"
        raise Refused("not_permitted", what, hint)
    if options.greatest is not None and proof.token < options.greatest:
        hint = "stop: somebody else owns the task by now"
        raise Refused("claim_lost", f"token {proof.token} is stale", hint)
    body = {
        "task": proof.task,
        "token": proof.token,
        "node": proof.node.hex(),
        "agent": proof.agent,
        "whole": proof.is_whole,
    }
    if output.as_json:
        output.document(body)
    else:
        output.fields(body)
    return exit_codes.OK
