"""Tasks whose owner died in their last attempt: one of those alive writes down that they failed."""

from hashlib import blake2b
from typing import Any

from mesh.core.claims.burying import TURN_S
from mesh.core.claims.facts import Attempt, AttemptKind, Claim, Result
from mesh.core.commands import TaskStart, TaskSubmit
from mesh.core.effects import ReplyError
from mesh.core.identity import Boot
from tests.unit.core.claims.desk_world import PARAMS, Place, World

GRACE_S = PARAMS.resume_grace_s


def last_attempt(count: int, *, max_attempts: int = 1) -> tuple[World, str, Place, list[Place]]:
    """Let the last place die while it works on a task; return who is left."""
    world = World(count)
    owner = world[count - 1]
    task = world[0].submit(max_attempts=max_attempts)
    world.run(0.1)
    owner.call(TaskStart(owner.claim(task)["handle"]))
    world.run(0.1)
    owner.is_up = False
    world.members_changed()
    return world, task, owner, world.places[: count - 1]


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def claims_of(place: Place) -> list[Any]:
    return [v.fact for v in place.gossip.published if isinstance(v.fact, Claim)]


def test_after_the_grace_one_of_those_alive_ends_it_and_everyone_reads_failed() -> None:
    world, task, owner, alive = last_attempt(4)
    owner.boot = Boot(owner.boot + 1)
    for place in alive:
        place.learn_end(owner, "restarted")
    world.run(GRACE_S - 1)
    assert {place.view(task)["state"] for place in alive} == {"working"}
    world.run(1 + TURN_S * len(alive))
    assert {place.view(task)["state"] for place in alive} == {"failed"}
    assert sum(len(claims_of(place)) for place in alive) == 1, "the others heard of it in time"
    (ended,) = [v.fact for p in alive for v in p.gossip.published if isinstance(v.fact, Attempt)]
    assert ended.kind == AttemptKind.LOST
    assert alive[0].view(task)["starts"] == 1, "nothing was started for it"


def test_who_left_is_buried_at_once_and_by_the_only_one_there() -> None:
    world, task, owner, (alone,) = last_attempt(2)
    alone.learn_end(owner, "left")
    world.run(0.1)
    assert alone.view(task)["state"] == "failed"
    assert alone.view(task)["epoch"] == 2


def test_nobody_buries_what_may_be_tried_again() -> None:
    world, task, owner, alive = last_attempt(3, max_attempts=2)
    for place in alive:
        place.learn_end(owner, "left")
    world.run(60)
    assert {place.view(task)["state"] for place in alive} == {"working"}
    assert not [claim for place in alive for claim in claims_of(place)]


def test_an_owner_that_lives_or_comes_back_in_time_is_not_buried() -> None:
    world, task, owner, alive = last_attempt(3)
    world.run(600)
    owner.boot = Boot(owner.boot + 1)
    for place in alive:
        place.learn_end(owner, "restarted")
    world.run(GRACE_S / 2)
    for place in alive:
        place.liveness.ends.clear()
        place.turn(place.desk.handle_members_changed)
    world.run(600)
    assert {place.view(task)["state"] for place in alive} == {"working"}


def test_a_failing_disk_leaves_it_to_others_and_is_tried_again() -> None:
    world, task, owner, (alone,) = last_attempt(2)
    alone.commits_work = False
    assert name(alone.call(TaskSubmit("build"))) == "not_durable"
    alone.learn_end(owner, "left")
    world.run(5)
    assert not claims_of(alone)
    alone.repair()
    world.run(5)
    assert alone.view(task)["state"] == "failed"


def test_the_result_of_somebody_given_up_still_counts() -> None:
    world, task, owner, alive = last_attempt(3)
    for place in alive:
        place.learn_end(owner, "left")
    world.run(2)
    assert alive[0].view(task)["state"] == "failed"
    owner.is_up = True
    owner.receive([v for p in alive for v in p.gossip.published], alive[0], None)
    record = owner.table.record(next(iter(owner.table.tasks())))
    assert record is not None
    mine = next(v.fact for v in record.claims if v.fact.author == owner.id)
    owner.publish(Result(record.task, mine.id, b"", blake2b(b"", digest_size=32).digest()))
    world.run(1)
    assert {place.view(task)["state"] for place in alive} == {"completed"}
