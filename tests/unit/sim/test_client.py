"""Clients of simulated nodes: what they ask, and what they write down."""

import pytest

from mesh.core.commands import Hello, TaskClaim, TaskComplete, TaskResume, TaskStart, TaskSubmit
from mesh.core.effects import Json, Notify, Reply, ReplyError
from mesh.core.inputs import ClientGone, CommandReceived
from mesh.sim.client import DISCONNECTED, NOT_RUNNING, Answer, AnsweredTwice, SimClient
from mesh.sim.history import What
from mesh.sim.world import World
from tests.unit.sim.scripted import script, world_of


def client_of(world: World) -> SimClient:
    return SimClient(world, world.hosts["a"], "me")


def answer(world: World, client: SimClient, request: int, result: Json) -> None:
    assert client.connection is not None
    world.perform(client.host, [Reply(client.connection, request, result)])


def recorded(world: World) -> list[What]:
    return [event.what for event in world.history.events]


def test_answers_find_their_request_whatever_the_order() -> None:
    world = world_of("a")
    client = client_of(world)
    told: list[Answer] = []
    first, second = client.ask(Hello(), told.append), client.ask(Hello())
    world.run(0.1)
    asked = script(world, "a").heard(CommandReceived)
    assert [event.request for event in asked if isinstance(event, CommandReceived)] == [1, 2]
    answer(world, client, 2, {"n": 2, "t": "two"})
    assert (second.number("n"), second.text("t"), second.text("n"), second.number("t")) == (
        2,
        "two",
        "",
        0,
    )
    assert not first.done
    assert client.connection is not None
    world.perform(client.host, [ReplyError(client.connection, 1, "no", "never", "ask")])
    assert (first.error, first.message) == ("no", "never")
    assert told == [first]


def test_a_second_answer_is_our_bug() -> None:
    world = world_of("a")
    client = client_of(world)
    client.ask(Hello())
    answer(world, client, 1, None)
    with pytest.raises(AnsweredTwice):
        answer(world, client, 1, None)


def test_without_a_node_requests_fail_at_once_and_when_it_dies_later() -> None:
    world = world_of("a")
    client = client_of(world)
    pending = client.ask(Hello())
    world.kill("a")
    assert pending.error == DISCONNECTED
    told: list[Answer] = []
    assert client.ask(Hello(), told.append).error == NOT_RUNNING
    world.run(0.1)
    assert len(told) == 1
    world.start("a")
    assert client.ask(Hello()).error is None


def test_hanging_up_is_seen_by_the_node() -> None:
    world = world_of("a")
    client = client_of(world)
    pending = client.ask(Hello())
    first = client.connection
    world.run(0.1)
    client.hang_up()
    client.hang_up()
    world.run(0.1)
    assert pending.error == DISCONNECTED
    assert script(world, "a").heard(ClientGone) == [ClientGone(first)]  # type: ignore[arg-type]  # it was connected
    client.ask(Hello())
    assert client.connection not in {None, first}


def test_the_life_of_a_claim_is_written_down() -> None:
    world = world_of("a")
    client = client_of(world)
    client.ask(TaskSubmit(kind="build"))
    answer(world, client, 1, {"task": "t", "copies": 2})
    client.ask(TaskClaim(task="t"))
    answer(world, client, 2, {"task": "t", "token": "01", "handle": "h" * 8})
    client.ask(TaskStart("h" * 8))
    answer(world, client, 3, {})
    client.ask(TaskResume("h" * 8))
    answer(world, client, 4, {})
    client.ask(TaskComplete("h" * 8))
    answer(world, client, 5, {"copies": 2})
    client.ask(TaskComplete("h" * 8))
    answer(world, client, 6, {"copies": 2})
    assert recorded(world) == [
        What.SUBMITTED,
        What.CLAIMED,
        What.STARTED,
        What.RESUMED,
        What.COMPLETED,
        What.STOPPED,
    ]
    assert {event.task for event in world.history.events} == {"t"}
    assert world.history.of(What.COMPLETED, "t")[0].copies == 2
    assert world.history.starts("t") == 1


def test_a_provisional_claim_counts_once_it_settled() -> None:
    world = world_of("a")
    client = client_of(world)
    client.ask(TaskClaim(task="t", provisional=True))
    answer(world, client, 1, {"task": "t", "token": "01", "handle": "h" * 8, "state": "settling"})
    assert recorded(world) == []
    world.perform(client.host, [Notify("task.settled", {"task": "t", "token": "01"})])
    assert recorded(world) == [What.CLAIMED]


@pytest.mark.parametrize("body", [{"handle": "h" * 8}, {"token": "01"}, {"task": "t"}])
def test_a_lost_claim_is_let_go(body: dict[str, Json]) -> None:
    world = world_of("a")
    client = client_of(world)
    client.ask(TaskClaim(task="t"))
    answer(world, client, 1, {"task": "t", "token": "01", "handle": "h" * 8})
    client.ask(TaskStart("h" * 8))
    answer(world, client, 2, {})
    world.perform(client.host, [Notify("task.lost", {"token": "02"})])
    assert client.holdings
    world.perform(client.host, [Notify("task.lost", body)])
    assert not client.holdings
    assert recorded(world)[-2:] == [What.LOST, What.STOPPED]


def test_a_power_cut_ends_work_and_a_crash_of_the_node_does_not() -> None:
    for machine in (False, True):
        world = world_of("a")
        client = client_of(world)
        client.ask(TaskClaim(task="t"))
        answer(world, client, 1, {"task": "t", "token": "01", "handle": "h" * 8})
        client.ask(TaskStart("h" * 8))
        answer(world, client, 2, {})
        world.kill("a", machine=machine)
        assert (What.STOPPED in recorded(world)) is machine
