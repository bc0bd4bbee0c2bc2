"""Every class of the core that has a `join` obeys the three laws of a join: found by introspection.

A class joins the test by having a method `join(self, other)`. Values come from its entry below.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mesh.core
from mesh.core.claims.forgotten import Blackened, Forget, ForgetBoots, blackened_by, steps_of
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import Boot
from mesh.core.lattice.interval_set import IntervalSet
from tests.unit.core.claims.scribe import ANN, BOB, CAT


def task_facts() -> st.SearchStrategy[TaskFacts]:
    spec = ANN.spec()
    claims = [who.claim(spec, nonce=nonce) for who in (ANN, BOB, CAT) for nonce in (0, 1)]
    facts = [spec, *claims, *(ANN.release(claim) for claim in claims)]
    return st.lists(st.sampled_from(facts)).map(lambda held: TaskFacts(spec.fact.task, held))


def blackened() -> st.SearchStrategy[Blackened]:
    dots = st.tuples(st.integers(1, 4), st.integers(0, 3))
    forgets = st.builds(
        lambda boot, numbers: Forget(ANN.id, Boot(boot), steps_of(IntervalSet.of(numbers))),
        st.integers(1, 4),
        st.sets(st.integers(0, 3), min_size=1),
    )
    floors = st.builds(
        lambda floor, open_: ForgetBoots(
            ANN.id, Boot(floor), tuple(sorted(dot for dot in open_ if dot[0] < floor))
        ),
        st.integers(1, 5),
        st.sets(dots),
    )
    facts = st.lists(forgets | floors, max_size=4)
    return facts.map(lambda made: reduce(Blackened.join, map(blackened_by, made), Blackened()))


VALUES: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "mesh.core.claims.forgotten.Blackened": blackened,
    "mesh.core.claims.task_facts.TaskFacts": task_facts,
    "mesh.core.lattice.interval_set.IntervalSet": lambda: st.sets(st.integers(0, 40)).map(
        IntervalSet.of
    ),
}


def classes_with_a_join() -> list[type[Any]]:
    found: dict[str, type[Any]] = {}
    for module_info in pkgutil.walk_packages(mesh.core.__path__, "mesh.core."):
        module = importlib.import_module(module_info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and inspect.isfunction(vars(kind).get("join")):
                found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return list(found.values())


@pytest.mark.parametrize("kind", classes_with_a_join(), ids=lambda kind: kind.__name__)
def test_join_laws(kind: type[Any]) -> None:
    name = f"{kind.__module__}.{kind.__qualname__}"
    assert name in VALUES, f"{name} has a join: tell VALUES how to make some"
    values = VALUES[name]()

    @settings(max_examples=200, deadline=None)
    @given(values, values, values)
    def laws(a: Any, b: Any, c: Any) -> None:  # noqa: ANN401  any class with a join
        assert a.join(a) == a
        assert a.join(b) == b.join(a)
        assert a.join(b).join(c) == a.join(b.join(c))

    laws()


def test_the_facts_of_a_task_are_among_them() -> None:
    assert TaskFacts in classes_with_a_join()
