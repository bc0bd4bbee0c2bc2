"""Payloads and outputs of a worker that are too large for a task: blobs, over a Trio client."""

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from mesh.control.blobs import DIGEST_BYTES, GET_BYTES, WrongContent, digest_of, put_requests
from mesh.control.trio_client import TrioClient

FETCH_S = 600.0


async def get(client: TrioClient, blob: Mapping[str, Any], wait_s: float = FETCH_S) -> bytes:
    """Return the content of a blob; raises WrongContent when it is not what the digest names."""
    digest, size, content = blob["digest"], blob["size"], bytearray()
    await client.call("blob.fetch", digest=digest, size=size, wait_s=wait_s)
    while len(content) < size:
        answer = await client.call("blob.get", digest=digest, offset=len(content), count=GET_BYTES)
        content += b64decode(answer["data"])
    if hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest() != digest:
        raise WrongContent(f"the content of blob {digest} is damaged on this node")
    return bytes(content)


async def put(client: TrioClient, data: bytes) -> str:
    """Store bytes on the node and return their digest."""
    digest = digest_of(data)
    answer = await client.call("blob.put", digest=digest, size=len(data), offset=0)
    while not answer["complete"]:
        answer = await client.call("blob.put", **put_requests(data, digest, answer["stored"]))
    return digest
