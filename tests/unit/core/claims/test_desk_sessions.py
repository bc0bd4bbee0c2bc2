"""Agents that go and come back, nodes that restart or sleep, requests that are sent twice."""

import pytest

from mesh.core.claims.facts import Progress, ProgressState
from mesh.core.commands import (
    AgentAttach,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskResume,
    TaskStart,
    TaskSubmit,
)
from mesh.core.effects import ReplyError
from mesh.core.instants import NEVER
from mesh.core.params import ClaimParams
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


# --- the same request twice


def test_the_same_submit_twice_is_one_task() -> None:
    world = World(2)
    a = world[0]
    command = TaskSubmit("build", request_id="r1")
    first = a.ask(command)
    second = a.ask(command)
    world.run(0.1)
    assert a.replies[first] == a.replies[second] == a.call(command, client=2)
    assert len(list(a.table.tasks())) == 1
    other_user = a.call(command, uid=7)
    assert other_user != a.replies[first]


def test_the_same_submit_after_a_restart_is_still_one_task() -> None:
    world = World(2)
    a = world[0]
    command = TaskSubmit("build", request_id="r1")
    answer = a.call(command)
    world.run(0.1)
    a.restart()
    assert a.call(command) == answer
    assert len(list(a.table.tasks())) == 1


def test_a_kill_between_effect_and_answer_loses_neither() -> None:
    world = World(2, loss=1.0)
    a = world[0]
    command = TaskSubmit("build", request_id="r1")
    key = a.ask(command)
    world.run(0.01)  # on disk, and not yet answered
    assert key not in a.replies
    a.restart()
    answer = a.call(command)
    assert answer["copies"] == 1
    assert len(list(a.table.tasks())) == 1


def test_a_request_id_stands_for_one_request() -> None:
    world = World(1)
    place = world[0]
    place.call(TaskSubmit("build", request_id="r"))
    assert name(place.call(TaskSubmit("other", request_id="r"))) == "request_id_reused"
    task = place.submit()
    assert name(place.call(TaskCancel(task, request_id="r"))) == "request_id_reused"
    key = place.ask(TaskClaim(kinds=("x",), wait_s=9, request_id="c"))
    assert name(place.call(TaskClaim(kinds=("y",), wait_s=9, request_id="c"))) == (
        "request_id_reused"
    )
    world.run(10)
    assert name(place.replies[key]) == "no_task"


def test_a_request_without_effect_is_tried_again() -> None:
    world = World(1)
    place = world[0]
    command = TaskClaim(kinds=("build",), request_id="c")
    assert name(place.call(command)) == "no_task"
    task = place.submit()
    assert place.call(command)["task"] == task


def test_the_same_claim_twice_is_one_claim() -> None:
    world = World(2)
    a = world[0]
    first, second = a.submit(), a.submit()
    world.run(0.1)
    command = TaskClaim(kinds=("build",), wait_s=5, request_id="c")
    keys = [a.ask(command, client=1), a.ask(command, client=2)]
    world.run(0.1)
    assert a.replies[keys[0]] == a.replies[keys[1]]
    assert a.view(first)["state"] == "working"
    assert a.view(second)["state"] == "submitted"
    a.gone(1)
    a.gone(2)
    assert a.call(command, client=3) == a.replies[keys[0]]
    world.run(60)
    assert a.view(first)["state"] == "working", "the third client holds it"


def test_the_same_claim_after_a_restart_is_resumed() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    command = TaskClaim(task=task, request_id="c")
    owned = place.call(command)
    place.restart()
    assert place.call(command, client=3) == owned
    world.run(60)
    assert place.view(task)["state"] == "working"
    place.call(TaskComplete(owned["handle"], request_id="d"))
    assert place.call(command) == owned | {"state": "ended"}
    done = place.call(TaskComplete(owned["handle"], request_id="d"))
    place.restart()
    assert place.call(TaskComplete(owned["handle"], request_id="d")) == done


def test_a_claim_that_was_won_and_lost_answers_lost() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    command = TaskClaim(task=task, request_id="c")
    assert b.call(command)["state"] == "owned"
    a.call(TaskCancel(task))
    world.run(0.1)
    assert name(b.call(command)) == "claim_lost"
    b.restart()
    assert name(b.call(command)) == "claim_lost"


