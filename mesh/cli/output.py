"""What commands print: data on stdout, as a table or as JSON; talk on stderr.

Texts of other machines never reach a terminal as they are: control characters are escaped.
"""

import json
import os
import sys
import unicodedata
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHAPE_VERSION = 1
NOTHING = "-"
BOLD, RESET = "\x1b[1m", "\x1b[0m"
COLOURS = {
    "alive": "\x1b[32m",
    "completed": "\x1b[32m",
    "suspect": "\x1b[33m",
    "working": "\x1b[33m",
    "down": "\x1b[31m",
    "dead": "\x1b[31m",
    "failed": "\x1b[31m",
    "left": "\x1b[2m",
    "canceled": "\x1b[2m",
}
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that move the cursor, turn the direction of writing, or break lines."""


def escape(text: str) -> str:
    """Return a text that changes nothing on a terminal but the cells it fills."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() and unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def cells(text: str) -> int:
    """Return how many columns of a terminal an escaped text fills."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def cut(text: str, width: int) -> str:
    """Return as much of an escaped text as fits so many columns."""
    if cells(text) <= width:
        return text
    kept = text[: max(width - 1, 0)]
    while kept and cells(kept) > width - 1:
        kept = kept[:-1]
    return kept + "\u2026"[:width]


def words(value: Any) -> str:  # noqa: ANN401  JSON
    """Return a JSON value in one line for people."""
    if value is None or value in ("", [], {}):
        return NOTHING
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{escape(str(key))} {words(item)}" for key, item in value.items())
        case list():
            return ", ".join(words(item) for item in value)
        case _:
            return escape(str(value))


def _lines_of(value: object) -> list[str]:
    """Return a value in lines for people: one, but sentences have one each."""
    if isinstance(value, list) and any(isinstance(each, str) and ", " in each for each in value):
        return [words(each) for each in value]
    return [words(value)]


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)


def say(text: str) -> None:
    """Talk to a person; it is no failure if nobody is there any more."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        return


class Output:
    """Where a command prints, and in which form it was asked to."""

    def __init__(self, options: Namespace) -> None:
        self.as_json: bool = getattr(options, "json", False)
        self.as_lines: bool = getattr(options, "jsonl", False)
        self.quiet: bool = getattr(options, "quiet", False)
        self.is_terminal = sys.stdout.isatty()
        self.can_move = self.is_terminal and os.environ.get("TERM") != "dumb"
        """Whether the terminal knows escape sequences."""
        self._colours = self.can_move and not os.environ.get("NO_COLOR")

    def document(self, body: Mapping[str, Any]) -> None:
        """Print one JSON document."""
        self.line(json.dumps({"v": SHAPE_VERSION, **body}))

    def line(self, text: str) -> None:
        """Print one line at once."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def bytes(self, data: bytes) -> None:
        """Print the output of a task: as it is, but for a terminal."""
        if self.is_terminal:
            text = data.decode(errors="replace")
            self.line("\n".join(escape(line.expandtabs()) for line in text.splitlines()))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows for people, with aligned columns."""
        lines = [tuple(words(value) for value in row) for row in rows]
        widths = [max(map(cells, column)) for column in zip(headers, *lines, strict=True)]
        self.line(self._coloured(BOLD, self._row(headers, widths)))
        for line in lines:
            self.line(self._row(line, widths))

    def _row(self, values: Sequence[str], widths: Sequence[int]) -> str:
        last = len(values) - 1
        return "  ".join(
            self._coloured(COLOURS.get(value, ""), value)
            + ("" if place == last else " " * (widths[place] - cells(value)))
            for place, value in enumerate(values)
        )

    def sections(self, body: Mapping[str, Any]) -> None:
        """Print one thing for people: a line per field, nested fields below their title."""
        width = max((len(key) for key, value in body.items() if not _is_nested(value)), default=0)
        for key, value in body.items():
            if _is_nested(value):
                self.line(self._coloured(BOLD, escape(key)))
                self.fields(value, "  ")
            else:
                self.fields({key: value}, width=width)

    def fields(self, body: Mapping[str, Any], indent: str = "", width: int = 0) -> None:
        """Print a line per field, with names at least so wide."""
        width = max([width, *map(len, body)])
        for key, value in body.items():
            label = escape(key)
            for shown in _lines_of(value):
                said = self._coloured(COLOURS.get(shown, ""), shown)
                self.line(f"{indent}{label:{width}}  {said}")
                label = ""

    def _coloured(self, colour: str, text: str) -> str:
        return f"{colour}{text}{RESET}" if self._colours and colour else text
