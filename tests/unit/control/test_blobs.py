"""Blobs in pieces over any client: progress, what is wrong, what comes too late."""

from base64 import b64encode
from typing import Any

import pytest

from mesh.control.blobs import GET_BYTES, WrongContent, digest_of, get
from mesh.control.client import Refused
from tests.unit.core.blobs.pieces import content

DATA = content(GET_BYTES + 1)


class SlowNode:
    """Has fetched a little more of the blob each time that it is asked to wait for it."""

    def __init__(self, *stored: int, data: bytes = DATA) -> None:
        self.stored = list(stored)
        self.data = data
        self.busy = False

    def call(self, method: str, /, **given: Any) -> Any:  # noqa: ANN401  JSON
        assert given["digest"] == digest_of(DATA)
        if method == "blob.get":
            piece = self.data[given["offset"] : given["offset"] + given["count"]]
            return {"data": b64encode(piece).decode()}
        if method == "blob.put":
            assert "data" not in given
            if self.busy:
                raise Refused("blob_busy", "somebody is putting this blob in", "try again")
            return {"stored": self.stored.pop(0), "complete": False}
        if self.stored:
            raise Refused("timed_out", "too early", "wait longer")
        return {}


def fetched(node: SlowNode, wait_s: float = 600.0) -> tuple[bytes, list[int]]:
    """Return the content of the blob, and of what progress was told."""
    told: list[int] = []
    pieces = get(
        node,
        digest_of(DATA),
        len(DATA),
        wait_s=wait_s,
        progress=lambda done, size: told.append(done * 100 // size),
    )
    return b"".join(pieces), told


def test_progress_is_that_of_the_node_and_else_that_of_reading() -> None:
    assert fetched(SlowNode()) == (DATA, [99, 100])
    assert fetched(SlowNode(0, len(DATA) // 2, len(DATA))) == (DATA, [0, 49, 100])


def test_what_is_not_there_in_time_is_refused() -> None:
    with pytest.raises(Refused, match="too early"):
        fetched(SlowNode(0), wait_s=0.5)


def test_who_cannot_be_asked_how_far_it_is_goes_on_all_the_same() -> None:
    node = SlowNode(0)
    node.busy = True
    call = node.call

    def once(method: str, /, **given: Any) -> Any:  # noqa: ANN401  JSON
        try:
            return call(method, **given)
        finally:
            if method == "blob.put":
                node.stored.clear()

    node.call = once  # type: ignore[method-assign]  # it ends after its one refusal
    assert fetched(node) == (DATA, [99, 100])


def test_content_with_another_digest_is_told_at_its_end() -> None:
    with pytest.raises(WrongContent):
        fetched(SlowNode(data=DATA[:-1] + b"!"))
