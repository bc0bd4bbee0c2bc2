"""Who gets a task: whoever comes, whoever is first in line, or whoever bids most."""

from dataclasses import replace

import pytest

from mesh.core.claims.allocation import LOT_BITS, bid_rank, claim_rank, score_of, stagger_order
from mesh.core.claims.facts import Allocation, Claim
from mesh.core.claims.sessions import BIDS_KEPT_MAX, Bid, Session
from mesh.core.commands import TaskBid, TaskCancel, TaskClaim, TaskFail, TaskStart
from mesh.core.effects import ClientId, ReplyError
from mesh.core.identity import NodeId, TaskId
from mesh.core.instants import Instant
from tests.unit.core.claims.desk_world import Place, World, task_of
from tests.unit.core.claims.scribe import ANN, BOB, table_of
from tests.unit.core.claims.test_desk_schedule import claims_next

WINDOW_S = 1.0


def bids_of(world: World) -> list[tuple[str, int]]:
    claims = [fact for fact in world[0].gossip.held.values() if isinstance(fact.fact, Claim)]
    return sorted(
        (world.place_of(claim.author).name, score_of(claim.fact.rank)) for claim in claims
    )


def bidder(
    place: Place, score: int | None, wait_s: float = 0.0, client: int = 1
) -> tuple[int, int]:
    return place.ask(TaskClaim(kinds=("build",), wait_s=wait_s, score=score), client)


# ---- auctions


@pytest.mark.parametrize("seed", range(6))
def test_the_highest_of_ten_bids_wins_everywhere_whatever_the_order(seed: int) -> None:
    world = World(count=8, seed=seed)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    scores = world.rng.sample(range(1, 1000), 8)
    keys = []
    for place, score in zip(world.places, scores, strict=True):
        keys.append(bidder(place, score))
        world.run(world.rng.uniform(0.0, 0.1))
    world.run(3.0)
    best = world.places[scores.index(max(scores))]
    assert {place.view(task)["owner"]["name"] for place in world.places} == {best.name}
    for place, key in zip(world.places, keys, strict=True):
        answer = place.replies[key]
        assert isinstance(answer, ReplyError) is (place is not best), "and everybody else is told"


def test_a_bid_rests_until_the_window_is_over() -> None:
    world = World(count=2)
    world[0].submit(allocation="auction", bid_window_s=3.0)
    world.run(0.1)
    began = world.now
    key = bidder(world[0], 5)
    world.run_until(lambda: key in world[0].replies)
    assert 3.0 < world.now - began < 3.5


def test_a_better_bid_within_the_window_wins_and_a_later_one_is_not_made() -> None:
    world = World(count=3)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    first = bidder(world[0], 5)
    world.run(0.5)
    better = bidder(world[1], 6, wait_s=5.0)
    world.run(1.0)
    late = bidder(world[2], 7)
    world.run(3.0)
    assert isinstance(world[0].replies[first], ReplyError)
    assert isinstance(world[2].replies[late], ReplyError)
    assert world[1].replies[better]["task"] == task  # type: ignore[index,call-overload]  # the view of a claim
    assert bids_of(world) == [("a", 5), ("b", 6)]
    assert [bid["score"] for bid in world[2].view(task)["bids"]] == [6, 5]


def test_a_worse_bid_is_not_even_made() -> None:
    world = World(count=2)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    bidder(world[0], 9)
    world.run(0.1)
    by_id = world[1].ask(TaskClaim(task=task, score=3))
    by_kind = bidder(world[1], 3)
    world.run(0.1)
    assert [world[1].replies[key].name for key in (by_id, by_kind)] == ["already_owned", "no_task"]  # type: ignore[union-attr]  # refusals
    assert bids_of(world) == [("a", 9)]


def test_equal_bids_are_decided_by_the_lot() -> None:
    world = World(count=4)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    for place in world.places:
        bidder(place, 5)
    world.run(3.0)
    id_ = task_of(world[0], task)
    best = max(world.places, key=lambda place: claim_rank(id_, 1, place.id))
    assert world[3].view(task)["owner"]["name"] == best.name


