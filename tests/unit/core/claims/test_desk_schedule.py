"""Priority, wall times, dependencies, keys and run limits, as clients of a desk see them."""

from typing import Any

import pytest

from mesh.core.claims.facts import Cancel, ParentPolicy
from mesh.core.commands import (
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskStart,
    TaskSubmit,
    TaskWait,
)
from mesh.core.effects import ReplyError
from mesh.core.identity import parse_task_text
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import WALL, Place, World, task_of

STEP_S = ClaimParams().priority_step_s


def wall(world: World, seconds: float = 0.0) -> float:
    return WALL + world.now + seconds


def claims_next(place: Place, kind: str = "build", wait_s: float = 0.0) -> Any:  # noqa: ANN401  an answer
    return place.call(TaskClaim(kinds=(kind,), wait_s=wait_s), wait_s=60.0)


def does(place: Place, task: str, output: str = "") -> None:
    place.call(TaskComplete(place.claim(task)["handle"], output))


def fails(place: Place, task: str) -> None:
    place.call(TaskFail(place.claim(task)["handle"], "no luck"))


def refused(place: Place, **more: Any) -> str:  # noqa: ANN401  fields of a submit
    answer = place.call(TaskSubmit("build", **more))
    assert isinstance(answer, ReplyError), answer
    return answer.name


# ---- order


def test_the_higher_priority_goes_first_and_waiting_makes_up_for_it() -> None:
    world = World()
    [place] = world.places
    low = place.submit()
    world.run(STEP_S - 1)
    high = place.submit(priority=1)
    world.run(2)
    higher_still = place.submit(priority=1)
    order = [claims_next(place)["task"] for _ in range(3)]
    assert order == [high, low, higher_still]


def test_a_new_task_of_high_priority_goes_before_older_ones() -> None:
    world = World(count=3)
    tasks = [world[0].submit() for _ in range(12)]
    urgent = world[0].submit(priority=9)
    world.run(0.1)
    assert claims_next(world[1])["task"] == urgent
    assert claims_next(world[2])["task"] in tasks


# ---- wall times


def test_a_task_rests_until_its_not_before() -> None:
    world = World()
    [place] = world.places
    task = place.submit(not_before=wall(world, 60.0))
    assert [block["what"] for block in place.view(task)["blocked_on"]] == ["time"]
    assert isinstance(claims_next(place), ReplyError)
    began = world.now
    assert claims_next(place, wait_s=100.0)["task"] == task
    assert 59 < world.now - began < 61
    assert place.view(task)["blocked_on"] == []


@pytest.mark.parametrize("claimed", [False, True])
def test_a_deadline_ends_a_task_begun_or_not(claimed: bool) -> None:
    world = World(count=2)
    task = world[0].submit(deadline=wall(world, 30.0))
    world.run(0.1)
    if claimed:
        handle = world[1].claim(task)["handle"]
        world[1].call(TaskStart(handle))
    world.run(31.0)
    for place in world.places:
        view = place.view(task)
        assert (view["state"], view["canceled"]["reason"]) == ("canceled", "deadline")
    assert bool(world[1].said("task.lost")) is claimed


def test_a_queue_ttl_ends_only_what_was_never_begun() -> None:
    world = World()
    [place] = world.places
    waits, begun = (place.submit(queue_ttl_s=10.0) for _ in range(2))
    place.call(TaskStart(place.claim(begun)["handle"]))
    world.run(11.0)
    assert place.view(waits)["canceled"]["reason"] == "queue_ttl"
    assert place.view(begun)["state"] == "working"


def test_without_its_submitter_a_late_task_is_ended_by_one_of_the_others() -> None:
    world = World(count=4)
    task = world[0].submit(deadline=wall(world, 10.0))
    world.run(1.0)
    world[0].is_up = False
    world.members_changed()
    world.run(30.0)
    for place in world.places[1:]:
        view = place.view(task)
        assert (view["state"], view["canceled"]["reason"]) == ("canceled", "deadline")
    cancels = [fact for fact in world[1].gossip.held.values() if isinstance(fact.fact, Cancel)]
    assert len(cancels) == 1, "the others heard of it before their turn"
    assert world[1].view(task)["starts"] == 0


def test_a_clock_that_is_ahead_ends_nothing_while_the_submitter_is_there() -> None:
    world = World(count=2)
    task = world[0].submit(deadline=wall(world, 3600.0))
    world.run(0.1)
    place = world[1]
    ahead = world.clock()._replace(wall=WALL + world.now + 7200.0)  # type: ignore[arg-type]  # a wall time
    place.desk._ledger.mark([task_of(place, task)])
    place.desk._finish(ahead)
    assert place.view(task)["state"] == "submitted"


