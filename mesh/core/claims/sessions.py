"""Who on this machine works on what: agents on their connections, and the claims in their hands.

A claim answers a *handle*, a random local secret that every later write must carry. It is neither
gossiped nor shown, and only its hash is stored: reading the log gives nobody a claim.
"""

from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

import msgpack

from mesh.core.claims.facts import Blob, Claim
from mesh.core.claims.requests import Asker
from mesh.core.claims.settle import Settle
from mesh.core.claims.waiters import ClaimWaiter
from mesh.core.effects import ClientId, Row
from mesh.core.errors import LocalError
from mesh.core.identity import FactId, TaskId
from mesh.core.instants import Instant
from mesh.core.params import ClaimParams
from mesh.core.rng import Rng
from mesh.core.wire.envelope import Verified

HANDLE_ROW = "handle"
HANDLE_BYTES = 12
KINDS_ADVERTISED_MAX = 32
BIDS_KEPT_MAX = 1024
"""One that was let go of is asked for again."""


class Phase(Enum):
    """How far a claim of this node got."""

    SETTLING = "settling"
    """Pushed, and waiting until it may start."""
    OWNED = "owned"
    LOST = "lost"
    """Outranked, superseded or canceled; a late completion may still come."""
    ENDED = "ended"
    """Completed, failed or released with this handle."""


class Bid(NamedTuple):
    """What an agent bids for one task, and since when it is asked; None: it has not said."""

    since: Instant
    score: int | None


@dataclass(slots=True)
class Session:
    """An agent on a control connection: the kinds it waits for, and how many tasks it takes."""

    client: ClientId
    agent: str
    kinds: tuple[str, ...]
    capacity: int
    bids: dict[TaskId, Bid] = field(default_factory=dict)
    """Of an agent that bids task by task: at most `BIDS_KEPT_MAX`, the oldest goes."""

    def set_bid(self, task: TaskId, bid: Bid) -> None:
        """Remember what the agent says of a task, or that it is asked."""
        self.bids.pop(task, None)
        self.bids[task] = bid
        if len(self.bids) > BIDS_KEPT_MAX:
            del self.bids[next(iter(self.bids))]


class Unsaid(NamedTuple):
    """What a report says: its note, and where a later attempt may go on from."""

    note: bytes = b""
    checkpoint: bytes = b""
    blob: Blob | None = None


NOTHING_UNSAID = Unsaid()


@dataclass(slots=True)
class Holding:
    """One claim of this node: the agent's side of it, under its handle."""

    key: bytes
    claim: Verified[Claim]
    handle: str = ""
    client: ClientId | None = None
    detached: bool = False
    phase: Phase = Phase.SETTLING
    settle: Settle | None = None
    askers: list[Asker] = field(default_factory=list)
    """Who is answered once it may start."""
    waiter: ClaimWaiter | None = None
    """The long poll behind it, which goes on with another task when this one is lost."""
    request_key: bytes = b""
    provisional: bool = False
    resuming: bool = False
    """Taken up again: already counted as owned before, and answered in the same shape."""
    started: bool = False
    progress_number: int = 0
    suspended: bool = False
    unsaid: Unsaid | None = None
    """A report that waits for its turn."""

    def next_number(self) -> int:
        """Return the number of the next word on the claim in this boot."""
        self.progress_number += 1
        return self.progress_number

    @property
    def task(self) -> TaskId:
        """The task that is claimed."""
        return self.claim.fact.task

    @property
    def is_live(self) -> bool:
        """Whether the claim is under way or owned: it takes up capacity."""
        return self.phase is Phase.OWNED or self.phase is Phase.SETTLING

    def row(self) -> Row:
        """Return the line of the durable log by which a restarted node knows the handle."""
        fields = (self.claim.id, self.task, self.claim.fact.agent, self.detached)
        return Row(HANDLE_ROW, self.key, msgpack.packb(fields, use_bin_type=True))


@dataclass(frozen=True, slots=True)
class StoredHandle:
    """A handle in the durable log."""

    key: bytes
    claim: FactId
    task: TaskId
    agent: str
    detached: bool


