"""A liar that knows every fact: it changes one field of what it heard and signs what comes out."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Progress, ProgressState, Spec, TaskFact
from mesh.core.claims.forgotten import NUMBER_HIGH, Forget, ForgetBoots, dot_of
from mesh.core.claims.keyed import ForgetKey
from mesh.core.claims.record import Record
from mesh.core.crypto.suite import SigningKey
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, FactId, Incarnation, NodeId, TaskId, dot_task_id
from mesh.core.membership.facts import Accusation, Leave, Presence, Twin
from mesh.core.trust.records import StandingPage
from mesh.core.wire.codec import Binary, Flag, Group, Kind, Layout, Many, Maybe, Text, Uint
from mesh.core.wire.envelope import Fact, SignedFact, Verified, leaf_hash, sign_batch
from tests.simulation.attacker import Attacker, Moves

EPOCH_HIGH = (1 << 32) - 1
FAR_S = 1 << 31
"""A moment in wall time that is years away."""
BOOT_HIGH = Boot((1 << 64) - 1)
STRANGERS = tuple(SigningKey(bytes([number]) * 32) for number in range(1, 9))
LATELY = 60
"""So many facts of a family are lately heard ones."""
STUFFED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Unheard(Fact):
    """A fact of a kind that nobody knows."""

    CONTEXT: ClassVar[str] = "unheard/1"
    LAYOUT: ClassVar[Layout] = (Binary(0, 700),)
    words: bytes


def another(rng: random.Random, kind: Kind, value: Any, known: tuple[bytes, ...]) -> Any:  # noqa: ANN401  a field's value
    """Return a value that the kind allows; for ids often one that is somewhere in use."""
    match kind:
        case Uint(bits):
            near = [] if value is None else [min(value + 1, (1 << bits) - 1), max(value - 1, 0)]
            return rng.choice([0, 1, (1 << bits) - 1, rng.getrandbits(bits), *near])
        case Flag():
            return not value
        case Binary(low, high):
            return some_bytes(rng, low, high, known)
        case Text(high, low):
            return rng.choice(["x" * max(low, 1), "y" * high, "thief"])
        case Maybe(inner):
            gone = value is not None and rng.random() < 0.5
            return None if gone else another(rng, inner, value, known)
        case Many():
            return some_more_or_less(rng, kind, list(value or ()), known)
        case Group(kinds):
            parts = [None] * len(kinds) if value is None else list(value)
            at = rng.randrange(len(kinds))
            return tuple(
                another(rng, one, part, known) if part is None or place == at else part
                for place, (one, part) in enumerate(zip(kinds, parts, strict=True))
            )
        case _:
            raise AssertionError(f"no kind of field: {kind}")


def some_bytes(rng: random.Random, low: int, high: int | None, known: tuple[bytes, ...]) -> bytes:
    """Return bytes of chance, or an id of that length."""
    if high is not None:
        return rng.randbytes(rng.randint(low, min(high, 700)))
    alike = [id_ for id_ in known if len(id_) == low]
    return rng.choice(alike) if alike and rng.random() < 0.7 else rng.randbytes(low)


def some_more_or_less(
    rng: random.Random, kind: Many, kept: list[Any], known: tuple[bytes, ...]
) -> tuple[Any, ...]:
    """Return a list with one thing less or more."""
    if kept and rng.random() < 0.5:
        kept.pop(rng.randrange(len(kept)))
    elif len(kept) < kind.high:
        kept.append(another(rng, kind.inner, None, known))
    return tuple(kept)


class Forgeries(Moves):
    """What an attacker says that works with what it heard."""

    races: bool = False
    """Whether it makes claims of a first epoch: with the greater lot they win, as any would."""

    # ---- one field of what is held

    def held(self) -> tuple[Family, Verified[Any]] | None:
        """Return something that an honest node holds."""
        family = self.rng.choice(tuple(Family))
        facts = self.seen_by(self.rng.choice(self.honest)).gossip.facts(family)
        lately = list(facts)[-LATELY:]
        return (family, self.rng.choice(lately)) if lately else None

    def known(self, family: Family) -> tuple[bytes, ...]:
        """Return ids of facts, tasks and nodes."""
        heard = list(self.me.gossip.facts(family))[-LATELY:]
        tasks = [verified.fact.task for verified in heard if isinstance(verified.fact, TaskFact)]
        return (*(one.id for one in heard), *tasks, *(one.author for one in heard))

    def changed(self, fact: Fact, family: Family, *, but: tuple[str, ...] = ()) -> Fact:
        """Return the fact with exactly one field changed, and none of some."""
        fields: tuple[str, ...] = type(fact).__match_args__
        names = [(at, name) for at, name in enumerate(fields) if name not in but]
        at, name = self.rng.choice(names)
        value = another(self.rng, fact.LAYOUT[at], getattr(fact, name), self.known(family))
        return replace(fact, **{name: value})

    def change(self) -> None:
        """Any fact of anybody, one field changed, signed with its own key."""
        found = self.held()
        if found is None or isinstance(found[1].fact, Leave):
            return  # its own goodbye would end the game
        family, fact = found[0], found[1].fact
        if isinstance(fact, Claim) and fact.epoch == 1 and not self.races:
            return
        keep: tuple[str, ...] = ()
        if isinstance(fact, Presence):
            fact = replace(fact, boot=self.own().boot, link_key=self.own().link_key)
            keep = ("boot", "link_key")
        made = self.changed(fact, family, but=keep)
        if isinstance(made, Claim) and self.rng.random() < 0.8:
            # What has to fit the signer is made to fit.
            rank = claim_rank(made.task, made.epoch, self.me.author.id)
            made = replace(made, rank=rank, boot=self.me.boot)
        self.spread(family, made)

    def impersonate(self) -> None:
        """Any fact of anybody, one field changed, in its author's name under a wrong signature."""
        found = self.held()
        if found is None:
            return
        family, held = found
        made = self.changed(held.fact, family)
        true, payload = held.signed, made.encode()
        if payload == true.payload:
            return
        mesh = self.me.verifier.mesh
        id_ = leaf_hash(mesh, true.context, true.author, payload)
        mine = self.me.author.sign([made])[0].signed
        proof = self.rng.choice([mine, true])
        forged = SignedFact(
            id_, true.author, proof.signature, proof.index, proof.count, proof.path,
            true.context, payload,
        )  # fmt: skip
        self.pass_on(family, forged)

    def vouch_for_strangers(self) -> None:
        """What somebody says whom nobody has admitted: on a task of its own, or as a member."""
        family, fact = self.rng.choice(self._junk())()
        mesh, stranger = self.me.verifier.mesh, self.rng.choice(STRANGERS)
        self.suite.public_key(stranger)
        [signed] = sign_batch(self.suite, stranger, mesh, [fact])
        self.pass_on(family, signed)

    # ---- claims

    def leap(self) -> None:
        """A claim for a reason that is true, but for an epoch that nobody could outrank."""
        ended = [r for r in self.records() if r.owner is not None and r.owner.ended_by is not None]
        if not ended or self.rng.random() < 0.5:
            self._leap_alone()
            return
        record = self.rng.choice(ended)
        assert record.owner is not None
        assert record.owner.ended_by is not None
        assert record.spec is not None
        reasons = (record.owner.fact.id, record.owner.ended_by)
        claim = self._far(record.task, record.spec.id, record.epoch, *reasons)
        self.finish(record.task, self.spread(Family.TASKS, claim))

    def _leap_alone(self) -> None:
        """The same on a task of its own, claimed and given back by itself."""
        task = dot_task_id(self.me.author.id, self.me.boot, self.rng.getrandbits(31))
        spec = self.spread(Family.TASKS, Spec(task, "junk", b"", 0, 9, 0, None, b""))
        rank = claim_rank(task, 1, self.me.author.id)
        first = Claim(task, spec, 1, rank, self.me.boot, "x", bytes(8), None, None)
        claim = self.spread(Family.TASKS, first)
        released = Progress(task, claim, self.me.boot, 1, ProgressState.RELEASED, b"")
        because = self.spread(Family.TASKS, released)
        self.spread(Family.TASKS, self._far(task, spec, 1, claim, because))

    def _far(
        self, task: TaskId, spec: FactId, epoch: int, supersedes: FactId, because: FactId
    ) -> Claim:
        ahead = min(epoch + self.rng.choice([2, 7, 1 << 20, EPOCH_HIGH]), EPOCH_HIGH)
        return Claim(
            task, spec, ahead, claim_rank(task, ahead, self.me.author.id), self.me.boot, "thief",
            self.rng.randbytes(8), supersedes, because,
        )  # fmt: skip

    # ---- what is over

    def forget_others(self) -> None:
        """What an honest node made and nobody has finished is over, for it says so."""
        ids = [self.presence_of(name).author for name in self.honest]
        records = [r for r in self.records() if not r.is_over and dot_of(r.task)[0] in ids]
        if not records:
            return
        self.spread(Family.TASKS, self._over(self.rng.choice(records)))

    def _over(self, record: Record) -> Fact:
        creator, boot, number = dot_of(record.task)
        made: list[Fact] = [
            Forget(creator, boot, (number, 1)),
            Forget(creator, boot, (0, NUMBER_HIGH)),
            ForgetBoots(creator, Boot(boot + 1), ()),
            ForgetBoots(creator, BOOT_HIGH, ()),
        ]
        return self.rng.choice(made)

    def forget_own(self) -> None:
        """Own work is over, some of it under way at others; and so is what nobody ever made."""
        mine = [r for r in self.records() if dot_of(r.task)[0] == self.me.author.id]
        number = dot_of(self.rng.choice(mine).task)[2] if mine else self.rng.getrandbits(31)
        self.spread(Family.TASKS, Forget(self.me.author.id, self.me.boot, (number, 1)))

    def set_stones(self) -> None:
        """Keys are over that nobody has asked for yet."""
        key = f"key {self.rng.getrandbits(20)}"
        self.spread(Family.TASKS, ForgetKey("build", key, FAR_S, FAR_S + self.rng.getrandbits(20)))

    # ---- stuffing

    def junk(self) -> None:
        """Something that nobody wants, for one table or another."""
        family, fact = self.rng.choice(self._junk())()
        self.spread(family, fact)

    def _junk(self) -> list[Callable[[], tuple[Family, Fact]]]:
        rng, me = self.rng, self.me.author.id
        task = dot_task_id(me, self.me.boot, rng.getrandbits(32))
        stranger, nowhere = NodeId(rng.randbytes(16)), FactId(rng.randbytes(32))
        raised = replace(self.own(), incarnation=Incarnation(rng.getrandbits(32)))
        rank = claim_rank(task, 1, me)
        lost = Claim(task, nowhere, 1, rank, self.me.boot, "x", rng.randbytes(8), None, None)
        junk: list[tuple[Family, Fact]] = [
            (Family.TASKS, Spec(task, "junk", rng.randbytes(64), 0, 3, 0, None, b"")),
            (Family.TASKS, lost),
            (Family.TASKS, Progress(task, nowhere, self.me.boot, 1, ProgressState.STARTED, b"")),
            (Family.TASKS, Forget(stranger, self.me.boot, (rng.getrandbits(31), 1))),
            (Family.TASKS, Forget(me, self.me.boot, (rng.getrandbits(31), 1))),
            (Family.TASKS, ForgetBoots(stranger, Boot(rng.getrandbits(60)), ())),
            (Family.TASKS, ForgetKey("build", rng.randbytes(8).hex(), FAR_S, FAR_S + 1)),
            (Family.TASKS, raised),
            (Family.MEMBERS, Accusation(stranger, Boot(1), Incarnation(0))),
            (Family.MEMBERS, Twin(self.me.boot, Boot(rng.getrandbits(63)))),
            (Family.MEMBERS, StandingPage(None, ((bytes(16), rng.randbytes(16)),))),
            (rng.choice(tuple(Family)), Unheard(rng.randbytes(64))),
        ]
        return [lambda made=made: made for made in junk]  # type: ignore[misc]  # a bound default


@dataclass
class Forger(Forgeries, Attacker):
    """The same in a simulated mesh."""

    races: bool = False
