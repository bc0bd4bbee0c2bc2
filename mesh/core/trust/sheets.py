"""Asking for sheets: what of a revoked key goes on counting, where a node cannot tell by itself.

Most nodes hold the same facts of a removed node as its remover, and write the sheets themselves.
Who lacks a fact, has one too many, or came later asks one peer after the other. A sheet proves
itself by its digest, so nobody need be trusted with it, and what is lost is asked for again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from mesh.core.bucket import Buckets
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.outbox import Outbox
from mesh.core.rng import Rng
from mesh.core.trust.records import SHEET_DIGEST_BYTES, STANDING_ID_BYTES
from mesh.core.trust.standing import SHEET_BYTES_MAX
from mesh.core.trust.trust import Trust
from mesh.core.wire.codec import Binary, Layout, Many
from mesh.core.wire.frame import BODY_BYTES_MAX, Message

ASKED_MAX = 56
"""Sheets asked for at once: the answer fits one message of a stream."""
FIRST_S = 0.01
RETRY_S = 1.0
PATIENCE = 6
RETRY_DOUBLINGS_MAX = 6
"""Where nobody seems to have a sheet, the next question comes up to a minute later."""
GIVEN_BYTES_S = 500_000.0
"""Given to one peer per second, and four times as much at once."""
PEERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class SheetAsk(Message):
    """Please send me the sheets with these digests."""

    KIND: ClassVar[int] = 70
    LAYOUT: ClassVar[Layout] = (Many(Binary(SHEET_DIGEST_BYTES), ASKED_MAX),)
    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SheetGive(Message):
    """Sheets, as many as the sender has of those that were asked for."""

    KIND: ClassVar[int] = 71
    LAYOUT: ClassVar[Layout] = (Many(Binary(STANDING_ID_BYTES, SHEET_BYTES_MAX), ASKED_MAX),)
    sheets: tuple[bytes, ...]


@dataclass(slots=True)
class SheetExchange:
    """Asks for what is wanted, and gives what others ask for."""

    trust: Trust
    outbox: Outbox
    rng: Rng
    alive: Callable[[], tuple[NodeId, ...]]
    keep: Callable[[tuple[bytes, ...]], bool]
    """Takes sheets that came; whether one of them was wanted."""
    received: int = 0
    """Sheets that peers have sent."""
    _source: NodeId | None = None
    """Who was asked last; what others send after all is taken, and they are not asked for more."""
    _completed: NodeId | None = None
    _due: Instant = NEVER
    _fruitless: int = 0
    _asked: int = 0
    """So many of the wanted sheets were asked for since something came; the others come first."""
    _given: Buckets[NodeId] = field(
        default_factory=lambda: Buckets(GIVEN_BYTES_S, 4 * GIVEN_BYTES_S, PEERS_MAX)
    )

    def want(self, now: Instant) -> None:
        """Something may be wanted that was not before, or no more."""
        wanted = bool(self.trust.wanted_sheets())
        if not wanted:
            self._due, self._fruitless = NEVER, 0
        elif self._due == NEVER:
            self._due = later(now, FIRST_S)

    def next_deadline(self) -> Instant:
        """Return when somebody is to be asked."""
        return self._due

    def counters(self) -> dict[str, int]:
        """Return how many sheets have come, and how many are missing."""
        wanted = len(self.trust.wanted_sheets())
        return {"sheets_received": self.received, "sheets_wanted": wanted}

    def handle_timeout(self, now: Instant) -> None:
        """Ask somebody for what is wanted."""
        wanted, alive = self.trust.wanted_sheets(), self.alive()
        if not wanted:
            self._due = NEVER
            return
        doublings = min(max(0, self._fruitless - PATIENCE), RETRY_DOUBLINGS_MAX)
        self._due = later(now, RETRY_S * (1 << doublings))
        if alive:
            self._fruitless += 1
            self._ask(self.rng.choice(alive))

    def take_completed(self) -> NodeId | None:
        """Return who has sent the last sheet that was missing, once."""
        completed, self._completed = self._completed, None
        return completed

    def _ask(self, peer: NodeId) -> None:
        self._source = peer
        wanted = self.trust.wanted_sheets()
        start = self._asked % len(wanted)
        self._asked = start + ASKED_MAX
        self.outbox.send(peer, SheetAsk(tuple(islice(wanted, start, start + ASKED_MAX))))

    def handle_message(self, now: Instant, peer: NodeId, kind: int, body: bytes) -> None:
        """Take a message of a peer; raises RemoteError."""
        if kind == SheetAsk.KIND:
            self._give(now, peer, SheetAsk.decode_untrusted(body).digests)
        elif kind == SheetGive.KIND:
            self._take(now, peer, SheetGive.decode_untrusted(body).sheets)
        else:
            raise RemoteError(Refusal.MALFORMED, f"nobody knows a message {kind} about sheets")

    def _give(self, now: Instant, peer: NodeId, digests: tuple[bytes, ...]) -> None:
        found = [self.trust.sheet(digest) for digest in dict.fromkeys(digests)]
        sheets = tuple(sheet for sheet in found if sheet is not None)
        size = sum(map(len, sheets))
        if not sheets or not self._given.take(now, peer, size):
            return
        body = SheetGive(sheets).encode()
        if len(body) <= BODY_BYTES_MAX:
            self.outbox.send_raw(peer, SheetGive.KIND, body)
        else:
            self.outbox.send_bulk(peer, SheetGive.KIND, body)

    def _take(self, now: Instant, peer: NodeId, sheets: tuple[bytes, ...]) -> None:
        self.received += len(sheets)
        if not self.keep(sheets):
            return
        self._fruitless = 0
        if not self.trust.wanted_sheets():
            self._due, self._completed = NEVER, peer
        elif peer == self._source:
            # Who has these has more of them.
            self._asked = 0
            self._due = later(now, RETRY_S)
            self._ask(peer)
