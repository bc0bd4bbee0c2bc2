"""Bytes that fit no fact, given with a request: a blob is made of them, in the client's order."""

from base64 import b64encode

import pytest

from mesh.core.claims.lodging import WAITING_MAX
from mesh.core.commands import (
    Command,
    Decision,
    TaskAccept,
    TaskComplete,
    TaskOffer,
    TaskProgress,
    TaskShow,
    TaskSubmit,
)
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId
from tests.unit.core.blobs.pieces import content, name_of
from tests.unit.core.claims.desk_world import Loose, Place, World
from tests.unit.core.claims.test_desk_exchange import name, owned_task

LARGE = content(60_000)


def text_of(data: bytes) -> str:
    return b64encode(data).decode()


def stored(place: Place, error: LocalError | None = None) -> None:
    """The disk has done, or failed to do, all that it was asked for."""
    assert place.blobs.slow is not None
    kept: dict[BlobId, LocalError | None] = dict.fromkeys(place.blobs.slow, error)
    if error is None:
        place.blobs.here |= place.blobs.slow
    place.blobs.slow = {}
    place.turn(lambda now: place.desk.handle_kept(now, kept))


@pytest.mark.parametrize("size", [0, 511, 512, 513, 700, 701, 60_000, 65_536])
def test_what_does_not_fit_a_fact_becomes_a_blob_and_nothing_else_does(size: int) -> None:
    world = World(2)
    a = world[0]
    data = content(size)
    view = a.view(str(a.call(TaskSubmit("build", text_of(data)))["task"]))
    assert (view["blob"] is not None) == (size > 700)
    task, owned = owned_task(world, a)
    assert a.call(TaskProgress(owned["handle"], checkpoint=text_of(data)))["published"]
    kept = a.view(task)["checkpoint"]
    assert (kept["digest"] if kept else None) == (name_of(data).hex() if size > 512 else None)
    a.call(TaskComplete(owned["handle"], text_of(data)))
    result = a.view(task)["result"]
    assert result["digest"] == name_of(data).hex()
    assert (result["blob"] is not None) == (size > 700)
    assert (result["output"] == text_of(data)) == (size <= 700)


def test_a_long_context_becomes_a_blob_of_the_same_fields() -> None:
    world = World(2)
    a, b = world.places
    task, owned = owned_task(world, a)
    decisions = (Decision("tabs", "because"),)
    a.call(TaskOffer(owned["handle"], goal="g" * 800, decisions=decisions))
    world.run(0.1)
    context = b'{"goal":"' + b"g" * 800 + b'","decisions":[{"what":"tabs","why":"because"}]}'
    named = b.view(task)["handoff"]["context_blob"]
    assert named == {"digest": name_of(context).hex(), "size": len(context)}
    b.blobs.here[name_of(context)] = len(context)
    assert b.call(TaskAccept(task))["token"]


def test_everything_happens_in_the_order_in_which_it_was_asked_for() -> None:
    world = World(1)
    a = world[0]
    task, owned = owned_task(world, a)
    a.blobs.slow = {}
    asked: list[Command] = [
        TaskProgress(owned["handle"], checkpoint=text_of(LARGE)),
        TaskProgress(owned["handle"], checkpoint=text_of(b"small")),
        TaskProgress(owned["handle"], checkpoint=text_of(LARGE[1:])),
        TaskShow(task),
    ]
    keys = [a.ask(command) for command in asked]
    world.run(1.0)
    assert not any(key in a.replies for key in keys)
    assert a.call(TaskShow(task), client=2)["task"]["checkpoint"] is None, "others do not wait"
    stored(a)
    world.run(1.0)
    assert [key in a.replies for key in keys] == [True, True, False, False]
    between = a.call(TaskShow(task), client=2)["task"]["checkpoint"]
    assert between["data"] == text_of(b"small")
    stored(a)
    world.run(1.0)
    shown: Loose = a.replies[keys[-1]]
    assert shown["task"]["checkpoint"]["digest"] == name_of(LARGE[1:]).hex()


def test_a_client_that_hangs_up_has_said_what_it_said() -> None:
    world = World(2)
    a = world[0]
    a.blobs.slow = {}
    task, owned = owned_task(world, a)
    a.ask(TaskProgress(owned["handle"], checkpoint=text_of(LARGE)))
    a.ask(TaskComplete(owned["handle"], text_of(LARGE)))
    a.gone(1)
    world.run(0.5)
    stored(a)
    world.run(0.5)
    assert a.view(task)["state"] == "completed"
    assert world[1].view(task)["checkpoint"]["digest"] == name_of(LARGE).hex()


def test_a_disk_that_does_not_do_it_refuses_that_request_alone() -> None:
    world = World(1)
    a = world[0]
    a.blobs.slow = {}
    task, owned = owned_task(world, a)
    large = a.ask(TaskProgress(owned["handle"], checkpoint=text_of(LARGE)))
    small = a.ask(TaskProgress(owned["handle"], checkpoint=text_of(b"small")))
    stored(a, LocalError("blob_disk", "full", "free space"))
    world.run(0.5)
    assert name(a.replies[large]) == "blob_disk"
    answer: Loose = a.replies[small]
    assert answer["published"]
    assert a.view(task)["checkpoint"]["data"] == text_of(b"small")


def test_the_same_request_twice_has_one_effect_and_one_answer() -> None:
    world = World(1)
    a = world[0]
    submit = TaskSubmit("build", text_of(LARGE), request_id="once")
    first = a.call(submit)
    assert a.call(submit)["task"] == first["task"]
    changed = a.call(TaskSubmit("build", text_of(LARGE[1:]), request_id="once"))
    assert name(changed) == "request_id_reused"


def test_bytes_beside_a_blob_are_refused_as_ever() -> None:
    world = World(1)
    a = world[0]
    a.blobs.here[name_of(LARGE)] = len(LARGE)
    both = TaskSubmit("build", text_of(LARGE), blob=name_of(LARGE).hex())
    assert name(a.call(both)) == "two_payloads"


def test_requests_that_wait_have_a_bound() -> None:
    world = World(1)
    a = world[0]
    a.blobs.slow = {}
    a.ask(TaskSubmit("build", text_of(LARGE)))
    keys = [a.ask(TaskSubmit("build")) for _ in range(WAITING_MAX)]
    assert [name(a.replies[key]) for key in keys if key in a.replies] == ["busy"]
