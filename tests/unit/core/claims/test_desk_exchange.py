"""Reports, checkpoints, hand-overs, questions, reviews and what operators may do, at the desk."""

from base64 import b64encode
from typing import Any

import pytest

from mesh.core.claims.reporting import REPORTS_FREE
from mesh.core.commands import (
    Decision,
    TaskAccept,
    TaskAnswer,
    TaskAsk,
    TaskAwaitAnswer,
    TaskClaim,
    TaskComplete,
    TaskDecline,
    TaskForceRelease,
    TaskHistory,
    TaskList,
    TaskOffer,
    TaskProgress,
    TaskRefuse,
    TaskRelease,
    TaskReopen,
    TaskReview,
    TaskStart,
)
from mesh.core.effects import ReplyError
from tests.unit.core.claims.desk_world import Place, World


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def coded(text: str) -> str:
    return b64encode(text.encode()).decode()


def owned_task(world: World, owner: Place, **more: Any) -> tuple[str, Any]:  # noqa: ANN401  JSON
    task = world[0].submit(**more)
    world.run(0.1)
    owned = owner.claim(task, detached=True)
    owner.call(TaskStart(owned["handle"]))
    return task, owned


# ---- reports


def test_progress_is_shown_everywhere_and_its_checkpoint_is_handed_on() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, b)
    said = b.call(TaskProgress(owned["handle"], "half", done=46, total=100, checkpoint=coded("46")))
    assert said["published"]
    assert said["copies"] >= 2
    world.run(0.1)
    for place in (a, b, c):
        view = place.view(task)
        assert view["progress"] == {
            "state": "running", "note": "half", "done": 46, "total": 100, "percent": 46.0,
        }  # fmt: skip
        assert view["checkpoint"]["data"] == coded("46")
        assert place.said("task.progress")[-1]["done"] == 46
    b.call(TaskProgress(owned["handle"], "still there"))
    b.call(TaskRelease(owned["handle"]))
    world.run(0.1)
    again = c.claim(task)
    assert again["checkpoint"]["data"] == coded("46")
    assert again["checkpoint"]["token"] == owned["token"]
    assert again["checkpoint"]["by"] == b.id.hex()


@pytest.mark.parametrize(
    ("report", "refused"),
    [
        ({"done": 3, "total": 2}, "bad_progress"),
        ({"note": "\u00fc" * 150}, "text_too_long"),
        ({"note": "\ud800"}, "bad_text"),
        ({"checkpoint": "%"}, "bad_base64"),
        ({"checkpoint": "A" * 87_388}, "payload_too_large"),
    ],
)
def test_bad_reports_are_refused(report: dict[str, Any], refused: str) -> None:
    world = World(1)
    _, owned = owned_task(world, world[0])
    assert name(world[0].call(TaskProgress(owned["handle"], **report))) == refused
    assert name(world[0].call(TaskProgress("f" * 24))) == "unknown_handle"


def test_many_reports_wait_for_their_turn_and_none_is_lost_at_the_end() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a)
    world.run(64.0)
    for done in range(REPORTS_FREE):
        assert a.call(TaskProgress(owned["handle"], done=done))["published"]
    late = a.call(TaskProgress(owned["handle"], done=500, checkpoint=coded("500")))
    assert not late["published"]
    assert not a.call(TaskProgress(owned["handle"], done=501))["published"]
    world.run(0.1)
    assert b.view(task)["progress"]["done"] == REPORTS_FREE - 1
    world.run(3.0)
    assert b.view(task)["progress"]["done"] == 501
    assert b.view(task)["checkpoint"]["data"] == coded("500")
    assert not a.call(TaskProgress(owned["handle"], done=502, checkpoint=coded("502")))["published"]
    a.call(TaskRelease(owned["handle"]))
    world.run(0.1)
    assert b.view(task)["checkpoint"]["data"] == coded("502")


