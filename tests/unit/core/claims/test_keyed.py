"""Stones for forgotten dedupe keys: a set of facts, that go when their time is over."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core.claims.forgotten import Forgotten
from mesh.core.claims.keyed import (
    STANDS_HIGH_S,
    UNTIL_HIGH_S,
    ForgetKey,
    Keyed,
    check_forget_key,
    check_until,
)
from mesh.core.commands import TaskClaim, TaskFail, TaskSubmit
from mesh.core.effects import ReplyError
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId
from tests.unit.core.claims.desk_world import PARAMS, WALL, World
from tests.unit.core.claims.scribe import ANN, BOB, MESH

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "claims.json").read_text())
RETENTION_S = 10.0
WEEK_S = 604_800


def stone(key: str = "k", end_s: int = 100, until_s: int = 200) -> ForgetKey:
    return ForgetKey("build", key, end_s, until_s)


def test_a_key_is_forgotten_once_a_fact_says_so() -> None:
    black = Forgotten()
    task = stone().task(MESH)
    black.keyed.add(task, ANN.write(stone()))
    assert task in black
    assert stone("other").task(MESH) not in black
    assert stone(end_s=101).task(MESH) not in black, "another window"
    assert stone(until_s=300).task(MESH) == task


def test_a_stone_falls_when_its_time_is_over_and_not_before() -> None:
    keyed, task = Keyed(), stone().task(MESH)
    by_ann, by_bob = ANN.write(stone()), BOB.write(stone(until_s=300))
    for verified in (by_bob, by_ann, by_bob):
        keyed.add(task, verified)
    assert (len(keyed), keyed.first_end_s()) == (2, 200)
    assert keyed.facts(task) == (by_bob, by_ann)
    assert keyed.first_over(199.9) is None
    assert keyed.first_over(200.0) == by_ann.id
    keyed.drop_first()
    assert task in keyed
    assert keyed.first_over(250.0) is None
    keyed.drop_first()
    assert task not in keyed
    assert (len(keyed), keyed.first_end_s()) == (0, None)


def test_an_author_has_room_for_so_many() -> None:
    keyed = Keyed()
    for number in range(3):
        keyed.add(stone(f"{number}").task(MESH), ANN.write(stone(f"{number}")))
    assert not keyed.has_room(ANN.id, 3)
    assert keyed.has_room(BOB.id, 3)
    keyed.drop_first()
    assert keyed.has_room(ANN.id, 3)


@pytest.mark.parametrize("fact", [stone(until_s=99), stone(until_s=UNTIL_HIGH_S + 1)])
def test_a_stone_stands_beyond_its_window_and_not_for_ever(fact: ForgetKey) -> None:
    with pytest.raises(RemoteError):
        check_forget_key(fact)
    check_forget_key(stone(until_s=100))


def test_no_stone_stands_for_longer_than_it_is_needed() -> None:
    check_until(stone(end_s=100, until_s=100 + STANDS_HIGH_S), wall=50)
    check_until(stone(end_s=100, until_s=500 + STANDS_HIGH_S), wall=500)
    for wall, until_s in ((50, 101 + STANDS_HIGH_S), (500, 501 + STANDS_HIGH_S)):
        with pytest.raises(RemoteError) as error:
            check_until(stone(end_s=100, until_s=until_s), wall)
        assert error.value.refusal is Refusal.OVER_CAP, "it may come again"


def test_stones_of_an_author_who_counts_no_more_fall_at_once() -> None:
    keyed, task = Keyed(), stone().task(MESH)
    by_ann, by_bob = ANN.write(stone()), BOB.write(stone(until_s=300))
    other = ANN.write(stone("other"))
    for verified in (by_ann, by_bob, other):
        keyed.add(verified.fact.task(MESH), verified)
    keyed.withdraw(
        {by_ann.id: task, other.id: other.fact.task(MESH), FactId(by_ann.id[::-1]): task}
    )
    assert keyed.facts(task) == (by_bob,)
    assert other.fact.task(MESH) not in keyed
    assert (len(keyed), keyed.first_end_s()) == (1, 300)
    assert keyed.has_room(ANN.id, 1)
    assert not keyed.has_room(BOB.id, 1)


@given(st.permutations(range(6)), st.integers(0, 8))
def test_what_stands_is_the_same_in_any_order_of_arrival(order: list[int], wall: int) -> None:
    facts = [
        who.write(stone(key, 1, until_s))
        for who, key, until_s in (
            (ANN, "a", 1), (ANN, "a", 5), (BOB, "a", 7), (BOB, "b", 3), (ANN, "c", 2), (BOB, "c", 6)
        )
    ]  # fmt: skip
    keyed = Keyed()
    for place in order:
        keyed.add(facts[place].fact.task(MESH), facts[place])
    while keyed.first_over(wall) is not None:
        keyed.drop_first()
    for key in "abc":
        standing = [f for f in facts if f.fact.key == key and f.fact.until_s > wall]
        task = stone(key, 1).task(MESH)
        assert (task in keyed) == bool(standing)
        assert {f.id for f in keyed.facts(task)} == {f.id for f in standing}


@pytest.mark.parametrize("vector", VECTORS["forget_key"], ids=lambda vector: vector["name"])
def test_the_bytes_of_a_stone(vector: dict[str, Any]) -> None:
    fact = ForgetKey.decode_untrusted(bytes.fromhex(vector["payload"]))
    assert (fact.kind, fact.key) == (vector["kind"], vector["key"])
    assert (fact.window_end_s, fact.until_s) == (vector["window_end_s"], vector["until_s"])
    assert fact.encode().hex() == vector["payload"]


# At a desk


def a_world(**numbers: float) -> World:
    return World(params=replace(PARAMS, retention_s=RETENTION_S, **numbers))  # type: ignore[arg-type]  # numbers of the class


def finished(world: World, key: str = "nightly") -> str:
    """Submit a key, fail it for good, and wait until it is forgotten."""
    task: str = world[0].submit(dedupe=key, max_attempts=1)
    claim = world[0].claim(task)
    world[0].call(TaskFail(claim["handle"], "no"))
    world.run(RETENTION_S + 15)
    return task


def test_who_submits_a_forgotten_key_is_told_that_it_is_finished() -> None:
    world = a_world()
    task = finished(world)
    assert len(world[0].table) == 0
    answer = world[0].call(TaskSubmit("build", dedupe="nightly"))
    assert (answer["task"], answer["joined"], answer["forgotten"]) == (task, True, True)
    claim = world[0].call(TaskClaim(task=task))
    assert isinstance(claim, ReplyError)
    assert "finished and forgotten" in claim.message
    assert len(world[0].table) == 0


def test_the_stone_goes_a_week_after_the_window() -> None:
    world = a_world()
    finished(world)
    keyed = world[0].table.forgotten.keyed
    end_s = (int(WALL) // 86_400 + 1) * 86_400
    assert keyed.first_end_s() == end_s + WEEK_S
    world.run(end_s + WEEK_S - world.clock().wall - 60)
    assert len(keyed) == 1
    world.run(120)
    assert len(keyed) == 0


def test_beyond_the_most_stones_finished_tasks_stay() -> None:
    world = a_world(forgotten_keys_max=1)
    finished(world, "one")
    task = finished(world, "two")
    assert world[0].view(task)["state"] == "failed"
    assert world[0].desk.counters()["forgotten_keys"] == 1


def test_a_stone_from_elsewhere_is_taken_while_it_stands_and_there_is_room() -> None:
    world = a_world(forgotten_keys_max=1)
    garbage, now = world[0].desk.garbage, world.clock()
    wall_s = int(now.wall)
    with pytest.raises(RemoteError) as fallen:
        garbage.accept(now, ANN.write(stone("old", 5, wall_s)))
    assert fallen.value.refusal is Refusal.EXPIRED
    assert garbage.accept(now, ANN.write(stone("a", 5, wall_s + 50)))
    with pytest.raises(RemoteError) as caught:
        garbage.accept(now, ANN.write(stone("b", 5, wall_s + 50)))
    assert caught.value.refusal is Refusal.OVER_CAP
    assert garbage.accept(now, BOB.write(stone("b", 5, wall_s + 50)))


def test_a_key_that_would_be_late_before_it_may_begin_is_refused() -> None:
    world = World()
    window: dict[str, Any] = {"dedupe": "hourly", "dedupe_window_s": 3600}
    late = world.clock().wall + WEEK_S + 3601
    refused = world[0].call(TaskSubmit("build", not_before=late, **window))
    assert isinstance(refused, ReplyError)
    assert refused.name == "never_due"
    assert len(world[0].table) == 0
    assert world[0].submit(not_before=late - 3700, **window)


def test_a_key_that_nobody_worked_on_is_canceled_a_week_after_its_window() -> None:
    world = World()
    task = world[0].submit(dedupe="hourly", dedupe_window_s=3600)
    world.run(WEEK_S - 10)
    assert world[0].view(task)["state"] == "submitted"
    world.run(3700)
    assert world[0].view(task)["state"] == "canceled"
