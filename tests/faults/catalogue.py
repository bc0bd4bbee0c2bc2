"""All faults: every module here called `host_*` or `network_*` exports `FAULTS`."""

import importlib
from pathlib import Path

from tests.faults.fault import Fault

PATTERNS = ("network_*.py", "host_*.py")


def catalogue() -> tuple[Fault, ...]:
    """Return the faults in the order of their modules; each name stands for one fault."""
    folder = Path(__file__).parent
    names = [path.stem for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    found: list[Fault] = []
    for name in names:
        found.extend(importlib.import_module(f"tests.faults.{name}").FAULTS)
    taken = [fault.name for fault in found]
    assert len(set(taken)) == len(taken), f"two faults of one name among {taken}"
    return tuple(found)
