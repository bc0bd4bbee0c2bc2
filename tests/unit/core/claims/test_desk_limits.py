"""A limit per key, and tags that a task requires or prefers, as desks keep them."""

from dataclasses import replace
from typing import Any

import pytest

from mesh.core.claims.capability import is_proven, meets, score
from mesh.core.claims.facts import Claim, Evidence
from mesh.core.commands import TaskClaim, TaskComplete, TaskRelease, TaskStart
from mesh.core.effects import ReplyError
from mesh.core.identity import Boot, FactId
from tests.unit.core.claims.desk_world import World
from tests.unit.core.claims.scribe import ANN, BOB, BOOT, table_of
from tests.unit.core.claims.test_desk_schedule import claims_next

GPU = (("gpu", "a100"), ("os", "linux"))


def at_work(world: World) -> int:
    """Return how many tasks are owned and begun, in the view of the first place."""
    place = world[0]
    records = [place.table.record(task) for task in place.table.tasks()]
    return sum(
        record is not None and record.state.value == "working" and record.owner.started  # type: ignore[union-attr]  # a task at work has an owner
        for record in records
    )


# ---- limits


def test_of_all_tasks_with_a_key_only_so_many_run() -> None:
    world = World()
    [place] = world.places
    tasks = [place.submit(limit=("db", 2)) for _ in range(5)]
    held = [claims_next(place) for _ in range(2)]
    assert {answer["task"] for answer in held} == set(tasks[:2])
    assert isinstance(claims_next(place), ReplyError)
    [block] = place.view(tasks[2])["blocked_on"]
    assert block == {"what": "limit", "key": "db", "slots": 2}
    waits = place.ask(TaskClaim(kinds=("build",), wait_s=9.0))
    place.call(TaskComplete(held[0]["handle"]))
    world.run(1.0)
    assert place.replies[waits]["task"] == tasks[2]  # type: ignore[index,call-overload]  # the view of a claim
    place.call(TaskRelease(held[1]["handle"]))
    assert claims_next(place)["task"] in tasks


def test_a_thousand_wait_for_one_slot_and_few_are_listed() -> None:
    world = World()
    [place] = world.places
    tasks = [place.submit(limit=("db", 1)) for _ in range(1000)]
    place.submit("other", limit=("db", 1))
    done = []
    for _ in range(20):
        answer = claims_next(place)
        done.append(answer["task"])
        assert len(place.desk._ledger.board.candidates("build", 999)) < 20
        place.call(TaskComplete(answer["handle"]))
    assert done == tasks[:20], "in order"
    by_id = place.claim(tasks[777], wait_s=1.0)
    assert by_id["task"] == tasks[777]
    assert claims_next(place, "other").name == "no_task"


@pytest.mark.parametrize("seed", range(12))
def test_everybody_claims_at_once_and_the_limit_holds(seed: int) -> None:
    world = World(count=5, seed=seed, staggers=False)
    for _ in range(8):
        world[0].submit(limit=("db", 2), backoff_s=0.0)
    world.run(1.0)
    keys = {
        place.name: place.ask(TaskClaim(kinds=("build",), wait_s=30.0)) for place in world.places
    }
    started: dict[str, str] = {}
    for _ in range(400):
        world.run(0.01)
        for place in world.places:
            answer = place.replies.get(keys[place.name])
            if isinstance(answer, dict) and place.name not in started:
                started[place.name] = str(answer["handle"])
                place.ask(TaskStart(str(answer["handle"])))
        assert at_work(world) <= 2
    assert len(started) == 2, "and both slots are used"
    view = world[0].view(_text(world))
    assert (view["limit"]["running"], view["limit"]["excess"]) == (2, 0)


def _text(world: World) -> str:
    return next(
        str(answer["task"])
        for place in world.places
        for answer in place.replies.values()
        if isinstance(answer, dict) and "token" in answer
    )


def test_two_halves_exceed_a_limit_and_it_is_shown() -> None:
    world = World(count=2)
    one, two = (world[0].submit(limit=("db", 1)) for _ in range(2))
    world.run(0.5)
    world.parted = {1: 1}
    for place, task in zip(world.places, (one, two), strict=True):
        place.call(TaskStart(place.claim(task, wait_s=5.0)["handle"]))
    world.meet()
    world.run(1.0)
    for place in world.places:
        assert place.view(one)["limit"]["excess"] == 1
        assert place.view(two)["state"] == "working", "what has begun is not stopped"


def test_who_has_not_begun_steps_back_after_a_split() -> None:
    world = World(count=2)
    one, two = (world[0].submit(limit=("db", 1)) for _ in range(2))
    world.run(0.5)
    world.parted = {1: 1}
    world[0].call(TaskStart(world[0].claim(one, wait_s=5.0)["handle"]))
    world[1].claim(two, wait_s=5.0)
    world.meet()
    world.run(1.0)
    for place in world.places:
        assert place.view(two)["state"] == "submitted"
        assert place.view(two)["attempts"] == 0
        assert place.view(one)["limit"]["excess"] == 0
    [told] = world[1].said("task.lost", 1)
    assert told["reason"] == "limit"


