"""What argparse does not do by itself: say what is wrong in two lines, and end help with examples.

Usage of a command with thirty options hides the one line that matters, so what is wrong comes
alone, with where to look. The end of a help text comes from `mesh.cli.examples`, by the command.
"""

import argparse
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from mesh.cli import exit_codes
from mesh.cli.output import escape, say

_UNKNOWN = re.compile(r"argument (?:COMMAND|SUBCOMMAND|STEP): invalid choice: '(.*?)'")


class Parser(argparse.ArgumentParser):
    """A parser of `mesh` or of one of its commands; its subparsers are of the same kind."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to look, and end with the code for wrong use."""
        hint = f"see `{self.prog} --help`"
        unknown = _UNKNOWN.match(message)
        if unknown is not None:
            import difflib

            word = unknown[1]
            message = f"there is no command {word!r}"
            close = difflib.get_close_matches(word, self._commands(), n=1)
            hint = f"did you mean `{self.prog} {close[0]}`? {hint}" if close else hint
        say(f"{self.prog}: {escape(message)}\nhint: {hint}")
        raise SystemExit(exit_codes.USAGE)

    def format_help(self) -> str:
        """Return the help text with what the command prints, how it ends, and examples."""
        from mesh.cli.examples import end_of_help  # read by nobody who does not ask for help

        return "\n".join((super().format_help().rstrip(), *end_of_help(self.prog), ""))

    def _commands(self) -> Iterable[str]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  its type has no public name
                yield from action.choices


class Version(argparse.Action):
    """Print the version and end; looked up only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, **more: Any) -> None:  # noqa: ANN401  argparse's
        super().__init__(option_strings, dest, nargs=0, help=more.get("help"))

    def __call__(self, *_: object) -> NoReturn:
        """Print it."""
        from mesh.version import VERSION

        print(f"mesh {VERSION}")  # noqa: T201  the command's output
        raise SystemExit(exit_codes.OK)
