"""Values on the command line: lengths of time, pairs, payloads, moments."""

import argparse
import base64
import sys
from typing import BinaryIO

from mesh.control.client import Refused

SCORE_MAX = 65_535
"""Sixteen bits of a rank."""
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration_s(text: str) -> float:
    """Return seconds for `30`, `500ms`, `30s`, `15m`, `1h` or `7d`."""
    digits = text.rstrip("smhd")
    unit = text[len(digits) :] or "s"
    try:
        amount = float(digits)
    except ValueError:
        amount = -1.0
    if unit not in UNITS_S or not 0 <= amount < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time such as 30s, 15m or 1h")
    return amount * UNITS_S[unit]


def pair(text: str) -> tuple[str, str]:
    """Return the two halves of `key=value`."""
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    return key, value


def count(text: str) -> int:
    """Return a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def score(text: str) -> int:
    """Return a bid in an auction."""
    if not text.isdecimal() or int(text) > SCORE_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {SCORE_MAX}")
    return int(text)


def command_line(text: str) -> tuple[str, ...]:
    """Return a program and its arguments, split as a shell would."""
    import shlex

    try:
        parts = tuple(shlex.split(text))
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"{text!r}: {wrong}") from None
    if not parts:
        raise argparse.ArgumentTypeError("no program is named")
    return parts


def whole(text: str) -> int:
    """Return a whole number from 0 up."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)


def percent(text: str) -> float:
    """Return how many of a hundred."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 100")
    return found


def standard_input() -> BinaryIO:
    """Return where `-` is read from; raises Refused when it is closed."""
    if sys.stdin is None:
        raise Refused("usage", "standard input is closed", "give the text itself, or @FILE")
    return sys.stdin.buffer


def given_bytes(text: str) -> bytes:
    """Return the bytes that `TEXT`, `@FILE` or `-` (standard input) stands for."""
    if text == "-":
        return standard_input().read()
    if text.startswith("@"):
        try:
            with open(text[1:], "rb") as file:  # noqa: PTH123  start-up time
                return file.read()
        except OSError as wrong:
            raise Refused("usage", str(wrong), "give @FILE with the path of a file") from None
    return text.encode("utf-8", "surrogateescape")


def in_base64(data: bytes) -> str:
    """Return bytes as the control socket takes them."""
    return base64.b64encode(data).decode()


def ago(moment: str | None) -> str | None:
    """Return how long ago a moment in RFC 3339 was."""
    if moment is None:
        return None
    from datetime import UTC, datetime

    past_s = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit in ("d", "h", "m"):
        if past_s >= UNITS_S[unit]:
            return f"{past_s / UNITS_S[unit]:.0f} {unit} ago"
    return f"{max(past_s, 0):.0f} s ago"
