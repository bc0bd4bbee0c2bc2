"""A process that is a member and lies: every move of the simulator's liars, at real nodes.

    python -m tests.attacks.lying_member

The first line of its standard input is its plan, in JSON. It joins and says so by a line. The next
line lets it begin: it lies for `lasts_s`, with its own signature under everything. Then it makes up
signatures too, for which it is not heard any more, and says what it has sent. It stays until its
standard input ends.

What any member can do by the rules is no lie and is left out: a claim of a first epoch, and one
that cites a conclusion which its author calls local (docs/decisions 0011 and 0003).
"""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import Suite
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Address, NodeId
from mesh.core.membership.facts import Presence
from mesh.core.node.participant import Participant
from mesh.core.wire.envelope import Verified
from mesh.core.wire.frame import BODY_BYTES_MAX
from tests.attacks.evil_member import EvilMember
from tests.attacks.on_mesh import forged_facts
from tests.simulation.forger import Forgeries

EVERY_S = 0.1
FORGERIES = 20
"""So many moves with made-up signatures come last."""


@dataclass
class RealLiar(Forgeries):
    """A liar among real nodes: it knows what its own node has been told."""

    evil: EvilMember
    rng: random.Random
    honest: tuple[str, ...]
    careless: bool = False
    races: bool = False
    messages: int = 0
    ids: dict[str, NodeId] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = {name: self.evil.peer(name) for name in self.honest}

    @property
    def me(self) -> Participant:
        return self.evil.participant

    @property
    def suite(self) -> Suite:
        return RealSuite()

    def seen_by(self, name: str) -> Participant:
        del name  # nobody else can be looked into
        return self.me

    def presence_of(self, name: str) -> Verified[Presence]:
        presence = self.me.membership.presence(self.ids[name])
        assert presence is not None
        return presence

    def say(self, target: str, kind: int, body: bytes) -> None:
        peer = self.ids[target]
        if len(body) <= BODY_BYTES_MAX and self.me.transport.links.address(peer) is not None:
            self.evil.whisper(peer, kind, body)
            self.messages += 1

    def hijack(self) -> None:
        """Somebody's goodbye, and its name at this node's address, under a wrong signature."""
        for signed in forged_facts(self.evil, self.ids[self.rng.choice(self.honest)]):
            self.pass_on(Family.MEMBERS, signed)

    def moves(self) -> list[Callable[[], None]]:
        """Return what it does as long as it is heard; it accuses most of the time."""
        return [
            *(self.accuse, self.accuse, self.accuse, self.judge, self.judge, self.inflate),
            *(self.rob, self.finish, self.admit, self.change, self.change, self.leap),
            *(self.forget_others, self.forget_own, self.set_stones),
        ]

    def forgeries(self) -> list[Callable[[], None]]:
        """Return what it does at the end."""
        return [self.hijack, self.impersonate, self.vouch_for_strangers, self.judge]


def lie(liar: RealLiar, lasts_s: float) -> "Counter[str]":
    """Make moves for so long, then forge; returns how often it made each move."""
    sent: Counter[str] = Counter()

    def make(moves: Sequence[Callable[[], None]]) -> None:
        move = liar.rng.choice(moves)
        liar.evil.perform(move)
        sent[move.__name__] += 1
        time.sleep(EVERY_S)

    end = time.monotonic() + lasts_s
    while time.monotonic() < end:
        make(liar.moves())
    liar.careless = True
    for _ in range(FORGERIES):
        make(liar.forgeries())
    return sent


def tell(**words: Any) -> None:  # noqa: ANN401  JSON
    """Print one line of JSON."""
    print(json.dumps(words), flush=True)


def main() -> None:
    """Read the plan, join, and lie when told to."""
    plan = json.loads(sys.stdin.readline())
    address = Address(*plan["address"])
    with EvilMember(Path(plan["folder"]), plan["ticket"], plan["name"], address) as evil:
        tell(id=evil.participant.author.id.hex())
        if sys.stdin.readline():
            liar = RealLiar(evil, random.Random(plan["seed"]), tuple(plan["honest"]))
            evil.perform(evil.mind_nothing)
            sent = lie(liar, plan["lasts_s"])
            tell(moves=dict(sent), messages=liar.messages)
        sys.stdin.read()


if __name__ == "__main__":
    main()