def test_without_a_score_tags_decide() -> None:
    world = World(count=3)
    world[1].tags = (("zone", "a"),)
    task = world[0].submit(allocation="auction", prefers={"zone": "a"})
    world.run(0.1)
    for place in world.places:
        bidder(place, None)
    world.run(3.0)
    assert world[0].view(task)["owner"]["name"] == "b"


def test_agents_are_invited_to_bid_and_one_node_bids_its_best() -> None:
    world = World()
    [place] = world.places
    for client in (1, 2, 3):
        place.attach(client, "build")
    task = place.submit(allocation="auction")
    world.run(0.1)
    assert [place.said("task.auction", client)[0]["task"] for client in (1, 2, 3)] == [task] * 3
    keys = [bidder(place, score, 0.0, client) for client, score in ((1, 4), (2, 9), (3, 2))]
    world.run(3.0)
    won = [not isinstance(place.replies[key], ReplyError) for key in keys]
    assert won == [False, True, False]


def test_many_agents_of_one_node_may_bid_more_and_more() -> None:
    world = World(count=2)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    keys = []
    for score in range(1, 9):
        keys.append(bidder(world[0], score, client=score))
        world.run(0.02)
    other = bidder(world[1], 5)
    world.run(3.0)
    assert [isinstance(world[0].replies[key], ReplyError) for key in keys] == [True] * 7 + [False]
    assert isinstance(world[1].replies[other], ReplyError)
    assert world[1].view(task)["bids"][0]["score"] == 8


def employed(place: Place, client: int = 1, *, jobs: int = 1) -> tuple[int, int]:
    """Attach an agent that bids task by task, and let it wait for work."""
    place.attach(client, "build", capacity=jobs)
    return place.ask(TaskClaim(kinds=("build",), wait_s=600.0, by_task=True), client)


def test_who_bids_task_by_task_is_asked_for_each_and_stays_away_until_it_has_said() -> None:
    world = World(count=2)
    place = world[0]
    early, task = employed(place, 1), place.submit(payload=b"hi", allocation="auction")
    world.run(0.1)
    late = employed(place, 2)
    world.run(5.0)
    asked = [place.said("task.auction", client) for client in (1, 2)]
    assert [[event["task"] for event in told] for told in asked] == [[task]] * 2
    assert asked[0][0]["payload"] == "aGk="
    assert early not in place.replies
    assert bids_of(world) == []
    place.call(TaskBid(task, 7), 2)
    world.run(3.0)
    assert place.replies[late]["task"] == task  # type: ignore[index,call-overload]  # the view of a claim
    assert early not in place.replies
    assert bids_of(world) == [("a", 7)]


def test_who_says_nothing_is_asked_again_half_a_minute_later() -> None:
    world = World(count=2)
    place = world[0]
    employed(place)
    place.submit(allocation="auction")
    world.run(25.0)
    place.ask(TaskClaim(kinds=("build",), by_task=True), 1)
    assert len(place.said("task.auction", 1)) == 1
    world.run(10.0)
    place.ask(TaskClaim(kinds=("build",), by_task=True), 1)
    place.ask(TaskClaim(kinds=("build",), by_task=True), 1)
    assert len(place.said("task.auction", 1)) == 2


def test_what_was_bid_for_a_task_counts_for_one_auction_of_it() -> None:
    world = World(count=2)
    place = world[0]
    key, task = employed(place, 1), place.submit(allocation="auction", backoff_s=0.0)
    place.call(TaskBid(task, 7), 1)
    world.run(3.0)
    answer = place.replies[key]
    assert isinstance(answer, dict)
    again = place.ask(TaskClaim(kinds=("build",), wait_s=600.0, by_task=True), 1)
    place.call(TaskFail(str(answer["handle"]), "no luck"), 1)
    world.run(3.0)
    assert len(place.said("task.auction", 1)) == 2
    assert again not in place.replies
    place.call(TaskBid(task, 3), 1)
    world.run(3.0)
    assert place.replies[again]["epoch"] == 2  # type: ignore[index,call-overload]  # the view of a claim
    assert bids_of(world) == [("a", 3), ("a", 7)]