def test_an_attempt_that_takes_too_long_is_ended_and_tried_again() -> None:
    world = World()
    [place] = world.places
    task = place.submit(run_limit_s=5.0, max_attempts=2, backoff_s=0.0)
    first = place.claim(task)
    place.call(TaskStart(first["handle"]))
    world.run(6.0)
    [told] = place.said("task.lost", 1)
    assert (told["task"], told["reason"]) == (task, "timed_out")
    assert place.view(task)["state"] == "submitted"
    second = place.claim(task, wait_s=5.0)
    assert second["attempt"] == 2
    world.run(6.0)
    assert place.view(task)["state"] == "failed", "unstarted or not, its time was up twice"
    late = place.call(TaskComplete(first["handle"]))
    assert late["late"], "work that is done is worth keeping"


def test_a_finished_attempt_is_not_timed_out() -> None:
    world = World()
    [place] = world.places
    task = place.submit(run_limit_s=5.0)
    does(place, task)
    world.run(10.0)
    assert place.view(task)["state"] == "completed"
    assert not place.said("task.lost")


# ---- dependencies


def test_a_task_waits_for_its_parents_and_gets_their_results() -> None:
    world = World(count=2)
    one, two = world[0].submit(), world[0].submit()
    child = world[0].submit("test", after=(one, two))
    world.run(0.1)
    blocks = world[1].view(child)["blocked_on"]
    assert [(block["task"], block["state"]) for block in blocks] == [
        (one, "submitted"),
        (two, "submitted"),
    ]
    assert claims_next(world[1], "test").name == "no_task"
    does(world[0], one, "b25l")
    does(world[1], two, "dHdv")
    world.run(0.1)
    held = claims_next(world[1], "test")
    assert held["task"] == child
    assert [parent["result"]["text"] for parent in held["parents"]] == ["one", "two"]


@pytest.mark.parametrize("ends", ["failed", "canceled"])
@pytest.mark.parametrize("policy", list(ParentPolicy))
def test_what_becomes_of_a_task_whose_parent_ends_without_a_result(
    policy: ParentPolicy, ends: str
) -> None:
    world = World(count=2)
    parent = world[0].submit(max_attempts=1)
    world.run(0.1)
    child = world[1].submit("test", after=(parent,), on_parent_failure=policy.name.lower())
    grandchild = world[1].submit("ship", after=(child,))
    world.run(0.1)
    waiter = world[0].ask(TaskWait(grandchild), client=7)
    if ends == "failed":
        fails(world[1], parent)
    else:
        world[0].call(TaskCancel(parent))
    world.run(0.5)
    states = {task: world[0].view(task)["state"] for task in (child, grandchild)}
    if policy is ParentPolicy.CANCEL:
        assert set(states.values()) == {"canceled"}
        assert world[0].view(grandchild)["canceled"]["reason"] == "parent"
        assert waiter in world[0].replies, "who waits for it is told"
    else:
        assert set(states.values()) == {"submitted"}
        assert isinstance(claims_next(world[0], "test"), ReplyError) == (
            policy is ParentPolicy.WAIT
        )


def test_a_parent_that_is_not_known_is_refused() -> None:
    world = World()
    [place] = world.places
    assert refused(place, after=("1-1-" + "00" * 16,)) == "no_parent"
    assert refused(place, after=("nonsense",)) == "no_parent"


def test_ten_thousand_parents_are_refused_and_nothing_is_lost() -> None:
    world = World()
    [place] = world.places
    task = place.submit()
    assert refused(place, after=(task,) * 10_000) == "too_many_parents"
    assert place.submit("test", after=(task,) * 16)
    assert place.view(task)["state"] == "submitted"


def test_a_chain_of_a_thousand_fails_in_one_go() -> None:
    world = World()
    [place] = world.places
    last = first = place.submit(max_attempts=1)
    for _ in range(1000):
        last = place.submit("test", after=(last,))
    fails(place, first)
    assert place.view(last)["state"] == "canceled"


# ---- keys


def test_two_submitters_of_one_key_make_one_task() -> None:
    world = World(count=2)
    world.parted = {1: 1}
    tasks = {place.submit(dedupe="nightly", payload=b"x") for place in world.places}
    assert len(tasks) == 1, "both sides compute the same id"
    [task] = tasks
    world.meet()
    world.run(1.0)
    assert {place.view(task)["submits"] for place in world.places} == {2}
    assert world[0].view(task)["differing"] == []
    assert world[0].claim(task)["task"] == task