def test_a_silent_worker_is_timed_out_by_its_own_node_and_a_reporting_one_is_not() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a, progress_limit_s=5.0)
    for _ in range(4):
        world.run(4.0)
        a.call(TaskProgress(owned["handle"]))
    assert b.view(task)["state"] == "working"
    world.run(5.5)
    view = b.view(task)
    assert view["timeouts"] == 1
    assert "no progress for 5 s" in view["error"]
    assert a.said("task.lost")[-1]["reason"] == "timed_out"
    again = b.call(TaskClaim(task=task, wait_s=5.0), wait_s=10.0)
    assert again["attempt"] == 2
    assert name(a.call(TaskProgress(owned["handle"]))) == "claim_lost"


def test_nobody_else_ever_times_a_worker_out() -> None:
    world = World(2)
    a, b = world.places
    task, _ = owned_task(world, a, progress_limit_s=5.0)
    world.run(1.0)
    a.is_up = False
    world.run(60.0)
    assert b.view(task)["state"] == "working"
    assert b.view(task)["timeouts"] == 0


def test_a_host_that_slept_gives_its_workers_their_whole_limit_again() -> None:
    world = World(1)
    (a,) = world.places
    task, _ = owned_task(world, a, progress_limit_s=5.0)
    world.now += 60.0
    a.turn(a.desk.handle_suspend)
    world.run(4.0)
    assert a.view(task)["timeouts"] == 0
    world.run(2.0)
    assert a.view(task)["timeouts"] == 1


def test_after_a_sleep_no_word_of_an_agent_counts_before_the_mesh_was_heard() -> None:
    world = World(2)
    a, _ = world.places
    task, owned = owned_task(world, a)
    world.loss = 1.0
    a.turn(a.desk.handle_suspend)
    asked = [
        a.ask(TaskProgress(owned["handle"], "awake")),
        a.ask(TaskAsk(owned["handle"], "what is new?")),
        a.ask(TaskOffer(owned["handle"])),
    ]
    world.run(1.0)
    assert not any(key in a.replies for key in asked)
    world.loss = 0.0
    world.run(5.0)
    assert not any(isinstance(a.replies[key], ReplyError) for key in asked)
    assert a.view(task)["progress"]["note"] == "awake"


# ---- declining


def test_who_declines_waits_longer_each_time_while_others_get_the_task_at_once() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit(backoff_s=10.0)
    world.run(0.1)
    owned = a.claim(task)
    a.call(TaskDecline(owned["handle"], "no GPU"))
    world.run(0.1)
    assert name(a.claim(task)) == "no_task"
    assert a.view(task)["declines"] == 1
    assert a.view(task)["attempts"] == 0
    assert a.view(task)["error"] == "no GPU"
    other = b.claim(task)
    assert other["attempt"] == 1
    b.call(TaskDecline(other["handle"]))
    world.run(5.0)
    assert name(a.claim(task)) == "no_task"
    world.run(6.0)
    second = a.claim(task)
    assert second["state"] == "owned"
    a.call(TaskDecline(second["handle"]))
    world.run(11.0)
    assert name(a.claim(task)) == "no_task", "its second decline costs twice as much"
    world.run(11.0)
    assert a.claim(task)["state"] == "owned"


def test_a_task_can_be_put_off_when_it_is_given_back() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a)
    assert a.call(TaskRelease(owned["handle"], put_off_s=30.0))["released"]
    world.run(20.0)
    assert b.view(task)["state"] == "submitted"
    assert b.view(task)["attempts"] == 0
    assert name(b.claim(task)) == "no_task"
    world.run(10.5)
    assert b.claim(task)["state"] == "owned"


def test_dead_letters_can_be_listed() -> None:
    world = World(1)
    task, owned = owned_task(world, world[0], max_attempts=1, progress_limit_s=1.0)
    world.run(1.1)
    (dead,) = world[0].call(TaskList(state="dead"))["tasks"]
    assert (dead["id"], dead["state"]) == (task, "failed")
    assert owned["spec"]["progress_limit_s"] == 1.0


