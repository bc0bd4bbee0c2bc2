"""Idempotent requests: the same request id of the same user has one effect and one answer.

The answer is written in the same commit as the effect, so a client that lost its connection, or
whose node was killed, asks again and hears what became of its first try. While the first try is
under way, the second waits for its answer. Answers are kept `request_keep_s` and at most
`requests_max` of them: the oldest go first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from mesh.core.commands import TaskClaim, TaskWrite
from mesh.core.effects import ClientId, Row
from mesh.core.errors import LocalError
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.params import ClaimParams

REQUEST_ROW = "request"
UID_BYTES = 8


class Asker(NamedTuple):
    """Who waits for an answer; `key` names the idempotent request behind it, if there is one."""

    client: ClientId
    request: int
    key: bytes = b""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of a request: a result, or an error when it has a name."""

    result: Any = None
    """Json; a recursive type is beyond msgspec."""
    name: str = ""
    message: str = ""
    hint: str = ""

    @classmethod
    def of_error(cls, error: LocalError) -> "Answer":
        """Return the answer that refuses."""
        return cls(None, error.name, error.message, error.hint)

    def as_error(self) -> LocalError | None:
        """Return the error again, if it is one."""
        return LocalError(self.name, self.message, self.hint) if self.name else None


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer in the durable log."""

    wall_s: float
    fingerprint: str
    answer: Answer


@dataclass(slots=True)
class Entry:
    """One request id: what was asked, the answer so far, who else waits for it."""

    fingerprint: bytes
    wall_s: float
    answer: Answer | None = None
    drop_at: Instant = NEVER
    askers: list[Asker] = field(default_factory=list)

    def row(self, key: bytes) -> Row:
        """Return the line of the durable log."""
        assert self.answer is not None
        stored = StoredAnswer(self.wall_s, self.fingerprint.hex(), self.answer)
        return Row(REQUEST_ROW, key, msgspec.json.encode(stored))


def request_key(uid: int, request_id: str) -> bytes:
    """Return the row key of a user's request id."""
    return uid.to_bytes(UID_BYTES, "big") + request_id.encode()


def fingerprint_of(command: TaskWrite) -> bytes:
    """Return a digest of what is asked for; how long a client would wait is no part of it."""
    if isinstance(command, TaskClaim):
        command = msgspec.structs.replace(command, wait_s=0.0)
    return blake2b(msgspec.json.encode(command), digest_size=16).digest()


@dataclass(slots=True)
class Requests:
    """All request ids that are remembered: those under way, and those answered, oldest first."""

    params: ClaimParams
    unreadable: int = 0
    _pending: dict[bytes, Entry] = field(default_factory=dict)
    _answered: dict[bytes, Entry] = field(default_factory=dict)
    _restored: dict[bytes, StoredAnswer] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._pending) + len(self._answered)

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """Take the rows of the durable log; `start` puts them in order."""
        for key, value in rows.items():
            try:
                stored = msgspec.json.decode(value, type=StoredAnswer)
                bytes.fromhex(stored.fingerprint)
                self._restored[key] = stored
            except (msgspec.MsgspecError, ValueError):
                self.unreadable += 1

    def start(self, now: Now) -> list[Row]:
        """Begin to count the age of restored answers; returns the rows of those dropped."""
        keep_s = self.params.request_keep_s
        for key, stored in sorted(self._restored.items(), key=lambda item: item[1].wall_s):
            left_s = min(max(keep_s - (now.wall - stored.wall_s), 0.0), keep_s)
            self._answered[key] = Entry(
                bytes.fromhex(stored.fingerprint),
                stored.wall_s,
                stored.answer,
                later(now.instant, left_s),
            )
        self._restored = {}
        return self.drop_old(now.instant)

    def pending(self, asker: Asker, command: TaskWrite) -> bool:
        """Whether this request is under way; then the asker waits for the same answer.

        Raises LocalError when the id stands for another request.
        """
        entry = self._pending.get(asker.key)
        if entry is None:
            return False
        check_same(entry, command)
        entry.askers.append(asker)
        return True

    def answered(self, asker: Asker, command: TaskWrite) -> Answer | None:
        """Return what this request was answered; raises LocalError when it asked otherwise."""
        entry = self._answered.get(asker.key)
        if entry is None:
            return None
        check_same(entry, command)
        return entry.answer

    def begin(self, now: Now, key: bytes, command: TaskWrite) -> None:
        """Remember a new request whose effect is under way."""
        if key:
            self._pending[key] = Entry(fingerprint_of(command), now.wall)

    def expect(self, key: bytes, answer: Answer) -> tuple[Row, ...]:
        """Return the row to commit with the effect: what to answer if this node dies now."""
        entry = self._pending.get(key)
        if entry is None:
            return ()
        entry.answer = answer
        return (entry.row(key),)

    def finish(self, now: Now, key: bytes, answer: Answer) -> tuple[list[Asker], list[Row]]:
        """Settle the answer; returns who else waits for it, and what to write."""
        entry = self._pending.pop(key, None)
        if entry is None:
            return [], []
        changed = entry.answer != answer
        entry.answer = answer
        entry.drop_at = later(now.instant, self.params.request_keep_s)
        self._answered[key] = entry
        askers, entry.askers = entry.askers, []
        rows = [entry.row(key)] if changed else []
        return askers, rows + self.drop_old(now.instant)

    def forget(self, key: bytes) -> tuple[list[Asker], list[Row]]:
        """Drop a request that had no effect: asked again, it is tried again."""
        entry = self._pending.pop(key, None)
        if entry is None:
            return [], []
        return entry.askers, [] if entry.answer is None else [Row(REQUEST_ROW, key, None)]

    def replace(self, key: bytes, answer: Answer) -> tuple[Row, ...]:
        """Correct an answer that became untrue: a claim that was won and lost later."""
        entry = self._answered.get(key)
        if entry is None:
            return ()
        entry.answer = answer
        return (entry.row(key),)

    def drop_old(self, now: Instant) -> list[Row]:
        """Forget answers past their time or beyond the bound; returns the rows to delete."""
        rows = []
        while self._answered and (
            self.next_deadline() <= now or len(self._answered) > self.params.requests_max
        ):
            key = next(iter(self._answered))
            del self._answered[key]
            rows.append(Row(REQUEST_ROW, key, None))
        return rows

    def next_deadline(self) -> Instant:
        """Return when the oldest answer is dropped."""
        if not self._answered:
            return NEVER
        return next(iter(self._answered.values())).drop_at


def check_same(entry: Entry, command: TaskWrite) -> None:
    """Raise LocalError when a request id comes again with something else to do."""
    if entry.fingerprint != fingerprint_of(command):
        raise LocalError(
            "request_id_reused",
            "this request_id stands for another request",
            "use a new request_id for each new request",
        )
