"""A node whose host slept: nothing starts before the mesh has been heard again."""

from mesh.core.claims.facts import Progress, ProgressState
from mesh.core.commands import TaskClaim, TaskComplete, TaskFail, TaskRelease, TaskStart
from mesh.core.effects import ReplyError
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import Place, World


def name(answer: object) -> str:
    assert isinstance(answer, ReplyError), answer
    return answer.name


def states(place: Place) -> list[int]:
    return [f.fact.state for f in place.gossip.published if isinstance(f.fact, Progress)]


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


def test_alone_without_room_to_say_so_sleep_holds_nothing_back_for_ever() -> None:
    world = World(1, params=ClaimParams(task_facts_per_author_max=8))
    [a] = world.places
    owned = a.claim(a.submit(), client=1)
    for _ in range(10):
        a.turn(a.desk.handle_suspend)
        world.run(1)
    start = a.ask(TaskStart(owned["handle"]), client=1)
    world.run(5)
    assert start in a.replies


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


def test_after_sleep_a_superseded_claim_completes_nothing_that_a_greater_one_has() -> None:
    """Found by stopping a node whose agent asked to complete meanwhile: it was told `done`."""
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task, client=1)
    world.run(0.1)
    world.parted = {1: 1}
    a.learn_end(b, "left")
    a.call(TaskComplete(a.claim(task)["handle"], output="aGVpcg=="))
    world.parted = {}
    b.turn(b.desk.handle_suspend)
    asked = b.ask(TaskComplete(owned["handle"], output="b2xk"), client=1)
    world.run(1)
    assert name(b.replies[asked]) == "already_finished"
    assert not b.view(task)["superseded"]


def test_after_sleep_ends_are_done_once_the_mesh_was_heard() -> None:
    world = World(2)
    a, b = world.places
    for command in (TaskComplete, TaskFail, TaskRelease):
        task = a.submit()
        world.run(0.1)
        owned = b.claim(task, client=1)
        b.turn(b.desk.handle_suspend)
        asked = b.ask(command(owned["handle"], request_id=command.__name__), client=1)
        again = b.ask(command(owned["handle"], request_id=command.__name__), client=2)
        assert asked not in b.replies
        world.run(1)
        assert isinstance(b.replies[asked], dict), b.replies[asked]
        assert b.replies[again] == b.replies[asked]


def test_a_client_that_left_during_sleep_has_completed_its_task() -> None:
    world = World(2)
    a, b = world.places
    task = a.submit()
    world.run(0.1)
    owned = b.claim(task, client=1)
    b.turn(b.desk.handle_suspend)
    b.ask(TaskComplete(owned["handle"]), client=1)
    b.gone(1)
    world.run(1)
    assert a.view(task)["state"] == "completed"
