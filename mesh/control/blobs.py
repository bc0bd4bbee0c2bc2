"""Blobs over the control socket, in pieces that fit its lines; of the standard library only."""

import base64
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from mesh.control.client import Refused

BLOB_BYTES_MAX = 64 * 1024 * 1024
INLINE_BYTES_MAX = 64 * 1024
"""What is longer does not fit into a request: it is put in before, in pieces."""
LEFT_BYTES_MAX = 64 * 1024
"""A checkpoint, and the context of a hand-over: what is longer is refused."""
PUT_BYTES = 512 * 1024
GET_BYTES = 384 * 1024
DIGEST_BYTES = 32
TELL_S = 1.0
"""How far a node is with fetching is told so often."""

Progress = Callable[[int, int], None]
"""Told how many bytes are done, of how many."""


class WrongContent(Exception):  # noqa: N818  it says what is the case
    """What the node gave is not what the digest names."""


class Caller(Protocol):
    """The slice of a client that is used here."""

    def call(self, method: str, /, **parameters: Any) -> Any:  # noqa: ANN401  JSON
        """Ask the node; raises Refused."""
        ...


def digest_of(data: bytes) -> str:
    """Return the name of a blob with this content."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def quiet(_done: int, _size: int) -> None:
    """Say nothing of progress."""


def put_requests(data: bytes, digest: str, stored: int) -> dict[str, Any]:
    """Return the parameters of the `blob.put` that goes on from where the node has come to."""
    piece = base64.b64encode(data[stored : stored + PUT_BYTES]).decode()
    return {"digest": digest, "size": len(data), "offset": stored, "data": piece}


def put(client: Caller, data: bytes, progress: Progress = quiet) -> str:
    """Store bytes on the node and return their digest; goes on where an earlier try ended."""
    digest = digest_of(data)
    answer = client.call("blob.put", digest=digest, size=len(data), offset=0)
    while not answer["complete"]:
        progress(answer["stored"], len(data))
        answer = client.call("blob.put", **put_requests(data, digest, answer["stored"]))
    progress(len(data), len(data))
    return digest


def fetch(client: Caller, digest: str, size: int, wait_s: float, progress: Progress) -> bool:
    """Have the node fetch a blob, and tell how far it is; returns whether there was time to.

    Raises Refused when the blob is not there in time.
    """
    end = time.monotonic() + wait_s
    told = False
    while True:
        left_s = end - time.monotonic()
        try:
            client.call("blob.fetch", digest=digest, size=size, wait_s=max(0, min(left_s, TELL_S)))
        except Refused as late:
            if late.name != "timed_out" or left_s <= TELL_S:
                raise
        else:
            return told
        # Putting in nothing tells how much is there; while somebody else puts it in, it is refused.
        with contextlib.suppress(Refused):
            progress(client.call("blob.put", digest=digest, size=size, offset=0)["stored"], size)
            told = True


def get(
    client: Caller, digest: str, size: int, *, wait_s: float = 600.0, progress: Progress = quiet
) -> Iterator[bytes]:
    """Yield the content of a blob, fetched by the node first; raises WrongContent at the end."""
    if fetch(client, digest, size, wait_s, progress):
        progress = quiet  # it has been told already
    hashed, done = hashlib.blake2b(digest_size=DIGEST_BYTES), 0
    while done < size:
        answer = client.call("blob.get", digest=digest, offset=done, count=GET_BYTES)
        data = base64.b64decode(answer["data"])
        hashed.update(data)
        done += len(data)
        progress(done, size)
        yield data
    if hashed.hexdigest() != digest:
        raise WrongContent(f"the content of blob {digest} is damaged on this node")


def save(
    client: Caller,
    blob: dict[str, Any],
    file: BinaryIO,
    *,
    wait_s: float = 600.0,
    progress: Progress = quiet,
) -> None:
    """Write the content of a blob to a file; raises WrongContent, then it is not to be used."""
    file.writelines(get(client, blob["digest"], blob["size"], wait_s=wait_s, progress=progress))
