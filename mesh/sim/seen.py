"""What a checker has seen of a node before: is it the same still, and must a crash have kept it?"""

import operator
from dataclasses import dataclass, field

from mesh.sim.host import Host
from mesh.sim.world import World

RETAINED_S = 5.0
"""A disk that has been good for so long has taken what it refused before."""
WRITTEN_S = 1.0
"""What a node has known for so long has been written, unless its disk fails."""
Place = tuple[str, int, str]
"""A host, the number of its disk, and a task."""


@dataclass(slots=True, eq=False)
class Retained:
    """Tells whether what was seen at a node must be there after a crash: is it on the disk?

    It is when the node has not crashed for a moment since, and its disk has not failed either.
    """

    world: World
    _bad_s: dict[str, float] = field(default_factory=dict)
    _fresh: dict[str, dict[Place, tuple[int, float]]] = field(default_factory=dict)
    """What is not on the disk for sure, by host: seen first in which run, and when."""

    def see(self, host: Host, place: Place) -> None:
        """Something new was seen at a host."""
        self._fresh.setdefault(host.name, {})[place] = (host.run, self.world.now_s)

    def settle(self, host: Host) -> None:
        """Look at a host that runs: what it has known for a while is kept by now."""
        now_s = self.world.now_s
        if host.disk.full or host.disk.fail:
            self._bad_s[host.name] = now_s
        fresh = self._fresh.get(host.name)
        if not fresh or now_s - self._bad_s.get(host.name, float("-inf")) <= RETAINED_S:
            return
        for place, (run, seen_s) in list(fresh.items()):
            if run == host.run and now_s - seen_s >= WRITTEN_S:
                del fresh[place]

    def keep(self, place: Place) -> None:
        """The node has said that it is on the disk."""
        self._fresh.get(place[0], {}).pop(place, None)

    def keeps(self, place: Place) -> bool:
        """Whether a crash must not take this back."""
        return place not in self._fresh.get(place[0], {})


class Unchanged:
    """Tells whether a node shows the very objects that it showed last: then nothing is to check.

    Nodes show the same tuple for as long as it is equal; another tuple is always looked at.
    """

    __slots__ = ("_shown",)

    def __init__(self) -> None:
        self._shown: dict[str, tuple[object, ...]] = {}

    def since_last(self, name: str, *shown: object) -> bool:
        """Whether all of this is what was shown at a node the last time; remembers it."""
        before = self._shown.get(name)
        self._shown[name] = shown
        return before is not None and all(map(operator.is_, before, shown))
