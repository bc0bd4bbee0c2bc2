"""Where a node's chance comes from: the system in a daemon, a seed in the simulator."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Rng(Protocol):
    """The slice of `random.Random` that rules may use; `random.SystemRandom` also fits."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def uniform(self, _low: float, _high: float, /) -> float:
        """Return a float between low and high."""
        ...

    def randrange(self, _stop: int, /) -> int:
        """Return an integer in [0, stop)."""
        ...

    def sample(self, _population: Sequence[Item], _count: int, /) -> list[Item]:
        """Return `count` different items."""
        ...

    def randbytes(self, _count: int, /) -> bytes:
        """Return `count` bytes."""
        ...

    def choice(self, _items: Sequence[Item], /) -> Item:
        """Return one item."""
        ...
