"""What is over and forgotten: said once by whoever made the tasks, and known for ever at no cost.

A task id is a dot: creator, boot, number. A creator that has seen its tasks finished, and has kept
them for long enough, blackens their dots in a `Forget`. Everybody lets go of what is held about
them, and nobody needs tombstones: that a dot is black tells whoever comes back after a year that
there is nothing left to do. Boots that are long over collapse into one number and a few exceptions.

Facts of this kind only add black squares; what they add up to is a join like everything here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mesh.core.claims.keyed import ForgetKey, Keyed
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, NodeId, TaskId
from mesh.core.lattice.interval_set import IntervalSet
from mesh.core.wire.codec import Binary, Group, Layout, Many, Uint
from mesh.core.wire.envelope import Contexts, Fact, Verified

RUNS_MAX = 128
EXCEPTIONS_MAX = 32
FORGETS_MAX = 1024
"""Facts of one author that no others of it cover: so many boots, or blocks of tasks, still open."""
BLOCK = 256
"""Numbers that one fact speaks of where many tasks are still open; it always fits a datagram."""
HOLES_MAX = 127
"""Open tasks that the fact about everything before may leave out."""
BOTTOM = Boot(0)
NUMBER_HIGH = (1 << 32) - 1
Dot = tuple[int, int]
"""(boot, number) of one creator."""


@dataclass(frozen=True, slots=True)
class Forget(Fact):
    """Tasks of one boot of a creator are over and forgotten.

    Author: the creator, or whoever is or was an admin.

    `steps` are numbers to skip and numbers to blacken in turn, from 0 on.
    """

    CONTEXT: ClassVar[str] = "forget/1"
    LAYOUT: ClassVar[Layout] = (Binary(16), Uint(64), Many(Uint(32), 2 * RUNS_MAX))
    creator: NodeId
    boot: Boot
    steps: tuple[int, ...]

    def numbers(self) -> IntervalSet:
        """Return the numbers of the tasks."""
        runs, at = [], 0
        for skipped, count in zip(self.steps[::2], self.steps[1::2], strict=True):
            runs.append((at + skipped, at + skipped + count - 1))
            at += skipped + count
        return IntervalSet(runs)


@dataclass(frozen=True, slots=True)
class ForgetBoots(Fact):
    """All tasks of boots before `floor` are over, except a few. Author: as of `Forget`."""

    CONTEXT: ClassVar[str] = "forget-boots/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(16),
        Uint(64),
        Many(Group((Uint(64), Uint(32))), EXCEPTIONS_MAX),
    )
    creator: NodeId
    floor: Boot
    exceptions: tuple[Dot, ...]


FORGET_CONTEXTS: Contexts = {kind.CONTEXT: kind for kind in (Forget, ForgetBoots, ForgetKey)}
AnyForget = Forget | ForgetBoots


def steps_of(numbers: IntervalSet) -> tuple[int, ...]:
    """Return the steps that stand for a set."""
    steps, at = [], 0
    for first, last in numbers.runs():
        steps += [first - at, last - first + 1]
        at = last + 1
    return tuple(steps)


def pages_of(numbers: IntervalSet) -> list[IntervalSet]:
    """Cut a set into parts that one fact can say each, so that later ones cover earlier ones.

    The first is as long as it can be with few holes, and only ever grows; behind it each block of
    numbers has a part of its own, until the first one swallows it.
    """
    runs = list(numbers.runs())
    if not runs:
        return []
    blocks = runs[-1][1] // BLOCK + 1
    low, high = 0, blocks
    while low < high:
        middle = (low + high + 1) // 2
        if middle * BLOCK - len(numbers.within(0, middle * BLOCK - 1)) <= HOLES_MAX:
            low = middle
        else:
            high = middle - 1
    first = numbers.within(0, low * BLOCK - 1) if low else IntervalSet()
    rest = (numbers.within(at * BLOCK, (at + 1) * BLOCK - 1) for at in range(low, blocks))
    return [page for page in (first, *rest) if page.run_count]


def check_forget(fact: AnyForget) -> None:
    """Raise RemoteError(BROKEN_RULE) for what is not the one way to say it."""
    if isinstance(fact, ForgetBoots):
        wrong = list(fact.exceptions) != sorted(dict.fromkeys(fact.exceptions)) or any(
            boot >= fact.floor for boot, _ in fact.exceptions
        )
    else:
        skips, counts = fact.steps[::2], fact.steps[1::2]
        wrong = (
            not fact.steps
            or len(skips) != len(counts)
            or 0 in counts
            or 0 in skips[1:]
            or sum(fact.steps) > NUMBER_HIGH + 1
        )
    if wrong:
        raise RemoteError(Refusal.BROKEN_RULE, "not the shortest way to say what is forgotten")


def dot_of(task: TaskId) -> tuple[NodeId, Boot, int]:
    """Return the creator, boot and number behind an id."""
    boot = Boot(int.from_bytes(task[16:24], "big"))
    return NodeId(task[:16]), boot, int.from_bytes(task[24:], "big")


@dataclass(slots=True)
class Blackened:
    """The black dots of one creator: all before a floor but some, and numbers of later boots."""

    floor: Boot = BOTTOM
    exceptions: frozenset[Dot] = frozenset()
    boots: dict[Boot, IntervalSet] = field(default_factory=dict)

    def __contains__(self, dot: Dot) -> bool:
        boot, number = dot
        if boot < self.floor:
            return dot not in self.exceptions
        return number in self.boots.get(Boot(boot), IntervalSet())

    @property
    def cost(self) -> int:
        """How much it takes to know this."""
        return len(self.exceptions) + sum(numbers.run_count for numbers in self.boots.values())

    def join(self, other: "Blackened") -> "Blackened":
        """Return the union."""
        high, low = (self, other) if self.floor >= other.floor else (other, self)
        open_ = frozenset(dot for dot in high.exceptions if dot not in low)
        boots = dict(high.boots)
        for boot, numbers in low.boots.items():
            if boot >= high.floor:
                boots[boot] = boots.get(boot, IntervalSet()).join(numbers)
        return Blackened(high.floor, open_, boots)

    def covers(self, fact: AnyForget) -> bool:
        """Whether a fact says nothing new."""
        if isinstance(fact, ForgetBoots):
            return self.floor >= fact.floor and all(
                dot in fact.exceptions for dot in self.exceptions if dot[0] < fact.floor
            )
        numbers = fact.numbers()
        if fact.boot < self.floor:
            return not any(
                boot == fact.boot and number in numbers for boot, number in self.exceptions
            )
        return self.boots.get(fact.boot, IntervalSet()).covers(numbers)


def blackened_by(fact: AnyForget) -> Blackened:
    """Return what one fact blackens."""
    if isinstance(fact, ForgetBoots):
        return Blackened(fact.floor, frozenset(fact.exceptions))
    # Below its own boot a `Forget` says nothing: the floor stays at the bottom.
    return Blackened(boots={fact.boot: fact.numbers()})


class Forgotten:
    """All black dots, and the facts that say so: of those only what no other one covers."""

    def __init__(self) -> None:
        self._creators: dict[NodeId, Blackened] = {}
        self._facts: dict[NodeId, dict[bytes, Verified[Any]]] = {}
        """By whose tasks they are about."""
        self._counts: dict[NodeId, int] = {}
        """How many there are of each author."""
        self.keyed = Keyed()

    def __contains__(self, task: TaskId) -> bool:
        if task in self.keyed:
            return True
        known = self._creators.get(NodeId(task[:16]))
        if known is None:
            return False
        _, boot, number = dot_of(task)
        return (boot, number) in known

    @property
    def most(self) -> int:
        """How many facts there are of the author with most."""
        return max(self._counts.values(), default=0)

    def of(self, creator: NodeId) -> Blackened:
        """Return what is black of one creator."""
        return self._creators.get(creator) or Blackened()

    def facts(self, creator: NodeId) -> tuple[Verified[Any], ...]:
        """Return the facts held about one creator's tasks, in the order in which they came."""
        return tuple(self._facts.get(creator, {}).values())

    def creators(self) -> Iterable[NodeId]:
        """Return everybody whose tasks were forgotten."""
        return tuple(self._creators)

    def is_needless(self, verified: Verified[Any]) -> bool:
        """Whether a fact of the same author says all that this one says."""
        return any(
            other.id != verified.id and blackened_by(other.fact).covers(verified.fact)
            for other in self._facts.get(verified.fact.creator, {}).values()
            if other.author == verified.author
        )

    def check_room(self, verified: Verified[Any]) -> None:
        """Raise RemoteError(OVER_CAP) for one more fact of an author that makes none needless."""
        if self._counts.get(verified.author, 0) < FORGETS_MAX:
            return
        if not self._made_needless(verified):
            raise RemoteError(Refusal.OVER_CAP, f"{FORGETS_MAX} facts about forgotten tasks")

    def add(self, verified: Verified[Any]) -> list[Verified[Any]]:
        """Blacken what a fact says; return the facts of its author that it makes needless."""
        fact: AnyForget = verified.fact
        held, author = self._facts.setdefault(fact.creator, {}), verified.author
        needless = self._made_needless(verified)
        for other in needless:
            del held[other.id]
        added = 0 if verified.id in held else 1
        self._counts[author] = self._counts.get(author, 0) + added - len(needless)
        held[verified.id] = verified
        self._creators[fact.creator] = self.of(fact.creator).join(blackened_by(fact))
        return needless

    def _made_needless(self, verified: Verified[Any]) -> list[Verified[Any]]:
        mine = blackened_by(verified.fact)
        return [
            other
            for other in self._facts.get(verified.fact.creator, {}).values()
            if other.id != verified.id
            and other.author == verified.author
            and mine.covers(other.fact)
        ]

    def withdraw(self, gone: Iterable[Verified[Any]]) -> None:
        """Let facts go that count no more: what no other one says is black no longer."""
        touched: dict[NodeId, None] = {}
        for verified in gone:
            creator, author = verified.fact.creator, verified.author
            if self._facts.get(creator, {}).pop(verified.id, None) is not None:
                self._counts[author] -= 1
                touched[creator] = None
        for creator in touched:
            black = Blackened()
            for verified in self._facts[creator].values():
                black = black.join(blackened_by(verified.fact))
            self._creators[creator] = black
