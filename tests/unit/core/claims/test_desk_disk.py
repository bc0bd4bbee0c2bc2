"""A disk that fails: nothing is promised, and what was refused binds nobody."""

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
from tests.unit.core.claims.desk_world import Place, World


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def break_disk(place: Place) -> None:
    """Let the disk fail, and the desk find out."""
    place.commits_work = False
    assert name(place.call(TaskSubmit("noticed"))) == "not_durable"


def test_a_claim_that_did_not_reach_the_disk_is_given_back_once_it_works() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    b.commits_work = False
    assert name(b.claim(task)) == "not_durable"
    world.run(1)
    assert b.desk.counters()["claims_held"] == 1, "closed, and remembered as such"
    b.repair()
    world.run(1)
    assert {place.view(task)["state"] for place in (a, b)} == {"submitted"}
    assert a.view(task)["starts"] == 0
    assert a.claim(task)["state"] == "owned"


def test_a_provisional_claim_that_did_not_reach_the_disk_is_told_as_lost() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    place.commits_work = False
    settling = place.ask(TaskClaim(task=task, provisional=True), client=3)
    world.run(0.1)
    answer = place.replies[settling]
    assert isinstance(answer, dict)
    assert answer["state"] == "settling"
    (lost,) = place.said("task.lost", 3)
    assert (lost["task"], lost["reason"]) == (task, "not_durable")


def test_a_claim_taken_up_again_waits_for_its_agent_when_the_disk_fails() -> None:
    world = World(1)
    place = world[0]
    owned = place.claim(place.submit(), client=1)
    place.call(TaskStart(owned["handle"]))
    place.is_up = False
    place.restart()
    place.commits_work = False
    assert name(place.call(TaskResume(owned["handle"]), client=2)) == "not_durable"
    place.repair()
    world.run(1)
    resumed = place.call(TaskResume(owned["handle"]), client=2)
    assert resumed["token"] == owned["token"]
    assert place.call(TaskComplete(owned["handle"]), client=2)["task"] == owned["task"]


def test_a_submit_that_was_refused_is_done_by_nobody() -> None:
    world = World(2)
    a, b = world.places
    waiting = b.ask(TaskClaim(kinds=("build",), wait_s=60.0))
    world.run(0.1)
    a.commits_work = False
    assert name(a.call(TaskSubmit("build", request_id="r"))) == "not_durable"
    a.repair()
    world.run(1)
    assert waiting not in b.replies
    again = a.call(TaskSubmit("build", request_id="r"))
    world.run(1)
    answer = b.replies[waiting]
    assert isinstance(answer, dict)
    assert answer["task"] == again["task"], "the second try is the only one"


def test_while_the_disk_fails_no_write_is_begun() -> None:
    world = World(1)
    place = world[0]
    tasks = [place.submit() for _ in range(2)]
    handle = place.claim(tasks[0])["handle"]
    break_disk(place)
    published = len(place.gossip.published)
    for command in (
        TaskSubmit("build"),
        TaskClaim(task=tasks[1]),
        TaskStart(handle),
        TaskComplete(handle),
        TaskFail(handle),
        TaskRelease(handle),
        TaskCancel(tasks[1]),
        TaskResume(handle),
    ):
        assert name(place.call(command)) == "not_durable"
    assert len(place.gossip.published) == published
    assert place.view(tasks[0])["state"] == "working", "reading goes on"
    place.repair()
    world.run(0.1)
    assert place.call(TaskComplete(handle))["task"] == tasks[0], "and then all is as it was"


def test_who_waits_for_a_task_gets_it_after_the_repair_or_hears_of_the_disk() -> None:
    world = World(2)
    a, b = world.places
    patient = b.ask(TaskClaim(kinds=("build",), wait_s=60.0), client=1)
    hasty = b.ask(TaskClaim(kinds=("other",), wait_s=2.0), client=2)
    world.run(0.1)
    break_disk(b)
    task = a.submit()
    a.submit("other")
    world.run(3)
    assert patient not in b.replies
    assert name(b.replies[hasty]) == "not_durable"
    b.repair()
    world.run(1)
    answer = b.replies[patient]
    assert isinstance(answer, dict)
    assert answer["task"] == task


def test_attaching_needs_no_disk() -> None:
    world = World(1)
    break_disk(world[0])
    assert world[0].call(AgentAttach("worker", ("build",), 1)) == {"agent": "worker"}


def test_an_end_that_the_disk_refused_is_answered_once_it_is_written() -> None:
    """It is in the table and on its way to the disk again: a refusal would be untrue."""
    world = World(2)
    a, b = world.places
    for command in (TaskComplete, TaskFail, TaskRelease, TaskStart):
        handle = b.claim(a.submit("build"))["handle"]
        b.commits_work = False
        asked = b.ask(command(handle))
        world.run(3)
        assert asked not in b.replies, f"{command.__name__}: neither yes nor no is true"
        b.repair()
        world.run(1)
        assert isinstance(b.replies[asked], dict), b.replies[asked]


def test_a_result_on_a_failing_disk_is_no_result_after_a_power_cut() -> None:
    world = World(1)
    place = world[0]
    owned = place.claim(place.submit())
    place.commits_work = False
    asked = place.ask(TaskComplete(owned["handle"]))
    world.run(1)
    assert asked not in place.replies
    place.is_up = False
    place.restart()
    place.commits_work = True
    assert place.view(owned["task"])["state"] == "working"
    place.call(TaskResume(owned["handle"]))
    assert place.call(TaskComplete(owned["handle"]))["task"] == owned["task"]
