"""Listens to all nodes at once: every event with the moment at which it was heard."""

import json
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mesh.control.client import connected_socket, encode_request
from tests.faults.background import Background
from tests.faults.nodes import LabNode

TOPICS = ("member", "task")
IDLE_S = 0.2
READ_BYTES = 1 << 18
CONNECT_S = 10


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of one node."""

    at: float
    """Seconds of the monotonic clock."""
    by: str
    """Name of the node that told it."""
    topic: str
    body: dict[str, Any]


class Watch(Background):
    """A thread that collects events until it is left."""

    def __init__(self, nodes: Iterable[LabNode]) -> None:
        super().__init__()
        self.heard: list[Heard] = []
        self._selector = selectors.DefaultSelector()
        for node in nodes:
            self.add(node)

    def add(self, node: LabNode) -> None:
        """Listen to one more node, or again to one that was restarted."""
        sock = connected_socket(node.socket, CONNECT_S)
        sock.sendall(encode_request(1, "watch", {"topics": TOPICS}))
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, (node.name, bytearray()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, value, trace)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _run(self) -> None:
        while not self.ended.is_set():
            for key, _ in self._selector.select(IDLE_S):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj, *key.data)

    def _read(self, sock: socket.socket, name: str, buffer: bytearray) -> None:
        try:
            data = sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(sock)
            sock.close()
            return
        now = time.monotonic()
        buffer += data
        *lines, rest = bytes(buffer).split(b"\n")
        buffer[:] = rest
        for line in lines:
            frame = json.loads(line)
            if "method" in frame:
                body = dict(frame["params"])
                self.heard.append(Heard(now, name, body.pop("topic"), body))

    # ---- what was heard

    def changes(self, about: str, *statuses: str, since: float = 0.0) -> Iterator[Heard]:
        """Yield when whom told that a member took one of these statuses."""
        for event in list(self.heard):
            if (
                event.topic == "member"
                and event.at >= since
                and event.body["name"] == about
                and event.body["new"] in statuses
            ):
                yield event

    def first(self, about: str, *statuses: str, since: float = 0.0) -> dict[str, float]:
        """Return when each node first told so, by its name."""
        found: dict[str, float] = {}
        for event in self.changes(about, *statuses, since=since):
            found.setdefault(event.by, event.at)
        return found

    def losses(self, since: float = 0.0) -> list[Heard]:
        """Return every time that somebody was believed down."""
        return [
            event
            for event in list(self.heard)
            if event.topic == "member" and event.at >= since and event.body["new"] == "down"
        ]
