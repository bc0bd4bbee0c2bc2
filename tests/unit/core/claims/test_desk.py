"""Writes through the desk: submit, start, complete, fail, release, cancel, and what is refused."""

import pytest

from mesh.core.commands import (
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskHistory,
    TaskList,
    TaskRelease,
    TaskShow,
    TaskStart,
    TaskSubmit,
    TaskWait,
)
from mesh.core.effects import ReplyError
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import World


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def test_a_task_goes_from_submit_to_result() -> None:
    world = World(3)
    a, b, c = world.places
    answer = a.call(TaskSubmit("build", "aGk="))
    assert answer["copies"] >= 2
    task = answer["task"]
    world.run(0.1)
    owned = b.claim(task)
    assert owned["state"] == "owned"
    assert owned["payload"] == "aGk="
    assert owned["epoch"] == 1
    assert owned["attempt"] == 1
    assert len(owned["handle"]) == 24
    assert b.call(TaskStart(owned["handle"]))["started"]
    done = b.call(TaskComplete(owned["handle"], "b2s="))
    assert done["copies"] >= 2
    assert "late" not in done
    world.run(0.1)
    for place in (a, b, c):
        view = place.view(task)
        assert view["state"] == "completed"
        assert view["starts"] == 1
        assert view["attempts"] == 1
        assert view["result"]["text"] == "ok"
        assert view["result"]["token"] == owned["token"]
        assert view["result"]["by"] == b.id.hex()


def test_alone_one_copy_is_all_there_is() -> None:
    world = World(1)
    before = world.now
    assert world[0].call(TaskSubmit("build"))["copies"] == 1
    assert world.now - before < 0.01


def test_a_silent_peer_delays_the_answer_only_so_long() -> None:
    world = World(2, loss=1.0)
    before = world.now
    assert world[0].call(TaskSubmit("build"))["copies"] == 1
    assert world.now - before == pytest.approx(0.5, abs=0.01)


def test_three_copies_are_waited_for() -> None:
    world = World(4)
    assert world[0].call(TaskSubmit("build", copies=3))["copies"] >= 3


