"""Inputs that come together share one signature, one commit, and what they send."""

from mesh.core.commands import TaskSubmit
from mesh.core.effects import ClientId, Commit, SendDatagram
from mesh.core.inputs import CommandReceived, CommitDone, LoopLag
from mesh.core.wire.envelope import decode_signed_fact_untrusted
from tests.simulation.conftest import MeshOf
from tests.simulation.test_refusals import node_of, participant_of

TOGETHER = 3


def test_commands_that_come_together_share_a_signature_and_a_commit(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh.run(s=2)
    node, participant = node_of(mesh, "a"), participant_of(mesh, "a")
    now = mesh.world.hosts["a"].clock.read(mesh.world.now_s)
    submits = [
        CommandReceived(ClientId(77), number, TaskSubmit("build")) for number in range(TOGETHER)
    ]
    effects = node.handle_all(now, submits)
    (commit,) = [effect for effect in effects if isinstance(effect, Commit)]
    assert not any(isinstance(effect, SendDatagram) for effect in effects), "nothing has left"
    values = [row.value for row in commit.rows if row.kind == "fact" and row.value is not None]
    facts = [decode_signed_fact_untrusted(v[1:], participant.verifier.mesh) for v in values]
    assert len(facts) == TOGETHER
    assert len({fact.signature for fact in facts}) == 1
    pushed = node.handle_all(now, [CommitDone(commit.number)])
    datagrams = [effect for effect in pushed if isinstance(effect, SendDatagram)]
    assert len({datagram.target for datagram in datagrams}) == 2


def test_what_comes_while_a_commit_is_under_way_waits_for_its_end(meshes: MeshOf) -> None:
    mesh = meshes(1)
    mesh.run(s=2)
    node = node_of(mesh, "a")
    now = mesh.world.hosts["a"].clock.read(mesh.world.now_s)

    def submit(number: int) -> list[Commit]:
        received = CommandReceived(ClientId(77), number, TaskSubmit("build"))
        effects = node.handle(now, received)
        return [effect for effect in effects if isinstance(effect, Commit)]

    (first,) = submit(1)
    assert submit(2) == submit(3) == []
    effects = node.handle(now, CommitDone(first.number))
    (second,) = [effect for effect in effects if isinstance(effect, Commit)]
    assert second.number == first.number + 1
    assert len([row for row in second.rows if row.kind == "fact"]) == 2


def test_one_lag_that_lasts_for_many_turns_suspends_the_claims_once(meshes: MeshOf) -> None:
    """An overloaded node hears of its lag every turn; a word on every claim then is more load."""
    mesh = meshes(2)
    mesh.run(s=2)
    mesh["a"].claim("build")
    node, participant = node_of(mesh, "a"), participant_of(mesh, "a")
    clock = mesh.world.hosts["a"].clock
    for _ in range(10):
        node.handle(clock.read(mesh.world.now_s), LoopLag(2.5))
        mesh.run(s=0.1)
    assert participant.desk.counters()["suspends"] == 1
    mesh.run(s=3)
    node.handle(clock.read(mesh.world.now_s), LoopLag(2.5))
    assert participant.desk.counters()["suspends"] == 2