# ---- handing over

CONTEXT = {
    "goal": "green build",
    "done": ("bisected",),
    "pending": ("fix", "test"),
    "decisions": (Decision("keep the API", "others use it"),),
    "caveats": ("flaky on arm",),
}


def test_the_receiver_gets_the_context_and_the_giver_is_owner_until_then() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, a)
    offered = a.call(TaskOffer(owned["handle"], to="b", **CONTEXT))  # type: ignore[arg-type]  # of mixed types
    world.run(0.1)
    assert b.view(task)["owner"]["node"] == a.id.hex()
    assert name(c.call(TaskAccept(task))) == "not_permitted"
    taken = b.call(TaskAccept(task, agent="bob", detached=True))
    world.run(0.1)
    assert taken["epoch"] == 2
    assert taken["handoff"]["offer"] == offered["offer"]
    assert taken["handoff"]["context"] == {
        "goal": "green build",
        "done": ["bisected"],
        "pending": ["fix", "test"],
        "decisions": [{"what": "keep the API", "why": "others use it"}],
        "caveats": ["flaky on arm"],
    }
    for place in (a, b, c):
        assert place.view(task)["owner"] == {"node": b.id.hex(), "agent": "bob", "name": "b"}
        assert place.view(task)["token"] == taken["token"]
    assert a.said("task.lost")[-1]["reason"] == "handed_over"
    assert name(a.call(TaskProgress(owned["handle"]))) == "claim_lost"
    b.call(TaskStart(taken["handle"]))
    b.call(TaskComplete(taken["handle"]))
    world.run(0.1)
    assert c.view(task)["state"] == "completed"
    kinds = [fact["kind"] for fact in c.call(TaskHistory(task))["facts"]]
    assert kinds == [
        "spec", "claim", "progress", "offer", "accept", "claim", "progress", "result",
    ]  # fmt: skip


def test_two_who_accept_what_was_offered_to_anyone_are_told_apart() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, a)
    a.call(TaskOffer(owned["handle"]))
    world.run(0.1)
    asked = [(b, b.ask(TaskAccept(task))), (c, c.ask(TaskAccept(task)))]
    world.run(1.0)
    answers = [place.replies[key] for place, key in asked]
    won = [answer for answer in answers if not isinstance(answer, ReplyError)]
    assert len(won) == 1
    assert {place.view(task)["token"] for place in world.places} == {won[0]["token"]}  # type: ignore[index,call-overload]  # JSON


def test_an_offer_can_be_declined_withdrawn_and_made_anew() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a)
    assert name(b.call(TaskAccept(task))) == "no_offer"
    a.call(TaskOffer(owned["handle"], to="b"))
    world.run(0.1)
    for _ in range(2):
        b.call(TaskRefuse(task, reason="busy"))
    world.run(0.1)
    (declined,) = a.view(task)["handoff"]["declined_by"]
    assert declined["reason"] == "busy"
    a.call(TaskOffer(owned["handle"], withdraw=True))
    world.run(0.1)
    assert name(b.call(TaskAccept(task))) == "no_offer"
    a.call(TaskOffer(owned["handle"], agent="bob"))
    world.run(0.1)
    assert name(b.call(TaskAccept(task, agent="ann"))) == "not_permitted"
    assert b.call(TaskAccept(task, agent="bob"))["epoch"] == 2


@pytest.mark.parametrize(
    ("offer", "refused"),
    [
        ({"to": "nobody"}, "not_found"),
        ({"goal": "x" * 65_600}, "context_too_large"),
        ({"goal": "\ud800"}, "bad_text"),
        ({"agent": "\u00fc" * 60}, "text_too_long"),
    ],
)
def test_bad_offers_are_refused(offer: dict[str, Any], refused: str) -> None:
    world = World(1)
    _, owned = owned_task(world, world[0])
    assert name(world[0].call(TaskOffer(owned["handle"], **offer))) == refused


