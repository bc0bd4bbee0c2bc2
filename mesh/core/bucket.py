"""A token bucket: a rate with room for a burst, and a debt that is paid before anything else."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from mesh.core.instants import Instant

Key = TypeVar("Key", bound=Hashable)


class Bucket:
    """Bytes that may be spent now; refilled as time passes, never above the burst."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at: Instant | None = None

    def left(self, now: Instant) -> float:
        """Return what may be spent now; below zero after an overdraft."""
        if self._at is not None and now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now if self._at is None else max(now, self._at)
        return self._left

    def take(self, now: Instant, amount: float) -> bool:
        """Spend an amount if anything is left: what is begun may overdraw once."""
        if self.left(now) <= 0:
            return False
        self._left -= amount
        return True


class Buckets(Generic[Key]):
    """A bucket each for whoever comes; of more than `kept_max` the longest unused are forgotten."""

    __slots__ = ("_burst", "_held", "_kept_max", "_rate")

    def __init__(self, rate: float, burst: float, kept_max: int) -> None:
        self._rate, self._burst, self._kept_max = rate, burst, kept_max
        self._held: OrderedDict[Key, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def has(self, now: Instant, key: Key) -> bool:
        """Whether `take` would spend; who never spent is not remembered for asking."""
        bucket = self._held.get(key)
        return bucket is None or bucket.left(now) > 0

    def take(self, now: Instant, key: Key, amount: float) -> bool:
        """Spend an amount of one's own if anything of it is left."""
        bucket = self._held.pop(key, None) or Bucket(self._rate, self._burst)
        self._held[key] = bucket
        if len(self._held) > self._kept_max:
            self._held.popitem(last=False)
        return bucket.take(now, amount)
