"""Interval algebra is set algebra."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.claims.forgotten import BLOCK, HOLES_MAX, Forget, check_forget, pages_of, steps_of
from mesh.core.identity import Boot, NodeId
from mesh.core.lattice.interval_set import IntervalSet

numbers = st.sets(st.integers(0, 60))
many = st.sets(st.integers(0, 5 * BLOCK), min_size=1)


@given(numbers, numbers, st.integers(0, 60), st.integers(0, 60))
def test_interval_algebra_is_set_algebra(a: set[int], b: set[int], low: int, high: int) -> None:
    left, right = IntervalSet.of(a), IntervalSet.of(b)
    assert left.join(right) == IntervalSet.of(a | b)
    assert left.covers(right) == (a >= b)
    assert [n for n in range(61) if n in left] == sorted(a)
    assert len(left) == len(a)
    assert left.within(low, high) == IntervalSet.of(n for n in a if low <= n <= high)


@given(numbers)
def test_what_is_forgotten_is_what_the_steps_say(a: set[int]) -> None:
    fact = Forget(NodeId(bytes(16)), Boot(1), steps_of(IntervalSet.of(a)))
    if a:
        check_forget(fact)
    assert fact.numbers() == IntervalSet.of(a)


@given(many, many)
def test_later_pages_cover_earlier_ones(before: set[int], more: set[int]) -> None:
    early, late = pages_of(IntervalSet.of(before)), pages_of(IntervalSet.of(before | more))
    whole = IntervalSet()
    for page in late:
        assert page.run_count <= max(HOLES_MAX + 1, BLOCK // 2)
        whole = whole.join(page)
    assert whole == IntervalSet.of(before | more)
    for page in early:
        assert any(other.covers(page) for other in late)


def test_nothing_has_no_pages() -> None:
    assert pages_of(IntervalSet()) == []
