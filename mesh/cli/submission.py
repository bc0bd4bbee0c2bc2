"""The options of `mesh task submit` that say when a task is done, after what, where and by whom."""

import argparse
import time
from typing import Any

from mesh.cli.values import count, duration_s, pair

POLICIES = ("cancel", "run", "wait")
ALLOCATIONS = ("pull", "offered", "auction")
PRIORITY_MAX = 255


def moment(text: str) -> float:
    """Return seconds since 1970 for a length of time from now on, or for a time in RFC 3339."""
    try:
        return time.time() + duration_s(text)
    except argparse.ArgumentTypeError:
        pass
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a length of time such as 15m nor a time such as 2026-01-31T18:00Z"
        ) from None


def priority(text: str) -> int:
    """Return a whole number from 0 to 255."""
    if not text.isdecimal() or int(text) > PRIORITY_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {PRIORITY_MAX}")
    return int(text)


def limit(text: str) -> tuple[str, int]:
    """Return the halves of `key=n`."""
    key, number = pair(text)
    return key, count(number)


def tag(text: str) -> tuple[str, str]:
    """Return the halves of `tag=value`; a tag alone stands for any value."""
    key, _, value = text.partition("=")
    if not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form tag=value")
    return key, value


def keyed(text: str) -> tuple[str, float | None]:
    """Return the key, and the window if one follows it."""
    key, sign, window = text.rpartition("=")
    if sign and key:
        try:
            return key, duration_s(window)
        except argparse.ArgumentTypeError:
            pass
    return text, None


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--priority", metavar="N", type=priority, help="0 to 255, higher goes first (0)")
    add("--not-before", metavar="T|TIME", type=moment, help="nobody begins it earlier")
    add("--deadline", metavar="T|TIME", type=moment, help="canceled at that time, begun or not")
    add("--queue-ttl", metavar="T", type=duration_s, help="canceled if nobody began it so long")
    add("--run-limit", metavar="T", type=duration_s, help="one attempt may take so long")
    add("--progress-limit", metavar="T", type=duration_s, help="its worker may be silent so long")
    add("--verify", metavar="N", type=count, help="so many other nodes must accept its result")
    add("--after", metavar="ID", nargs="+", action="extend", help="wait until these tasks are done")
    add(
        "--on-parent-failure",
        choices=POLICIES,
        help="when one of them ends without a result: cancel this task (default), run it all the "
        "same, or wait on",
    )
    add("--limit", metavar="KEY=N", type=limit, help="of all tasks with this key N run at once")
    add(
        "--dedupe",
        metavar="KEY[=T]",
        type=keyed,
        help="one task per kind and key in each window of this length (1d)",
    )
    add(
        "--requires", metavar="TAG[=VALUE]", type=tag, action="append", default=[],
        help="only nodes with this tag",
    )  # fmt: skip
    add(
        "--prefers", metavar="TAG[=VALUE]", type=tag, action="append", default=[],
        help="rather nodes with this tag",
    )  # fmt: skip
    add(
        "--allocation",
        choices=ALLOCATIONS,
        help="who gets it: who comes (pull, default), who is first in line and then the next "
        "(offered), or who bids most (auction)",
    )
    add("--bid-window", metavar="T", type=duration_s, help="how long bids are awaited, or an offer")


def schedule(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters that were asked for."""
    key, window_s = options.dedupe or (None, None)
    wanted = {
        "priority": options.priority,
        "not_before": options.not_before,
        "deadline": options.deadline,
        "queue_ttl_s": options.queue_ttl,
        "run_limit_s": options.run_limit,
        "progress_limit_s": options.progress_limit,
        "verify": options.verify,
        "after": options.after,
        "on_parent_failure": options.on_parent_failure,
        "limit": options.limit,
        "dedupe": key,
        "dedupe_window_s": window_s,
        "requires": dict(options.requires) or None,
        "prefers": dict(options.prefers) or None,
        "allocation": options.allocation,
        "bid_window_s": options.bid_window,
    }
    return {name: value for name, value in wanted.items() if value is not None}
