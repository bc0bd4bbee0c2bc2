"""What must hold in the end, with endings that keep it and endings that break it."""

from dataclasses import replace

import pytest

from mesh.core.identity import FactId
from mesh.core.snapshot import Snapshot, Status, TaskState
from mesh.sim.checker import Violation
from mesh.sim.history import What
from mesh.sim.liveness import (
    Final,
    check_agreement,
    check_alive,
    check_completion,
    check_final,
    check_workers,
)
from mesh.sim.world import World
from tests.unit.sim.scripted import id_of, script, world_of
from tests.unit.sim.test_checkers import FACTS, LOW, MEMBER, VIEW, completed, event, showing


def test_l1_different_facts_tasks_or_members() -> None:
    same = showing(VIEW, members=(MEMBER,))
    suspect = replace(MEMBER, id=id_of("x"), status=Status.SUSPECT)
    check_agreement({"a": same, "b": replace(same, members=(suspect, MEMBER))})
    for other in (
        replace(same, tasks=()),
        replace(same, members=()),
        replace(same, task_facts=(*FACTS, FactId(b"g" * 32))),
        replace(same, member_facts=()),
    ):
        with pytest.raises(Violation, match="L1"):
            check_agreement({"a": same, "b": other})


def ending(state: TaskState, copies: int = 1) -> tuple[World, Final]:
    world = world_of("a")
    world.history.add(event(What.SUBMITTED, copies=copies))
    node = script(world, "a")
    shown = showing(replace(VIEW, state=state))
    node.snapshot = lambda _now: shown  # type: ignore[method-assign,assignment]  # scripted
    return world, Final(world, ("a",), ("build",))


@pytest.mark.parametrize("state", list(TaskState))
def test_l2_a_task_that_nobody_finishes(state: TaskState) -> None:
    _, final = ending(state)
    if state in {TaskState.SUBMITTED, TaskState.WORKING, TaskState.INPUT_REQUIRED}:
        with pytest.raises(Violation, match="L2"):
            check_completion(final)
        check_completion(replace(final, willing=("paint",)))
    else:
        check_completion(final)


def test_l2_a_task_that_is_gone() -> None:
    world, final = ending(TaskState.COMPLETED)
    node = script(world, "a")
    node.snapshot = lambda _now: showing()  # type: ignore[method-assign,assignment]  # scripted
    with pytest.raises(Violation, match="L2"):
        check_completion(final)
    world.add_host("b")
    world.destroy_disk("b")
    check_completion(final)


def test_l2_a_copy_that_is_lost_while_word_of_it_is_under_way() -> None:
    world, final = ending(TaskState.COMPLETED)
    node = script(world, "a")
    node.snapshot = lambda _now: showing()  # type: ignore[method-assign,assignment]  # scripted
    world.add_host("b")
    world.destroy_disk("b")
    world.start("b")
    lost_s = world.now_s
    for asked_s in (None, lost_s + 1, lost_s):
        said = replace(event(What.SUBMITTED, copies=1), at_s=lost_s + 2, asked_s=asked_s)
        world.history.events[:] = [said]
        if asked_s == lost_s:
            check_completion(final)
        else:
            with pytest.raises(Violation, match="L2"):
                check_completion(final)


def test_l3_a_live_node_that_is_not_alive_for_all() -> None:
    def seen(name: str, *members: str, status: Status = Status.ALIVE) -> Snapshot:
        views = tuple(replace(MEMBER, id=id_of(n), name=n, status=status) for n in members)
        return replace(showing(members=views), id=id_of(name))

    good = {"a": seen("a", "a", "b"), "b": seen("b", "a", "b")}
    check_alive(good)
    for bad in (seen("b", "b"), seen("b", "a", "b", status=Status.SUSPECT)):
        with pytest.raises(Violation, match="L3"):
            check_alive({**good, "b": bad})


def test_l3_somebody_of_the_core_does_not_run() -> None:
    world, final = ending(TaskState.COMPLETED)
    world.kill("a")
    with pytest.raises(Violation, match="L3: a does not run"):
        final.snapshots()


def test_l4_somebody_still_works_on_what_it_does_not_own() -> None:
    world, final = ending(TaskState.SUBMITTED)
    world.history.add(event(What.STARTED))
    with pytest.raises(Violation, match="L4"):
        check_workers(final)
    check_workers(replace(final, core=()))
    node = script(world, "a")
    owned = showing(replace(VIEW, token=LOW, owner=id_of("a")))
    node.snapshot = lambda _now: owned  # type: ignore[method-assign,assignment]  # scripted
    check_workers(final)
    world.history.add(event(What.STOPPED))
    node.snapshot = lambda _now: showing()  # type: ignore[method-assign,assignment]  # scripted
    check_workers(final)


def test_the_end_of_a_world_is_checked_as_a_whole() -> None:
    world, final = ending(TaskState.COMPLETED)
    node = script(world, "a")
    alive = replace(completed("00000001-01"), members=(MEMBER,))
    node.snapshot = lambda _now: alive  # type: ignore[method-assign,assignment]  # scripted
    check_final(final)
    node.snapshot = lambda _now: completed("00000001-01")  # type: ignore[method-assign,assignment]  # scripted
    with pytest.raises(Violation, match="L3"):
        check_final(final)
