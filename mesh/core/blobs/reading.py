"""What the disk was asked to read and has not answered yet, and for whom."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.core.effects import ClientId
from mesh.core.identity import BlobId, NodeId


class Asker(NamedTuple):
    """A request of a client."""

    client: ClientId
    request: int


class Reading(NamedTuple):
    """Bytes asked of the disk, for a peer or for a client."""

    offset: int
    peer: NodeId | None
    asker: Asker | None


@dataclass(slots=True)
class Readings:
    """All of them; the disk answers those of one blob in their order."""

    _by_blob: "dict[BlobId, deque[Reading]]" = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, blob: BlobId, reading: Reading) -> None:
        """One more is asked for."""
        self._by_blob.setdefault(blob, deque()).append(reading)
        self._count += 1

    def take(self, blob: BlobId) -> Reading | None:
        """Remove and return the one that is answered next."""
        waiting = self._by_blob.get(blob)
        if waiting is None:
            return None
        self._count -= 1
        reading = waiting.popleft()
        if not waiting:
            del self._by_blob[blob]
        return reading
