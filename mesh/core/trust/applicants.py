"""Those who want to take part and have no ticket, until somebody lets them in or sends them off.

Who waits is kept in memory only: it asks again every few seconds, so that a restart forgets nobody
for long. Who was sent off stays so; a ticket is the way back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.core.crypto.keys import KEY_BYTES, fingerprint
from mesh.core.effects import Row
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import PublicKey, node_id
from mesh.core.instants import Instant, Now, later

APPLICANTS_MAX = 64
DENIED_MAX = 256
FORGET_S = 60.0
"""Somebody who has not asked again for so long does not wait any more."""
LISTEN_S_MAX = 86_400.0
ID_DIGITS_MIN = 4
DENIED_ROW = "denied"
PLACE_BYTES = 8
PLACE_HIGH = (1 << 8 * PLACE_BYTES) - 1


@dataclass(frozen=True, slots=True)
class Applicant:
    """Somebody who waits: the key that has signed the exchange, and how it calls itself."""

    key: PublicKey
    name: str
    since_s: float
    """Wall time of the first time it asked, for people."""
    asked: Instant


@dataclass(slots=True)
class Applicants:
    """Who waits at this node."""

    listen_until: Instant = Instant(0.0)
    """Until then strangers who do not know the mesh id get an answer too."""
    waiting: dict[PublicKey, Applicant] = field(default_factory=dict)
    denied: dict[PublicKey, int] = field(default_factory=dict)
    """Each with its place in the order in which they were."""

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """Take back from disk who was sent off; damaged rows are left out."""
        for key, value in sorted(rows.items(), key=lambda row: (row[1], row[0])):
            if len(key) == KEY_BYTES and len(value) == PLACE_BYTES:
                self.denied[PublicKey(key)] = int.from_bytes(value, "big")

    def ask(self, now: Now, key: PublicKey, name: str) -> None:
        """Somebody asks, perhaps again; raises RemoteError (DENIED, OVER_CAP)."""
        if key in self.denied:
            raise RemoteError(Refusal.DENIED, key.hex())
        self._forget_silent(now.instant)
        known = self.waiting.get(key)
        if known is None and len(self.waiting) >= APPLICANTS_MAX:
            raise RemoteError(Refusal.OVER_CAP, f"{APPLICANTS_MAX} wait already")
        since_s = max(0.0, now.wall) if known is None else known.since_s
        self.waiting[key] = Applicant(key, name, since_s, now.instant)

    def here(self, instant: Instant) -> tuple[Applicant, ...]:
        """Return who waits, in the order in which they came."""
        self._forget_silent(instant)
        return tuple(self.waiting.values())

    def find(self, instant: Instant, text: str) -> Applicant:
        """Return who is called so; raises LocalError."""
        found = [one for one in self.here(instant) if _is_called(one, text)]
        if not found:
            raise LocalError(
                "not_found",
                f"nobody called {text} waits here",
                "see `mesh pending`, on the node whose address was given as --seed",
            )
        if len(found) > 1:
            raise LocalError(
                "ambiguous", f"{len(found)} called {text} wait", "give the fingerprint"
            )
        return found[0]

    def admitted(self, key: PublicKey) -> None:
        """Somebody takes part now."""
        self.waiting.pop(key, None)

    def deny(self, key: PublicKey) -> tuple[Row, ...]:
        """Send somebody off: it is told so when it asks again. Returns what has to be durable."""
        self.waiting.pop(key, None)
        place = min(1 + max(self.denied.values(), default=0), PLACE_HIGH)
        self.denied.pop(key, None)
        self.denied[key] = place
        row = Row(DENIED_ROW, key, place.to_bytes(PLACE_BYTES, "big"))
        if len(self.denied) <= DENIED_MAX:
            return (row,)
        first = next(iter(self.denied))
        del self.denied[first]
        return row, Row(DENIED_ROW, first, None)

    def _forget_silent(self, instant: Instant) -> None:
        gone = [key for key, one in self.waiting.items() if instant >= later(one.asked, FORGET_S)]
        for key in gone:
            del self.waiting[key]


def _is_called(applicant: Applicant, text: str) -> bool:
    node = node_id(applicant.key).hex()
    exact = text in {applicant.name, fingerprint(applicant.key), applicant.key.hex()}
    return exact or (len(text) >= ID_DIGITS_MIN and node.startswith(text))
