"""Agents that go and come back, and nodes that restart."""

import pytest

from mesh.core.claims.facts import Progress, ProgressState
from mesh.core.commands import (
    AgentAttach,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskRelease,
    TaskResume,
    TaskStart,
)
from mesh.core.effects import ReplyError
from mesh.core.instants import NEVER
from tests.unit.core.claims.desk_world import Place, World


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def states(place: Place) -> list[int]:
    return [f.fact.state for f in place.gossip.published if isinstance(f.fact, Progress)]


# --- connections


def test_an_agent_comes_back_within_its_grace() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    owned = place.claim(task, client=1)
    place.gone(1)
    world.run(9.9)
    assert place.call(TaskResume(owned["handle"]), client=2) == owned
    world.run(60)
    assert place.view(task)["state"] == "working"
    assert place.call(TaskComplete(owned["handle"]), client=2)["task"] == task


def test_an_agent_that_never_started_gives_its_task_back() -> None:
    world = World(1)
    place = world[0]
    task = place.submit(max_attempts=1)
    owned = place.claim(task, client=1)
    place.gone(1)
    world.run(9.9)
    assert place.view(task)["state"] == "working"
    world.run(0.2)
    assert place.view(task)["state"] == "submitted"
    assert name(place.call(TaskResume(owned["handle"]), client=2)) == "already_finished"


def test_an_agent_that_started_has_used_an_attempt() -> None:
    world = World(1)
    place = world[0]
    task = place.submit(max_attempts=1)
    place.call(TaskStart(place.claim(task, client=1)["handle"]))
    place.gone(1)
    world.run(10.1)
    view = place.view(task)
    assert (view["state"], view["attempts"]) == ("failed", 1)


def test_a_lost_attempt_is_tried_again_at_once() -> None:
    world = World(1)
    place = world[0]
    task = place.submit(backoff_s=100.0)
    place.call(TaskStart(place.claim(task, client=1)["handle"]))
    place.gone(1)
    world.run(10.1)
    assert place.claim(task, client=2)["attempt"] == 2


def test_a_detached_claim_stays_with_the_node() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    owned = place.claim(task, client=1, detached=True)
    place.gone(1)
    world.run(1000)
    assert place.call(TaskComplete(owned["handle"]), client=2)["task"] == task


def test_a_claim_whose_handle_nobody_heard_is_given_back_at_once() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    place.ask(TaskClaim(task=task), client=1)
    place.gone(1)
    world.run(0.01)
    assert place.view(task)["state"] == "submitted"
    assert place.claim(task, client=2)["epoch"] == 2


def test_a_waiter_that_is_gone_claims_nothing() -> None:
    world = World(1)
    place = world[0]
    place.ask(TaskClaim(kinds=("build",), wait_s=60), client=1)
    assert place.desk.waiting_kinds() == ("build",)
    place.gone(1)
    assert place.desk.waiting_kinds() == ()
    task = place.submit()
    world.run(1)
    assert place.view(task)["owner"] is None


def test_attaching_again_changes_what_is_waited_for() -> None:
    world = World(1)
    place = world[0]
    place.attach(1, "b", "a", "b")
    assert place.desk.waiting_kinds() == ("a", "b")
    place.attach(1, "c")
    assert place.desk.waiting_kinds() == ("c",)
    task = place.submit("c")
    owned = place.call(TaskClaim(), client=1)
    assert owned["task"] == task
    assert place.view(task)["owner"]["agent"] == "worker"
    many = tuple(f"k{number:02}" for number in range(40))
    place.call(AgentAttach("worker", many, 2), client=1)
    assert place.desk.waiting_kinds() == many[:32]


# --- restarts


def test_agents_of_an_earlier_boot_resume_their_claims() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task)
    b.call(TaskStart(owned["handle"]))
    b.restart()
    world.run(5)
    again = b.call(TaskResume(owned["handle"]), client=3)
    assert again == owned | {"attempt": 1}
    assert states(b) == [ProgressState.RUNNING]
    world.run(60)
    assert a.view(task)["state"] == "working"
    b.call(TaskComplete(owned["handle"]), client=3)
    world.run(0.1)
    assert a.view(task)["state"] == "completed"
    assert a.view(task)["starts"] == 1