def test_an_accept_that_is_sent_again_takes_the_task_once() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a)
    a.call(TaskOffer(owned["handle"]))
    world.run(0.1)
    first = b.call(TaskAccept(task, request_id="r"))
    again = b.call(TaskAccept(task, request_id="r"))
    assert first["handle"] == again["handle"]
    assert b.view(task)["epoch"] == 2


# ---- questions


def test_a_question_is_answered_from_another_node() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, a)
    asked = a.call(TaskAsk(owned["handle"], "which branch?"))
    world.run(0.1)
    view = c.view(task)
    assert (view["state"], view["waits_for"]) == ("input-required", "answer")
    assert view["owner"]["node"] == a.id.hex()
    waiting = b.ask(TaskAwaitAnswer(task, asked["question"]))
    c.call(TaskAnswer(task, "main", agent="carol"))
    c.call(TaskAnswer(task, "main", asked["question"], agent="carol"))
    world.run(0.1)
    told = b.replies[waiting]
    assert told["state"] == "answered"  # type: ignore[index,call-overload]  # JSON
    for place in (a, b, c):
        view = place.view(task)
        assert view["state"] == "working"
        assert [said["text"] for said in view["questions"][0]["answers"]] == ["main"]
    assert name(c.call(TaskAnswer(task, "again"))) == "not_found"


def test_a_question_times_out_for_all_to_see_and_a_late_answer_is_kept() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a, progress_limit_s=4.0)
    asked = a.call(TaskAsk(owned["handle"], "which branch?", limit_s=10.0))
    world.run(0.1)
    assert name(b.call(TaskAwaitAnswer(task, asked["question"], 1.0))) == "timed_out"
    world.run(8.0)
    assert b.view(task)["state"] == "input-required", "who waits for an answer is not silent"
    world.run(2.0)
    view = b.view(task)
    assert view["state"] == "working"
    assert view["questions"][0]["state"] == "timed_out"
    b.call(TaskAnswer(task, "late", asked["question"][:12]))
    late = b.view(task)["questions"][0]
    assert (late["state"], late["late"]) == ("answered", True)


def test_a_restarted_node_still_times_its_question_out() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a)
    a.call(TaskAsk(owned["handle"], "which branch?", limit_s=10.0))
    a.is_up = False
    world.run(3.0)
    a.restart()
    world.run(6.0)
    assert b.view(task)["state"] == "input-required"
    world.run(2.0)
    assert b.view(task)["questions"][0]["state"] == "timed_out"


def test_bad_questions_and_answers_are_refused() -> None:
    world = World(1)
    (a,) = world.places
    task, owned = owned_task(world, a)
    assert name(a.call(TaskAsk(owned["handle"], "\u00fc" * 400))) == "text_too_long"
    assert name(a.call(TaskAsk(owned["handle"], "?", limit_s=0.0))) == "bad_duration"
    assert name(a.call(TaskAnswer(task, "yes", "ff"))) == "not_found"
    a.call(TaskAsk(owned["handle"], "one?"))
    a.call(TaskAsk(owned["handle"], "two?"))
    assert name(a.call(TaskAnswer(task, "yes"))) == "ambiguous"


# ---- reviews


def test_a_result_that_wants_a_second_agent_waits_for_one_and_is_accepted() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, b, verify=1)
    b.call(TaskComplete(owned["handle"], coded("done")))
    world.run(0.1)
    view = c.view(task)
    assert (view["state"], view["waits_for"]) == ("input-required", "review")
    assert view["result"] is None
    assert name(c.claim(task)) == "already_owned"
    assert name(b.call(TaskReview(task, True))) == "not_permitted"
    assert c.call(TaskReview(task, True, "carol", "ran it"))["state"] == "completed"
    world.run(0.1)
    for place in (a, b, c):
        view = place.view(task)
        assert view["state"] == "completed"
        assert view["reviews"][0]["agent"] == "carol"
    assert name(a.call(TaskReview(task, False))) == "already_finished"


