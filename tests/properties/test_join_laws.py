"""Every class of the core that has a `join` obeys the three laws of a join: found by introspection.

A class joins the test by having a method `join(self, other)`. Values come from its entry below.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mesh.core
from mesh.core.claims.task_facts import TaskFacts
from tests.unit.core.claims.scribe import ANN, BOB, CAT


def task_facts() -> st.SearchStrategy[TaskFacts]:
    spec = ANN.spec()
    claims = [who.claim(spec, nonce=nonce) for who in (ANN, BOB, CAT) for nonce in (0, 1)]
    facts = [spec, *claims, *(ANN.release(claim) for claim in claims)]
    return st.lists(st.sampled_from(facts)).map(lambda held: TaskFacts(spec.fact.task, held))


VALUES: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "mesh.core.claims.task_facts.TaskFacts": task_facts,
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
