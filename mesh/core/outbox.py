"""Where the parts of a node put what they want done; the node turns it into effects.

A part never addresses sockets: it sends a message to a node id, and the node seals it. Messages
to one peer put there during one input share datagrams. Rows put there during one input become one
`Commit`; `commit()` returns its number, and the part acts once `CommitDone` reaches that number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.core.effects import (
    ClientId,
    CommitNumber,
    Effect,
    Json,
    Notify,
    Reply,
    ReplyError,
    Row,
)
from mesh.core.errors import LocalError
from mesh.core.identity import NodeId
from mesh.core.wire.frame import BODY_BYTES_MAX, Message

BULK_BYTES_MAX = 60_000
FIRST_COMMIT = CommitNumber(1)


@dataclass(slots=True)
class Outbox:
    """Collects during one input; emptied by the node at its end."""

    next_commit: CommitNumber = FIRST_COMMIT
    messages: dict[NodeId, list[tuple[int, bytes]]] = field(default_factory=dict)
    bulk: dict[NodeId, list[tuple[int, bytes]]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    is_urgent: bool = False
    """Whether somebody waits for the next commit; otherwise it may wait for company."""
    promised: int = 0
    """Rows still to be put in before the commit leaves: their facts will be signed together."""
    effects: list[Effect] = field(default_factory=list)

    def send(self, peer: NodeId, message: Message) -> None:
        """Send a message over the link to a peer, sealed, once, with no promise."""
        self.send_raw(peer, message.KIND, message.encode())

    def send_raw(self, peer: NodeId, kind: int, body: bytes) -> None:
        """Send an encoded message."""
        assert len(body) <= BODY_BYTES_MAX
        self.messages.setdefault(peer, []).append((kind, body))

    def send_bulk(self, peer: NodeId, kind: int, body: bytes) -> None:
        """Send a large encoded message over a sealed stream, opened on demand."""
        assert len(body) <= BULK_BYTES_MAX
        self.bulk.setdefault(peer, []).append((kind, body))

    def commit(self, *rows: Row) -> CommitNumber:
        """Make rows durable; returns the number to wait for."""
        self.is_urgent = True
        self.rows.extend(rows)
        return self.next_commit

    def keep(self, *rows: Row) -> CommitNumber:
        """Make rows durable soon: nobody waits for them; returns the number of their commit."""
        self.rows.extend(rows)
        return self.next_commit

    def promise(self) -> CommitNumber:
        """Say that a row will be put in before the commit leaves; returns its number."""
        self.is_urgent = True
        self.promised += 1
        return self.next_commit

    @property
    def rows_waiting(self) -> int:
        """How many rows the next commit has by now."""
        return len(self.rows) + self.promised

    def put(self, effect: Effect) -> None:
        """Ask for any other effect."""
        self.effects.append(effect)

    def reply(self, client: ClientId, request: int, result: Json) -> None:
        """Answer a control client."""
        self.effects.append(Reply(client, request, result))

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        """Tell a control client what is wrong."""
        self.effects.append(ReplyError(client, request, error.name, error.message, error.hint))

    def notify(self, topic: str, body: Mapping[str, Json], client: ClientId | None = None) -> None:
        """Tell watchers of a topic, or one client."""
        self.effects.append(Notify(topic, body, client))
