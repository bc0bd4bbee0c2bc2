"""Long polls: clients that wait for a task to claim, or for a task to be over."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.core.claims.requests import Asker
from mesh.core.commands import TaskClaim
from mesh.core.effects import ClientId
from mesh.core.errors import LocalError
from mesh.core.identity import FactId, TaskId
from mesh.core.instants import Instant
from mesh.core.params import ClaimParams


@dataclass(frozen=True, slots=True)
class ClaimWaiter:
    """A client that wants to own a task: one by id, or the next of some kinds."""

    number: int
    asker: Asker
    command: TaskClaim
    agent: str
    task: TaskId | None
    kinds: tuple[str, ...]
    deadline: Instant


@dataclass(frozen=True, slots=True)
class TaskWaiter:
    """A client that waits until a task is completed, failed or canceled."""

    number: int
    asker: Asker
    task: TaskId
    deadline: Instant


@dataclass(frozen=True, slots=True)
class AnswerWaiter:
    """A client that waits until a question is answered or timed out."""

    number: int
    asker: Asker
    task: TaskId
    question: FactId
    deadline: Instant


Waiter = ClaimWaiter | TaskWaiter | AnswerWaiter
Key = TypeVar("Key")
Held = TypeVar("Held")


@dataclass(slots=True)
class Waiters:
    """All of them, found by task, by kind and by client; at most `waiters_max`."""

    params: ClaimParams
    _all: dict[int, Waiter] = field(default_factory=dict)
    _by_kind: dict[str, dict[int, ClaimWaiter]] = field(default_factory=dict)
    _by_task: dict[TaskId, dict[int, Waiter]] = field(default_factory=dict)
    _by_client: dict[ClientId, dict[int, None]] = field(default_factory=dict)
    _last_number: int = 0

    def __len__(self) -> int:
        return len(self._all)

    def new_number(self) -> int:
        """Return a number no waiter has."""
        self._last_number += 1
        return self._last_number

    def check_room(self, others: int) -> None:
        """Raise LocalError when this many others besides leave no room for one more."""
        if len(self._all) + others >= self.params.waiters_max:
            raise LocalError(
                "busy",
                f"{self.params.waiters_max} requests are under way",
                "wait for some of them to be answered, then try again",
            )

    def add(self, waiter: Waiter) -> None:
        """Let a client wait."""
        self._all[waiter.number] = waiter
        self._by_client.setdefault(waiter.asker.client, {})[waiter.number] = None
        if waiter.task is not None:
            self._by_task.setdefault(waiter.task, {})[waiter.number] = waiter
        if isinstance(waiter, ClaimWaiter):
            for kind in waiter.kinds:
                self._by_kind.setdefault(kind, {})[waiter.number] = waiter

    def get(self, number: int) -> Waiter | None:
        """Return a waiter."""
        return self._all.get(number)

    def take(self, number: int) -> Waiter | None:
        """Remove and return a waiter."""
        waiter = self._all.pop(number, None)
        if waiter is None:
            return None
        _drop(self._by_client, waiter.asker.client, number)
        if waiter.task is not None:
            _drop(self._by_task, waiter.task, number)
        if isinstance(waiter, ClaimWaiter):
            for kind in waiter.kinds:
                _drop(self._by_kind, kind, number)
        return waiter

    def claimants(self) -> list[ClaimWaiter]:
        """Return who waits to own a task, first come first."""
        return [waiter for waiter in self._all.values() if isinstance(waiter, ClaimWaiter)]

    def of_client(self, client: ClientId) -> list[int]:
        """Return the numbers of a client's waiters."""
        return list(self._by_client.get(client, ()))

    def kinds_of_client(self, client: ClientId) -> dict[str, None]:
        """Return the kinds a client waits for."""
        kinds: dict[str, None] = {}
        for number in self._by_client.get(client, ()):
            waiter = self._all[number]
            if isinstance(waiter, ClaimWaiter):
                kinds.update(dict.fromkeys(waiter.kinds))
        return kinds

    def of_kind(self, kind: str) -> list[ClaimWaiter]:
        """Return who waits for the next task of a kind, first come first."""
        return list(self._by_kind.get(kind, {}).values())

    def waited_for(self, tasks: Collection[TaskId]) -> list[TaskId]:
        """Return those of some tasks that somebody waits for by name."""
        fewer, more = sorted((self._by_task, tasks), key=len)
        return [task for task in fewer if task in more]

    def of_task(self, task: TaskId) -> list[Waiter]:
        """Return who waits for one task."""
        return list(self._by_task.get(task, {}).values())

    def kinds(self) -> dict[str, None]:
        """Return the kinds somebody waits for."""
        return dict.fromkeys(self._by_kind)


def _drop(index: dict[Key, dict[int, Held]], key: Key, number: int) -> None:
    numbers = index.get(key, {})
    numbers.pop(number, None)
    if not numbers:
        index.pop(key, None)