@pytest.mark.parametrize("kind", [TaskFail, TaskRelease, TaskComplete])
def test_ends_are_idempotent(kind: type[TaskFail | TaskRelease | TaskComplete]) -> None:
    world = World(1)
    place = world[0]
    handle = place.claim(place.submit())["handle"]
    command = kind(handle=handle, request_id="e")
    answer = place.call(command)
    count = len(place.gossip.published)
    assert place.call(command) == answer
    assert name(place.call(kind(handle=handle))) == "already_finished"
    assert len(place.gossip.published) == count


def test_answers_are_forgotten_in_time() -> None:
    world = World(1, ClaimParams(request_keep_s=60.0))
    place = world[0]
    place.call(TaskSubmit("build", request_id="r"))
    world.run(59)
    assert place.desk.counters()["requests_kept"] == 1
    world.run(2)
    assert place.desk.counters()["requests_kept"] == 0
    assert place.disk["request"] == {}


# --- sleep


def test_after_sleep_nothing_starts_before_a_fresh_round() -> None:
    world = World(2)
    a, b = world.places
    task, other = a.submit(), a.submit()
    world.run(0.1)
    owned = b.claim(task, client=1)
    pending = b.ask(TaskClaim(task=other), client=2)
    b.turn(b.desk.handle_suspend)
    assert b.said("task.suspended", 1) == [{"task": task, "token": owned["token"]}]
    start = b.ask(TaskStart(owned["handle"]), client=1)
    world.run(0.0011)  # its own commit is done
    assert start not in b.replies
    assert pending not in b.replies
    world.run(0.1)
    assert isinstance(b.replies[start], dict)
    assert isinstance(b.replies[pending], dict)
    assert b.said("task.resumed", 1)
    assert states(b)[-1] == ProgressState.STARTED


def test_after_sleep_silence_holds_everything_back() -> None:
    world = World(2)
    a, b = world.places
    task, other = a.submit(), a.submit()
    world.run(0.1)
    owned = b.claim(task, client=1)
    world.loss = 1.0
    pending = b.ask(TaskClaim(task=other), client=2)
    b.turn(b.desk.handle_suspend)
    start = b.ask(TaskStart(owned["handle"]), client=1)
    world.run(20)
    assert start not in b.replies
    assert pending not in b.replies
    world.loss = 0.0
    world.run(5)
    assert isinstance(b.replies[start], dict)
    assert isinstance(b.replies[pending], dict)


def test_after_sleep_a_superseded_claim_does_not_start() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task, client=1)
    world.run(0.1)
    world.parted = {1: 1}
    a.learn_end(b, "left")
    a.claim(task)
    world.parted = {}
    b.turn(b.desk.handle_suspend)
    start = b.ask(TaskStart(owned["handle"]), client=1)
    world.run(1)
    assert name(b.replies[start]) == "claim_lost"
    assert b.said("task.lost", 1)
    assert ProgressState.STARTED not in states(b)


def test_alone_sleep_costs_one_commit() -> None:
    world = World(1)
    place = world[0]
    owned = place.claim(place.submit())
    place.turn(place.desk.handle_suspend)
    assert place.call(TaskStart(owned["handle"]), wait_s=0.1)["started"]


def test_sleep_without_claims_holds_nothing_back() -> None:
    world = World(2)
    a = world[0]
    a.turn(a.desk.handle_suspend)
    assert a.claim(a.submit())["state"] == "owned"


def test_a_client_that_left_during_sleep_starts_nothing() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task, client=1)
    b.turn(b.desk.handle_suspend)
    start = b.ask(TaskStart(owned["handle"]), client=1)
    b.gone(1)
    world.run(1)
    assert start not in b.replies
    assert ProgressState.STARTED not in states(b)


def test_answers_that_aged_while_the_node_was_down_are_dropped() -> None:
    world = World(1, ClaimParams(request_keep_s=60.0))
    place = world[0]
    place.call(TaskSubmit("build", request_id="r"))
    place.is_up = False
    world.run(100)
    place.restart()
    world.run(0.1)
    assert place.disk["request"] == {}


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
