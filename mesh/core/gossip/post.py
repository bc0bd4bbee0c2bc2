"""Where gossip hands over its messages: sizes them, counts them, picks datagram or stream."""

from collections.abc import Iterator, Sequence

from mesh.core.identity import NodeId
from mesh.core.outbox import BULK_BYTES_MAX, Outbox
from mesh.core.wire.frame import BODY_BYTES_MAX, Message

BULK_FROM_BYTES = 8_000
"""From here on one stream is cheaper, and kinder to the network, than many datagrams."""


def pack_bodies(head: bytes, entries: Sequence[bytes], limit: int) -> Iterator[bytes]:
    """Yield bodies that begin with `head` and hold the entries in order, each body within limit.

    An entry that exceeds the limit alone gets a body of its own.
    """
    body, size = [head], len(head)
    for entry in entries:
        if len(body) > 1 and size + len(entry) > limit:
            yield b"".join(body)
            body, size = [head], len(head)
        body.append(entry)
        size += len(entry)
    if len(body) > 1:
        yield b"".join(body)


class Post:
    """Sends for all parts of gossip and keeps their counters."""

    __slots__ = ("_counts", "_outbox", "_sent")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._counts: dict[str, int] = {}
        self._sent: dict[type[Message], list[int]] = {}
        """Of each kind how many, and how many bytes."""

    def count(self, name: str, amount: int = 1) -> None:
        """Count something that happened."""
        self._counts[name] = self._counts.get(name, 0) + amount

    def counters(self) -> dict[str, int]:
        """Return everything counted so far."""
        counts = dict(self._counts)
        for kind, (number, size) in self._sent.items():
            counts[f"sent_{kind.__name__}"] = number
            counts[f"sent_bytes_{kind.__name__}"] = size
        return counts

    def send(self, peer: NodeId, kind: type[Message], body: bytes) -> None:
        """Send a body: in a datagram where it fits, else over a stream."""
        size = len(body)
        sent = self._sent.setdefault(kind, [0, 0])
        sent[0] += 1
        sent[1] += size
        if size <= BODY_BYTES_MAX:
            self._outbox.send_raw(peer, kind.KIND, body)
        else:
            self._outbox.send_bulk(peer, kind.KIND, body)

    def send_entries(
        self, peer: NodeId, kind: type[Message], head: bytes, entries: Sequence[bytes]
    ) -> int:
        """Send entries in as many bodies as needed, many over a stream; returns the bytes."""
        size = sum(map(len, entries))
        limit = BODY_BYTES_MAX if size <= BULK_FROM_BYTES else BULK_BYTES_MAX
        for body in pack_bodies(head, entries, limit):
            self.send(peer, kind, body)
        return size
