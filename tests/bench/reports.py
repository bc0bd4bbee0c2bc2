"""Tables in Markdown, put between markers of a document; raw data as lines of JSON."""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads an option: some of these names, with commas between them."""
    names = list(known)

    def read(text: str) -> list[str]:
        asked = text.split(",")
        if unknown := [name for name in asked if name not in names]:
            said = f"{', '.join(map(repr, unknown))}: those are {', '.join(names)}"
            raise argparse.ArgumentTypeError(f"nothing is called {said}")
        return asked

    return read


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are there."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest rank, or None for no values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else None


def number(value: float | None, unit: str = "") -> str:
    """Return a figure with three digits that count."""
    if value is None:
        return "-"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.095 or not size else 3
    text = f"{value:,.{digits}f}"
    return f"{text} {unit}" if unit else text


def ratio(ours: float | None, theirs: float | None) -> str:
    """Return ours as a multiple of theirs."""
    return "-" if ours is None or not theirs else f"{number(ours / theirs)} x"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def put_between(document: Path, name: str, text: str) -> None:
    """Replace what stands between the markers of a name; raises ValueError when they are missing.

    The markers are comments: `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.
    """
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    before, marker, rest = document.read_text().partition(begin)
    _, closing, after = rest.partition(end)
    if not marker or not closing:
        raise ValueError(f"{document} has no {begin} ... {end}")
    document.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


class Kept:
    """Raw data as lines of JSON, on disk after every row, so that an early end loses nothing.

    With a `key`, rows of earlier runs stay until a row with the same key replaces them.
    """

    def __init__(self, path: Path | None, key: Sequence[str] = ()) -> None:
        self.rows: list[Row] = []
        self._path, self._key = path, key
        if path is not None and key and path.exists():
            self.rows = load(path)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep one more row."""
        fresh = rounded(dict(row))
        if self._key:
            same = [self._name(old) == self._name(fresh) for old in self.rows]
            if any(same):
                self.rows[same.index(True)] = fresh
            else:
                self.rows.append(fresh)
        else:
            self.rows.append(fresh)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(each, separators=(",", ":")) for each in self.rows]
            self._path.write_text("\n".join(lines) + "\n")

    def _name(self, row: Row) -> list[Any]:
        return [row[part] for part in self._key]


def load(path: Path) -> list[Row]:
    """Return the rows of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def rounded(value: Any) -> Any:  # noqa: ANN401  JSON
    """Return the same with five digits that count: raw data stays small."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {key: rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [rounded(item) for item in value]
        case _:
            return value
