"""A mesh of two versions: the newer one says things under a context that the older one lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from mesh.core.gossip.gossip import Family
from mesh.core.gossip.messages import (
    Have,
    Pull,
    PulledFacts,
    SyncFacts,
    SyncIds,
    SyncRanges,
    SyncWant,
)
from mesh.core.gossip.vocabulary import Want
from mesh.core.identity import FactId, NodeId
from mesh.core.instants import Now
from mesh.core.node.participant import Participant
from mesh.core.params import params_for
from mesh.core.wire.codec import Binary, Layout, Uint
from mesh.core.wire.envelope import Contexts, Fact, Verified
from mesh.sim.scenario import Mesh
from tests.simulation.hunting import a_mesh, member_at, node_at

NOTES = 300
BATCH = 50
LAN = params_for("lan")
COMPARING = (SyncRanges, SyncIds, SyncWant, SyncFacts, Have, Pull, PulledFacts)


@dataclass(frozen=True, slots=True)
class Note(Fact):
    """What a version to come might say."""

    CONTEXT: ClassVar[str] = "note/1"
    LAYOUT: ClassVar[Layout] = (Uint(32), Binary(0, 256))
    number: int
    text: bytes


Upgrade = Callable[[Mesh, str], None]


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """Makes a host run the newer version, from its next look at a fact on."""
    newer: dict[NodeId, None] = {}
    contexts, accept = Participant.contexts, Participant.accept

    def with_notes(self: Participant, family: Family) -> Contexts:
        known = contexts(self, family)
        return known | {Note.CONTEXT: Note} if self.author.id in newer else known

    def take(
        self: Participant, now: Now, family: Family, verified: Verified[Any], relay: NodeId
    ) -> bool:
        return isinstance(verified.fact, Note) or accept(self, now, family, verified, relay)

    monkeypatch.setattr(Participant, "contexts", with_notes)
    monkeypatch.setattr(Participant, "accept", take)

    def run_newer(mesh: Mesh, name: str) -> None:
        newer[member_at(mesh, name).author.id] = None

    return run_newer


def publish(mesh: Mesh, name: str, count: int) -> list[FactId]:
    """Have a node say notes; returns their ids."""
    world, member = mesh.world, member_at(mesh, name)
    host, said = world.hosts[name], []
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        notes = member.author.sign([Note(number, bytes(200)) for number in numbers])
        now = host.clock.read(world.now_s)
        member.gossip.publish(now, Family.TASKS, notes, Want.DURABLE)
        world.perform(host, node_at(mesh, name)._finish(now))
        said += [note.id for note in notes]
        mesh.run(s=1)
    return said


def held(mesh: Mesh, name: str, ids: Sequence[FactId]) -> int:
    """Return how many of these facts a node holds."""
    return sum(member_at(mesh, name).gossip.holds(Family.TASKS, id_) for id_ in ids)


def spent(mesh: Mesh) -> int:
    """Return the bytes that all have sent so far to make their sets equal."""
    sent = 0
    for person in mesh.running():
        counters = member_at(mesh, person.name).gossip.counters()
        sent += sum(counters.get(f"sent_bytes_{kind.__name__}", 0) for kind in COMPARING)
    return sent


def spent_in(mesh: Mesh, s: float) -> int:
    """Let time pass; returns what comparing has cost meanwhile."""
    before = spent(mesh)
    mesh.run(s=s)
    return spent(mesh) - before


def in_two_versions(upgrade: Upgrade) -> tuple[Mesh, list[FactId]]:
    """Return a mesh in which a and b have said and hold notes, and c is of the older version."""
    mesh = a_mesh(1, params=LAN)
    upgrade(mesh, "a")
    upgrade(mesh, "b")
    ids = publish(mesh, "a", NOTES)
    mesh.run(s=10)
    assert held(mesh, "b", ids) == NOTES
    assert held(mesh, "c", ids) == 0
    return mesh, ids


def test_facts_of_a_newer_version_stay_among_those_that_understand_them(upgrade: Upgrade) -> None:
    mesh, ids = in_two_versions(upgrade)
    mesh["c"].submit("old")
    mesh["a"].submit("new")
    mesh["b"].claim("old", wait_s=5.0)
    mesh["c"].claim("new", wait_s=5.0)
    for name, label in (("b", "old"), ("c", "new")):
        mesh[name].start(label)
        mesh[name].complete(label)
    mesh.run(s=5)
    assert mesh.everyone_agrees("old")
    assert mesh.everyone_agrees("new")
    assert held(mesh, "c", ids) == 0
    assert len(member_at(mesh, "c").blame) == 0, "nobody is to blame for a newer version"


def test_digests_that_differ_for_ever_cost_ever_less(upgrade: Upgrade) -> None:
    mesh, ids = in_two_versions(upgrade)
    spans = [spent_in(mesh, 300) for _ in range(3)]
    assert spans[0] < 2 * NOTES * 400, "each was sent to c more often than twice"
    assert spans[1] + spans[2] < spans[0]
    assert spans[2] < 100 * NOTES, "more than a few lists of ids"
    assert held(mesh, "c", ids) == 0


def test_nor_do_they_cost_much_while_other_things_are_said(upgrade: Upgrade) -> None:
    mesh, _ = in_two_versions(upgrade)
    mesh.run(s=180)
    before = spent(mesh)
    for number in range(60):
        mesh["c" if number % 2 else "a"].submit(f"task-{number}")
        mesh.run(s=5)
    assert all(mesh[name].view("task-59") is not None for name in "abc")
    assert spent(mesh) - before < 5 * 100 * NOTES, "more than some lists of ids a minute"


def test_an_upgraded_node_takes_what_it_had_refused(upgrade: Upgrade) -> None:
    mesh, ids = in_two_versions(upgrade)
    mesh.run(s=120)
    upgrade(mesh, "c")
    mesh.kill("c")
    mesh.run(s=1)
    mesh.restart("c")
    mesh.run(s=1)
    took_s = mesh.run_until(lambda: held(mesh, "c", ids) == NOTES, 30)
    assert took_s < 15
    mesh.run(s=5)
    assert spent_in(mesh, 60) == 0, "and all are equal"
