"""Checkpoints and contexts that are too large for a fact, at the desk."""

import pytest

from mesh.core.claims import payloads
from mesh.core.claims.allocation import stagger_order
from mesh.core.claims.reporting import REPORTS_FREE
from mesh.core.commands import (
    TaskAccept,
    TaskClaim,
    TaskHistory,
    TaskOffer,
    TaskProgress,
    TaskRelease,
    TaskSubmit,
)
from mesh.core.effects import ReplyError
from mesh.core.identity import BlobId, parse_task_text
from tests.unit.core.claims.desk_world import World
from tests.unit.core.claims.test_desk_exchange import coded, name, owned_task
from tests.unit.core.effort import Effort

LEFT = BlobId(b"l" * 32)


def test_a_large_checkpoint_is_named_and_fetched_by_submitter_and_heir() -> None:
    world = World(4)
    a, b = world[0], world[1]
    task, owned = owned_task(world, b)
    b.blobs.here[LEFT] = 20_000
    said = b.call(TaskProgress(owned["handle"], checkpoint_blob=LEFT.hex()))
    assert said["published"]
    assert said["copies"] >= 2
    world.run(0.1)
    others = [place.id for place in world.places if place is not b]
    heir = stagger_order(parse_task_text(task), 2, others)[0]
    for place in world.places:
        kept = place.view(task)["checkpoint"]
        assert (kept["digest"], kept["size"], kept["data"]) == (LEFT.hex(), 20_000, "")
        fetches = place is a or place.id == heir
        assert place.blobs.wanted == ({LEFT: b.id} if fetches else {})
        assert LEFT in place.blobs.kept
    b.call(TaskProgress(owned["handle"], "no word of a checkpoint"))
    b.call(TaskRelease(owned["handle"]))
    world.run(0.1)
    again = world[2].claim(task)
    assert again["checkpoint"]["digest"] == LEFT.hex()
    (told,) = [f for f in a.call(TaskHistory(task))["facts"] if f.get("checkpoint_blob")]
    assert told["checkpoint_blob"] == {"digest": LEFT.hex(), "size": 20_000}


def test_the_blob_of_a_report_that_waits_is_kept_and_the_one_it_replaces_is_not() -> None:
    world = World(2)
    b = world[1]
    _, owned = owned_task(world, b)
    world.run(100.0)
    for number in range(REPORTS_FREE):
        assert b.call(TaskProgress(owned["handle"], done=number))["published"]
    waiting = [BlobId(bytes([mark]) * 32) for mark in range(2)]
    b.blobs.here |= dict.fromkeys(waiting, 600)
    for blob in waiting:
        said = b.call(TaskProgress(owned["handle"], checkpoint_blob=blob.hex()))
        assert not said["published"]
    assert [blob in b.blobs.kept for blob in waiting] == [False, True]
    b.call(TaskProgress(owned["handle"], "a word"))
    assert waiting[1] in b.blobs.kept
    b.call(TaskRelease(owned["handle"]))
    assert b.view(owned["task"])["checkpoint"]["digest"] == waiting[1].hex()


@pytest.mark.parametrize(
    ("size", "given", "refused"),
    [
        (65_537, "", "checkpoint_too_large"),
        (600, coded("46"), "two_payloads"),
        (0, "", "blob_not_here"),
    ],
)
def test_bad_checkpoints_are_refused_and_the_last_one_stays(
    size: int, given: str, refused: str
) -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, b)
    b.call(TaskProgress(owned["handle"], checkpoint=coded("7")))
    if size:
        b.blobs.here[LEFT] = size
    said = TaskProgress(owned["handle"], checkpoint=given, checkpoint_blob=LEFT.hex())
    assert name(b.call(said)) == refused
    world.run(0.1)
    assert a.view(task)["checkpoint"]["data"] == coded("7")
    assert a.view(task)["owner"]["node"] == b.id.hex()