def test_a_resumed_claim_is_not_taken_over_for_the_restart() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task)
    world.run(0.1)
    b.restart()
    a.learn_end(b, "restarted")
    key = a.ask(TaskClaim(task=task, wait_s=30))
    b.call(TaskResume(owned["handle"]), client=3)
    world.run(31)
    assert name(a.replies[key]) == "already_owned"


@pytest.mark.parametrize(("started", "state"), [(False, "submitted"), (True, "failed")])
def test_claims_not_resumed_end_after_the_grace(started: bool, state: str) -> None:
    world = World(1)
    place = world[0]
    task = place.submit(max_attempts=1)
    owned = place.claim(task)
    if started:
        place.call(TaskStart(owned["handle"]))
    place.restart()
    world.run(9.9)
    assert place.view(task)["state"] == "working"
    world.run(0.2)
    assert place.view(task)["state"] == state
    assert not place.disk["handle"]


def test_detached_claims_go_on_after_a_restart() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    owned = place.claim(task, detached=True)
    place.restart()
    assert states(place) == [ProgressState.RUNNING]
    world.run(100)
    assert place.view(task)["state"] == "working"
    assert place.call(TaskComplete(owned["handle"]))["task"] == task


def test_a_claim_lost_while_the_node_was_down_is_not_resumed() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task)
    world.run(0.1)
    b.is_up = False
    a.learn_end(b, "left")
    assert a.claim(task)["epoch"] == 2
    b.restart()
    # It does not know yet, and says that it goes on: the answer to that is what beats it.
    key = b.ask(TaskResume(owned["handle"]), client=3)
    world.run(0.5)
    assert name(b.replies[key]) == "claim_lost"
    assert a.gossip.told


def test_an_own_claim_without_a_handle_ends_after_the_grace() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    place.claim(task)
    place.disk["handle"].clear()
    place.restart()
    world.run(10.1)
    assert place.view(task)["state"] == "submitted"


def test_damaged_rows_are_dropped() -> None:
    world = World(1)
    place = world[0]
    place.disk = {"handle": {b"k": b"\xc1"}, "request": {b"r": b"{"}}
    place.restart()
    world.run(0.1)
    assert place.disk["handle"] == {}
    assert place.desk.counters()["requests_unreadable"] == 1


def test_only_the_hash_of_a_handle_is_on_disk() -> None:
    world = World(1)
    place = world[0]
    handle = place.claim(place.submit())["handle"]
    (key,) = place.disk["handle"]
    stored = key + place.disk["handle"][key]
    assert handle.encode() not in stored
    assert bytes.fromhex(handle) not in stored


# --- while it settles


def test_a_detached_claim_is_resumed_while_it_settles() -> None:
    world = World(2)
    a = world[0]
    task = a.submit()
    world.run(0.1)
    first = a.ask(TaskClaim(task=task, provisional=True, detached=True), client=1)
    told = a.replies[first]
    assert isinstance(told, dict)
    a.gone(1)
    again = a.call(TaskResume(str(told["handle"])), client=2)
    assert again == told | {"state": "owned"}
    a.call(TaskCancel(task))
    assert name(a.call(TaskResume(str(told["handle"])), client=2)) == "already_finished"


def test_a_settling_claim_can_be_given_back() -> None:
    world = World(2)
    a = world[0]
    task = a.submit()
    world.run(0.1)
    key = a.ask(TaskClaim(task=task, provisional=True))
    told = a.replies[key]
    assert isinstance(told, dict)
    assert a.call(TaskRelease(str(told["handle"])))["released"]
    world.run(5)
    assert not a.said("task.settled", 1)
    assert a.view(task)["state"] == "submitted"
    assert a.desk.next_deadline() == NEVER
