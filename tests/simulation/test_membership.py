"""Who is here: deaths noticed, partitions healed, nobody reachable declared dead."""

from dataclasses import replace

import pytest

from mesh.core.params import params_for
from mesh.core.snapshot import Status
from mesh.sim.engine import Conditions
from mesh.sim.network import Between, Drop, OneWay
from tests.simulation.conftest import MeshOf

LAN = params_for("lan")


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_a_crash_is_known_to_everybody_within_seconds(meshes: MeshOf, count: int) -> None:
    mesh = meshes(count, params=LAN)
    mesh.run(s=20)
    victim = mesh.names[-1]
    mesh.kill(victim)
    limit_s = 20.0 if count <= 3 else 8.0
    took = mesh.run_until(
        lambda: all(p.members()[victim] in {Status.DOWN, Status.DEAD} for p in mesh.running()),
        limit_s,
    )
    assert took > 1.0, "the refutation window is never skipped"
    for person in mesh.running():
        others = [n for n, s in person.members().items() if s is not Status.ALIVE]
        assert others == [victim]


def test_m22_a_broken_edge_is_no_dead_node_and_messages_go_round_it(meshes: MeshOf) -> None:
    mesh = meshes(4)
    a, b = mesh.world.addresses(["a"]), mesh.world.addresses(["b"])
    mesh.world.add_rule(Between(a, b, lambda _: Drop()))
    for _ in range(60):
        mesh.run(s=1)
        assert all(
            status in {Status.ALIVE, Status.SUSPECT}
            for person in mesh.running()
            for status in person.members().values()
        )
    mesh["a"].claim("build")
    mesh.run(s=3)
    assert mesh["b"].owner("build") == "a"


def test_one_way_loss_does_not_hide_behind_what_still_arrives(meshes: MeshOf) -> None:
    mesh = meshes(5, params=LAN)
    mesh.world.add_rule(OneWay(mesh.world.addresses(mesh.rest("e")), mesh.world.addresses(["e"])))
    mesh.run_until(lambda: mesh.seen_as("e", Status.DOWN) or mesh.seen_as("e", Status.DEAD), 20)


def test_halves_of_a_partition_find_each_other_without_seeds(meshes: MeshOf) -> None:
    mesh = meshes(6)
    mesh.world.names_resolve = False
    mesh.partition(["a", "b", "c"], ["d", "e", "f"])
    mesh.run(s=600)
    assert mesh["a"].members()["f"] is Status.DEAD
    mesh.repair()
    took = mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged(), 60)
    assert took < 20


def test_everybody_restarts_and_the_mesh_forms_again_from_disk(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh.world.names_resolve = False
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh.kill(*mesh.names)
    mesh.restart(*mesh.names)
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged(), 30)
    assert mesh.everyone_agrees("build")


def test_no_false_death_at_ten_percent_loss(meshes: MeshOf) -> None:
    mesh = meshes(10, params=LAN, conditions=Conditions(loss=0.10))
    for _ in range(300):
        mesh.run(s=2)
        assert all(
            status not in {Status.DOWN, Status.DEAD}
            for person in mesh.running()
            for status in person.members().values()
        )


def test_a_frozen_node_hurts_nobody_else(meshes: MeshOf) -> None:
    mesh = meshes(8, params=LAN)
    mesh.run(s=10)
    mesh.pause("c", s=12)
    for _ in range(60):
        mesh.run(s=0.5)
        for person in mesh.running():
            assert all(
                status in {Status.ALIVE, Status.SUSPECT}
                for name, status in person.members().items()
                if "c" not in {name, person.name}
            )
    mesh.run_until(mesh.everyone_sees_everyone, 20)


def test_a_rejoining_node_keeps_its_identity(meshes: MeshOf) -> None:
    mesh = meshes(3)
    before = {view.name: view for view in mesh["a"].member_views()}
    mesh.restart("b")
    mesh.run_until(mesh.everyone_sees_everyone)
    after = {view.name: view for view in mesh["a"].member_views()}
    assert after["b"].id == before["b"].id
    assert after["b"].boot > before["b"].boot
    assert len(after) == 3


def test_members_shown_are_bounded(meshes: MeshOf) -> None:
    small = replace(params_for("local"), membership=replace(LAN.membership, members_max=4))
    mesh = meshes(4, params=small)
    assert len(mesh["a"].members()) == 4
