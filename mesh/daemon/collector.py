"""Searches for cycles that never stop the node for long.

Python frees almost everything here by counting references; a full search for cycles goes through
all that is alive and stops the node meanwhile: 25 ms for the modules, and 100 ms with a few
thousand tasks. To whoever waits for its receipts a node that stands still has no objection. So what
has survived a full search is left out of the next ones, which see only what is new. Cycles among
what was left out are found once an hour, when all is looked at again.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio

THRESHOLDS = (700, 10, 1)
"""The usual ones but for the last: full searches are often and short, and see each thing once."""
ALL_AGAIN_S = 3600.0
FULL = 2
"""The generation that a full search goes through."""


def _leave_out(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "stop" and info["generation"] == FULL:
        gc.freeze()


@contextmanager
def short_searches() -> Iterator[None]:
    """Leave out of each full search what an earlier one has seen."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(_leave_out)
    try:
        gc.collect()
        yield
    finally:
        gc.callbacks.remove(_leave_out)
        gc.set_threshold(*before)


def look_at_all() -> None:
    """Search everything, what was left out too."""
    gc.unfreeze()
    gc.collect()


async def look_at_all_for_ever() -> None:
    """Do so now and then, until cancelled."""
    while True:
        await trio.sleep(ALL_AGAIN_S)
        look_at_all()
