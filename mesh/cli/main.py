"""Find the subcommand, import it alone, run it, and turn what goes wrong into an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from mesh.cli import exit_codes
from mesh.cli.output import escape, say
from mesh.cli.parsing import Parser, Version
from mesh.control.client import NodeUnreachable, Refused

COMMANDS = {
    "up": ("mesh.cli.up", "run a node on this machine"),
    "leave": ("mesh.cli.node", "take the node out of the mesh and stop it"),
    "status": ("mesh.cli.node", "show the node, its mesh and its counters"),
    "info": ("mesh.cli.node", "show all that is known of one node"),
    "id": ("mesh.cli.node", "show id, fingerprint and public key of the node"),
    "members": ("mesh.cli.members", "list the members of the mesh"),
    "wait": ("mesh.cli.members", "wait until so many members are alive"),
    "events": ("mesh.cli.node", "print what happens, as it happens"),
    "invite": ("mesh.cli.invite", "make a ticket with which other machines join"),
    "pending": ("mesh.cli.invite", "show who waits here to be let in"),
    "admit": ("mesh.cli.invite", "let somebody in who waits here"),
    "deny": ("mesh.cli.invite", "send somebody off who waits here"),
    "remove": ("mesh.cli.authority", "take a node out of the mesh for good"),
    "admin": ("mesh.cli.authority", "show, make and end admins"),
    "root": ("mesh.cli.root", "keep, lock, restore and replace the root key of the mesh"),
    "rekey": ("mesh.cli.authority", "give the node of a data directory a new key"),
    "task": ("mesh.cli.tasks", "submit, look at, claim and finish tasks"),
    "fence": ("mesh.cli.fence", "check tokens where work meets a resource"),
    "work": ("mesh.cli.work", "make any program an agent: run it once per task"),
    "top": ("mesh.cli.watching", "show members, tasks and figures, live"),
    "tax": ("mesh.cli.watching", "show what coordination costs per finished task"),
    "rpc": ("mesh.cli.node", "send one request to the control socket as it is"),
    "doctor": ("mesh.cli.doctor", "find out why it does not work: state, ways, ticket, clock"),
    "sim": ("mesh.cli.simulate_options", "run real nodes in virtual time, through faults"),
    "demo": ("mesh.cli.demo_options", "start a few nodes here, work, and kill one of them"),
    "completion": ("mesh.cli.completion", "print what makes a shell complete this command"),
}
"""Command -> the module that knows it, and what it does."""


def build_parser(chosen: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Return the parser; only the chosen commands know their options."""
    parser = Parser(
        prog="mesh",
        description="Agents on many machines share out work with no manager.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, help="print the version and end")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(
            command, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False
        )
        if command in chosen:
            # Each module names what adds a command's options after the command.
            getattr(importlib.import_module(module), f"add_{command}")(subparser)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    chosen = [argument for argument in arguments[:1] if argument in COMMANDS]
    mend_streams()
    try:
        options = parsed(arguments, chosen)
        code: int = options.run(options)
        sys.stdout.flush()
    except SystemExit as stopped:  # argparse has said why
        return stopped.code if isinstance(stopped.code, int) else exit_codes.USAGE
    except NodeUnreachable as unreachable:
        complain(str(unreachable), unreachable.hint)
        return exit_codes.UNREACHABLE
    except Refused as refused:
        complain(str(refused), refused.hint)
        return exit_codes.code_of_error(refused.name)
    except BrokenPipeError:
        # Whoever read our output has enough; what is still buffered must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.FAILED
    except OSError as wrong:
        complain(str(wrong), "")
        return exit_codes.FAILED
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BaseExceptionGroup as group:  # what several tasks of a loop have to say
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        return exit_codes.INTERRUPTED
    return code


def parsed(arguments: Sequence[str], chosen: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line; raises Refused for what its command does not take."""
    options, unknown = build_parser(chosen).parse_known_args(arguments)
    if unknown:
        path = [vars(options).get(level) for level in ("command", "subcommand", "step")]
        command = " ".join(["mesh", *(str(name) for name in path if name)])
        refusal = f"{command} does not take {' '.join(unknown)}"
        raise Refused("usage", refusal, f"see `{command} --help`")
    return options


def mend_streams() -> None:
    """Make standard streams safe to use: a closed one swallows, an odd letter is spelled out.

    A closed descriptor would be given to the next file or socket, and then be written to.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            number = os.open(os.devnull, os.O_RDWR)
            if name != "stdin":  # what is to be read from there is refused, not empty
                setattr(sys, name, os.fdopen(number, "w"))
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def complain(message: str, hint: str) -> None:
    """Say what is wrong and what to do about it."""
    say(f"mesh: {escape(message)}")
    if hint:
        say(f"hint: {escape(hint)}")
