"""The synchronous client: where the socket is, answers, errors, events."""

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.control.client import Client, NodeUnreachable, Refused, socket_path

Pair = tuple[Client, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, Client(ours, "/the/socket", timeout_s=5) as client:
        yield client, theirs


def send(sock: socket.socket, *frames: dict[str, Any]) -> None:
    sock.sendall(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))


def event(topic: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "event", "params": {"topic": topic}}


@pytest.mark.parametrize(
    ("explicit", "instance", "environment", "uid", "expected"),
    [
        ("/x", "2", {"MESH_SOCKET": "/e"}, 0, "/x"),
        (None, None, {"MESH_SOCKET": "/e"}, 0, "/e"),
        (None, "2", {"MESH_SOCKET": "/e"}, 0, "/run/mesh/mesh-2.sock"),
        (None, None, {"MESH_SOCKET": ""}, 0, "/run/mesh/mesh.sock"),
        (None, None, {"XDG_RUNTIME_DIR": "/r"}, 0, "/run/mesh/mesh.sock"),
        (None, None, {"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, 7, "/r/mesh/mesh.sock"),
        (None, "3", {"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, 7, "/r/mesh/mesh-3.sock"),
        (None, None, {"HOME": "/h"}, 7, "/h/.local/state/mesh/mesh.sock"),
    ],
)
def test_socket_is_where_the_first_of_them_says(
    explicit: str | None,
    instance: str | None,
    environment: dict[str, str],
    uid: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert socket_path(explicit, instance, environment) == expected


def test_no_socket_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(NodeUnreachable) as unreachable:
        Client.connect(str(tmp_path / "mesh.sock"))
    assert "no such socket" in str(unreachable.value)
    assert unreachable.value.hint == "start it with `mesh up`"


def test_dead_socket_is_unreachable(tmp_path: Path) -> None:
    path = str(tmp_path / "mesh.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(NodeUnreachable, match="has ended"):
        Client.connect(path)


def test_path_too_long_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(NodeUnreachable, match="too long"):
        Client.connect(str(tmp_path / ("s" * 200)))


def test_request_is_one_line_and_its_answer_the_result(pair: Pair) -> None:
    client, node = pair
    send(node, {"jsonrpc": "2.0", "id": 1, "result": {"a": 1}})
    assert client.call("task.show", task="t") == {"a": 1}
    assert json.loads(node.recv(4096)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "task.show",
        "params": {"task": "t"},
    }


def test_refusal_keeps_name_message_and_hint(pair: Pair) -> None:
    client, node = pair
    error = {"code": -32000, "message": "m", "data": {"name": "not_found", "hint": "h"}}
    send(node, {"jsonrpc": "2.0", "id": 1, "error": error})
    with pytest.raises(Refused) as refused:
        client.call("task.show", task="t")
    assert (refused.value.name, refused.value.message, refused.value.hint) == (
        "not_found",
        "m",
        "h",
    )


def test_answer_to_an_earlier_request_is_passed_over(pair: Pair) -> None:
    client, node = pair
    with pytest.raises(NodeUnreachable, match="no answer"):
        Client(client._sock, "/s", timeout_s=0).call("hello")
    send(node, {"id": 99, "result": "old"}, {"id": 1, "result": "new"})
    assert client.call("hello") == "new"


def test_events_between_answers_are_kept_in_order(pair: Pair) -> None:
    client, node = pair
    send(node, event("a"), {"id": 1, "result": {}}, event("b"))
    client.watch("*")
    assert [each["topic"] for each in client.notifications(timeout_s=0.05)] == ["a", "b"]


def test_answer_cut_in_two_is_put_together(pair: Pair) -> None:
    client, node = pair
    node.sendall(b'{"id":1,"resu')
    with pytest.raises(NodeUnreachable):
        Client(client._sock, "/s", timeout_s=0).call("hello")
    assert client._receive(0) is None
    node.sendall(b'lt":5}\n')
    assert client._receive(1) == {"id": 1, "result": 5}


def test_silence_is_an_error_after_the_patience(pair: Pair) -> None:
    client, _ = pair
    quick = Client(client._sock, "/s", timeout_s=0.01)
    begun = time.monotonic()
    with pytest.raises(NodeUnreachable, match=r"no answer in 0\.06 s"):
        quick.call("task.wait", task="t", wait_s=0.05)
    assert time.monotonic() - begun >= 0.05


def test_node_that_hangs_up_is_unreachable(pair: Pair) -> None:
    client, node = pair
    node.close()
    with pytest.raises(NodeUnreachable, match=r"connection|hung up"):
        client.call("hello")


def test_last_words_are_read_though_the_node_has_hung_up(pair: Pair) -> None:
    client, node = pair
    error = {"code": -32000, "message": "m", "data": {"name": "too_many_clients", "hint": "h"}}
    send(node, {"id": None, "error": error})
    node.close()
    with pytest.raises(Refused) as refused:
        client.call("hello")
    assert refused.value.name == "too_many_clients"