def test_an_offer_with_a_large_context_is_accepted_once_that_is_here() -> None:
    world = World(3)
    a, b, c = world.places
    task, owned = owned_task(world, b)
    b.blobs.here[LEFT] = 5_000
    b.call(TaskOffer(owned["handle"], to="c", context_blob=LEFT.hex()))
    world.run(0.1)
    for place in (a, c):
        view = place.view(task)["handoff"]
        assert view["context_blob"] == {"digest": LEFT.hex(), "size": 5_000}
        assert place.blobs.wanted == {LEFT: b.id}
    answer = c.call(TaskAccept(task))
    assert isinstance(answer, ReplyError)
    assert (answer.name, bool(answer.hint)) == ("context_not_here", True)
    assert c.view(task)["owner"]["node"] == b.id.hex()
    c.blobs.here[LEFT] = 5_000
    taken = c.call(TaskAccept(task))
    assert taken["epoch"] == 2
    assert taken["handoff"]["context_blob"]["digest"] == LEFT.hex()
    world.run(0.1)
    assert all(place.view(task)["owner"]["node"] == c.id.hex() for place in world.places)
    assert all(LEFT in place.blobs.kept for place in (b, c))
    (told,) = [f for f in a.call(TaskHistory(task))["facts"] if f["kind"] == "offer"]
    assert told["context_blob"] == {"digest": LEFT.hex(), "size": 5_000}


def test_an_offer_to_anyone_is_fetched_by_the_submitter_and_who_would_claim_next() -> None:
    world = World(4)
    task, owned = owned_task(world, world[1])
    world[1].blobs.here[LEFT] = 5_000
    world[1].call(TaskOffer(owned["handle"], context_blob=LEFT.hex()))
    world.run(0.1)
    others = [place.id for place in world.places if place is not world[1]]
    heir = stagger_order(parse_task_text(task), 2, others)[0]
    fetching = [place.id for place in world.places if place.blobs.wanted]
    assert sorted(fetching) == sorted({world[0].id, heir})


@pytest.mark.parametrize(
    ("size", "goal", "refused"),
    [(65_537, "", "context_too_large"), (600, "g", "two_payloads"), (0, "", "blob_not_here")],
)
def test_bad_contexts_are_refused_and_the_owner_stays(size: int, goal: str, refused: str) -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, b)
    if size:
        b.blobs.here[LEFT] = size
    said = TaskOffer(owned["handle"], goal=goal, context_blob=LEFT.hex())
    assert name(b.call(said)) == refused
    assert b.view(task)["handoff"] is None
    assert a.view(task)["owner"]["node"] == b.id.hex()
    assert b.call(TaskProgress(owned["handle"], "still mine"))["published"]


def effort_of_a_turn(tasks: int) -> int:
    """Return how many lines the rules about payloads take beside so many that lack theirs."""
    world = World(2)
    a, b = world.places
    a.blobs.here |= {BlobId(n.to_bytes(32, "big")): 500_000 for n in range(tasks)}
    for blob in tuple(a.blobs.here):
        a.call(TaskSubmit("large", blob=blob.hex()))
    world.run(0.1)
    with Effort(payloads.__file__) as effort:
        b.call(TaskSubmit("small"))
    assert not b.blobs.wanted
    b.ask(TaskClaim(kinds=("large",), wait_s=60.0))
    assert len(b.blobs.wanted) == tasks
    return effort.lines


def test_a_turn_takes_no_more_work_beside_many_tasks_that_lack_their_payload() -> None:
    assert effort_of_a_turn(200) == effort_of_a_turn(5)


def test_a_task_that_is_waited_for_by_name_gets_its_payload() -> None:
    world = World(2)
    a, b = world.places
    a.blobs.here |= {LEFT: 500_000, BlobId(b"o" * 32): 600_000}
    task = str(a.call(TaskSubmit("large", blob=LEFT.hex()))["task"])
    a.call(TaskSubmit("large", blob=(b"o" * 32).hex()))
    world.run(0.1)
    b.ask(TaskClaim(task=task, wait_s=60.0))
    assert b.blobs.wanted == {LEFT: a.id}
