"""A member that sends more signatures than a node can check delays nobody but itself."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from mesh.core.claims.facts import Spec
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import ToldFacts
from mesh.core.identity import dot_task_id
from mesh.core.inputs import DatagramReceived
from mesh.core.instants import NEVER, Now, later
from mesh.core.membership.facts import Accusation
from mesh.core.membership.messages import Accuse
from mesh.core.node.backlog import PAUSE_S, Backlog
from mesh.core.node.node import Node
from mesh.core.wire.envelope import SignedFact
from mesh.sim.scenario import Mesh
from tests.simulation.attacker import participant_of
from tests.simulation.conftest import MeshOf

FLOOD = 320
FACTS = 3
"""In one datagram."""
INPUTS_PER_TURN = 64
"""As the pump takes them."""


@dataclass
class Flooded:
    """Node a, which gets datagrams of b and e in turns of many, as a pump does it."""

    mesh: Mesh
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    checked: list[int] = field(default_factory=list)
    """Signatures, turn by turn."""

    def fresh(self, name: str) -> SignedFact:
        """A task that nobody has heard of."""
        author = participant_of(self.mesh, name)
        task = dot_task_id(author.author.id, author.boot, self.rng.getrandbits(32))
        spec = Spec(task, "junk", self.rng.randbytes(64), 0, 3, 0, None, b"")
        return author.author.sign([spec])[0].signed

    def sealed(self, name: str, kind: int, body: bytes) -> list[DatagramReceived]:
        """What node a receives of it."""
        host = self.mesh.world.hosts[name]
        links = participant_of(self.mesh, name).transport.links
        now = host.clock.read(self.mesh.world.now_s)
        peer = participant_of(self.mesh, "a").author.id
        sealed = links.seal(now.instant, peer, [(kind, body)])
        return [DatagramReceived(data, host.address) for data in sealed]

    def told(self, name: str, *facts: SignedFact) -> list[DatagramReceived]:
        items = tuple(Item(Form.SINGLE, fact.encode()) for fact in facts)
        return self.sealed(name, ToldFacts.KIND, ToldFacts(Family.TASKS, items).encode())

    def receive(self, events: list[DatagramReceived]) -> None:
        """Take all of them, as fast as turns go."""
        host = self.mesh.world.hosts["a"]
        node, checks = host.node, participant_of(self.mesh, "a").verifier
        assert isinstance(node, Node)
        for first in range(0, len(events), INPUTS_PER_TURN):
            before = checks.verifications
            now = host.clock.read(self.mesh.world.now_s)
            effects = node.handle_all(now, events[first : first + INPUTS_PER_TURN])
            self.checked.append(checks.verifications - before)
            self.mesh.world.perform(host, effects)
        self.mesh.world.arm(host)

    def turns(self) -> Iterator[None]:
        """Let the node serve what waits, turn by turn."""
        checks = participant_of(self.mesh, "a").verifier
        while participant_of(self.mesh, "a").backlog._queues:
            before = checks.verifications
            self.mesh.run(s=PAUSE_S)
            self.checked.append(checks.verifications - before)
            yield

    def holds(self, *facts: SignedFact) -> int:
        gossip = participant_of(self.mesh, "a").gossip
        return sum(gossip.holds(Family.TASKS, fact.id) for fact in facts)


def flood_of_e(meshes: MeshOf) -> tuple[Flooded, list[SignedFact], SignedFact]:
    """Return a node on which e has dumped tasks, and among them came one of b."""
    flooded = Flooded(meshes(5, seed=1))
    junk = [flooded.fresh("e") for _ in range(FLOOD * FACTS)]
    honest = flooded.fresh("b")
    events = [
        event
        for first in range(0, len(junk), FACTS)
        for event in flooded.told("e", *junk[first : first + FACTS])
    ]
    events[INPUTS_PER_TURN // 2 : 0] = flooded.told("b", honest)
    flooded.receive(events)
    assert not flooded.holds(honest), "the checks of that turn were used up"
    return flooded, junk, honest


def check_flood(meshes: MeshOf) -> None:
    flooded, junk, honest = flood_of_e(meshes)
    bound = participant_of(flooded.mesh, "a").params.links.checks_per_turn
    after = 0
    for _ in flooded.turns():
        if not flooded.holds(honest):
            after += 1
    assert max(flooded.checked) < bound + FACTS, "checks of one turn"
    assert after <= 1, "who is honest waits behind who is not"
    assert flooded.holds(*junk, honest) == len(junk) + 1, "lost"


def test_a_flood_of_valid_facts_is_taken_in_slices_and_delays_nobody_else(meshes: MeshOf) -> None:
    check_flood(meshes)


def serve_the_first(backlog: Backlog, now: Now) -> None:
    """Stay with one peer for as long as anything of it waits."""
    queues = backlog._queues
    while queues and backlog.has_checks_left:
        peer, queue = next(iter(queues.items()))
        kind, body = queue.messages.popleft()
        if not queue.messages:
            del queues[peer]
        backlog.handle(now, peer, kind, body)
    backlog._due = later(now.instant, PAUSE_S) if queues else NEVER


@pytest.mark.parametrize("name", ["no end to a turn", "first come, first served"])
def test_planted_bugs_of_the_budget_are_seen(name: str, meshes: MeshOf) -> None:
    with pytest.MonkeyPatch.context() as planting:
        if name == "no end to a turn":
            planting.setattr(Backlog, "has_checks_left", True)
        else:
            planting.setattr(Backlog, "serve", serve_the_first)
        with pytest.raises(AssertionError):
            check_flood(meshes)


def test_forged_accusations_are_looked_at_three_times_and_no_more(meshes: MeshOf) -> None:
    flooded = Flooded(meshes(5, seed=1))
    victim = participant_of(flooded.mesh, "a").membership.own_presence
    assert victim is not None
    accusation = Accusation(victim.author, victim.fact.boot, victim.fact.incarnation)
    signed = participant_of(flooded.mesh, "e").author.sign([accusation])[0].signed
    events = []
    for _ in range(100):
        forged = SignedFact(
            signed.id, signed.author, flooded.rng.randbytes(64), 0, 1, (), signed.context,
            signed.payload,
        )  # fmt: skip
        events += flooded.sealed("e", Accuse.KIND, Accuse(forged.encode()).encode())
    flooded.receive(events)
    for _ in flooded.turns():
        pass
    a = participant_of(flooded.mesh, "a")
    assert a.counters["refused_bad_signature"] == a.params.links.strikes_max
    assert a.transport.counters["muted"] == 1


def test_behind_a_forgery_nothing_of_a_message_is_looked_at(meshes: MeshOf) -> None:
    flooded = Flooded(meshes(5, seed=1))
    good, true = flooded.fresh("e"), flooded.fresh("e")
    forged = SignedFact(true.id, true.author, bytes(64), 0, 1, (), true.context, true.payload)
    flooded.receive(flooded.told("e", forged, good))
    assert flooded.checked == [1]
    assert not flooded.holds(forged, good)