def decode_handle(key: bytes, value: bytes) -> StoredHandle | None:
    """Return the handle behind a row, or None when the row is damaged."""
    try:
        claim, task, agent, detached = msgpack.unpackb(value, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    if type(claim) is not bytes or type(task) is not bytes or type(agent) is not str:
        return None
    return StoredHandle(key, FactId(claim), TaskId(task), agent, detached is True)


def new_handle(rng: Rng) -> str:
    """Return a fresh secret of 24 hexadecimal digits."""
    return rng.randbytes(HANDLE_BYTES).hex()


def handle_key(handle: str) -> bytes:
    """Return what is stored instead of the secret."""
    return blake2b(handle.encode(), digest_size=16).digest()


@dataclass(slots=True)
class Sessions:
    """All agents and all claims of this node."""

    params: ClaimParams
    _sessions: dict[ClientId, Session] = field(default_factory=dict)
    _holdings: dict[bytes, Holding] = field(default_factory=dict)
    _by_task: dict[TaskId, dict[bytes, Holding]] = field(default_factory=dict)
    _by_client: dict[ClientId, dict[bytes, Holding]] = field(default_factory=dict)
    _closed: dict[bytes, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._holdings)

    def attach(self, session: Session) -> None:
        """Take an agent in, or change what it waits for; raises LocalError beyond the bound."""
        if session.client not in self._sessions and (
            len(self._sessions) >= self.params.waiters_max
        ):
            raise LocalError("busy", "too many agents are attached", "detach some, then try again")
        self._sessions[session.client] = session

    def session(self, client: ClientId) -> Session | None:
        """Return the agent on a connection."""
        return self._sessions.get(client)

    def agents(self) -> list[Session]:
        """Return all agents."""
        return list(self._sessions.values())

    def attached(self, kind: str) -> list[Session]:
        """Return the agents that wait for a kind."""
        return [agent for agent in self._sessions.values() if kind in agent.kinds]

    def detach(self, client: ClientId) -> list[Holding]:
        """Forget a connection; returns the claims that were in its hands."""
        self._sessions.pop(client, None)
        held = list(self._by_client.pop(client, {}).values())
        for holding in held:
            holding.client = None
        return held

    def has_capacity(self, client: ClientId) -> bool:
        """Whether the agent on a connection may take one more task; others always may."""
        session = self._sessions.get(client)
        if session is None:
            return True
        return len(self._by_client.get(client, ())) < session.capacity

    def waiting_kinds(self) -> dict[str, None]:
        """Return the kinds for which an attached agent has room."""
        kinds: dict[str, None] = {}
        if not self._sessions:
            return kinds
        for session in self._sessions.values():
            if self.has_capacity(session.client):
                kinds.update(dict.fromkeys(session.kinds))
        return kinds

    def check_room(self) -> None:
        """Raise LocalError when no more claims can be held."""
        if len(self._holdings) - len(self._closed) >= self.params.handles_max:
            raise LocalError(
                "too_many_claims",
                f"this node holds {self.params.handles_max} claims",
                "complete or release some of them first",
            )

    def add(self, holding: Holding) -> None:
        """Keep a new claim."""
        self._holdings[holding.key] = holding
        self._by_task.setdefault(holding.task, {})[holding.key] = holding
        if holding.client is not None:
            self._by_client.setdefault(holding.client, {})[holding.key] = holding

    def hand_to(self, holding: Holding, client: ClientId | None) -> None:
        """Put a claim into the hands of another connection, or of nobody."""
        if holding.client is not None:
            self._drop_from_client(holding)
        holding.client = client
        if client is not None:
            self._by_client.setdefault(client, {})[holding.key] = holding

    def close(self, holding: Holding, phase: Phase) -> Row:
        """End a claim; its handle is remembered for a while. Returns the row to delete."""
        assert phase in {Phase.LOST, Phase.ENDED}
        holding.phase = phase
        holding.settle = holding.waiter = None
        self.hand_to(holding, None)
        self._closed[holding.key] = None
        if len(self._closed) > max(1, self.params.handles_max // 4):
            self.remove(self._holdings[next(iter(self._closed))])
        return Row(HANDLE_ROW, holding.key, None)

    def remove(self, holding: Holding) -> None:
        """Forget a claim and its handle."""
        self._closed.pop(holding.key, None)
        del self._holdings[holding.key]
        of_task = self._by_task[holding.task]
        del of_task[holding.key]
        if not of_task:
            del self._by_task[holding.task]
        if holding.client is not None:
            self._drop_from_client(holding)

    def find(self, handle: str) -> Holding:
        """Return the claim behind a handle; raises LocalError for an unknown one."""
        holding = self._holdings.get(handle_key(handle))
        if holding is None:
            raise LocalError(
                "unknown_handle",
                "no claim of this node has this handle",
                "stop the work: claim the task again with `mesh task claim`",
            )
        return holding

    def is_live(self, handle: str) -> bool:
        """Whether the claim behind a handle is under way or owned."""
        holding = self._holdings.get(handle_key(handle))
        return holding is not None and holding.is_live

    def get(self, key: bytes) -> Holding | None:
        """Return the claim with the key of a handle."""
        return self._holdings.get(key)

    def of_task(self, task: TaskId) -> list[Holding]:
        """Return the claims of this node on one task that are under way or owned."""
        return [held for held in self._by_task.get(task, {}).values() if held.is_live]

    def holds(self, task: TaskId) -> bool:
        """Whether this node has claimed a task, whatever became of that."""
        return task in self._by_task

    def keys_of(self, task: TaskId) -> list[bytes]:
        """Return the keys of this node's claims on one task, ended ones too."""
        return list(self._by_task.get(task, {}))

    def forget_task(self, task: TaskId) -> None:
        """Forget the ended claims on a task, and their handles."""
        for holding in list(self._by_task.get(task, {}).values()):
            self.remove(holding)

    def live(self) -> list[Holding]:
        """Return all claims that are under way or owned."""
        return [holding for holding in self._holdings.values() if holding.is_live]

    def _drop_from_client(self, holding: Holding) -> None:
        assert holding.client is not None
        of_client = self._by_client.get(holding.client, {})
        of_client.pop(holding.key, None)
        if not of_client:
            self._by_client.pop(holding.client, None)