def test_who_bids_task_by_task_takes_all_else_like_anybody() -> None:
    world = World(count=2)
    place = world[0]
    key, task = employed(place), place.submit()
    world.run(1.0)
    assert place.replies[key]["task"] == task  # type: ignore[index,call-overload]  # the view of a claim


def test_who_asks_for_less_than_others_does_not_keep_them_from_bidding_task_by_task() -> None:
    world = World(count=2)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    bidder(world[1], 5)
    world.run(0.1)
    poor, rich = bidder(world[0], 1, wait_s=3.0), employed(world[0], 2)
    world[0].call(TaskBid(task, 9), 2)
    world.run(4.0)
    assert isinstance(world[0].replies[poor], ReplyError)
    assert world[0].replies[rich]["task"] == task  # type: ignore[index,call-overload]  # the view of a claim


def test_a_bid_for_nothing_in_particular_is_refused() -> None:
    world = World(count=2)
    place = world[0]
    plain, auction = place.submit(), place.submit(allocation="auction")
    assert place.call(TaskBid(auction, 1), 3).name == "not_attached"
    place.attach(3, "other")
    assert place.call(TaskBid(plain, 1), 3).name == "no_auction"
    assert place.call(TaskBid("1-1-" + "00" * 16, 1), 3).name == "not_found"


def test_of_what_agents_bid_only_so_much_is_kept_and_nothing_of_a_task_that_is_over() -> None:
    agent = Session(ClientId(1), "bot", ("build",), 1)
    for number in range(BIDS_KEPT_MAX + 1):
        agent.set_bid(TaskId(number.to_bytes(28, "big")), Bid(Instant(0.0), 1))
    assert len(agent.bids) == BIDS_KEPT_MAX
    assert TaskId(bytes(28)) not in agent.bids
    world = World(count=2)
    world[0].attach(1, "build")
    task = world[0].submit(allocation="auction")
    world[0].call(TaskBid(task, 4), 1)
    world[0].call(TaskCancel(task))
    world.run(1.0)
    session = world[0].desk._ledger.sessions.session(ClientId(1))
    assert session is not None
    assert not session.bids


def test_a_dead_winner_is_replaced_by_auction() -> None:
    world = World(count=3, orphan_grace_s=1.0)
    task = world[0].submit(allocation="auction")
    world.run(0.1)
    for place, score in zip(world.places, (5, 6, 9), strict=True):
        bidder(place, score, wait_s=60.0)
    world.run(2.0)
    winner = world[2]
    answer = winner.replies[1, 1]
    assert isinstance(answer, dict)
    winner.call(TaskStart(str(answer["handle"])))
    world.run(0.5)
    winner.is_up = False
    for place in world.places[:2]:
        place.learn_end(winner, "verdict")
    world.run(10.0)
    view = world[0].view(task)
    assert (view["owner"]["name"], view["epoch"]) == ("b", 2)


