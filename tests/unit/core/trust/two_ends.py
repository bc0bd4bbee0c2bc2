"""Both ends of a join without a network between them."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mesh.core.errors import LocalError
from mesh.core.instants import Now, WallTime
from mesh.core.trust.applicants import Applicants
from mesh.core.trust.joining import (
    AdmitParts,
    Admitter,
    Joined,
    Joiner,
    JoinParts,
    JoinWish,
    Step,
)
from mesh.core.trust.tickets import Ticket, TicketBook
from mesh.core.wire.envelope import SignedFact
from tests.unit.core.trust.stage import NOW, SUITE, WALL, Stage, key_of, public_key_of

Tamper = Callable[[bytes], bytes]


class Issuer:
    """A node of a mesh that admits: its records, its tickets, whether it has the root key."""

    def __init__(self, stage: Stage, *, name: str = "a", has_root: bool = True) -> None:
        self.stage = stage
        self.name = name
        self.has_root = has_root
        self.trust = stage.trust()
        self.book = TicketBook(SUITE, stage.mesh, public_key_of(name))
        self.rng = random.Random(7)
        self.contacts: tuple[SignedFact, ...] = ()
        self.wall = WALL
        self.instant = NOW.instant
        self.applicants = Applicants()
        self.relayed = False
        self.certificate_ttl_s = 0

    def ticket(self, uses: int = 1, ttl_s: float = 900.0) -> Ticket:
        return self.book.issue(self.rng, NOW, uses, ttl_s).ticket

    def admitter(self) -> Admitter:
        parts = AdmitParts(
            self.stage.author(self.name),
            self.trust,
            self.book,
            self.stage.author("root") if self.has_root else None,
            self.rng,
            Now(self.instant, self.wall),
            self.applicants,
            self.contacts,
            self.certificate_ttl_s,
            relayed=self.relayed,
        )
        return Admitter(parts)


def joiner_of(name: str, wish: JoinWish, *, wall: WallTime = WALL) -> Joiner:
    return Joiner(JoinParts(SUITE, key_of(name), random.Random(name), wall), wish)


def wish_of(name: str, ticket: Ticket | None, *, wants_admin: bool = False) -> JoinWish:
    return JoinWish(name, ticket, None, wants_admin)


@dataclass
class Outcome:
    """How a whole exchange went."""

    joined: Joined | None
    granted: Step
    frames: list[bytes]


def run(joiner: Joiner, admitter: Admitter, tamper: dict[int, Tamper] | None = None) -> Outcome:
    """Carry frames until one side has finished; `tamper` changes the frame of that number."""
    frames: list[bytes] = []
    granted = Step()

    def carried(data: bytes) -> bytes:
        frames.append(data)
        change = (tamper or {}).get(len(frames) - 1)
        return data if change is None else change(data)

    step = joiner.start()
    while True:
        answer = admitter.feed(carried(step.send))
        if answer.finished:
            granted = answer
        step = joiner.feed(carried(answer.send + answer.after_commit))
        if step.finished:
            assert granted.finished
            return Outcome(step.joined, granted, frames)


def join(issuer: Issuer, name: str, ticket: Ticket | None, *, wants_admin: bool = False) -> Joined:
    outcome = run(
        joiner_of(name, wish_of(name, ticket, wants_admin=wants_admin)), issuer.admitter()
    )
    assert outcome.joined is not None
    return outcome.joined


def local_error_of(issuer: Issuer, name: str, wish: JoinWish) -> LocalError:
    with pytest.raises(LocalError) as error:
        run(joiner_of(name, wish), issuer.admitter())
    return error.value
