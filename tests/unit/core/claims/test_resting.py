"""Tasks of which only part is known yet are left alone for a while."""

from mesh.core.claims.facts import ProgressState
from mesh.core.claims.resting import LONG_AGO, RESTS_AT_START, RESTS_MAX, Resting
from mesh.core.commands import TaskClaim, TaskStart
from mesh.core.effects import ReplyError
from mesh.core.identity import TaskId
from mesh.core.instants import Instant, Now, WallTime
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import Place, World, task_of

PARAMS = ClaimParams(sync_rest_s=0.5)
ONE, TWO = TaskId(b"1" * 28), TaskId(b"2" * 28)


def at(seconds: float) -> Now:
    return Now(Instant(seconds), WallTime(0.0))


def more_comes(place: Place, task: str) -> None:
    """A fact about a task comes by reconciliation."""
    id_ = task_of(place, task)
    place.turn(lambda now: place.desk.handle_reconciled(now, id_))
    place.turn(lambda now: place.desk.handle_changed(now, [id_]))


def test_a_task_rests_until_nothing_has_come_for_a_while() -> None:
    resting = Resting(PARAMS)
    assert resting.until(at(1.0), ONE) == LONG_AGO
    resting.note(at(1.0), ONE)
    assert resting.until(at(1.0), ONE) == 1.5
    resting.note(at(1.4), TWO)
    assert resting.until(at(1.4), ONE) == 1.9, "facts about any task: the exchange goes on"
    assert resting.until(at(1.9), ONE) == LONG_AGO
    resting.note(at(3.0), TWO)
    assert resting.until(at(3.0), ONE) == LONG_AGO
    resting.forget(TWO)
    assert resting.until(at(3.0), TWO) == LONG_AGO


def test_no_task_rests_for_ever() -> None:
    resting, end = Resting(PARAMS), 10.0 + RESTS_MAX * 0.5
    for tenth in range(200):
        resting.note(at(10.0 + tenth / 10), ONE)
    assert resting.until(at(29.9), ONE) == end
    resting.note(at(29.9), TWO)
    assert resting.until(at(29.9), TWO) == 30.4


def test_what_a_node_knows_from_before_rests_when_it_starts() -> None:
    resting = Resting(PARAMS)
    resting.begin(at(1.0), [ONE])
    assert resting.until(at(1.0), ONE) == 1.0 + RESTS_AT_START * 0.5
    resting.note(at(1.1), TWO)
    assert resting.until(at(1.1), ONE) == 3.0, "what comes makes it no shorter"


def test_a_claim_by_id_waits_for_as_long_as_a_task_rests() -> None:
    world = World(count=2)
    world.run(3.0)
    place, task = world[0], world[1].submit()
    world.run(0.1)
    more_comes(place, task)
    at_once = place.ask(TaskClaim(kinds=("build",)), 2)
    assert isinstance(place.replies[at_once], ReplyError)
    by_id = place.ask(TaskClaim(task=task), 3)
    world.run(0.2)
    assert by_id not in place.replies
    more_comes(place, task)
    world.run(0.4)
    assert by_id not in place.replies
    world.run(0.5)
    assert place.replies[by_id]["task"] == task  # type: ignore[index,call-overload]  # the view of a claim


def test_a_claim_by_id_is_refused_when_an_owner_shows_in_the_meantime() -> None:
    world = World(count=2)
    place, task = world[0], world[1].submit()
    world.run(0.1)
    more_comes(place, task)
    by_id = place.ask(TaskClaim(task=task), 3)
    world[1].claim(task, 4)
    world.run(2.0)
    answer = place.replies[by_id]
    assert isinstance(answer, ReplyError)
    assert answer.name == "already_owned"


def test_word_of_a_claim_that_is_still_to_come_keeps_others_from_claiming() -> None:
    world = World(count=2)
    world.parted = {1: 1}
    task = world[0].submit()
    owned = world[0].claim(task)
    world[0].call(TaskStart(str(owned["handle"])))
    spec, claim, started = world[0].table.facts_of(task_of(world[0], task))
    assert started.fact.state == ProgressState.STARTED
    world.parted = {}
    waiting = world[1].ask(TaskClaim(kinds=("build",), wait_s=60.0))
    world[1].receive((started,), world[0], None)
    world[1].receive((spec,), world[0], None)
    world.run(0.3)
    assert waiting not in world[1].replies
    world[1].receive((claim,), world[0], None)
    world.run(5.0)
    assert waiting not in world[1].replies
    assert world[0].view(task)["starts"] == 1


def test_a_restarted_node_leaves_what_it_knows_alone_until_it_has_heard_of_the_others() -> None:
    world = World(count=2)
    task = world[0].submit()
    world.run(0.5)
    world[1].restart()
    waiting = world[1].ask(TaskClaim(kinds=("build",), wait_s=60.0))
    world.run(1.0)
    assert waiting not in world[1].replies
    world.run(2.0)
    assert world[1].replies[waiting]["task"] == task  # type: ignore[index,call-overload]  # the view of a claim
