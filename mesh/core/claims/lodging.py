"""Bytes that a client gives with a request and that fit no fact: stored as a blob on its behalf.

A request with more than fits becomes the same request with the digest of a blob, as if its client
had put it in with `blob.put`; it is looked at once the blob is on the disk. What the client asks
for meanwhile waits behind it, and so does its hanging up: everything happens in its order.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from mesh.core.claims.facts import CHECKPOINT_BYTES_MAX, LEFT_BYTES_MAX, PAYLOAD_BYTES_MAX
from mesh.core.claims.handing_over import context_of
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.requests import Answer, Asker
from mesh.core.claims.texts import entered_base64
from mesh.core.commands import Command, TaskComplete, TaskOffer, TaskProgress, TaskSubmit
from mesh.core.effects import ClientId
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId
from mesh.core.instants import Now

INLINE_BYTES_MAX = LEFT_BYTES_MAX
"""What is longer has to be put in with `blob.put`, in pieces."""
WAITING_MAX = 256
"""Requests of one client behind one that is being stored."""


class Step(NamedTuple):
    """What a client asks for; None: it has hung up."""

    asker: Asker
    command: Command | None


@dataclass(slots=True)
class Lodging:
    """The requests whose bytes are on their way to the disk."""

    ledger: Ledger
    do: Callable[[Now, Asker, Command], None]
    """Does what a client has asked for, and answers."""
    part: Callable[[Now, ClientId], None]
    """Does what is to be done when a client has hung up."""
    _stored: dict[ClientId, tuple[BlobId, "deque[Step]"]] = field(default_factory=dict)
    """What is being stored for a client, and its requests: first the one with these bytes."""

    def take(self, now: Now, asker: Asker, command: Command) -> None:
        """Do what a client asks for, at once or when what it asked for before is done."""
        if asker.client not in self._stored:
            self._begin(now, asker, command)
            return
        _, steps = self._stored[asker.client]
        if len(steps) < WAITING_MAX:
            steps.append(Step(asker, command))
        else:
            busy = f"{WAITING_MAX} requests of this client wait for one that is being stored"
            self._refuse(asker, LocalError("busy", busy, "wait for some answers, then try again"))

    def _begin(self, now: Now, asker: Asker, command: Command) -> None:
        try:
            data = bytes_beyond(command, self.ledger.parts.params.payload_bytes_max)
            blob = None if data is None else self.ledger.parts.blobs.keep(now, data)
        except LocalError as error:
            self._refuse(asker, error)
            return
        if blob is None:
            self.do(now, asker, command)
            return
        self.ledger.count("lodged")
        lodged = with_blob(command, blob.hex())
        if self.ledger.parts.blobs.has(blob):
            self.do(now, asker, lodged)
        else:
            self._stored[asker.client] = (blob, deque([Step(asker, lodged)]))

    def _refuse(self, asker: Asker, error: LocalError) -> None:
        self.ledger.count("refused")
        self.ledger.reply(asker, Answer.of_error(error))

    def handle_client_gone(self, now: Now, client: ClientId) -> None:
        """A client has hung up; what it had asked for comes first."""
        if client in self._stored:
            self._stored[client][1].append(Step(Asker(client, 0), None))
        else:
            self.part(now, client)

    def handle_kept(self, now: Now, kept: Mapping[BlobId, LocalError | None]) -> None:
        """These blobs are on the disk, or cannot be stored: go on with who waits for that."""
        for client, (blob, steps) in list(self._stored.items()):
            if blob not in kept:
                continue
            del self._stored[client]
            asker, lodged = steps.popleft()
            error = kept[blob]
            if error is None and lodged is not None:
                self.do(now, asker, lodged)
            elif error is not None:
                self._refuse(asker, error)
            for each, command in steps:
                if command is None:
                    self.handle_client_gone(now, client)
                else:
                    self.take(now, each, command)


def bytes_beyond(command: Command, payload_bytes_max: int) -> bytes | None:
    """Return the bytes in a request that are to be stored; raises LocalError."""
    bytes_max = min(payload_bytes_max, PAYLOAD_BYTES_MAX)
    match command:
        case TaskSubmit(payload=given, blob=None) if given:
            return _beyond(given, bytes_max, "payload")
        case TaskComplete(output=given, blob=None) if given:
            return _beyond(given, bytes_max, "output")
        case TaskProgress(checkpoint=given, checkpoint_blob=None) if given:
            return _beyond(given, CHECKPOINT_BYTES_MAX, "checkpoint")
        case TaskOffer(context_blob=None):
            context = context_of(command)
            return context if len(context) > PAYLOAD_BYTES_MAX else None
        case _:
            return None


def _beyond(given: str, bytes_max: int, what: str) -> bytes | None:
    if len(given) * 3 // 4 <= bytes_max:
        return None
    data = entered_base64(given, INLINE_BYTES_MAX, what)
    return data if len(data) > bytes_max else None


def with_blob(command: Command, digest: str) -> Command:
    """Return a request that names a blob in place of its bytes."""
    match command:
        case TaskSubmit():
            return replace(command, payload="", blob=digest)
        case TaskComplete():
            return replace(command, output="", blob=digest)
        case TaskProgress():
            return replace(command, checkpoint=None, checkpoint_blob=digest)
        case TaskOffer():
            bare = replace(command, goal="", done=(), pending=(), decisions=(), caveats=())
            return replace(bare, context_blob=digest)
        case _:
            raise AssertionError(f"{type(command).__name__} has no bytes")
