"""`mesh remove`: what people with authority over the mesh do to the nodes of others."""

import argparse

from mesh.cli import exit_codes
from mesh.cli.options import add_json, add_socket, connect
from mesh.cli.output import Output, words
from mesh.cli.values import given_bytes


def add_root(parser: argparse.ArgumentParser) -> None:
    """Say where the root key comes from, when it is not on the node."""
    parser.add_argument(
        "--root", metavar="@FILE|-", help="the root key as `mesh root export` printed it"
    )


def given_root(options: argparse.Namespace) -> str | None:
    """Return the root key that was typed, if any."""
    if options.root is None:
        return None
    return given_bytes(options.root).decode("ascii", "replace").strip()


def add_remove(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh remove`."""
    add_socket(parser)
    add_json(parser)
    add_root(parser)
    parser.add_argument("node", metavar="NODE", help="name, id, fingerprint or public key")
    parser.add_argument(
        "--discard", action="store_true", help="nothing that it has said so far counts any more"
    )
    parser.add_argument("--note", metavar="TEXT", default="", help="why, for the record")
    parser.set_defaults(run=remove)


def remove(options: argparse.Namespace) -> int:
    """Take a node out: its key takes part no more, anywhere, for ever."""
    output = Output(options)
    with connect(options) as client:
        answer = client.call(
            "trust.remove",
            node=options.node,
            discard=options.discard,
            note=options.note,
            root=given_root(options),
        )
    if output.as_json:
        output.document(answer)
    else:
        kept = "nothing" if not answer["standing"] else f"{answer['standing']} facts"
        output.line(f"removed {words(answer['removed'])}  {words(answer['fingerprint'])}")
        output.line(f"{kept} of what it has said goes on counting")
    return exit_codes.OK
