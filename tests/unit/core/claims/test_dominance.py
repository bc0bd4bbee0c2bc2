"""Which facts beat a claim, whom a claim beats, and which claims count at all."""

from mesh.core.claims.dominance import (
    counts,
    dominating_ids,
    is_backed,
    missing_ids,
    outraced,
    owner_ids,
)
from mesh.core.claims.facts import Claim, Progress, ProgressState, Spec
from mesh.core.claims.table import Table
from mesh.core.commands import TaskClaim, TaskComplete, TaskStart
from tests.unit.core.claims.desk_world import MESH, PARAMS, Place, World, evidence_of, task_of


def racers() -> tuple[World, Place, Place, str]:
    """Return two places that claimed one task apart from each other: the greater claim first."""
    world = World(2)
    task = world[0].submit()
    world.run(0.1)
    world.parted = {1: 1}
    for place in world.places:
        place.claim(task)
    lesser, greater = sorted(world.places, key=lambda place: str(place.view(task)["token"]))
    return world, greater, lesser, task


def test_a_beaten_claim_and_what_is_said_of_it_are_answered_with_the_greater_one() -> None:
    _, greater, lesser, task = racers()
    (beaten,) = [v for v in lesser.gossip.published if isinstance(v.fact, Claim)]
    (best,) = [v for v in greater.gossip.published if isinstance(v.fact, Claim)]
    id_ = task_of(greater, task)
    greater.table.add(beaten)
    assert dominating_ids(greater.table, beaten) == [best.id]
    assert dominating_ids(greater.table, best) == []
    for state in (ProgressState.STARTED, ProgressState.SUSPENDED, ProgressState.RELEASED):
        (said,) = lesser.author.sign([Progress(id_, beaten.id, lesser.boot, 9, state, b"")])
        greater.table.add(said)
        told = [] if state is ProgressState.RELEASED else [best.id]
        assert dominating_ids(greater.table, said) == told


def test_only_the_greatest_claim_outraces_and_only_within_its_epoch() -> None:
    _, greater, lesser, _ = racers()
    (beaten,) = [v for v in lesser.gossip.published if isinstance(v.fact, Claim)]
    (best,) = [v for v in greater.gossip.published if isinstance(v.fact, Claim)]
    lesser.table.add(best)
    greater.table.add(beaten)
    assert outraced(lesser.table, best) == (lesser.id, [best.id])
    assert outraced(greater.table, beaten) is None
    world = World(2)
    again = world[0].submit()
    world.run(0.1)
    world[1].claim(again)
    world.run(0.1)
    world[0].learn_end(world[1], "left")
    world[0].claim(again)
    (heir,) = [v for v in world[0].gossip.published if isinstance(v.fact, Claim)]
    assert heir.fact.epoch == 2
    assert outraced(world[0].table, heir) is None, "who is gone has not lost a race"


def taken_over() -> tuple[World, str]:
    """Return a world whose first place has taken a task over unheard by the third; its handle."""
    world = World(3)
    task = world[0].submit()
    world.run(0.1)
    world[1].claim(task)
    world.run(0.1)
    world.parted = {2: 1}
    world[0].learn_end(world[1], "left")
    handle: str = world[0].claim(task)["handle"]
    return world, handle


def test_a_claim_counts_once_what_it_cites_is_there() -> None:
    world, _ = taken_over()
    evidence, heir = world[0].gossip.published[-2:]
    stranger = world[2]
    stranger.table.add(heir)
    assert not counts(stranger.table, heir)
    stranger.accept(world.clock(), evidence, world[0])
    assert counts(stranger.table, heir)
    spec = world[0].gossip.published[0]
    assert counts(stranger.table, spec), "what claims nothing is never in doubt"


def test_who_has_only_the_end_of_a_task_asks_for_the_rest_step_by_step() -> None:
    world, handle = taken_over()
    world[0].call(TaskComplete(handle))
    spec, *_, evidence, second, started, result = world[0].gossip.published
    (first,) = [v for v in world[1].gossip.published if isinstance(v.fact, Claim)]
    table = Table(MESH, PARAMS, lambda _: False)
    table.add(result)
    for missing in (second, spec, first):
        assert not is_backed(table, result)
        assert missing_ids(table, result) == [missing.id]
        table.add(missing)
    assert missing_ids(table, result) == [], "the membership will tell why the first claim ended"
    assert not is_backed(table, result)
    table.add_evidence(evidence_of(evidence))
    assert is_backed(table, result)
    assert is_backed(table, started), "though it is not there itself"
    assert is_backed(table, spec)


def owner_of(world: World, task: str) -> list[str]:
    """Return the kinds of facts that tell who owns a task, for those who hear of it late."""
    table = world[0].table
    facts = {fact.id: fact for fact in table.facts_of(task_of(world[0], task))}
    (spec,) = [fact for fact in facts.values() if isinstance(fact.fact, Spec)]
    return [type(facts[id_].fact).__name__ for id_ in owner_ids(table, spec)]


def test_whoever_hears_of_a_task_late_is_told_who_owns_it_and_not_the_task_itself() -> None:
    world = World(2)
    task = world[0].submit()
    world.run(0.1)
    assert owner_of(world, task) == []
    handle = world[0].claim(task)["handle"]
    assert owner_of(world, task) == ["Claim"]
    world[0].call(TaskStart(handle))
    assert owner_of(world, task) == ["Claim", "Progress"]
    (claim,) = [v for v in world[0].gossip.published if isinstance(v.fact, Claim)]
    assert owner_ids(world[0].table, claim) == []


def test_whoever_hears_of_an_auction_late_may_bid_until_the_winner_begins() -> None:
    world = World(2)
    task = world[0].submit(allocation="auction")
    key = world[0].ask(TaskClaim(task=task, wait_s=5.0))
    world.run(0.5)
    assert owner_of(world, task) == []
    world.run(3.0)
    answer = world[0].replies[key]
    assert isinstance(answer, dict)
    world[0].call(TaskStart(str(answer["handle"])))
    assert owner_of(world, task) == ["Claim", "Progress"]


def test_nobody_owns_what_is_not_held() -> None:
    world = World(1)
    task = world[0].submit()
    (spec,) = world[0].table.facts_of(task_of(world[0], task))
    assert owner_ids(Table(MESH, PARAMS, lambda _: False), spec) == []
