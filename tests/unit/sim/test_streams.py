"""Streams: ordered bytes until something breaks, and one goodbye for each end."""

import pytest

from mesh.core.effects import CloseStream, OpenStream, SendStream, StreamId
from mesh.core.identity import Address
from mesh.core.inputs import Input, StreamClosed, StreamOpened, StreamReceived
from mesh.sim.engine import Conditions
from mesh.sim.world import World
from tests.unit.sim.scripted import NOWHERE, script, world_of

ID = StreamId(1)


def dial(world: World, target: Address | None = None) -> None:
    address = target or world.hosts["b"].address
    world.perform(world.hosts["a"], [OpenStream(ID, address)])


def say(world: World, name: str, stream: StreamId, data: bytes) -> None:
    world.perform(world.hosts[name], [SendStream(stream, data)])


def accepted(world: World) -> StreamId:
    opened = script(world, "b").heard(StreamOpened)[0]
    assert isinstance(opened, StreamOpened)
    return opened.stream


def received(world: World, name: str) -> bytes:
    chunks = script(world, name).heard(StreamReceived)
    return b"".join(event.data for event in chunks if isinstance(event, StreamReceived))


def closed(world: World, name: str) -> list[Input]:
    return script(world, name).heard(StreamClosed)


def open_world(**options: float) -> World:
    world = world_of("a", "b", conditions=Conditions(latency_s=(0.001, 0.1), **options))  # type: ignore[arg-type]  # floats only
    dial(world)
    world.run(1.0)
    return world


def test_both_ends_hear_that_it_is_open() -> None:
    world = open_world()
    assert script(world, "a").heard(StreamOpened) == [
        StreamOpened(ID, world.hosts["b"].address, dialled=True)
    ]
    heard = script(world, "b").heard(StreamOpened)[0]
    assert isinstance(heard, StreamOpened)
    assert not heard.dialled
    assert heard.peer.host == world.hosts["a"].address.host
    assert heard.peer != world.hosts["a"].address


@pytest.mark.parametrize("loss", [0.0, 0.5])
def test_bytes_arrive_in_order_cut_anywhere(loss: float) -> None:
    world = open_world(loss=loss)
    world.run(30.0)
    sent = [bytes([number]) * 50 for number in range(100)]
    for data in sent:
        say(world, "a", ID, data)
        say(world, "b", accepted(world), data[::-1])
        world.run(0.001)
    world.run(60.0)
    assert received(world, "b") == received(world, "a") == b"".join(sent)
    assert len(script(world, "b").heard(StreamReceived)) > 100


def test_what_is_sent_and_closed_early_still_arrives() -> None:
    world = world_of("a", "b")
    dial(world)
    say(world, "a", ID, b"early")
    world.perform(world.hosts["a"], [CloseStream(ID)])
    world.run(1.0)
    assert received(world, "b") == b"early"
    assert len(closed(world, "a")) == len(closed(world, "b")) == 1


def test_a_close_lets_what_was_sent_leave_and_is_said_once() -> None:
    world = open_world()
    say(world, "a", ID, b"last words")
    close = CloseStream(ID)
    world.perform(world.hosts["a"], [close, close, CloseStream(StreamId(77))])
    world.run(1.0)
    world.perform(world.hosts["b"], [CloseStream(accepted(world))])
    say(world, "a", ID, b"too late")
    world.run(1.0)
    assert received(world, "b") == b"last words"
    assert len(closed(world, "a")) == len(closed(world, "b")) == 1
    assert script(world, "b").inputs[-1][1] == closed(world, "b")[0]
    assert world.streams.count() == 0


def test_nobody_at_the_address_times_out_and_nobody_listening_refuses() -> None:
    world = world_of("a", "b")
    dial(world, NOWHERE)
    world.run(2.9)
    assert closed(world, "a") == []
    world.run(0.2)
    assert closed(world, "a") == [StreamClosed(ID, "timed out")]
    world.kill("b")
    dial(world)
    world.run(0.1)
    assert closed(world, "a")[-1] == StreamClosed(ID, "refused")


def test_a_partition_breaks_it_at_both_ends_once() -> None:
    world = open_world()
    stream = accepted(world)
    say(world, "a", ID, b"under way")
    world.partition(["a"], ["b"])
    say(world, "b", stream, b"never")
    world.run(10.0)
    assert received(world, "b") == received(world, "a") == b""
    assert len(closed(world, "a")) == len(closed(world, "b")) == 1
    dial(world)
    world.run(10.0)
    assert closed(world, "a")[-1] == StreamClosed(ID, "timed out")
    assert world.streams.count() == 0


@pytest.mark.parametrize("machine", [False, True])
def test_a_crash_breaks_it_for_the_other_end(machine: bool) -> None:
    world = open_world()
    world.kill("b", machine=machine)
    world.run(0.1)
    assert (closed(world, "a") == []) is machine
    world.run(10.0)
    assert len(closed(world, "a")) == 1
    world.start("b")
    world.run(1.0)
    assert script(world, "b").inputs == []


def test_a_sleeping_end_reads_later() -> None:
    world = open_world()
    world.suspend("b", 5.0)
    say(world, "a", ID, b"good night")
    world.run(4.0)
    assert received(world, "b") == b""
    world.run(2.0)
    assert received(world, "b") == b"good night"
