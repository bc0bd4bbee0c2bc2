"""What a node says to people, on stderr: everything it has to say, but not as often as others like.

Some lines are caused from outside: somebody starts a copied key again and again, a seed answers
differently each time. A terminal, a journal and a disk have better uses than ten thousand of them.
So of each cause at most a few lines go out per second, and then one that counts the others.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TextIO

import trio

LINES_PER_S = 20
"""Of one cause. Whoever reads along needs no more, and a disk stands it for years."""
SECOND_S = 1.0


class Cause(Enum):
    """Why something is said that others can make a node say."""

    ALARM = "alarms"
    PENDING = "notes on waiting to be let in"
    JOINING = "notes on joining"


def say(text: str) -> None:
    """Talk to a person, on stderr; nobody need be there any more."""
    write(text, sys.stderr)


def write(text: str, stream: TextIO) -> None:
    """Write a line. A terminal that was closed, or a full disk, is no reason to end a node."""
    with contextlib.suppress(OSError):
        print(text, file=stream, flush=True)


@dataclass(slots=True)
class _Second:
    """What was said of one cause since this second began."""

    began: float
    said: int = 0
    held_back: int = 0


@dataclass(slots=True)
class Talk:
    """Says what others cause to be said, within bounds; one entry per cause is all it keeps."""

    clock: Callable[[], float] = time.monotonic
    _seconds: dict[Cause, _Second] = field(default_factory=dict)
    _has_more: trio.Event = field(default_factory=trio.Event)

    def say(self, cause: Cause, text: str) -> None:
        """Say something, or count it when enough was said of the same cause in this second."""
        now = self.clock()
        second = self._seconds.get(cause)
        if second is None or now - second.began >= SECOND_S:
            self._sum_up(cause)
            second = self._seconds[cause] = _Second(now)
        if second.said < LINES_PER_S:
            second.said += 1
            say(text)
            return
        second.held_back += 1
        self._has_more.set()

    def sum_up(self) -> None:
        """Say how much was held back."""
        for cause in Cause:
            self._sum_up(cause)

    def _sum_up(self, cause: Cause) -> None:
        second = self._seconds.get(cause)
        if second is not None and second.held_back:
            say(f"... and {second.held_back} more {cause.value}")
            second.held_back = 0

    async def sum_up_for_ever(self) -> None:
        """Sum up a second after something was held back; sleeps as long as nothing is."""
        try:
            while True:
                await self._has_more.wait()
                await trio.sleep(SECOND_S)
                self._has_more = trio.Event()
                self.sum_up()
        finally:
            self.sum_up()
