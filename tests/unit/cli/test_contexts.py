"""Contexts and checkpoints on the command line: checked, packed, shown."""

import hashlib
import json
from base64 import b64decode, b64encode
from typing import Any, cast

import pytest

from mesh.cli.contexts import context_in, fill, packed_checkpoint, packed_context
from mesh.control.client import Client, Refused


class Shelf:
    """A node that keeps blobs, and nothing else."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def call(self, method: str, /, **given: Any) -> Any:  # noqa: ANN401  JSON
        digest, size = given["digest"], given.get("size")
        if method == "blob.put":
            data = b64decode(given.get("data", ""))
            self.blobs[digest] = self.blobs.get(digest, b"") + data
            stored = len(self.blobs[digest])
            return {"complete": stored == size, "stored": stored}
        if digest not in self.blobs:
            raise Refused("timed_out", "not here", "try again")
        return {"data": b64encode(self.blobs[digest]).decode()}


def client_of(shelf: Shelf) -> Client:
    return cast("Client", shelf)


@pytest.mark.parametrize(
    "text",
    [
        "[", "[]", "7", "{}", '{"goal": ""}', '{"goal": 1}', '{"done": ["x"]}',
        '{"goal": "g", "plan": "p"}', '{"goal": "g", "done": "x"}', '{"goal": "g", "done": [1]}',
        '{"goal": "g", "decisions": {}}', '{"goal": "g", "decisions": ["x"]}',
        '{"goal": "g", "decisions": [{"what": "w"}]}',
        '{"goal": "g", "decisions": [{"what": "w", "why": null}]}', "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_context_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refused) as refused:
        context_in(text.encode())
    assert refused.value.name == "usage"
    assert '"why"' in refused.value.hint


def test_a_small_context_goes_inline_and_a_large_one_as_a_blob_that_is_shown_again() -> None:
    shelf = Shelf()
    small = {"goal": "g", "done": ["d"], "pending": None}
    assert packed_context(client_of(shelf), small) == {"goal": "g", "done": ["d"]}
    assert not shelf.blobs
    large = {"goal": "g", "done": ["é" * 30] * 100}
    packed = packed_context(client_of(shelf), large)
    digest = packed["context_blob"]
    content = shelf.blobs[digest]
    assert hashlib.blake2b(content, digest_size=32).hexdigest() == digest
    offer = {"context": {}, "context_blob": {"digest": digest, "size": len(content)}}
    fill(client_of(shelf), offer, 1.0)
    assert offer["context"] == json.loads(content) == large
    gone: dict[str, Any] = {"context": {}, "context_blob": {"digest": "00" * 32, "size": 9}}
    fill(client_of(shelf), gone, 1.0)
    assert gone["context"]["note"].startswith("being fetched")


def test_over_the_bound_nothing_is_sent() -> None:
    shelf = Shelf()
    assert packed_checkpoint(b"") == {}
    assert packed_checkpoint(b"46") == {"checkpoint": "NDY="}
    assert packed_checkpoint(b"4" * 65_536) == {"checkpoint": b64encode(b"4" * 65_536).decode()}
    with pytest.raises(Refused, match="65537 bytes"):
        packed_checkpoint(b"4" * 65_537)
    with pytest.raises(Refused, match="at most 65536"):
        packed_context(client_of(shelf), {"goal": "g" * 65_536})
    assert not shelf.blobs
