"""One client that reads slowly, or not at all."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from mesh.control.access import Access, Credentials
from mesh.control.connection import LAGGED_TOPIC, Bundle, Connection, Place
from mesh.control.framing import error_line, event_line
from mesh.core.effects import ClientId
from mesh.core.errors import LocalError

QUEUE_MAX = 4
BIG = {"text": "x" * 50_000}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def connection_on(sock: socket.socket) -> Connection:
    return Connection(ClientId(1), sock, Credentials(1, 0, ()), Access.OWN, QUEUE_MAX)


def fill(connection: Connection) -> None:
    """Send until the kernel takes no more: one line is then half sent and first in the queue."""
    while not connection._queue:
        connection.send(event_line("fill", BIG))


def frames(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


async def read_all(theirs: socket.socket, connection: Connection) -> bytes:
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.write)
        with trio.fail_after(5):
            while connection._queue:
                received += await trio.to_thread.run_sync(theirs.recv, 1 << 20)
        nursery.cancel_scope.cancel()
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        received += theirs.recv(1 << 20)
    return received


async def test_line_goes_out_at_once(pair: Pair) -> None:
    ours, theirs = pair
    connection = connection_on(ours)
    request = connection.expect("id")
    connection.reply(request, {"a": 1})
    assert frames(theirs.recv(4096)) == [{"jsonrpc": "2.0", "id": "id", "result": {"a": 1}}]
    assert not connection.pending


async def test_bundle_leaves_on_one_line_once_all_are_answered(pair: Pair) -> None:
    ours, theirs = pair
    connection = connection_on(ours)
    bundle = Bundle(3)
    first, last = (connection.expect(name, Place(bundle, at)) for name, at in (("a", 0), ("c", 2)))
    connection.reply(last, 3)
    connection.answer(error_line("b", LocalError("not_found", "m", "h")), Place(bundle, 1))
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(4096)
    connection.reply(first, 1)
    (answers,) = json.loads(b"[" + theirs.recv(4096) + b"]")
    assert [answer["id"] for answer in answers] == ["a", "b", "c"]
    assert [answer.get("result") for answer in answers] == [1, None, 3]
    assert not connection.pending


async def test_refusal_answers_its_request(pair: Pair) -> None:
    ours, theirs = pair
    connection = connection_on(ours)
    connection.refuse(connection.expect(9), LocalError("not_found", "m", "h"))
    (frame,) = frames(theirs.recv(4096))
    assert (frame["id"], frame["error"]["data"]["name"]) == (9, "not_found")


async def test_request_is_answered_once(pair: Pair) -> None:
    connection = connection_on(pair[0])
    request = connection.expect(1)
    connection.reply(request, {})
    with pytest.raises(KeyError):
        connection.reply(request, {})


async def test_queue_is_sent_in_order_once_the_client_reads(pair: Pair) -> None:
    ours, theirs = pair
    connection = connection_on(ours)
    fill(connection)
    for number in range(QUEUE_MAX - 1):
        connection.send(event_line("n", {"number": number}))
    assert len(connection._queue) == QUEUE_MAX
    assert not connection.has_lagged
    received = frames(await read_all(theirs, connection))
    numbers = [each["params"]["number"] for each in received if each["params"]["topic"] == "n"]
    assert numbers == list(range(QUEUE_MAX - 1))


async def test_one_line_beyond_the_bound_is_lagged(pair: Pair) -> None:
    ours, theirs = pair
    connection = connection_on(ours)
    fill(connection)
    for number in range(QUEUE_MAX):
        connection.send(event_line("n", {"number": number}))
    assert connection.has_lagged
    assert connection.reading.cancel_called
    connection.send(event_line("n", {"number": 99}))
    assert len(connection._queue) == 2
    *before, last = frames(await read_all(theirs, connection))
    assert {each["params"]["topic"] for each in before} == {"fill"}
    assert last["params"]["topic"] == LAGGED_TOPIC
    assert last["params"]["missed"] == QUEUE_MAX
    assert last["params"]["hint"]


async def test_few_lines_may_be_too_many_bytes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 lists of all tasks are more than a node has memory for."""
    monkeypatch.setattr("mesh.control.connection.QUEUE_BYTES_MAX", 120_000)
    ours, theirs = pair
    connection = connection_on(ours)
    fill(connection)
    lagged = []
    for _ in range(2):
        connection.send(event_line("n", BIG))
        lagged.append(connection.has_lagged)
    assert lagged == [False, True]
    *_, last = frames(await read_all(theirs, connection))
    assert (last["params"]["topic"], last["params"]["missed"]) == (LAGGED_TOPIC, 2)


async def test_what_was_read_makes_room(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.control.connection.QUEUE_BYTES_MAX", 120_000)
    ours, theirs = pair
    connection = connection_on(ours)
    for _ in range(3):
        fill(connection)
        connection.send(event_line("n", BIG))
        received = frames(await read_all(theirs, connection))
        assert received[-1]["params"]["topic"] == "n"
    assert not connection.has_lagged


async def test_one_line_of_any_size_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.control.connection.QUEUE_BYTES_MAX", 1000)
    ours, theirs = pair
    connection = connection_on(ours)
    line = event_line("n", {"text": "x" * 2_000_000})
    connection.send(line)
    assert await read_all(theirs, connection) == line
    assert not connection.has_lagged


async def test_client_that_is_gone_takes_nothing(pair: Pair) -> None:
    ours, theirs = pair
    connection = connection_on(ours)
    theirs.close()
    connection.send(event_line("n", {}))
    assert connection.reading.cancel_called
    connection.send(event_line("n", {}))
    assert not connection._queue


async def test_topics_are_watched_by_pattern(pair: Pair) -> None:
    connection = connection_on(pair[0])
    assert not connection.is_watching("task")
    connection.topics = ("task", "member")
    assert connection.is_watching("task.lost")
    assert not connection.is_watching("node")
