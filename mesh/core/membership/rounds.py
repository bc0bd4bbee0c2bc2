"""Going through many members a few at a time, so that no turn sends hundreds of pings."""

from collections.abc import Sequence

from mesh.core.identity import NodeId
from mesh.core.instants import Now
from mesh.core.membership.ground import Ground
from mesh.core.membership.member import Member

MEMBERS_PER_TURN = 8
TURN_S = 0.1
"""Between two turns, jittered."""


class Round:
    """Who is still to be looked at; the first turn comes a moment after the start."""

    def __init__(self, ground: Ground, key: bytes) -> None:
        self._ground = ground
        self._key = key
        self._waiting: list[NodeId] = []

    @property
    def is_open(self) -> bool:
        """Whether somebody is still to be looked at."""
        return bool(self._waiting)

    def start(self, now: Now, nodes: Sequence[NodeId], most: int) -> None:
        """Begin with these, in any order, and no more than so many of them."""
        self._waiting = self._ground.parts.rng.sample(nodes, min(len(nodes), most))
        self._arm(now)

    def turn(self, now: Now) -> list[Member]:
        """Return whose turn it is, as far as they are still known."""
        turn = self._waiting[:MEMBERS_PER_TURN]
        self._waiting = self._waiting[MEMBERS_PER_TURN:]
        self._arm(now)
        found = (self._ground.table.get(node) for node in turn)
        return [member for member in found if member is not None]

    def stop(self) -> None:
        """Leave it at that."""
        self._waiting = []

    def _arm(self, now: Now) -> None:
        if self._waiting:
            self._ground.agenda.set(self._key, self._ground.spread(now, TURN_S))
