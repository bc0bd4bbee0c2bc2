"""The options of `mesh up`; the node itself is in `mesh.daemon`."""

import argparse
import os

from mesh.cli import exit_codes
from mesh.cli.options import add_json, add_socket
from mesh.cli.output import escape, say
from mesh.cli.values import duration_s, given_bytes, pair
from mesh.control.client import Refused

PROFILES = ("local", "lan", "fast", "wan")


def add_up(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh up`."""
    add_socket(parser)
    add_json(parser)
    _add_joining(parser)
    _add_place(parser)
    parser.set_defaults(run=up)


def _add_joining(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("joining", "Without any of these the first run makes a mesh.")
    group.add_argument(
        "--join",
        metavar="TICKET|@FILE|-",
        help="join with a ticket of `mesh invite`; also from $MESH_TICKET",
    )
    group.add_argument(
        "--seed",
        metavar="SEED",
        action="append",
        default=[],
        help="where a member is: host:port, [v6]:port, dns+name:port (all its addresses) or "
        "file:PATH (one per line); may be repeated",
    )
    group.add_argument(
        "--mesh", metavar="ID", help="with --seed: the whole mesh id, from `mesh id` on a member"
    )
    group.add_argument(
        "--open", action="store_true", help="admit anyone who reaches it; loopback only"
    )
    group.add_argument(
        "--i-know", action="store_true", dest="insist", help="an open mesh beyond loopback"
    )
    group.add_argument("--no-admin", action="store_true", help="never become an admin")
    group.add_argument(
        "--profile", choices=PROFILES, help="timings of a new mesh: how far apart its nodes are"
    )


def _add_place(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("this node")
    group.add_argument("--name", metavar="NAME", help="for people; the host's name if left out")
    group.add_argument(
        "--bind", metavar="HOST:PORT", help="where to listen, UDP and TCP (0.0.0.0:7946)"
    )
    group.add_argument(
        "--advertise",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="where others reach it, if not where it listens",
    )
    group.add_argument(
        "--tag", metavar="K=V", type=pair, action="append", default=[], help="shown to all members"
    )
    group.add_argument(
        "--retention",
        metavar="T",
        type=duration_s,
        help="keep finished tasks that were submitted here so long (1d)",
    )
    group.add_argument(
        "--group",
        metavar="NAME",
        help="who is in this group may use the node too, but not invite, remove or stop",
    )
    group.add_argument(
        "--data",
        metavar="DIR",
        help="where its key and its log are (root: /var/lib/mesh, else ~/.local/state/mesh/data)",
    )


def chosen_ticket(given: str | None) -> str | None:
    """Return the ticket from the command line, a file, standard input or the environment."""
    text = given if given is not None else os.environ.get("MESH_TICKET")
    if text is None:
        return None
    ticket = given_bytes(text).decode("ascii", "replace").strip()
    if not ticket:
        raise Refused("usage", "the ticket is empty", "make one with `mesh invite` on a member")
    return ticket


def up(options: argparse.Namespace) -> int:
    """Run a node on this machine until it leaves."""
    from mesh.core.errors import LocalError
    from mesh.daemon.main import run
    from mesh.daemon.options import UpOptions

    asked = UpOptions(
        join=chosen_ticket(options.join),
        seeds=tuple(options.seed),
        mesh=options.mesh,
        open=options.open,
        insist=options.insist,
        no_admin=options.no_admin,
        name=options.name,
        bind=options.bind,
        advertise=tuple(options.advertise),
        tags=tuple(options.tag),
        data=options.data,
        socket=options.socket,
        group=options.group,
        instance=options.instance,
        profile=options.profile,
        retention_s=options.retention,
        json=options.json,
    )
    try:
        return run(asked)
    except LocalError as error:
        say(f"mesh up: {escape(error.message)}\n  hint: {escape(error.hint)}")
        return exit_codes.code_of_error(error.name)