def test_whoever_has_submitted_under_a_key_cancels_it_for_all() -> None:
    world = World(count=4)
    a, b, c, d = world.places
    task = a.submit(dedupe="nightly", payload=b"x")
    world.run(0.1)
    claimed = d.claim(task)
    assert claimed["task"] == task
    refused = c.call(TaskCancel(task))
    assert isinstance(refused, ReplyError)
    assert (refused.name, "same key" in refused.hint) == ("not_permitted", True)
    assert b.call(TaskSubmit("build", "eA==", dedupe="nightly"))["joined"]
    assert b.call(TaskCancel(task))["state"] == "canceled"
    world.run(0.1)
    for place in world.places:
        view = place.view(task)
        assert (view["state"], view["submits"], view["differing"]) == ("canceled", 2, [])
    assert a.call(TaskSubmit("build", "eA==", dedupe="nightly"))["joined"], "the key stays taken"


def test_of_two_that_submitted_a_key_apart_either_may_cancel() -> None:
    for canceler in (0, 1):
        world = World(count=2)
        world.parted = {1: 1}
        [task] = {place.submit(dedupe="nightly") for place in world.places}
        world.meet()
        world.run(1.0)
        assert world[canceler].call(TaskCancel(task))["state"] == "canceled"
        world.run(0.1)
        assert world[1 - canceler].view(task)["state"] == "canceled"


def test_a_key_that_is_known_joins_and_says_whether_the_work_differs() -> None:
    world = World(count=2)
    task = world[0].submit(dedupe="nightly", payload=b"x")
    world.run(0.1)
    again = world[1].call(TaskSubmit("build", "eA==", dedupe="nightly"))
    assert (again["task"], again["joined"], again["differs"]) == (task, True, False)
    other = world[1].call(TaskSubmit("build", "eQ==", dedupe="nightly"))
    assert (other["task"], other["differs"]) == (task, True)
    assert world[1].submit("test", dedupe="nightly") != task, "a key is of one kind"
    world.run(86_400.0)
    assert world[1].submit(dedupe="nightly") != task, "another window"


def test_a_circle_of_keys_is_refused_and_one_made_in_a_split_is_ended() -> None:
    world = World(count=2)
    one = world[0].submit(dedupe="one")
    two = world[0].submit(dedupe="two", after=(one,))
    world.parted = {1: 1}
    world.run(0.1)
    far = world[1]
    for fact in tuple(world[0].gossip.held.values()):
        if fact.fact.task == parse_task_text(two):
            far.receive([fact], world[0], None)
    answer = far.call(TaskSubmit("build", dedupe="one", after=(two,)))
    assert isinstance(answer, ReplyError)
    assert answer.name == "circular"


@pytest.mark.parametrize("flip", range(8))
def test_a_circle_of_two_halves_is_ended_when_they_meet(flip: int) -> None:
    world = World(count=2)
    world.parted = {1: 1}
    here, there = world.places
    pad = bytes([flip])
    one = here.submit(dedupe="one", payload=pad)
    here.submit(dedupe="two", after=(one,), payload=pad)
    two = there.submit(dedupe="two", payload=pad)
    there.submit(dedupe="one", after=(two,), payload=pad)
    world.meet()
    world.run(20.0)
    views = [place.view(task) for place in world.places for task in (one, two)]
    waiting = [view for view in views if view["state"] == "submitted" and view["blocked_on"]]
    reasons = {view["canceled"]["reason"] for view in views if view["canceled"]}
    assert [view["state"] for view in views[:2]] == [view["state"] for view in views[2:]]
    if reasons:
        assert "circle" in reasons
        assert not waiting
    else:
        assert any(not view["blocked_on"] for view in views), "somebody can begin"


# ---- bad input


def test_absurd_times_are_refused() -> None:
    world = World()
    [place] = world.places
    assert refused(place, deadline=wall(world, -1.0)) == "deadline_passed"
    assert refused(place, not_before=1e300) == "bad_time"
    late = {"not_before": wall(world, 60.0), "deadline": wall(world, 30.0)}
    assert refused(place, **late) == "never_due"
    assert refused(place, requires={f"tag{i}": "" for i in range(9)}) == "too_many_capabilities"
    assert refused(place, requires={"tag": "v" * 65}) == "text_too_long"
    assert refused(place, queue_ttl_s=1e9) == "time_too_long"