def test_a_false_done_is_refused_with_a_reason_and_the_task_is_done_again() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, b, verify=1, backoff_s=0.0)
    b.call(TaskComplete(owned["handle"]))
    world.run(0.1)
    assert c.call(TaskReview(task, False, "carol", "no tests"))["state"] == "submitted"
    world.run(0.1)
    view = a.view(task)
    assert view["attempts"] == 1
    (review,) = view["reviews"]
    assert (review["node"], review["accepted"], review["reason"]) == (c.id.hex(), False, "no tests")
    again = a.claim(task)
    assert again["epoch"] == 2
    a.call(TaskComplete(again["handle"]))
    world.run(0.1)
    assert c.call(TaskReview(task, True, "carol"))["state"] == "completed"
    world.run(0.1)
    assert a.view(task)["result"]["by"] == a.id.hex()


def test_refused_as_often_as_it_may_be_tried_a_task_is_a_dead_letter() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a, verify=1, max_attempts=1)
    a.call(TaskComplete(owned["handle"]))
    world.run(0.1)
    assert name(b.call(TaskReview("1-1-" + "0" * 32, True))) == "not_found"
    assert b.call(TaskReview(task, False))["state"] == "failed"


def test_a_dead_owner_is_not_replaced_while_its_result_is_reviewed() -> None:
    world = World(3, orphan_grace_s=1.0)
    a, b, c = world.places
    task, owned = owned_task(world, b, verify=1)
    b.call(TaskComplete(owned["handle"]))
    world.run(0.1)
    b.is_up = False
    for place in (a, c):
        place.learn_end(b, "left")
    world.run(20.0)
    assert name(a.claim(task)) == "already_owned"
    assert c.call(TaskReview(task, True))["state"] == "completed"


def test_a_restarted_owner_does_not_give_up_what_is_reviewed() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a, verify=1)
    a.call(TaskComplete(owned["handle"]))
    world.run(0.1)
    a.restart()
    world.run(30.0)
    assert a.view(task)["waits_for"] == "review"
    assert b.call(TaskReview(task, True))["state"] == "completed"


# ---- operators


def test_a_submitter_takes_a_task_from_its_owner() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, b)
    assert name(c.call(TaskForceRelease(task))) == "not_permitted"
    freed = a.call(TaskForceRelease(task, "stuck for days"))
    assert freed["token"] == owned["token"]
    world.run(0.1)
    assert b.said("task.lost")[-1]["reason"] == "released"
    late = b.call(TaskProgress(owned["handle"]))
    assert isinstance(late, ReplyError)
    assert late.name == "claim_lost"
    assert "nobody owns it now" in late.message
    assert name(a.call(TaskForceRelease(task))) == "no_owner"
    again = c.claim(task)
    assert (again["epoch"], again["attempt"]) == (2, 1)
    assert again["token"] > owned["token"]


def test_what_is_over_can_be_opened_again_as_a_new_task() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a, payload=b"hi", max_attempts=1, progress_limit_s=1.0)
    assert name(b.call(TaskReopen(task))) == "not_finished"
    a.call(TaskProgress(owned["handle"], checkpoint=coded("7")))
    world.run(1.1)
    opened = b.call(TaskReopen(task, request_id="r"))
    assert b.call(TaskReopen(task, request_id="r")) == opened
    world.run(0.1)
    assert a.view(opened["task"])["reopens"] == task
    owned = a.claim(opened["task"])
    assert (owned["payload"], owned["epoch"]) == (coded("hi"), 1)
    assert owned["spec"]["reopens"] == task
    assert name(a.call(TaskForceRelease(task))) == "already_finished"
