"""The control socket for trio programs: many calls at a time, events as they come."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import trio

from mesh.control.client import (
    NodeUnreachable,
    encode_bundle,
    encode_request,
    refusal_of,
    result_of,
    socket_path,
)
from mesh.control.client import connected_socket as _connected

RECEIVE_BYTES = 65_536

Frame = dict[str, Any] | list[dict[str, Any]]
"""An answer or an event; or the answers to a bundle."""
Listen = Callable[[dict[str, Any]], None]
"""Called with the params of each event; must not raise and not wait."""


class Waiting:
    """A call that has no answer yet."""

    __slots__ = ("answered", "frame")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.frame: Frame | None = None


class TrioClient:
    """One connection, read by a task in its owner's nursery; `closed` is set when it ends."""

    def __init__(self, stream: trio.SocketStream, path: str, listen: Listen | None) -> None:
        self.path = path
        self.closed = trio.Event()
        self._stream = stream
        self._listen = listen
        self._sending = trio.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._last_id = 0

    @classmethod
    async def connect(
        cls, nursery: trio.Nursery, path: str | None = None, listen: Listen | None = None
    ) -> "TrioClient":
        """Connect to the node at a socket; raises NodeUnreachable or Refused."""
        where = socket_path(path)
        sock = _connected(where)  # a local socket: connects at once or never
        sock.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        client = cls(stream, where, listen)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(client._read)
        return client

    async def call(self, method: str, /, **parameters: Any) -> Any:  # noqa: ANN401  JSON
        """Ask, and return the result; raises Refused or NodeUnreachable."""
        return await self.request(method, parameters)

    async def request(self, method: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
        """Ask with the parameters as a mapping."""
        self._last_id += 1
        line = encode_request(self._last_id, method, parameters)
        frame = await self._exchange(self._last_id, line)
        if "error" in frame:
            raise refusal_of(frame["error"])
        return frame["result"]

    async def bundle(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        """Ask up to 64 things at once; returns for each its result, or a Refused, not raised.

        They reach the node together and share what they cost there: one write to its disk, few
        signatures and datagrams. Raises Refused when there are too many for one line.
        """
        first = self._last_id + 1
        line = encode_bundle(first, requests)
        self._last_id += len(requests)
        answers = await self._exchange(first, line)
        if isinstance(answers, dict):
            raise refusal_of(answers["error"])
        return [result_of(frame) for frame in answers]

    async def _exchange(self, id_: int, line: bytes) -> Any:  # noqa: ANN401  JSON
        """Send a line; returns the frame that answers it, or the frames that answer a bundle."""
        waiting = self._waiting[id_] = Waiting()
        try:
            await self._send(line)
            await waiting.answered.wait()
        finally:
            self._waiting.pop(id_, None)
        if waiting.frame is None:
            raise NodeUnreachable(self.path, "the node has hung up")
        return waiting.frame

    def close(self) -> None:
        """Hang up: calls under way raise NodeUnreachable."""
        self._stream.socket.close()
        self._end()

    async def _send(self, line: bytes) -> None:
        async with self._sending:
            try:
                await self._stream.send_all(line)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # Why it hung up may still stand in what is to be read: the reader ends the call.
                if self.closed.is_set():
                    raise NodeUnreachable(self.path, "the node has hung up") from None
            except trio.Cancelled:
                self.close()  # half a line may be out
                raise

    async def _read(self) -> None:
        buffer = bytearray()
        try:
            while data := await self._stream.receive_some(RECEIVE_BYTES):
                buffer += data
                *lines, rest = buffer.split(b"\n")
                for line in lines:
                    self._take(msgspec.json.decode(line, type=Frame))
                buffer = rest
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # whoever this is, it is no node
        finally:
            self.close()

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, list):
            # A bundle is waited for under the id of its first request.
            self._answer(self._waiting.get(frame[0]["id"]), frame)
        elif "method" in frame:
            if self._listen is not None:
                self._listen(frame["params"])
        elif frame.get("id") is not None:
            self._answer(self._waiting.get(frame["id"]), frame)
        else:
            # An error without an id is about the connection as a whole.
            for waiting in self._waiting.values():
                self._answer(waiting, frame)

    @staticmethod
    def _answer(waiting: Waiting | None, frame: Frame) -> None:
        if waiting is not None:
            waiting.frame = frame
            waiting.answered.set()

    def _end(self) -> None:
        self.closed.set()
        for waiting in self._waiting.values():
            waiting.answered.set()
