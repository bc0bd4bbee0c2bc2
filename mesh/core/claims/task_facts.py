"""All facts held about one task: a set that only grows, and merging two of them is their union."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.core.claims.exchange_facts import ExchangeFact
from mesh.core.claims.facts import (
    Attempt,
    Cancel,
    Claim,
    Evidence,
    Progress,
    Result,
    Spec,
    TaskFact,
)
from mesh.core.identity import FactId, NodeId, TaskId
from mesh.core.wire.envelope import Verified

ClaimFact = Progress | Attempt | Result
"""What the author of a claim says about it."""


def ground_of(fact: TaskFact) -> FactId | None:
    """Return the fact about the same task without which another one means nothing."""
    if isinstance(fact, Spec):
        return None
    if isinstance(fact, ClaimFact):
        return fact.claim
    if isinstance(fact, ExchangeFact):
        return fact.cited
    assert isinstance(fact, Claim | Cancel)
    return fact.spec


class TaskFacts:
    """The facts about one task by id; two are equal when they hold the same ids."""

    __slots__ = ("_held", "task")

    __hash__ = None  # type: ignore[assignment]  # a set that grows has no hash that lasts

    def __init__(self, task: TaskId, facts: Iterable[Verified[Any]] = ()) -> None:
        self.task = task
        self._held: dict[FactId, Verified[Any]] = {}
        for verified in facts:
            self.add(verified)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskFacts):
            return NotImplemented
        return self.task == other.task and self._held.keys() == other._held.keys()

    def __repr__(self) -> str:
        ids = ", ".join(sorted(id_.hex()[:8] for id_ in self._held))
        return f"TaskFacts({self.task.hex()[-8:]}: {ids})"

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Verified[Any]]:
        return iter(self._held.values())

    def __contains__(self, id_: FactId) -> bool:
        return id_ in self._held

    def get(self, id_: FactId) -> Verified[Any] | None:
        """Return the fact with this id, when it is held."""
        return self._held.get(id_)

    def add(self, verified: Verified[Any]) -> None:
        """Hold one more fact; holding it already changes nothing."""
        assert verified.fact.task == self.task
        self._held.setdefault(verified.signed.id, verified)

    def join(self, other: "TaskFacts") -> "TaskFacts":
        """Return the union."""
        assert self.task == other.task
        joined = TaskFacts(self.task, self)
        for verified in other:
            joined.add(verified)
        return joined

    def count_of(self, author: NodeId) -> int:
        """Return how many of the facts one node has made."""
        return len([1 for verified in self._held.values() if verified.author == author])

    def claims_of(self, author: NodeId, epoch: int) -> int:
        """Return how many claims one node has made in one epoch."""
        mine = [verified.fact for verified in self._held.values() if verified.author == author]
        return len([1 for fact in mine if isinstance(fact, Claim) and fact.epoch == epoch])

    def missing(self, verified: Verified[Any], evidence: Mapping[FactId, Evidence]) -> list[FactId]:
        """Return what a fact cites and what is held neither here nor, as a reason, as evidence."""
        fact, held = verified.fact, self._held
        if isinstance(fact, Claim):
            return self._missing_of_claim(fact, evidence)
        ground = ground_of(fact)
        return [] if ground is None or ground in held else [ground]

    def _missing_of_claim(self, fact: Claim, evidence: Mapping[FactId, Evidence]) -> list[FactId]:
        held = self._held
        lacking = [] if fact.spec in held else [fact.spec]
        if fact.supersedes is not None and fact.supersedes not in held:
            lacking.append(fact.supersedes)
        if fact.because is not None and fact.because not in held and fact.because not in evidence:
            lacking.append(fact.because)
        if fact.presence is not None and fact.presence not in evidence:
            lacking.append(fact.presence)
        return lacking
