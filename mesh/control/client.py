"""The control socket for any Python program: synchronous, and of the standard library only."""

import json
import os
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

EVENTS_MAX = 10_000
RECEIVE_BYTES = 65_536
TIMEOUT_S = 30.0
CONNECT_S = 5
SYSTEM_DIRECTORY = "/run/mesh"
BUNDLE_MAX = 64
LINE_BYTES_MAX = 1_048_576
"""What the node takes on one line: so many requests, and so many bytes."""
NAME_ONE = "give the control socket of a node with --socket, or start one with `mesh up`"


class NodeUnreachable(Exception):  # noqa: N818  it says what is the case, and users see it
    """No node answers at this socket."""

    def __init__(self, path: str, reason: str, hint: str = "start it with `mesh up`") -> None:
        super().__init__(f"no node at {path}: {reason}")
        self.path = path
        self.reason = reason
        self.hint = hint


class Refused(Exception):  # noqa: N818  the node's word for it
    """The node refused a request; `name` is for programs, `hint` says what to do next."""

    def __init__(self, name: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.hint = hint


def socket_path(
    explicit: str | None = None,
    instance: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return where the control socket is: as told, by instance, by $MESH_SOCKET, by user."""
    variables = os.environ if environment is None else environment
    if explicit:
        return explicit
    name = f"mesh-{instance}.sock" if instance else "mesh.sock"
    if not instance and variables.get("MESH_SOCKET"):
        return variables["MESH_SOCKET"]
    if os.geteuid() == 0:
        return f"{SYSTEM_DIRECTORY}/{name}"
    if variables.get("XDG_RUNTIME_DIR"):
        return os.path.join(variables["XDG_RUNTIME_DIR"], "mesh", name)  # noqa: PTH118  start-up time
    home = variables.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  start-up time
    return os.path.join(home, ".local", "state", "mesh", name)  # noqa: PTH118  start-up time


def connected_socket(path: str, patience_s: int = 0) -> socket.socket:
    """Return a socket connected to a node; raises NodeUnreachable, or Refused for no permission.

    With `patience_s` it waits so long while many others are connecting.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(patience_s > 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", patience_s, 0))
    try:
        sock.connect(path)
    except FileNotFoundError:
        sock.close()
        raise NodeUnreachable(path, "there is no such socket") from None
    except ConnectionRefusedError:
        sock.close()
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116  start-up time
            raise NodeUnreachable(path, "that is no socket", NAME_ONE) from None
        raise NodeUnreachable(path, "the node that made this socket has ended") from None
    except PermissionError:
        sock.close()
        hint = "run it as its user or as root, or be in the group of its `mesh up --group`"
        raise Refused("permission", f"this user may not connect to {path}", hint) from None
    except BlockingIOError:
        sock.close()
        hint = "it may be overloaded or stopped: see its log, or restart it"
        raise NodeUnreachable(path, "it takes no more connections", hint) from None
    except OSError as wrong:
        sock.close()
        raise NodeUnreachable(path, str(wrong)) from None
    return sock


def encode_request(id_: int, method: str, parameters: Mapping[str, Any]) -> bytes:
    """Return the line that asks; raises Refused for half a character, which is no text."""
    frame = {"jsonrpc": "2.0", "id": id_, "method": method, "params": dict(parameters)}
    try:
        return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        hint = "give texts in UTF-8; bytes of any kind go with @FILE or -"
        raise Refused("invalid_params", f"{method}: a text is not UTF-8", hint) from None


def not_a_node(path: str) -> NodeUnreachable:
    """Return the error for a socket on which somebody speaks another language."""
    return NodeUnreachable(path, "what answers there is no mesh node", NAME_ONE)


def encode_bundle(first_id: int, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Return the line that asks many things at once; raises Refused for more than a line takes."""
    if not 0 < len(requests) <= BUNDLE_MAX:
        raise Refused(
            "invalid_request",
            f"an array of {len(requests)} requests",
            f"send between 1 and {BUNDLE_MAX} of them at once",
        )
    lines = [encode_request(first_id + at, *each)[:-1] for at, each in enumerate(requests)]
    line = b"[" + b",".join(lines) + b"]\n"
    if len(line) > LINE_BYTES_MAX:
        raise Refused(
            "frame_too_large",
            f"{len(requests)} requests of {len(line)} bytes, a line has at most {LINE_BYTES_MAX}",
            "send fewer of them at once",
        )
    return line


def result_of(frame: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
    """Return the result in an answer of a bundle, or a Refused, not raised."""
    return refusal_of(frame["error"]) if "error" in frame else frame["result"]


def refusal_of(error: Mapping[str, Any]) -> Refused:
    """Return the exception for the error in an answer."""
    data = error.get("data") or {}
    return Refused(data.get("name", "error"), error.get("message", ""), data.get("hint", ""))


class Client:
    """One connection; requests one after the other, events in between are kept.

    `timeout_s` bounds the wait for an answer, beyond the `wait_s` of a request that has one.
    """

    def __init__(self, sock: socket.socket, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._sock = sock
        self._timeout_s = timeout_s
        self._buffer = bytearray()
        self._last_id = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)

    @classmethod
    def connect(cls, path: str | None = None, *, timeout_s: float = TIMEOUT_S) -> "Client":
        """Connect to the node at a socket; raises NodeUnreachable."""
        where = socket_path(path)
        return cls(connected_socket(where, CONNECT_S), where, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def call(self, method: str, /, **parameters: Any) -> Any:  # noqa: ANN401  JSON
        """Ask, and return the result; raises Refused or NodeUnreachable."""
        return self.request(method, parameters)

    def request(self, method: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
        """Ask with the parameters as a mapping."""
        self._last_id += 1
        line = encode_request(self._last_id, method, parameters)
        frame = self._exchange(line, self._patience_s(parameters), self._last_id)
        if "error" in frame:
            raise refusal_of(frame["error"])
        return frame["result"]

    def bundle(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        """Ask up to 64 things at once; returns for each its result, or a Refused, not raised.

        They reach the node together and share what they cost there: one write to its disk, few
        signatures and datagrams. Raises Refused when there are too many for one line.
        """
        patience_s = max((self._patience_s(each) for _, each in requests), default=0.0)
        first = self._last_id + 1
        line = encode_bundle(first, requests)
        self._last_id += len(requests)
        answers = self._exchange(line, patience_s, first)
        if isinstance(answers, dict):
            raise refusal_of(answers["error"])
        return [result_of(frame) for frame in answers]

    def _patience_s(self, parameters: Mapping[str, Any]) -> float:
        wait_s = parameters.get("wait_s")
        return self._timeout_s + (wait_s if isinstance(wait_s, int | float) else 0)

    def _exchange(self, line: bytes, patience_s: float, id_: int) -> Any:  # noqa: ANN401  JSON
        """Send a line; returns the frame that answers it, or the frames that answer a bundle."""
        end = time.monotonic() + patience_s
        try:
            self._sock.settimeout(patience_s)
            self._sock.sendall(line)
        except TimeoutError:
            raise self._silent(patience_s) from None
        except OSError:
            pass  # it has hung up: why, may stand in what is still to be read
        while True:
            frame = self._receive(end - time.monotonic())
            if frame is None:
                raise self._silent(patience_s)
            if isinstance(frame, list):
                if frame and frame[0].get("id") == id_:
                    return frame
            elif not isinstance(frame, dict):
                raise not_a_node(self.path)
            elif "method" in frame:
                self._events.append(frame["params"])
            elif frame.get("id") in {None, id_}:
                return frame

    def watch(self, *topics: str) -> None:
        """Have the events of these topics sent from now on."""
        self.call("watch", topics=list(topics))

    def notifications(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield events, each with its `topic`, for ever, or until none came for `timeout_s`."""
        while True:
            while self._events:
                yield self._events.popleft()
            frame = self._receive(timeout_s)
            if frame is None:
                return
            if "method" in frame:
                self._events.append(frame["params"])

    def _silent(self, patience_s: float) -> NodeUnreachable:
        hint = "it may be overloaded or stopped: see its log, or restart it"
        return NodeUnreachable(self.path, f"it gave no answer in {patience_s:g} s", hint)

    def _receive(self, patience_s: float | None) -> Any:  # noqa: ANN401  JSON
        """Return the next frame, or None when none came in time."""
        end = None if patience_s is None else time.monotonic() + patience_s
        while (cut := self._buffer.find(b"\n")) < 0:
            left_s = None if end is None else end - time.monotonic()
            if left_s is not None and left_s <= 0:
                return None
            try:
                self._sock.settimeout(left_s)
                data = self._sock.recv(RECEIVE_BYTES)
            except TimeoutError:
                return None
            except OSError as wrong:
                raise NodeUnreachable(self.path, f"the connection broke: {wrong}") from None
            if not data:
                raise NodeUnreachable(self.path, "the node has hung up")
            self._buffer += data
        line = bytes(self._buffer[:cut])
        del self._buffer[: cut + 1]
        try:
            return json.loads(line)
        except ValueError:
            raise not_a_node(self.path) from None
