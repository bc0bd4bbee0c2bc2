"""`python -m tests.faults`: do harm to real nodes and print what they made of it."""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.catalogue import catalogue
from tests.faults.fault import Fault, Scale
from tests.faults.needs import missing
from tests.faults.table import HEADER, Row, markdown_of, run_fault, text_of, update


def parse() -> argparse.Namespace:
    """Return the options; exits for wrong ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="faults to run")
    parser.add_argument("--all", action="store_true", help="run every fault")
    parser.add_argument("--full", action="store_true", help="the long form, which is reported")
    parser.add_argument("--list", action="store_true", help="what there is, and what can run here")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--markdown", action="store_true", help="a table for the documents")
    parser.add_argument("--update", metavar="PAGE", type=Path, help="put the rows into this page")
    options = parser.parse_args()
    if not (options.all or options.list or options.names):
        parser.error("name faults, or give --all or --list")
    return options


def chosen(options: argparse.Namespace, faults: tuple[Fault, ...]) -> list[Fault]:
    """Return the faults that were asked for; exits when one does not exist."""
    if options.all:
        return list(faults)
    known = {fault.name: fault for fault in faults}
    strange = [name for name in options.names if name not in known]
    if strange:
        sys.exit(f"no fault {', '.join(strange)}; there are: {', '.join(known)}")
    return [known[name] for name in options.names]


def show_list(faults: tuple[Fault, ...]) -> None:
    """Print every fault with what it lacks here."""
    for fault in faults:
        lacking = missing(fault)
        print(f"{fault.name:24} {fault.does}" + (f" [not here: {lacking}]" if lacking else ""))


def run_all(faults: list[Fault], scale: Scale) -> Iterator[Row]:
    """Run faults one after the other, with progress on stderr; gives each row when it is there."""
    for number, fault in enumerate(faults, 1):
        print(f"[{number}/{len(faults)}] {fault.name}: {fault.does}", file=sys.stderr, flush=True)
        row = run_fault(fault, scale)
        print(text_of(row), file=sys.stderr, flush=True)
        yield row


def main() -> int:
    """Run what was asked for; 1 if a fault was not withstood."""
    # Whoever is told to end still unmounts, kills and puts back what it has set up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse()
    faults = catalogue()
    if options.list:
        show_list(faults)
        return 0
    scale = Scale.FULL if options.full else Scale.QUICK
    order = [fault.name for fault in faults]
    rows = []
    for row in run_all(chosen(options, faults), scale):
        rows.append(row)
        if options.update is not None:  # at once: whoever ends a run of an hour keeps what it has
            update(options.update, [row], order)
    if options.json:
        print(json.dumps({"v": 1, "faults": [row.as_json() for row in rows]}, indent=1))
    elif options.markdown:
        print(HEADER + "".join(markdown_of(row) for row in rows), end="")
    else:
        print("\n".join(text_of(row) for row in rows))
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
