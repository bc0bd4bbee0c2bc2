"""A task that is forgotten leaves nothing behind in any part of the desk."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mesh.core.claims.desk import Desk
from mesh.core.claims.forgotten import Forget, Forgotten, steps_of
from mesh.core.claims.garbage import Garbage
from mesh.core.claims.ledger import DeskParts
from mesh.core.claims.requests import Requests
from mesh.core.claims.set_aside import SetAside
from mesh.core.commands import TaskAsk, TaskComplete, TaskFail, TaskProgress, TaskStart
from mesh.core.identity import parse_task_text
from mesh.core.lattice.interval_set import IntervalSet
from tests.unit.core.claims.desk_world import PARAMS, World

RETENTION_S = 5.0
MEANT_TO_LAST = (Forgotten, SetAside, Requests)
COMPACTED = "_heap"
"""Of timers: names that are set no more go when they are the most."""


def a_world(count: int = 1) -> World:
    return World(count=count, params=replace(PARAMS, retention_s=RETENTION_S))


def within(part: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  whatever the desk holds
    """Return what one thing holds, with a name for each."""
    if isinstance(part, dict):
        yield from (("[]", each) for pair in part.items() for each in pair)
    elif isinstance(part, list | tuple | set | frozenset | deque):
        yield from (("[]", each) for each in part)
    elif isinstance(part, DeskParts):
        yield ".table", part.table
    elif type(part).__module__.startswith("mesh.core") and not isinstance(part, MEANT_TO_LAST):
        names = dict.fromkeys(getattr(part, "__dict__", ()))
        for kind in type(part).__mro__:
            names.update(dict.fromkeys(getattr(kind, "__slots__", ())))
        for name in names:
            if name != COMPACTED and hasattr(part, name):
                yield f".{name}", getattr(part, name)


def places_of(wanted: bytes, part: Any, path: str, seen: dict[int, Any]) -> Iterator[str]:  # noqa: ANN401  whatever the desk holds
    """Return where the parts of a desk hold an id, as paths."""
    if part == wanted and isinstance(part, bytes):
        yield path
    elif id(part) not in seen:
        seen[id(part)] = part
        for name, each in within(part):
            yield from places_of(wanted, each, path + name, seen)


def remembered(desk: Desk, task: str) -> list[str]:
    return sorted(places_of(parse_task_text(task), desk, "desk", {}))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "keyed": {"dedupe": "key"},
    "limited": {"limit": ("db", 1)},
    "auction": {"allocation": "auction", "bid_window_s": 0.1},
    "offered": {"allocation": "offered"},
    "timed": {"run_limit_s": 100_000, "progress_limit_s": 100_000, "queue_ttl_s": 100_000},
    "late": {"deadline": 2e9, "orphan_grace_s": 1000},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_task_is_remembered_by_no_part(kind: str) -> None:
    world = a_world()
    first = world[0].submit(backoff_s=0, **KINDS[kind])
    child = world[0].submit(after=(first,))
    claim = world[0].claim(first, wait_s=60)
    world[0].call(TaskStart(claim["handle"]))
    world[0].call(TaskFail(claim["handle"], "no"))
    world.run(60)
    claim = world[0].claim(first, wait_s=60)
    world[0].call(TaskStart(claim["handle"]))
    world[0].call(TaskProgress(claim["handle"], done=1, total=2))
    world[0].call(TaskAsk(claim["handle"], "which?", limit_s=10_000))
    assert remembered(world[0].desk, first), "the walk finds what there is"
    world[0].call(TaskComplete(claim["handle"], ""))
    world[0].call(TaskComplete(world[0].claim(child)["handle"], ""))
    world.run(RETENTION_S + 20)
    assert len(world[0].table) == 0
    assert remembered(world[0].desk, first) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "keyed"])
def test_an_open_task_that_its_creator_forgot_is_remembered_by_no_part(kind: str) -> None:
    world = a_world(2)
    first = world[0].submit(**KINDS[kind])
    others = [world[0].submit(limit=("db", 1)) for _ in range(20)]
    world.run(1.0)
    creator = world[0]
    tasks = [parse_task_text(text) for text in (first, *others)]
    numbers = IntervalSet.of(int.from_bytes(task[24:], "big") for task in tasks)
    fact = creator.author.sign([Forget(creator.id, creator.boot, steps_of(numbers))])[0]
    garbage: Garbage = world[1].desk.garbage
    assert garbage.accept(world.clock(), fact)
    assert len(garbage.aside) == len(tasks)
    for text in (first, *others):
        assert remembered(world[1].desk, text) == []
