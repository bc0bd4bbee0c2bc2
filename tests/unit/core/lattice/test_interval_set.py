"""Sets of numbers as runs."""

from mesh.core.lattice.interval_set import IntervalSet


def test_runs_that_touch_become_one() -> None:
    made = IntervalSet(((5, 6), (1, 2), (3, 3), (9, 9)))
    assert list(made.runs()) == [(1, 3), (5, 6), (9, 9)]
    assert made.run_count == 3
    assert len(made) == 6
    assert made == IntervalSet.of((9, 3, 2, 1, 6, 5, 5))
    assert hash(made) == hash(IntervalSet.of((1, 2, 3, 5, 6, 9)))
    assert made != IntervalSet()
    assert made != {1, 2, 3, 5, 6, 9}
    assert "(1, 3)" in repr(made)


def test_a_million_numbers_cost_one_run() -> None:
    made = IntervalSet(((0, 999_999),))
    assert made.run_count == 1
    assert 999_999 in made
    assert 1_000_000 not in made
    assert IntervalSet(((10, 20),)).covers(IntervalSet(((10, 12), (14, 20))))
    assert not IntervalSet(((10, 20),)).covers(IntervalSet(((9, 12),)))
    assert not IntervalSet(((10, 20),)).covers(IntervalSet(((19, 21),)))


def test_the_part_between_two_numbers() -> None:
    made = IntervalSet(((1, 4), (7, 9), (20, 30)))
    assert list(made.within(3, 21).runs()) == [(3, 4), (7, 9), (20, 21)]
    assert list(made.within(5, 6).runs()) == []
