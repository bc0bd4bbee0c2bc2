"""Sets of whole numbers that cost as much as they have gaps, not as much as they have members.

Picture a long strip of squares on which finished ones are blackened. Once nearly all of them are
black, it is shorter to say where the white ones are: a set is kept as the sorted ends of its black
runs. A task that was finished and forgotten is one blackened square of its creator's strip, so
knowing of a million of them costs two numbers. (The dot sets of Almeida et al., "Delta state
replicated data types", 2018, are compressed in the same way.)
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Run = tuple[int, int]
"""(first, last), both in the set."""


class IntervalSet:
    """An immutable set of numbers >= 0 as disjoint runs, rising, never touching each other."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(runs):
            assert 0 <= first <= last
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "IntervalSet":
        """Return the set of these numbers."""
        return cls((number, number) for number in numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    def __hash__(self) -> int:
        return hash((tuple(self._firsts), tuple(self._lasts)))

    def __repr__(self) -> str:
        return f"IntervalSet({list(self.runs())})"

    def __len__(self) -> int:
        """Return how many numbers are in the set."""
        return sum(last - first + 1 for first, last in self.runs())

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def runs(self) -> Iterator[Run]:
        """Return the runs, rising."""
        return zip(self._firsts, self._lasts, strict=True)

    @property
    def run_count(self) -> int:
        """How much the set costs."""
        return len(self._firsts)

    def join(self, other: "IntervalSet") -> "IntervalSet":
        """Return the union."""
        return IntervalSet((*self.runs(), *other.runs()))

    def covers(self, other: "IntervalSet") -> bool:
        """Whether every number of the other set is in this one."""
        for first, last in other.runs():
            at = bisect_right(self._firsts, first) - 1
            if at < 0 or last > self._lasts[at]:
                return False
        return True

    def within(self, low: int, high: int) -> "IntervalSet":
        """Return the part between two numbers, both included."""
        begin, end = bisect_left(self._lasts, low), bisect_right(self._firsts, high)
        inside = zip(self._firsts[begin:end], self._lasts[begin:end], strict=True)
        return IntervalSet((max(first, low), min(last, high)) for first, last in inside)
