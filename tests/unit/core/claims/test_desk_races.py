"""Races, takeovers, and losers: who starts, who stops, and who is told by whom."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from mesh.core.claims.allocation import claim_rank, stagger_order
from mesh.core.claims.facts import Result
from mesh.core.claims.settle import SILENT_WINDOWS
from mesh.core.commands import (
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskHistory,
    TaskRelease,
    TaskStart,
    TaskSubmit,
)
from mesh.core.effects import ReplyError
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import PARAMS, Place, World, task_of

NO_SETTLE = ClaimParams(settle_first_s=0.0, settle_floor_s=0.0, settle_ceiling_s=0.0)


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def race(world: World) -> list[object]:
    """Let every place claim the same task at the same instant; return the answers."""
    task = world[0].submit()
    world.run(3.0 if world.loss else 0.1)
    for place in world.places:
        if place.table.record(task_of(world[0], task)) is None:
            place.receive([*world[0].gossip.published], world[0], None)
    keys = [place.ask(TaskClaim(task=task)) for place in world.places]
    world.run(3.0)
    return [place.replies[key] for place, key in zip(world.places, keys, strict=True)]


def starts(answers: Sequence[object]) -> int:
    return sum(isinstance(answer, dict) for answer in answers)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(5))
def test_of_all_who_race_exactly_one_starts(count: int, seed: int) -> None:
    world = World(count, seed=seed)
    answers = race(world)
    assert starts(answers) == 1
    assert {name(answer) for answer in answers if isinstance(answer, ReplyError)} == {"claim_lost"}


@pytest.mark.parametrize("seed", range(12))
def test_loss_does_not_make_a_second_start(seed: int) -> None:
    # A window of p99 assumes some history of the network; here its first value covers one resend.
    params = ClaimParams(settle_first_s=0.15)
    assert starts(race(World(5, params, seed=seed, loss=0.05))) == 1


def test_without_settling_a_race_is_seen_to_start_twice() -> None:
    doubled = sum(starts(race(World(3, NO_SETTLE, seed=seed))) > 1 for seed in range(10))
    assert doubled >= 5


def test_the_winner_is_the_greatest_rank_and_everyone_agrees() -> None:
    world = World(4)
    task = world[0].submit()
    world.run(0.1)
    keys = [place.ask(TaskClaim(task=task)) for place in world.places]
    world.run(1.0)
    id_ = task_of(world[0], task)
    best = max(world.places, key=lambda place: claim_rank(id_, 1, place.id))
    assert {place.view(task)["owner"]["node"] for place in world.places} == {best.id.hex()}
    loser = next(p for p in world.places if p is not best)
    answer = loser.replies[keys[loser.number]]
    assert isinstance(answer, ReplyError)
    assert best.id.hex() in answer.message
    assert best.view(task)["token"] in answer.message


def test_who_loses_a_claim_by_kind_goes_on_with_the_next_task() -> None:
    world = World(2, staggers=False)
    a, b = world.places
    tasks = {a.submit(), a.submit()}
    world.run(0.1)
    keys = [place.ask(TaskClaim(kinds=("build",))) for place in world.places]
    world.run(1.0)
    owned = [p.replies[k] for p, k in zip((a, b), keys, strict=True)]
    assert starts(owned) == 2
    assert {answer["task"] for answer in owned if isinstance(answer, dict)} == tasks


def test_a_claim_waits_for_every_alive_peer_or_for_its_window() -> None:
    world = World(3)
    a = world[0]
    task = a.submit()
    world.run(0.1)
    key = a.ask(TaskClaim(task=task))
    world.run(0.002)  # on disk, and not yet anywhere else
    assert key not in a.replies
    world.run(0.008)
    assert key in a.replies
    silent = World(2, delay_s=1.0)
    b = silent[0]
    task = b.submit()
    before = silent.now
    assert b.claim(task)["state"] == "owned"
    waited_s = SILENT_WINDOWS * PARAMS.settle_first_s
    assert silent.now - before == pytest.approx(waited_s + 0.001, abs=0.002)


def test_alone_a_claim_starts_after_its_own_commit_and_not_before() -> None:
    world = World(1)
    a = world[0]
    task = a.submit()
    key = a.ask(TaskClaim(task=task))
    assert key not in a.replies
    before = world.now
    world.run_until(lambda: key in a.replies)
    assert world.now - before == pytest.approx(0.001)


def test_next_of_kind_is_staggered_in_the_common_order() -> None:
    world = World(3)
    for place in world.places:
        place.attach(1, "build")
    keys = [place.ask(TaskClaim(kinds=("build",), wait_s=60)) for place in world.places]
    task = world[0].submit()
    world.run(0.5)
    id_ = task_of(world[0], task)
    first = stagger_order(id_, 1, [place.id for place in world.places])[0]
    claimed = [p for p, k in zip(world.places, keys, strict=True) if k in p.replies]
    assert [place.id for place in claimed] == [first]
    claims = [f for p in world.places for f in p.gossip.published if f.signed.context == "claim/2"]
    assert len(claims) == 1, "the others waited long enough to hear of it"


def test_the_second_in_line_claims_when_the_first_does_not() -> None:
    world = World(2)
    for place in world.places:
        place.attach(1, "build")  # both advertise, one asks
    task = world[0].submit()
    world.run(0.02)
    id_ = task_of(world[0], task)
    second = world.place_of(stagger_order(id_, 1, [place.id for place in world.places])[1])
    before = world.now
    assert second.call(TaskClaim(kinds=("build",)))["task"] == task
    assert 0.02 < world.now - before < 0.09


def test_a_partition_heals_with_one_owner_and_the_loser_is_told() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    world.parted = {1: 1}
    owned = [place.claim(task, client=9) for place in (a, b)]
    world.parted = {}
    id_ = task_of(a, task)
    winner, loser = sorted(world.places, key=lambda p: claim_rank(id_, 1, p.id), reverse=True)
    winner.receive(
        [f for f in loser.gossip.published if f.signed.context == "claim/2"], loser, None
    )
    world.run(0.1)
    assert winner.gossip.told, "whoever brings a beaten claim is told at once"
    body = loser.said("task.lost", 9)[0]
    assert body["reason"] == "outranked"
    assert body["by"] == winner.id.hex()
    assert body["token"] == owned[loser.number]["token"]
    assert not winner.said("task.lost", 9)
    assert name(loser.call(TaskStart(owned[loser.number]["handle"]))) == "claim_lost"


def parted_owners(world: World) -> tuple[Place, Place, str, dict[int, str]]:
    """Return winner, loser, task and handles by place: both own it, and know of each other."""
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    world.parted = {1: 1}
    handles = {place.number: place.claim(task, client=9)["handle"] for place in (a, b)}
    world.parted = {}
    id_ = task_of(a, task)
    winner, loser = sorted(world.places, key=lambda p: claim_rank(id_, 1, p.id), reverse=True)
    loser.receive(winner.gossip.published, winner, None)
    winner.receive(loser.gossip.published, loser, None)
    world.run(0.1)
    return winner, loser, task, handles


def test_a_late_completion_counts_and_stops_the_owner() -> None:
    world = World(2)
    winner, loser, task, handles = parted_owners(world)
    done = loser.call(TaskComplete(handles[loser.number], "b2xk"))
    assert done["late"] is True
    world.run(0.1)
    assert winner.said("task.lost", 9)[0]["reason"] == "superseded"
    assert winner.view(task)["state"] == "completed"
    # The greater token may still complete: its result is the one that counts.
    assert winner.call(TaskComplete(handles[winner.number], "bmV3"))["late"] is True
    world.run(0.1)
    for place in world.places:
        view = place.view(task)
        assert view["result"]["text"] == "new"
        assert [old["text"] for old in view["superseded"]] == ["old"]
        assert place.said("task.result_superseded")[0]["by"] == winner.id.hex()


def test_a_late_completion_is_refused_once_a_greater_token_completed() -> None:
    world = World(2)
    winner, loser, _, handles = parted_owners(world)
    winner.call(TaskComplete(handles[winner.number]))
    world.run(0.1)
    assert name(loser.call(TaskComplete(handles[loser.number]))) == "already_finished"


def test_an_outranked_token_neither_fails_nor_releases() -> None:
    world = World(2)
    _, loser, _, handles = parted_owners(world)
    handle = handles[loser.number]
    assert name(loser.call(TaskFail(handle))) == "claim_lost"
    assert name(loser.call(TaskRelease(handle))) == "claim_lost"


@pytest.mark.parametrize(
    ("kind", "more", "grace_s"),
    [
        ("left", {}, 0.0),
        ("verdict", {}, 15.0),
        ("verdict", {"orphan_grace_s": 3.0}, 3.0),
        ("restarted", {}, 10.0),
    ],
)
def test_the_claim_of_an_ended_node_is_taken_over_after_its_grace(
    kind: str, more: dict[str, Any], grace_s: float
) -> None:
    world = World(2)
    a, b = world.places
    task = a.submit(**more)
    world.run(0.1)
    old = b.claim(task)
    b.call(TaskStart(old["handle"]))
    world.run(0.1)
    key = a.ask(TaskClaim(kinds=("build",), wait_s=100))
    world.run(40)
    assert key not in a.replies, "time alone never takes a claim away"
    b.is_up = False
    if kind == "restarted":
        b.boot = type(b.boot)(b.boot + 1)
    before = world.now
    a.learn_end(b, kind)
    world.run_until(lambda: key in a.replies, 60)
    assert world.now - before == pytest.approx(grace_s, abs=0.2)
    answer = a.replies[key]
    assert isinstance(answer, dict)
    assert (answer["epoch"], answer["attempt"]) == (2, 2)
    facts = a.call(TaskHistory(task))["facts"]
    claim = next(fact for fact in facts if fact.get("epoch") == 2)
    assert claim["evidence"]["subject"] == b.id.hex()
    evidence = a.liveness.ends[b.id].fact
    assert a.gossip.published.index(evidence) < len(a.gossip.published) - 1


def test_the_returning_owner_learns_that_it_was_superseded() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    old = b.claim(task, client=4)
    world.run(0.1)
    world.parted = {1: 1}
    a.learn_end(b, "left")
    assert a.claim(task)["epoch"] == 2
    world.parted = {}
    b.receive(a.gossip.published, a, None)
    assert [(n["reason"], n["token"]) for n in b.said("task.lost", 4)] == [
        ("superseded", old["token"])
    ]


def test_an_owner_that_came_back_before_the_grace_keeps_its_claim() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    b.claim(task)
    world.run(0.1)
    a.learn_end(b, "verdict")
    key = a.ask(TaskClaim(task=task, wait_s=30))
    world.run(10)
    del a.liveness.ends[b.id]  # the verdict was refuted
    a.turn(a.desk.handle_members_changed)
    world.run(15)
    assert key not in a.replies
    world.run(10)
    assert name(a.replies[key]) == "already_owned"


def test_nobody_takes_over_without_being_asked() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    b.claim(task)
    world.run(0.1)
    a.learn_end(b, "left")
    world.run(60)
    assert a.view(task)["epoch"] == 1


def test_a_used_up_task_is_not_taken_over() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit(max_attempts=1)
    world.run(0.1)
    b.call(TaskStart(b.claim(task)["handle"]))
    world.run(0.1)
    a.learn_end(b, "left")
    assert name(a.claim(task)) == "already_owned"


def test_claims_by_id_say_why_not() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = a.claim(task)
    world.run(0.1)
    refused = b.claim(task)
    assert name(refused) == "already_owned"
    assert owned["token"] in refused.message
    a.call(TaskComplete(owned["handle"]))
    world.run(0.1)
    assert name(b.claim(task)) == "already_finished"


def test_a_dominated_progress_is_answered_too_and_own_facts_never() -> None:
    world = World(2)
    winner, loser, task, _ = parted_owners(world)
    winner.gossip.told.clear()
    id_ = task_of(winner, task)
    claim = next(v.fact for v in winner.table.record(id_).claims if v.fact.author == loser.id)  # type: ignore[union-attr]  # the task is there
    late = Result(id_, claim.id, b"", hashlib.blake2b(b"", digest_size=32).digest())
    loser.publish(late)
    world.run(0.1)
    assert not winner.gossip.told, "a completion is welcome"


def test_capacity_is_reserved_with_the_claim() -> None:
    world = World(1)
    place = world[0]
    place.attach(1, "build", capacity=2)
    tasks = [place.submit() for _ in range(3)]
    keys = [place.ask(TaskClaim(kinds=("build",), wait_s=60)) for _ in range(3)]
    world.run(0.1)
    owned = [place.replies.get(key) for key in keys]
    assert [isinstance(answer, dict) for answer in owned] == [True, True, False]
    assert name(place.claim(tasks[2])) == "no_capacity"
    assert place.desk.waiting_kinds() == ("build",), "a claim is still waiting"
    first = owned[0]
    assert isinstance(first, dict)
    place.call(TaskComplete(str(first["handle"])))
    world.run(0.1)
    assert isinstance(place.replies[keys[2]], dict)
    assert place.desk.waiting_kinds() == ()


def test_a_claim_by_kind_takes_the_oldest_task_and_waits_for_the_next() -> None:
    world = World(1)
    place = world[0]
    first, second = place.submit(), place.submit()
    claim = TaskClaim(kinds=("other", "build"), wait_s=5)
    assert place.call(claim)["task"] == first
    assert place.call(claim)["task"] == second
    key = place.ask(claim)
    world.run(1)
    third = place.call(TaskSubmit("other"))["task"]
    world.run(0.1)
    answer = place.replies[key]
    assert isinstance(answer, dict)
    assert answer["task"] == third
    before = world.now
    assert name(place.call(claim, wait_s=6)) == "no_task"
    assert world.now - before == pytest.approx(5)


def test_late_acknowledgements_widen_the_window() -> None:
    world = World(2, delay_s=0.2)
    a = world[0]
    task = a.submit()
    world.run(1.0)
    before = a.desk.counters()["settle_window_us"]
    assert a.claim(task)["state"] == "owned"
    world.run(1.0)
    assert before == 50_000
    assert a.desk.counters()["settle_window_us"] > 200_000


def test_whoever_acknowledged_the_lesser_claim_tells_its_author_of_the_greater() -> None:
    world = World(3)
    task = world[0].submit()
    world.run(0.1)
    id_ = task_of(world[0], task)
    witness, lesser, greater = sorted(
        world.places, key=lambda place: claim_rank(id_, 1, place.id) if place.number else -1
    )
    world.parted = {greater.number: 1}
    lost = lesser.ask(TaskClaim(task=task))
    world.run(0.004)
    assert lost not in lesser.replies
    greater.claim(task)
    world.parted = {}
    (best,) = [v for v in greater.gossip.published if v.fact.task == id_]
    witness.receive([best], greater, None)
    assert witness.gossip.told == [(lesser.id, (best.id,))]
    world.run(0.1)
    assert name(lesser.replies[lost]) == "claim_lost"
