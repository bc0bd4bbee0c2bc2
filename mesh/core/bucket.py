"""A token bucket: a rate with room for a burst, and a debt that is paid before anything else."""

from mesh.core.instants import Instant


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
