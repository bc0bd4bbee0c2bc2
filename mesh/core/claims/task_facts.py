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
    """The facts about one task by id; two are equal when they hold the same ids.

    Most tasks wait with a spec and nothing else, and one fact needs no dictionary.
    """

    __slots__ = ("_lone", "_many", "task")

    __hash__ = None  # type: ignore[assignment]  # a set that grows has no hash that lasts

    def __init__(self, task: TaskId, facts: Iterable[Verified[Any]] = ()) -> None:
        self.task = task
        self._lone: Verified[Any] | None = None
        """The only fact, while it is the only one."""
        self._many: dict[FactId, Verified[Any]] | None = None
        """All facts, once there have been two."""
        for verified in facts:
            self.add(verified)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskFacts):
            return NotImplemented
        return self.task == other.task and self._ids() == other._ids()

    def __repr__(self) -> str:
        ids = ", ".join(id_.hex()[:8] for id_ in sorted(self._ids()))
        return f"TaskFacts({self.task.hex()[-8:]}: {ids})"

    def _ids(self) -> frozenset[FactId]:
        return frozenset(verified.signed.id for verified in self)

    def __len__(self) -> int:
        return len(self._many) if self._many is not None else int(self._lone is not None)

    def __iter__(self) -> Iterator[Verified[Any]]:
        if self._many is not None:
            return iter(self._many.values())
        return iter(() if self._lone is None else (self._lone,))

    def __contains__(self, id_: FactId) -> bool:
        if self._many is not None:
            return id_ in self._many
        return self._lone is not None and self._lone.signed.id == id_

    def get(self, id_: FactId) -> Verified[Any] | None:
        """Return the fact with this id, when it is held."""
        if self._many is not None:
            return self._many.get(id_)
        return self._lone if id_ in self else None

    def add(self, verified: Verified[Any]) -> None:
        """Hold one more fact; holding it already changes nothing."""
        assert verified.fact.task == self.task
        if self._many is not None:
            self._many.setdefault(verified.signed.id, verified)
        elif self._lone is None:
            self._lone = verified
        elif self._lone.signed.id != verified.signed.id:
            self._many = {self._lone.signed.id: self._lone, verified.signed.id: verified}
            self._lone = None

    def withdraw(self, gone: Mapping[FactId, None]) -> None:
        """Let go of facts whose authors count no more."""
        left = [verified for verified in self if verified.signed.id not in gone]
        self._lone = self._many = None
        for verified in left:
            self.add(verified)

    def join(self, other: "TaskFacts") -> "TaskFacts":
        """Return the union."""
        assert self.task == other.task
        joined = TaskFacts(self.task, self)
        for verified in other:
            joined.add(verified)
        return joined

    def count_of(self, author: NodeId) -> int:
        """Return how many of the facts one node has made."""
        if self._many is None:
            return int(self._lone is not None and self._lone.author == author)
        return len([1 for verified in self._many.values() if verified.author == author])

    def claims_of(self, author: NodeId, epoch: int) -> int:
        """Return how many claims one node has made in one epoch."""
        mine = [verified.fact for verified in self if verified.author == author]
        return len([1 for fact in mine if isinstance(fact, Claim) and fact.epoch == epoch])

    def missing(self, verified: Verified[Any], evidence: Mapping[FactId, Evidence]) -> list[FactId]:
        """Return what a fact cites and what is held neither here nor, as a reason, as evidence."""
        fact = verified.fact
        if isinstance(fact, Claim):
            return self._missing_of_claim(fact, evidence)
        ground = ground_of(fact)
        return [] if ground is None or ground in self else [ground]

    def _missing_of_claim(self, fact: Claim, evidence: Mapping[FactId, Evidence]) -> list[FactId]:
        held = self if self._many is None else self._many
        lacking = [] if fact.spec in held else [fact.spec]
        if fact.supersedes is not None and fact.supersedes not in held:
            lacking.append(fact.supersedes)
        if fact.because is not None and fact.because not in held and fact.because not in evidence:
            lacking.append(fact.because)
        if fact.presence is not None and fact.presence not in evidence:
            lacking.append(fact.presence)
        return lacking
