"""Every effect has its one action."""

from collections.abc import Mapping
from typing import Any, cast, get_args

import pytest

from mesh.core.effects import (
    ClientId,
    CloseStream,
    Commit,
    CommitNumber,
    DropBlob,
    Effect,
    Halt,
    Json,
    Notify,
    OpenStream,
    ReadBlob,
    Reply,
    ReplyError,
    ResolveSeeds,
    Row,
    SealBlob,
    SendDatagram,
    SendStream,
    StreamId,
    WriteBlob,
)
from mesh.core.errors import LocalError
from mesh.core.identity import Address, BlobId
from mesh.daemon.performer import NoAnswers, Performer

PEER = Address("10.0.0.1", 7)


class Recorder:
    """Stands for everybody that a performer talks to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  any method of anybody
        return lambda *arguments: self.calls.append((name, *arguments))

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        self.calls.append(("refuse", client, request, error.name, error.message, error.hint))


BLOB = BlobId(b"b" * 32)
COMMIT = Commit(CommitNumber(1), (Row("a", b"", b""),))
CASES: list[tuple[Effect, tuple[object, ...]]] = [
    (SendDatagram(PEER, b"d"), ("send", PEER, b"d")),
    (OpenStream(StreamId(1), PEER), ("open", 1, PEER)),
    (SendStream(StreamId(1), b"s"), ("send", 1, b"s")),
    (CloseStream(StreamId(1)), ("close", 1)),
    (ResolveSeeds(("a:1",)), ("request", ("a:1",))),
    (COMMIT, ("put", COMMIT)),
    (Reply(ClientId(1), 2, {"a": 1}), ("reply", 1, 2, {"a": 1})),
    (ReplyError(ClientId(1), 2, "n", "m", "h"), ("refuse", 1, 2, "n", "m", "h")),
    (Notify("t", {"b": 1}, ClientId(3)), ("notify", "t", {"b": 1}, 3)),
    (WriteBlob(BLOB, 0, b"x"), ("put", WriteBlob(BLOB, 0, b"x"))),
    (SealBlob(BLOB, 1), ("put", SealBlob(BLOB, 1))),
    (ReadBlob(BLOB, 0, 1), ("put", ReadBlob(BLOB, 0, 1))),
    (DropBlob(BLOB), ("put", DropBlob(BLOB))),
    (Halt("left"), ("halt", "left", "", False)),
]


@pytest.mark.parametrize(("effect", "call"), CASES, ids=[type(case[0]).__name__ for case in CASES])
def test_each_effect_is_one_action(effect: Effect, call: tuple[object, ...]) -> None:
    recorder = Recorder()
    everybody = cast("Any", recorder)
    performer = Performer(
        everybody, everybody, everybody, everybody, everybody, everybody, everybody.halt
    )
    performer.perform(effect)
    assert recorder.calls == [call]


def test_no_effect_is_missing_here() -> None:
    assert {type(effect) for effect, _ in CASES} == set(get_args(Effect))


def test_nobody_to_answer_is_fine() -> None:
    body: Mapping[str, Json] = {}
    nobody = NoAnswers()
    nobody.reply(ClientId(1), 1, None)
    nobody.refuse(ClientId(1), 1, LocalError("n", "m", "h"))
    nobody.notify("t", body, None)
