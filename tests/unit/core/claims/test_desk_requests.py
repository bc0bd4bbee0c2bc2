"""The same request twice: one effect, one answer, also after a restart."""

import pytest

from mesh.core.commands import (
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskSubmit,
)
from mesh.core.effects import ReplyError
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import World


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


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


def test_answers_that_aged_while_the_node_was_down_are_dropped() -> None:
    world = World(1, ClaimParams(request_keep_s=60.0))
    place = world[0]
    place.call(TaskSubmit("build", request_id="r"))
    place.is_up = False
    world.run(100)
    place.restart()
    world.run(0.1)
    assert place.disk["request"] == {}


def test_a_long_poll_whose_client_is_gone_leaves_its_request_id_free() -> None:
    world = World(1)
    (a,) = world.places
    command = TaskClaim(kinds=("build",), wait_s=1000.0, request_id="r")
    a.ask(command, client=1)
    second = a.ask(command, client=2)
    a.gone(1)
    assert name(a.replies[second]) == "first_asker_gone"
    task = a.submit("build")
    assert a.call(command, client=3)["task"] == task
