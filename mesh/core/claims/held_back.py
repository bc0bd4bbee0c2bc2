"""Facts that wait for what they cite, counted per author so that nobody can flood the table.

Counted are those that may speak of nothing at all. A claim on a known task takes up no more room
while it waits for what ended the claim before it than when that has come. It may never come: what
a removed node has said of itself counts nowhere, and everybody must have room for the same facts.
"""

from collections.abc import Iterable
from typing import Any

from mesh.core.claims.task_facts import ground_of
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, NodeId
from mesh.core.wire.envelope import Verified


class HeldBack:
    """Which facts wait, and for which ids; each author may have `high` that are counted."""

    __slots__ = ("_counts", "_high", "_waiters", "_waiting")

    def __init__(self, high: int) -> None:
        self._high = high
        self._waiting: dict[FactId, tuple[Verified[Any], tuple[FactId, ...]]] = {}
        self._waiters: dict[FactId, dict[FactId, Verified[Any]]] = {}
        self._counts: dict[NodeId, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self, author: NodeId) -> None:
        """Raise RemoteError(OVER_CAP) when no further fact of this author may be counted."""
        if self._counts.get(author, 0) >= self._high:
            raise RemoteError(Refusal.OVER_CAP, f"{self._high} facts of one author wait already")

    def hold(self, verified: Verified[Any], missing: Iterable[FactId]) -> None:
        """Let a fact wait for these ids; one that it cites twice counts once."""
        lacking = tuple(dict.fromkeys(missing))
        self._waiting[verified.id] = (verified, lacking)
        for cited in lacking:
            self._waiters.setdefault(cited, {})[verified.id] = verified
        if ground_of(verified.fact) in lacking:
            self._counts[verified.author] = self._counts.get(verified.author, 0) + 1

    def waiters(self, cited: FactId) -> tuple[Verified[Any], ...]:
        """Return the facts that wait for an id."""
        waiters = self._waiters.get(cited)
        return tuple(waiters.values()) if waiters else ()

    def all(self) -> tuple[Verified[Any], ...]:
        """Return the facts that wait."""
        return tuple(verified for verified, _ in self._waiting.values())

    def waits(self, id_: FactId) -> bool:
        """Whether a fact waits."""
        return id_ in self._waiting

    def release(self, verified: Verified[Any]) -> None:
        """Let a fact wait no longer."""
        _, lacking = self._waiting.pop(verified.id)
        for cited in lacking:
            waiters = self._waiters[cited]
            del waiters[verified.id]
            if not waiters:
                del self._waiters[cited]
        if ground_of(verified.fact) not in lacking:
            return
        left = self._counts[verified.author] - 1
        if left:
            self._counts[verified.author] = left
        else:
            del self._counts[verified.author]
