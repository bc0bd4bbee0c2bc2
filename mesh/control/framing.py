"""Frames of the control socket: one JSON-RPC 2.0 object per line, in both directions.

Pure: bytes in, requests out; results in, bytes out. What a client sends wrong becomes a
`BadRequest`, which knows the id to answer to, if the line had one.

A line may also hold an array of requests, what JSON-RPC calls a batch: here it is a *bundle*. Its
requests reach the node together, share what they cost there, and are answered on one line.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mesh.core.effects import Json
from mesh.core.errors import LocalError

LINE_BYTES_MAX = 65_536
PAYLOAD_LINE_BYTES_MAX = 1_048_576
"""Lines of methods that carry a payload or an output."""
ID_TEXT_MAX = 128
BUNDLE_MAX = 64
"""Requests on one line: as many as the node takes in one turn."""
APPLICATION_ERROR = -32000
CODES = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "unknown_method": -32601,
    "invalid_params": -32602,
    "frame_too_large": -32600,
}
"""Codes of JSON-RPC for the errors it knows; every other error has `APPLICATION_ERROR`."""

RequestId = int | str
_json = msgspec.json.Encoder()
_arrays = msgspec.json.Decoder(list[msgspec.Raw])


class BadRequest(LocalError):  # noqa: N818  a word of JSON-RPC
    """A line that is no request; `id` says to whom to answer."""

    def __init__(self, name: str, message: str, hint: str, id_: RequestId | None = None) -> None:
        super().__init__(name, message, hint)
        self.id = id_


class Request(NamedTuple):
    """One request as it was framed; the method and its parameters are not yet looked at."""

    id: RequestId
    method: str
    params: dict[str, Any]


class LineSplitter:
    """Cuts a stream of bytes into lines, and never holds more than one line of the bound."""

    def __init__(self, bytes_max: int = PAYLOAD_LINE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._scanned = 0
        self._skipping = False

    def receive(self, data: bytes) -> list[bytes | None]:
        """Return the lines that are complete now; None stands for one that was too long."""
        self._buffer += data
        lines: list[bytes | None] = []
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._scanned))) >= 0:
            line = bytes(self._buffer[start:end])
            start = end + 1
            if self._skipping:
                self._skipping = False
            elif len(line) > self._bytes_max:
                lines.append(None)
            elif line.strip():
                lines.append(line)
        del self._buffer[:start]
        if len(self._buffer) > self._bytes_max:
            if not self._skipping:
                lines.append(None)
            self._skipping = True
        if self._skipping:
            self._buffer.clear()
        self._scanned = len(self._buffer)
        return lines


def too_large(bytes_max: int, id_: RequestId | None = None) -> BadRequest:
    """Return the error for a line beyond its bound."""
    return BadRequest(
        "frame_too_large",
        f"a line may have at most {bytes_max} bytes",
        "send less in one request; large data belongs where the agents can fetch it",
        id_,
    )


def split_bundle(line: bytes) -> list[bytes] | None:
    """Return the requests of a bundle, None for any other line; raises BadRequest."""
    if line.lstrip()[:1] != b"[":
        return None
    try:
        requests = [bytes(each) for each in _arrays.decode(line)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise BadRequest("parse_error", f"not JSON: {wrong}", "send one array per line") from None
    if not 0 < len(requests) <= BUNDLE_MAX:
        raise BadRequest(
            "invalid_request",
            f"an array of {len(requests)} requests",
            f"send between 1 and {BUNDLE_MAX} of them at once",
        )
    return requests


def parse_request(line: bytes) -> Request:
    """Return the request in a line; raises BadRequest."""
    try:
        frame: object = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise BadRequest(
            "parse_error", f"not JSON: {wrong}", "send one JSON object per line, in UTF-8"
        ) from None
    if not isinstance(frame, dict):
        raise BadRequest(
            "invalid_request",
            "not a JSON object",
            "send one request per line, or an array of them",
        )
    id_ = frame.pop("id", None)
    if not _is_id(id_):
        raise BadRequest(
            "invalid_request",
            "`id` must be an integer or a short text",
            "give each request an id: its answer comes under that id",
        )
    version, method = frame.pop("jsonrpc", None), frame.pop("method", None)
    params = frame.pop("params", {})
    if version != "2.0" or not isinstance(method, str) or frame:
        raise BadRequest(
            "invalid_request",
            "a request has exactly the fields jsonrpc, id, method, params",
            'for example {"jsonrpc":"2.0","id":1,"method":"node.status","params":{}}',
            id_,
        )
    if not isinstance(params, dict):
        raise BadRequest("invalid_params", "`params` must be an object", "name the fields", id_)
    return Request(id_, method, params)


def _is_id(id_: object) -> bool:
    if isinstance(id_, str):
        return len(id_) <= ID_TEXT_MAX
    return isinstance(id_, int) and not isinstance(id_, bool)


def result_line(id_: RequestId, result: Json) -> bytes:
    """Return the answer to a request."""
    return _json.encode({"jsonrpc": "2.0", "id": id_, "result": result}) + b"\n"


def error_line(id_: RequestId | None, error: LocalError) -> bytes:
    """Return the refusal of a request; without an id, of something that was none."""
    body = {
        "code": CODES.get(error.name, APPLICATION_ERROR),
        "message": error.message,
        "data": {"name": error.name, "hint": error.hint},
    }
    return _json.encode({"jsonrpc": "2.0", "id": id_, "error": body}) + b"\n"


def event_line(topic: str, body: Mapping[str, Json]) -> bytes:
    """Return a notification of a topic."""
    params = {"topic": topic, **body}
    return _json.encode({"jsonrpc": "2.0", "method": "event", "params": params}) + b"\n"


def bundle_line(lines: Sequence[bytes]) -> bytes:
    """Return one line with the answers to a bundle."""
    return b"[" + b",".join(line.rstrip() for line in lines) + b"]\n"
