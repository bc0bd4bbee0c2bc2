"""Faults as a table: run them one after the other and show what was measured."""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults.fault import Fault, Figure, Outcome, Scale
from tests.faults.needs import missing

HEADER = "| fault | criterion | measured | withstood |\n|---|---|---|---|\n"
BEGIN = "<!-- rows of python -m tests.faults --update; one line per fault -->\n"
END = "<!-- end of rows -->\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One fault after its turn: its outcome, or why it has none."""

    fault: Fault
    scale: Scale
    outcome: Outcome | None
    reason: str = ""
    """Why there is no outcome."""
    failed: bool = False
    took_s: float = 0.0

    @property
    def verdict(self) -> str:
        """One of pass, FAIL, not run."""
        if self.failed:
            return "FAIL"
        return "not run" if self.outcome is None else "pass"

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        outcome = self.outcome
        figures = () if outcome is None else outcome.figures
        return {
            "name": self.fault.name,
            "does": self.fault.does,
            "criterion": self.fault.criterion,
            "scale": self.scale.value,
            "verdict": self.verdict,
            "reason": self.reason,
            "note": "" if outcome is None else outcome.note,
            "took_s": round(self.took_s, 1),
            "figures": [{**dataclasses.asdict(f), "holds": f.holds} for f in figures],
        }


def run_fault(fault: Fault, scale: Scale) -> Row:
    """Run one fault; whatever goes wrong in it is a failure of this row alone."""
    lacking = missing(fault)
    if lacking:
        return Row(fault, scale, None, lacking)
    begun = time.monotonic()
    try:
        outcome = fault.run(scale)
    except Exception as error:  # noqa: BLE001  a row says what happened, the others go on
        told = f"{type(error).__name__}: {error}"
        return Row(fault, scale, None, told, failed=True, took_s=time.monotonic() - begun)
    took_s = time.monotonic() - begun
    return Row(fault, scale, outcome, failed=not outcome.passed, took_s=took_s)


def number_text(value: float) -> str:
    """Return a number with three figures, or all of those before the point."""
    if math.isinf(value):
        return "infinite"  # what was waited for has not come at all
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figure_text(figure: Figure) -> str:
    """Return a figure with its limits; one that does not hold is shouted."""
    text = f"{figure.name} {number_text(figure.value)}"
    text += f" {figure.unit}" if figure.unit else ""
    limits = []
    if figure.at_most is not None:
        limits.append(f"<= {number_text(figure.at_most)}")
    if figure.at_least is not None:
        limits.append(f">= {number_text(figure.at_least)}")
    if limits:
        text += f" ({', '.join(limits)})"
    return text if figure.holds else f"MISSED: {text}"


def measured(row: Row) -> list[str]:
    """Return what a row has to say, in pieces."""
    if row.outcome is None:
        return [row.reason]
    pieces = [figure_text(figure) for figure in row.outcome.figures]
    return [*pieces, row.outcome.note] if row.outcome.note else pieces


def text_of(row: Row) -> str:
    """Return a row for a terminal."""
    lines = [f"{row.verdict:8} {row.fault.name} ({row.scale.value}, {row.took_s:.0f} s)"]
    lines += [f"         criterion: {row.fault.criterion}"]
    lines += [f"         {piece}" for piece in measured(row)]
    return "\n".join(lines)


def markdown_of(row: Row) -> str:
    """Return a row of the table in the documents."""
    pieces = "; ".join(measured(row)).replace("|", "\\|").replace("\n", " ")
    form = "" if row.scale is Scale.FULL else ", quick form"
    criterion = row.fault.criterion.replace("|", "\\|")
    return f"| {row.fault.name} | {criterion} | {pieces} | {row.verdict}{form} |\n"


def _rows_in(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines(keepends=True):
        if line.startswith("| "):
            yield line.split("|")[1].strip(), line


def update(page: Path, rows: Sequence[Row], order: Sequence[str]) -> None:
    """Put rows into the table of a page; those of other faults stay as they are."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    held, _, after = rest.partition(END)
    lines = dict(_rows_in(held))
    lines.pop("fault", None)
    lines |= {row.fault.name: markdown_of(row) for row in rows}
    kept = [lines[name] for name in order if name in lines]
    page.write_text(before + BEGIN + HEADER + "".join(kept) + END + after)
