"""Full searches for cycles: each thing is gone through once, and cycles are found all the same."""

import gc
import weakref

from mesh.daemon.collector import look_at_all, short_searches


class Knot:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.self = self


def test_what_survived_a_full_search_is_left_out_of_the_next() -> None:
    with short_searches():
        kept = [[number] for number in range(10_000)]
        gc.collect()
        assert gc.get_freeze_count() > len(kept)
        assert len(gc.get_objects(generation=2)) < len(kept), "the next search sees what is new"
        young = weakref.ref(Knot())
        gc.collect()
        assert young() is None


def test_cycles_among_what_was_left_out_are_found_in_the_end() -> None:
    with short_searches():
        knot = Knot()
        gc.collect()
        old = weakref.ref(knot)
        del knot
        gc.collect()
        assert old() is not None
        look_at_all()
        assert old() is None
        assert gc.get_freeze_count() > 0, "and the rest is left out again"


def test_afterwards_searches_are_as_before() -> None:
    before = gc.get_threshold(), len(gc.callbacks)
    with short_searches():
        assert gc.get_threshold() != before[0]
    assert (gc.get_threshold(), len(gc.callbacks)) == before