def test_more_copies_than_nodes_are_not_waited_for() -> None:
    world = World(2)
    before = world.now
    assert world[0].call(TaskSubmit("build", copies=8))["copies"] == 2
    assert world.now - before < 0.1


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        (TaskSubmit("build", "A" * 87_388), "payload_too_large"),
        (TaskSubmit("build", "%"), "bad_base64"),
        (TaskSubmit("b\u00fc" * 32), "text_too_long"),
        (TaskSubmit("\ud800"), "bad_text"),
        (TaskSubmit("build", note="\u00fc" * 33), "text_too_long"),
        (TaskSubmit("build", orphan_grace_s=5e6), "grace_too_long"),
        (TaskShow("1-1-00"), "not_found"),
        (TaskShow("nonsense"), "not_found"),
        (TaskWait("1-1-" + "0" * 32), "not_found"),
        (TaskHistory("1-1-" + "0" * 32), "not_found"),
        (TaskClaim(task="1-1-" + "0" * 32), "not_found"),
        (TaskClaim(), "no_kinds"),
        (TaskClaim(kinds=("build",)), "no_task"),
        (TaskStart("f" * 24), "unknown_handle"),
        (TaskComplete("f" * 24), "unknown_handle"),
        (TaskCancel("x"), "not_found"),
        (TaskList(state="lost"), "unknown_state"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(command: object, refused: str) -> None:
    world = World(1)
    assert name(world[0].call(command)) == refused  # type: ignore[arg-type]  # a mixed list
    assert list(world[0].table.tasks()) == []
    assert not world[0].gossip.published


def test_a_payload_of_exactly_the_bound_fits() -> None:
    world = World(1)
    task = world[0].submit(payload=b"x" * 700)
    assert world[0].claim(task)["kind"] == "build"


def test_texts_are_normalised_where_they_enter() -> None:
    world = World(1)
    task = world[0].submit("u\u0308ben")
    assert world[0].view(task)["kind"] == "\u00fcben"
    assert world[0].call(TaskClaim(kinds=("u\u0308ben",)))["task"] == task


def test_task_ids_count_from_one_in_each_boot() -> None:
    world = World(1)
    place = world[0]
    assert place.submit().startswith("1-1-")
    assert place.submit().startswith("2-1-")
    place.restart()
    assert place.submit().startswith("1-2-")


def test_a_start_is_counted_once() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    handle = place.claim(task)["handle"]
    assert place.call(TaskStart(handle)) == place.call(TaskStart(handle))
    assert place.view(task)["starts"] == 1
    assert [f.fact.CONTEXT for f in place.gossip.published].count("progress/2") == 1


def test_a_failed_task_rests_and_is_tried_again_until_its_attempts_are_used() -> None:
    world = World(1)
    place = world[0]
    task = place.submit(max_attempts=2, backoff_s=1.0)
    failed = place.call(TaskFail(place.claim(task)["handle"], "no compiler"))
    assert failed["state"] == "submitted"
    assert name(place.claim(task)) == "no_task"
    before = world.now
    again = place.claim(task, wait_s=10)
    assert 0.7 < world.now - before <= 1.01
    assert again["epoch"] == 2
    assert again["attempt"] == 2
    assert place.call(TaskFail(again["handle"], "\u00fc" * 600))["state"] == "failed"
    view = place.view(task)
    assert view["state"] == "failed"
    assert view["attempts"] == 2
    assert view["error"] == "\u00fc" * 300
    assert name(place.claim(task, wait_s=10)) == "already_finished"


def test_backoff_doubles() -> None:
    world = World(1)
    place = world[0]
    task = place.submit(max_attempts=4, backoff_s=1.0)
    waits = []
    for _ in range(3):
        place.call(TaskFail(place.claim(task, wait_s=20)["handle"]))
        before = world.now
        again = place.claim(task, wait_s=20)
        waits.append(world.now - before)
        place.call(TaskRelease(again["handle"]))
    assert 0.7 < waits[0] < 1.1
    assert 1.4 < waits[1] < 2.1
    assert 2.9 < waits[2] < 4.1


def test_a_released_task_is_free_at_once_and_costs_no_attempt() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit(max_attempts=1)
    world.run(0.1)
    owned = b.claim(task)
    assert b.call(TaskStart(owned["handle"]))
    assert b.call(TaskRelease(owned["handle"]))["released"]
    world.run(0.05)
    again = a.claim(task)
    assert (again["epoch"], again["attempt"]) == (2, 1)
    assert name(b.call(TaskStart(owned["handle"]))) == "already_finished"


def test_a_cancel_reaches_the_owner() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task, client=7)
    waiting = b.ask(TaskClaim(task=task, wait_s=60), client=8)
    assert a.call(TaskCancel(task))["state"] == "canceled"
    world.run(0.1)
    assert [(n["task"], n["token"], n["reason"]) for n in b.said("task.lost", 7)] == [
        (task, owned["token"], "canceled")
    ]
    assert name(b.replies[waiting]) == "already_finished"
    assert name(b.call(TaskComplete(owned["handle"]))) == "already_finished"
    assert name(a.call(TaskCancel(task))) == "already_finished"
    assert name(a.claim(task)) == "already_finished"


def test_only_submitter_and_claimants_cancel() -> None:
    world = World(3)
    a, b, c = world.places
    task = a.submit()
    world.run(0.1)
    b.claim(task)
    world.run(0.1)
    assert name(c.call(TaskCancel(task))) == "not_permitted"
    assert b.call(TaskCancel(task))["state"] == "canceled"


def test_a_wait_ends_with_the_task_or_with_patience() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    assert name(a.call(TaskWait(task, 0.0))) == "timed_out"
    before = world.now
    assert name(a.call(TaskWait(task, 1.5))) == "timed_out"
    assert world.now - before == pytest.approx(1.5)
    waiting = a.ask(TaskWait(task, 60))
    b.call(TaskComplete(b.claim(task)["handle"]))
    world.run(0.1)
    answer = a.replies[waiting]
    assert isinstance(answer, dict)
    assert isinstance(answer["task"], dict)
    assert answer["task"]["state"] == "completed"
    assert a.call(TaskWait(task, 0.0)) == answer


