"""Options that many commands share, and the connection they lead to."""

import argparse
from collections.abc import Callable, Iterator, Mapping

from mesh.cli.values import count
from mesh.control.client import Client, socket_path

Add = Callable[[argparse.ArgumentParser], None]
Subcommands = Mapping[str, tuple[Add, str]]
"""Name -> what adds its options, and what it does in a few words."""


def add_subcommands(
    parser: argparse.ArgumentParser, subcommands: Subcommands, what: str = "subcommand"
) -> Iterator[tuple[argparse.ArgumentParser, Add]]:
    """Yield the parser of each, and what is to be called with it."""
    parsers = parser.add_subparsers(dest=what, metavar=what.upper(), required=True)
    for name, (add, summary) in subcommands.items():
        yield (
            parsers.add_parser(
                name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False
            ),
            add,
        )


def add_socket(parser: argparse.ArgumentParser) -> None:
    """Say which node."""
    parser.add_argument("--socket", metavar="PATH", help="control socket of the node")
    parser.add_argument(
        "--instance", metavar="N", type=count, help="number of the node, if several run here"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Say that programs will read the answer."""
    parser.add_argument("--json", action="store_true", help="one JSON document")


def add_quiet(parser: argparse.ArgumentParser, what: str = "ids only") -> None:
    """Say that only ids are wanted."""
    parser.add_argument("-q", "--quiet", action="store_true", help=what)


def add_lines(parser: argparse.ArgumentParser) -> None:
    """Say that a program will read a stream."""
    parser.add_argument("--jsonl", action="store_true", help="a line of JSON per event")


def chosen_socket(options: argparse.Namespace) -> str:
    """Return the path of the control socket that was asked for."""
    instance = None if options.instance is None else str(options.instance)
    return socket_path(options.socket, instance)


def connect(options: argparse.Namespace) -> Client:
    """Return a connection to the node that was asked for; raises NodeUnreachable or Refused."""
    return Client.connect(chosen_socket(options))