def test_who_hears_late_of_an_auction_does_not_rob_a_winner() -> None:
    world = World(count=2)
    world.parted = {1: 1}
    task = world[0].submit(allocation="auction")
    handle = claims_next(world[0])["handle"]
    world[0].call(TaskStart(handle))
    held = tuple(world[0].gossip.held.values())
    world.parted = {}
    world[1].receive(held, world[0], None)
    assert claims_next_scored(world[1], 60_000).name == "no_task"
    assert world[1].view(task)["owner"]["name"] == "a"


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_first_bid_that_comes_by_itself_opens_the_bidding_on_a_task_that_rests(
    by_itself: bool,
) -> None:
    world = World(count=2)
    world.run(3.0)
    world.parted = {1: 1}
    task = world[0].submit(allocation="auction", bid_window_s=2.0)
    id_ = task_of(world[0], task)
    bidder(world[0], 5)
    facts = {type(fact.fact).__name__: fact for fact in world[0].gossip.held.values()}
    world.parted = {}
    late = bidder(world[1], 9, wait_s=4.0)
    world[1].turn(lambda now: world[1].desk.handle_reconciled(now, id_))
    world[1].receive((facts["Spec"],), world[0], None)
    world[1].receive((facts["Claim"],), world[0], None)
    if by_itself:
        for _ in range(2):
            world[1].turn(lambda now: world[1].desk.handle_bid(now, id_))
    world[1].turn(lambda now: world[1].desk.handle_changed(now, [id_]))
    world.run(6.0)
    assert isinstance(world[1].replies[late], ReplyError) is not by_itself
    assert world[0].view(task)["owner"]["name"] == ("b" if by_itself else "a")


def test_a_claim_on_what_is_not_auctioned_opens_no_bidding() -> None:
    world = World(count=2)
    task = world[0].submit()
    id_ = task_of(world[0], task)
    world[0].claim(task)
    world.run(0.5)
    world[1].turn(lambda now: world[1].desk.handle_bid(now, id_))
    assert not world[1].said("task.auction")


def claims_next_scored(place: Place, score: int) -> ReplyError:
    key = bidder(place, score)
    place.world.run(3.0)
    answer = place.replies[key]
    assert isinstance(answer, ReplyError)
    return answer


@pytest.mark.parametrize("allocation", list(Allocation))
def test_a_score_counts_in_an_auction_only(allocation: Allocation) -> None:
    spec = ANN.spec(allocation=int(allocation))
    claim = BOB.claim(spec).fact
    bid = BOB.write(replace(claim, rank=bid_rank(7, claim.rank)))
    record = table_of(spec, bid).record(spec.fact.task)
    assert record is not None
    assert record.claims[0].valid is (allocation is Allocation.AUCTION)
    assert bid.fact.rank >> LOT_BITS == 7


# ---- offered


def test_an_offered_task_goes_along_the_order_that_everybody_computes() -> None:
    world = World(count=3)
    for place in world.places:
        place.attach(5, "build", capacity=9)
    task = world[0].submit(allocation="offered", bid_window_s=2.0)
    world.run(0.1)
    id_ = task_of(world[0], task)
    order = [world.place_of(id_) for id_ in stagger_order(id_, 1, [p.id for p in world.places])]
    names = [place.name for place in order]
    assert [place.view(task)["offered_to"] for place in world.places] == [names] * 3
    keys = {
        place.name: place.ask(TaskClaim(kinds=("build",), wait_s=9.0), 5) for place in order[1:]
    }
    world.run(1.0)
    assert not [key for key in keys.values() if key in world[0].replies]
    assert world[0].view(task)["state"] == "submitted", "the first is busy, its turn lasts"
    world.run(1.5)
    assert world[0].view(task)["owner"]["name"] == names[1]


def test_what_is_offered_to_others_holds_nothing_up() -> None:
    world = World(count=2)
    for place in world.places:
        place.attach(5, "build", capacity=99)
    for _ in range(20):
        world[0].submit(allocation="offered", priority=9, bid_window_s=60.0)
    plain = world[0].submit()
    world.run(1.0)
    got = []
    for _ in range(21):
        answer = claims_next(world[1])
        if isinstance(answer, ReplyError):
            break
        got.append(answer["task"])
    assert plain in got
    assert 0 < len(got) < 21, "its own, and not those that are offered to the other"


# ---- fairness


def test_lots_are_fair() -> None:
    nodes = [NodeId(bytes([number]) * 16) for number in range(10)]
    wins = dict.fromkeys(nodes, 0)
    for number in range(10_000):
        wins[stagger_order(TaskId(number.to_bytes(28, "big")), 1, nodes)[0]] += 1
    assert max(wins.values()) <= 1.1 * 1000
