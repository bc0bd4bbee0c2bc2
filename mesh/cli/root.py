"""`mesh root`: the root key of the mesh, on disk and on paper."""

import argparse

from mesh.cli import exit_codes
from mesh.cli.asking import ask
from mesh.cli.authority import given_keys
from mesh.cli.options import add_json, add_socket
from mesh.cli.output import say, words
from mesh.control.client import Refused


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh root`."""
    add_socket(parser)
    add_json(parser)
    parser.add_argument(
        "action",
        choices=("export", "lock", "restore", "rotate"),
        help="print both keys, take them off the disk, put them back, or let the next one follow",
    )
    parser.add_argument(
        "keys", metavar="@FILE|-", nargs="?", help="what `mesh root export` has printed"
    )
    parser.set_defaults(run=root)


def root(options: argparse.Namespace) -> int:
    """Keep, lock, restore and replace the root key of the mesh."""
    keys = given_keys(options.keys)
    if options.action == "export":
        output, answer = ask(options, "trust.root_export", {})
        if not output.as_json:
            say("whoever has these lines can make admins; keep them on paper, not on this machine")
            output.line(f"root key now   {words(answer['root'])}")
            output.line(f"root key next  {words(answer['next'])}")
        return exit_codes.OK
    if options.action == "rotate":
        # Of both keys the second is the one that was promised to follow.
        output, answer = ask(options, "trust.rotate", {"root": keys[-1]} if keys else {})
        if not output.as_json:
            output.line(f"the root is now {words(answer['fingerprint'])}")
            output.line(f"root key next  {words(answer['next'])}")
        return exit_codes.OK
    if not keys or (options.action == "lock" and len(keys) != 2):
        raise Refused(
            "usage", "the keys are missing", f"mesh root {options.action} @FILE, with both of them"
        )
    wanted = dict(zip(("root", "next"), keys, strict=False))
    method = "trust.root_lock" if options.action == "lock" else "trust.root_keep"
    output, answer = ask(options, method, wanted)
    if not output.as_json:
        done = "no longer on this node" if options.action == "lock" else "on this node"
        output.line(f"the key of root {words(answer['fingerprint'])} is {done}")
    return exit_codes.OK