@pytest.mark.parametrize(("limit", "slot", "valid"), [
    (("db", 2), 1, True), (("db", 2), 2, False), (("db", 2), None, False),
    (None, None, True), (None, 0, False),
])  # fmt: skip
def test_a_claim_takes_a_slot_exactly_where_there_is_a_limit(
    limit: tuple[str, int] | None, slot: int | None, valid: bool
) -> None:
    spec = ANN.spec(limit=limit)
    claim = BOB.write(replace(BOB.claim(spec).fact, slot=slot))
    record = table_of(spec, claim).record(spec.fact.task)
    assert record is not None
    assert [view.valid for view in record.claims] == [valid]


def test_tasks_that_wait_for_one_slot_do_not_wake_each_other_for_ever() -> None:
    world = World(count=2)
    for number in range(30):
        world[number % 2].submit(limit=("db", 1 + number % 2))
    world.run(0.5)
    held = [claims_next(world[0], wait_s=5.0) for _ in range(2)]
    assert claims_next(world[1]).name == "no_task"
    world[0].call(TaskComplete(held[0]["handle"]))
    assert "task" in claims_next(world[1], wait_s=5.0)


def test_who_takes_over_takes_the_slot_as_well() -> None:
    world = World(count=2, orphan_grace_s=1.0)
    one, two = (world[1].submit(limit=("db", 1), backoff_s=0.0) for _ in range(2))
    world.run(0.5)
    world[0].call(TaskStart(world[0].claim(one)["handle"]))
    world.run(0.5)
    world[0].is_up = False
    world[1].learn_end(world[0], "verdict")
    held = claims_next(world[1], wait_s=9.0)
    assert held["task"] == one
    world[1].call(TaskComplete(held["handle"]))
    assert claims_next(world[1])["task"] == two


# ---- capabilities


def test_tags_are_met_by_value_or_by_any() -> None:
    assert meets(GPU, (("gpu", "a100"),))
    assert meets(GPU, (("gpu", ""), ("os", "linux")))
    assert not meets(GPU, (("gpu", "h100"),))
    assert not meets((), (("gpu", ""),))
    assert score(GPU, (("gpu", ""), ("os", "bsd"))) == 1


@pytest.mark.parametrize(("change", "valid"), [
    ({}, True),
    ({"subject": ANN.id}, False),
    ({"ended_boot": Boot(BOOT)}, False),
    ({"tags": ()}, False),
    ({"kind": "left"}, False),
])  # fmt: skip
def test_only_the_claimants_own_presence_of_that_boot_proves_its_tags(
    change: dict[str, Any], valid: bool
) -> None:
    spec = ANN.spec(requires=(("gpu", ""),))
    proof = Evidence(FactId(b"p" * 32), BOB.id, Boot(BOOT - 1), False, "restarted", GPU)
    claim = BOB.write(replace(BOB.claim(spec).fact, presence=proof.id))
    assert is_proven(claim, spec.fact, replace(proof, **change)) is valid
    assert not is_proven(claim, spec.fact, None)
    table = table_of(spec, claim)
    assert not table.record(spec.fact.task).claims[0].valid  # type: ignore[union-attr]  # it is held
    table.add_evidence(replace(proof, **change))
    assert table.record(spec.fact.task).claims[0].valid is valid  # type: ignore[union-attr]  # it is held


def test_only_a_node_with_the_tags_gets_the_task_and_everybody_agrees() -> None:
    world = World(count=3)
    task = world[0].submit(requires={"gpu": "a100"})
    world.run(0.1)
    assert world[0].view(task)["blocked_on"] == [
        {"what": "capability", "requires": {"gpu": "a100"}}
    ]
    assert world[1].claim(task).name == "not_capable"
    world[2].tags = GPU
    keys = [place.ask(TaskClaim(kinds=("build",), wait_s=5.0)) for place in world.places]
    world[2].turn(lambda now: world[2].desk.handle_changed(now, tuple(world[2].table.tasks())))
    world.run(6.0)
    assert isinstance(world[0].replies[keys[0]], ReplyError)
    for place in world.places:
        assert place.view(task)["owner"]["name"] == "c"
    claims = [fact for fact in world[0].gossip.held.values() if isinstance(fact.fact, Claim)]
    assert len(claims) == 1


def test_a_preferred_node_goes_first() -> None:
    for number in range(6):
        world = World(count=3, seed=number)
        world[number % 3].tags = (("zone", "a"),)
        for place in world.places:
            place.attach(5, "build", capacity=2)  # it still counts as waiting
        for place in world.places:
            place.ask(TaskClaim(kinds=("build",), wait_s=5.0), client=5)
        task = world[0].submit(prefers={"zone": "a"})
        world.run(1.0)
        assert world[0].view(task)["owner"]["name"] == "abc"[number % 3]
