"""`mesh remove`, `admin` and `rekey`: who ranks above whom, and the keys behind it."""

import argparse
import re

from mesh.cli import exit_codes
from mesh.cli.asking import Parameters, ask
from mesh.cli.options import add_json, add_socket
from mesh.cli.output import Output, say, words
from mesh.cli.values import count, given_bytes
from mesh.control.client import Refused

SPELLED = re.compile(r"(?:[A-Za-z2-7]{5}[- ]){12}[A-Za-z2-7]{5}")
"""A key as `mesh root export` prints it."""
ADMIN_HEADERS = ("NAME", "FINGERPRINT", "ID")


def add_given_root(parser: argparse.ArgumentParser) -> None:
    """Say where the root key comes from, when it is not on the node."""
    parser.add_argument(
        "--root", metavar="@FILE|-", help="the root key as `mesh root export` has printed it"
    )


def given_keys(text: str | None) -> list[str]:
    """Return the keys in what was given, which may be all that `mesh root export` printed."""
    if text is None:
        return []
    data = given_bytes(text).decode("ascii", "replace")
    keys: list[str] = SPELLED.findall(data)
    if not keys:
        raise Refused(
            "usage", "no key is in there", "13 groups of five, as `mesh root export` prints them"
        )
    return keys


def _with_root(options: argparse.Namespace, parameters: Parameters) -> Parameters:
    keys = given_keys(options.root)
    return parameters | ({"root": keys[0]} if keys else {})


def add_remove(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh remove`."""
    add_socket(parser)
    add_json(parser)
    add_given_root(parser)
    parser.add_argument("node", metavar="NODE", help="name, id, fingerprint or public key")
    parser.add_argument(
        "--discard", action="store_true", help="what it has said so far counts no more"
    )
    parser.add_argument("--note", metavar="TEXT", default="", help="why, for the record")
    parser.set_defaults(run=remove)


def remove(options: argparse.Namespace) -> int:
    """Take a node out: its key takes part no more, anywhere, for ever."""
    wanted = {"node": options.node, "discard": options.discard, "note": options.note}
    output, answer = ask(options, "trust.remove", _with_root(options, wanted))
    if not output.as_json:
        kept = "nothing" if not answer["standing"] else f"{answer['standing']} facts"
        output.line(f"removed {words(answer['removed'])}  {words(answer['fingerprint'])}")
        output.line(f"{kept} of what it has said goes on counting")
        output.line(f"{answer['told']} other nodes are here, and hear of it in seconds")
    return exit_codes.OK


def add_admin(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh admin`."""
    add_socket(parser)
    add_json(parser)
    add_given_root(parser)
    parser.add_argument("action", choices=("list", "add", "remove"), help="what to do")
    parser.add_argument("node", metavar="NODE", nargs="?", help="name, id, fingerprint or key")
    parser.add_argument("--note", metavar="TEXT", default="", help="why, for the record")
    parser.set_defaults(run=admin)


def admin(options: argparse.Namespace) -> int:
    """Show, make and end admins: who may let others in and take them out."""
    if options.action == "list":
        output, answer = ask(options, "trust.admins", {})
        if not output.as_json:
            _show_admins(output, answer)
        return exit_codes.OK
    if options.node is None:
        raise Refused("usage", "nobody is named", f"mesh admin {options.action} NODE")
    wanted = {"node": options.node}
    if options.action == "add":
        output, answer = ask(options, "trust.promote", _with_root(options, wanted))
        text = f"{words(answer['admin'])} is an admin  {words(answer['fingerprint'])}"
    else:
        wanted["note"] = options.note
        output, answer = ask(options, "trust.demote", _with_root(options, wanted))
        text = f"{words(answer['demoted'])} is no admin any more, for good"
    if not output.as_json:
        output.line(text)
    return exit_codes.OK


def _show_admins(output: Output, answer: Parameters) -> None:
    rows = [(one["name"], one["fingerprint"], one["id"]) for one in answer["admins"]]
    output.table(ADMIN_HEADERS, rows)
    root = answer["root"]
    where = "its key is on this node" if root["here"] else "its key is not on this node"
    say(f"root {words(root['fingerprint'])}; {where}")
    if answer["removed"]:
        say(f"removed for good: {len(answer['removed'])} keys")


def add_rekey(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh rekey`."""
    add_json(parser)
    parser.add_argument("--data", metavar="DIR", help="where its key and its log are")
    parser.add_argument(
        "--instance", metavar="N", type=count, help="number of the node, if several run here"
    )
    parser.set_defaults(run=rekey)


def rekey(options: argparse.Namespace) -> int:
    """Give the node of a data directory a new key; it has to join again."""
    from mesh.core.errors import LocalError
    from mesh.daemon.options import UpOptions
    from mesh.daemon.places import data_directory
    from mesh.storage.state_directory import StateDirectory

    path = data_directory(UpOptions(data=options.data, instance=options.instance))
    if not path.is_dir():
        raise Refused("usage", f"{path} is no data directory", "name it with --data")
    try:
        with StateDirectory(path) as state:
            kept = state.set_aside()
    except LocalError as wrong:
        raise Refused(wrong.name, wrong.message, wrong.hint) from None
    output = Output(options)
    if output.as_json:
        output.document({"kept": str(kept)})
        return exit_codes.OK
    say(f"the former key and its log are kept in {kept}")
    say("the next `mesh up` here makes a new key: join with a new ticket of `mesh invite`")
    return exit_codes.OK
