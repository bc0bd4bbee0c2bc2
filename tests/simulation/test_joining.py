"""How strangers become members: tickets over simulated streams, refusals, open meshes."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from mesh.core.commands import Hello, MemberList, MemberWait, NodeIdentity, NodeInfo, NodeStatus
from mesh.core.effects import Json
from mesh.core.params import Params, params_for
from mesh.core.snapshot import Status
from mesh.core.trust_commands import TrustInvite
from mesh.sim.host import HostState
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Refused
from mesh.sim.suite import SimSuite
from mesh.sim.trial import names_of
from mesh.sim.world import World

LOCAL = params_for("local")
RUSH, WAVE = 80, 20


def founded(seed: int = 1, count: int = 4, params: Params = LOCAL) -> Mesh:
    """Return a mesh of one node, and hosts whose nodes will be strangers."""
    world = World(seed, params, Population(by_ticket=True), suite=SimSuite(strict=True))
    mesh = Mesh(world, names_of(count))
    world.start("a")
    mesh.run(s=1)
    return mesh


def invited(mesh: Mesh, name: str = "a", uses: int = 1, ttl_s: float = 900.0) -> None:
    """Let the next stranger have a ticket of this node."""
    answer = mesh[name].tell(TrustInvite(uses=uses, ttl_s=ttl_s))
    mesh.world.ticket = answer.text("ticket")


def status(mesh: Mesh, name: str) -> Mapping[str, Json]:
    """Return what a node says of itself."""
    result = mesh[name].tell(NodeStatus()).result
    assert isinstance(result, dict)
    return result


def state(mesh: Mesh, name: str) -> str:
    """Return `joining` or `member`."""
    node = status(mesh, name)["node"]
    assert isinstance(node, dict)
    return str(node["state"])


def test_strangers_join_by_ticket_and_everybody_knows_them() -> None:
    mesh = founded()
    invited(mesh, uses=3)
    for name in "bcd":
        mesh.world.start(name)
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    mesh.run_until(mesh.converged, 10)
    mesh["d"].claim("build")
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder="d"))


def test_more_join_than_streams_are_kept_open() -> None:
    """Newcomers compare tables with the first node over streams that then rest for 20 s."""
    params = params_for("lan")
    few = replace(params, links=replace(params.links, streams_max=4))
    mesh = founded(count=RUSH, params=few)
    invited(mesh, uses=RUSH)
    for first in range(1, RUSH, WAVE):
        for name in mesh.names[first : first + WAVE]:
            mesh.world.start(name)
        mesh.run(s=0.05)
    mesh.run_until(mesh.everyone_sees_everyone, 5)


def test_a_used_ticket_lets_nobody_else_in_and_the_node_says_why() -> None:
    mesh = founded()
    invited(mesh, uses=1)
    mesh.world.start("b")
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    mesh.world.start("c")
    mesh.run_until(lambda: mesh.world.hosts["c"].state is HostState.OFF, 60)
    halted = mesh.world.hosts["c"].halted
    assert halted is not None
    assert "used up" in str(halted)


def test_an_expired_ticket_lets_nobody_in() -> None:
    mesh = founded()
    invited(mesh, ttl_s=2.0)
    mesh.run(s=10)
    mesh.world.start("b")
    mesh.run_until(lambda: mesh.world.hosts["b"].state is HostState.OFF, 60)
    assert "expired" in str(mesh.world.hosts["b"].halted)


def test_a_stranger_waits_for_an_issuer_that_is_down() -> None:
    mesh = founded()
    invited(mesh)
    mesh.kill("a")
    mesh.world.start("b")
    mesh.run(s=30)
    assert state(mesh, "b") == "joining"
    with pytest.raises(Refused) as refused:
        mesh["b"].submit("build")
    assert refused.value.name == "not_joined"
    assert mesh["b"].tell(Hello()).result == {"version": "0"}
    mesh.world.start("a")
    mesh.run_until(lambda: state(mesh, "b") == "member", 60)
    mesh.run_until(mesh.everyone_sees_everyone, 10)


def test_an_issuer_that_dies_before_its_commit_grants_nothing_it_forgets() -> None:
    for seed in range(8):
        mesh = founded(seed)
        invited(mesh)
        mesh.world.start("b")
        mesh.run(s=0.002 + 0.002 * seed)
        mesh.restart("a")
        mesh.run_until(lambda: state(mesh, "b") == "member", 90)  # noqa: B023  called before the next turn
        mesh.run_until(mesh.everyone_sees_everyone, 20)
        mesh.world.start("c")
        mesh.run_until(lambda: mesh.world.hosts["c"].state is HostState.OFF, 60)  # noqa: B023  called before the next turn


def test_the_first_two_joiners_are_admins_and_the_mesh_outlives_its_founder() -> None:
    mesh = founded(count=5)
    invited(mesh, uses=3)
    for name in "bcd":
        mesh.world.start(name)
        mesh.run_until(lambda: state(mesh, name) == "member", 10)  # noqa: B023  called before the next turn
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    admins = [name for name in "abcd" if mesh_info(mesh, name)["admin"]]
    assert admins == ["a", "b", "c"]
    mesh.kill("a")
    mesh.run(s=20)
    with pytest.raises(Refused) as refused:
        mesh["d"].tell(TrustInvite())
    assert refused.value.name == "not_admin"
    invited(mesh, name="b")
    mesh.world.start("e")
    mesh.run_until(lambda: state(mesh, "e") == "member", 10)
    mesh.run_until(lambda: mesh["e"].members()["d"] is Status.ALIVE, 10)


def mesh_info(mesh: Mesh, name: str) -> dict[str, Json]:
    """Return what a node knows of itself."""
    result = mesh[name].tell(NodeInfo()).result
    assert isinstance(result, dict)
    node = result["node"]
    assert isinstance(node, dict)
    return node


def test_questions_about_nodes() -> None:
    mesh = founded()
    invited(mesh, uses=2)
    mesh.world.start("b")
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    own = mesh["a"].tell(NodeIdentity()).result
    assert isinstance(own, dict)
    assert mesh_info(mesh, "a")["fingerprint"] == own["fingerprint"]
    by_name = mesh["a"].tell(NodeInfo(node="b")).result
    assert isinstance(by_name, dict)
    for wrong in ("nobody", "zz"):
        with pytest.raises(Refused) as refused:
            mesh["a"].tell(NodeInfo(node=wrong))
        assert refused.value.name == "not_found"
    listed = mesh["a"].tell(MemberList(status="alive")).result
    assert isinstance(listed, dict)
    members = listed["members"]
    assert isinstance(members, list)
    assert len(members) == 2
    none = mesh["a"].tell(MemberList(tags={"zone": "eu"})).result
    assert none == {"members": []}
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(MemberList(status="("))
    assert refused.value.name == "bad_pattern"


def test_waiting_for_members() -> None:
    mesh = founded()
    invited(mesh)
    waiting = mesh["a"].ask(MemberWait(members=2, wait_s=30.0))
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(MemberWait(members=3, wait_s=1.0))
    assert refused.value.name == "timed_out"
    assert not waiting.done
    mesh.world.start("b")
    mesh.run_until(lambda: waiting.done, 10)
    assert waiting.result == {"alive": 2}


def test_a_late_joiner_gets_many_facts_over_a_stream() -> None:
    mesh = founded()
    for number in range(120):
        mesh["a"].submit(f"t{number}")
    invited(mesh)
    mesh.world.start("b")
    mesh.run_until(lambda: state(mesh, "b") == "member", 10)
    took = mesh.run_until(mesh.converged, 20)
    assert took < 5
    assert len(mesh["b"].snapshot().tasks) == 120


def test_a_member_that_lost_its_log_but_not_its_key_comes_back_above_its_old_boots() -> None:
    """Its first boot number would be one that is over: nobody would answer it, ever."""
    mesh = founded(count=3)
    invited(mesh, uses=2)
    for name in "bc":
        mesh.world.start(name)
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    for _ in range(3):
        mesh.restart("b")
        mesh.run(s=1)
    mesh["c"].submit("build")
    mesh.run_until(lambda: mesh["b"].view("build") is not None, 10)
    mesh.kill("b")
    mesh.world.hosts["b"].disk.destroy()
    mesh.world.start("b")
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    mesh.run_until(mesh.converged, 10)
    assert mesh["b"].view("build") is not None


def test_a_member_whose_count_of_starts_is_damaged_comes_back_above_its_old_boots() -> None:
    mesh = founded(count=2)
    invited(mesh)
    mesh.world.start("b")
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    for _ in range(3):
        mesh.restart("b")
        mesh.run(s=1)
    before = mesh["b"].snapshot().boot
    mesh.kill("b")
    mesh.world.hosts["b"].disk.rows.pop("boot")
    mesh.world.start("b")
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    mesh.run_until(mesh.converged, 10)
    assert mesh["b"].snapshot().boot > before


def test_a_member_on_an_old_copy_of_its_disk_starts_again_above_what_it_was() -> None:
    """Found with a data directory put back from a backup: it was answered by nobody, ever."""
    mesh = founded(count=3)
    invited(mesh, uses=2)
    for name in "bc":
        mesh.world.start(name)
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    host = mesh.world.hosts["b"]
    copy = host.disk.restored()
    # The copy's next boot is none of these: S7 would rightly object to one number used twice.
    host.disk.rows["boot"][b""] = (100).to_bytes(8, "big")
    mesh.restart("b")
    mesh.run(s=1)
    mesh.kill("b")
    host.disk.replace(copy)
    mesh.world.start("b")
    mesh.run_until(lambda: host.state is HostState.OFF, 10)
    assert "older than what the mesh knows" in str(host.halted)
    mesh.run_until(lambda: host.state is HostState.RUNNING, 10)
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    mesh.run_until(mesh.converged, 10)