def test_watchers_hear_of_each_change() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    owned = place.claim(task)
    place.call(TaskStart(owned["handle"]))
    place.call(TaskComplete(owned["handle"]))
    said = place.said("task")
    assert [body["state"] for body in said] == ["submitted", "working", "completed"]
    assert said[1]["token"] == owned["token"]
    assert said[1]["task"] == task
    assert said[1]["owner"] == {"node": place.id.hex(), "agent": "cli", "name": "a"}


def test_a_provisional_claim_answers_at_once_and_settles_later() -> None:
    world = World(2)
    a = world[0]
    task = a.submit()
    world.run(0.1)
    key = a.ask(TaskClaim(task=task, provisional=True), client=5)
    answer = a.replies[key]
    assert isinstance(answer, dict)
    assert answer["state"] == "settling"
    handle = str(answer["handle"])
    assert name(a.call(TaskComplete(handle))) == "not_settled"
    assert not a.said("task.settled", 5)
    world.run(0.1)
    assert [body["handle"] for body in a.said("task.settled", 5)] == [handle]
    assert a.call(TaskStart(handle))["started"]


def test_one_request_under_way_too_many_is_refused() -> None:
    world = World(1, ClaimParams(waiters_max=16))
    place = world[0]
    keys = [place.ask(TaskClaim(kinds=("x",), wait_s=9)) for _ in range(17)]
    assert [key in place.replies for key in keys] == [False] * 16 + [True]
    assert name(place.replies[keys[16]]) == "busy"
    place.gone(1)
    assert place.call(TaskSubmit("x"), client=2)["copies"] == 1


def test_one_claim_too_many_is_refused() -> None:
    world = World(1, ClaimParams(handles_max=4))
    place = world[0]
    tasks = [place.submit() for _ in range(5)]
    handles = [place.claim(task)["handle"] for task in tasks[:4]]
    assert name(place.claim(tasks[4])) == "too_many_claims"
    place.call(TaskRelease(handles[0]))
    assert place.claim(tasks[4])["state"] == "owned"


def test_a_full_table_refuses_a_submit() -> None:
    world = World(1, ClaimParams(tasks_max=16))
    place = world[0]
    for _ in range(16):
        place.submit()
    assert name(place.call(TaskSubmit("build"))) == "table_full"


def test_a_failed_commit_is_never_acknowledged() -> None:
    world = World(1)
    place = world[0]
    task = place.submit()
    place.commits_work = False
    assert name(place.call(TaskSubmit("build", request_id="r"))) == "not_durable"
    assert name(place.claim(task)) == "not_durable"


def test_lists_and_histories() -> None:
    world = World(1)
    place = world[0]
    tasks = [place.submit("a"), place.submit("b"), place.submit("a")]
    done = place.claim(tasks[2])
    place.call(TaskComplete(done["handle"]))

    def listed(**which: object) -> list[str]:
        answer = place.call(TaskList(**which))  # type: ignore[arg-type]  # filters by name
        return [task["id"] for task in answer["tasks"]]

    assert listed() == tasks
    assert listed(kind="a") == [tasks[0], tasks[2]]
    assert listed(state="completed") == [tasks[2]]
    assert listed(limit=2) == tasks[:2]
    facts = place.call(TaskHistory(tasks[2]))["facts"]
    assert [fact["kind"] for fact in facts] == ["spec", "claim", "progress", "result"]
    assert all(fact["signature_ok"] and fact["at"].startswith("2023-") for fact in facts)


def test_counters_tell_what_happened() -> None:
    world = World(1)
    place = world[0]
    place.call(TaskComplete(place.claim(place.submit())["handle"]))
    counters = place.desk.counters()
    assert counters["submitted"] == counters["claims"] == counters["settled"] == 1
    assert counters["completed"] == 1


def test_a_node_without_room_for_more_ends_what_it_began() -> None:
    world = World(1, ClaimParams(facts_per_author_max=100))
    place = world[0]
    tasks = [place.submit() for _ in range(80)]
    handles = [place.claim(task)["handle"] for task in tasks[:10]]
    assert name(place.claim(tasks[10])) == "table_full"
    assert name(place.call(TaskSubmit("build"))) == "table_full"
    for handle in handles[:5]:
        assert "digest" in place.call(TaskComplete(handle))
