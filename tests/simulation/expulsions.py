"""Hunts about nodes that are taken out of a mesh, and about keys that live twice."""

from mesh.core.gossip.gossip import Family
from mesh.core.snapshot import TaskState
from mesh.core.trust_commands import TrustRemove
from mesh.sim.checker import unwatch
from mesh.sim.checkers import FactsSigned
from mesh.sim.durability import SubmitsKept
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Refused
from mesh.sim.world import World
from tests.simulation.hunting import LOCAL, Liar, a_mesh, close, is_state, member_at


def removed(seed: int) -> None:
    """E is removed while it works: it is gone everywhere at once, and so is its claim."""
    mesh = a_mesh(seed, 5)
    mesh["e"].claim("open")
    mesh["e"].start("open")
    mesh.run(s=1)
    gone = member_at(mesh, "e").author.id
    mesh.partition(["e"], mesh.rest("e"))
    mesh["b"].tell(TrustRemove("e"))
    mesh.run(s=2)
    for name in "abcd":
        assert gone not in member_at(mesh, name).transport.links.routes, "still talked to"
        assert "e" not in mesh[name].members(), "still a member"
    mesh["c"].claim("open", wait_s=1.0)
    mesh.world.hosts["e"].retired = True
    mesh.kill("e")
    mesh["c"].start("open")
    mesh["c"].complete("open")
    close(mesh)


def said_too_late(seed: int) -> None:
    """E submits a task behind a partition while it is removed: nobody ever knows of that task."""
    mesh = a_mesh(seed, 5)
    mesh["e"].submit("before")
    mesh.run(s=1)
    mesh.partition(["d", "e"], ["a", "b", "c"])
    mesh["e"].submit("after")
    mesh.run(s=1)
    assert mesh["d"].view("after") is not None
    mesh["a"].tell(TrustRemove("e"))
    mesh.run(s=1)
    said = [fact.signed for fact in member_at(mesh, "d").gossip.facts(Family.TASKS)]
    mesh.repair()
    mesh.world.hosts["e"].retired = True
    mesh.kill("e")
    mesh.run(s=3)
    mesh.run_until(lambda: "e" not in mesh["d"].members(), 60)
    Liar(mesh, "d").say_to("abc", *said)
    for name in "abcd":
        assert mesh[name].view("after") is None, "said after the list was made"
    assert is_state(mesh, "before", TaskState.SUBMITTED), "on the list"
    mesh.run_until(mesh.converged, 30)


def removed_unequally(seed: int) -> None:
    """E is removed while b lacks a word of it and c has one more: both end up with what a has."""
    mesh = a_mesh(seed, 5)
    unwatch(mesh.world, SubmitsKept)  # what c alone has heard is lost, as asked
    mesh["e"].submit("before")
    mesh.run(s=1)
    mesh.partition(["b"], mesh.rest("b"))
    mesh["e"].submit("missed")
    mesh.run(s=1)
    mesh.partition(["b"], ["a", "d"], ["c", "e"])
    mesh["e"].submit("unheard")
    mesh.run(s=1)
    assert mesh["c"].view("unheard") is not None
    mesh["a"].tell(TrustRemove("e"))
    mesh.world.hosts["e"].retired = True
    mesh.kill("e")
    mesh.repair()
    mesh.run_until(lambda: "e" not in mesh["b"].members() and "e" not in mesh["c"].members(), 60)
    mesh.run_until(mesh.converged, 30)
    for name in "abcd":
        assert mesh[name].view("missed") is not None, "listed, and lost"
        assert mesh[name].view("unheard") is None, "not listed, and kept"


def with_a_copy(seed: int) -> Mesh:
    """Return five nodes at work, and z, which is off and has the disk of e."""
    population = Population(copies=(("z", "e"),))
    mesh = Mesh(World(seed, LOCAL, population), (*"abcde", "z"))
    unwatch(mesh.world, FactsSigned)  # a copy and a backup break S7 by themselves
    for name in "abcde":
        mesh.world.start(name)
    mesh.run(s=8)
    hosts = mesh.world.hosts
    hosts["z"].disk.replace(hosts["e"].disk.restored())
    return mesh


def copied(seed: int) -> None:
    """A copy of e starts beside it: within ten seconds neither takes work any more."""
    mesh = with_a_copy(seed)
    mesh["a"].submit("build")
    mesh.world.start("z")
    mesh.run(s=10)
    for name in "ez":
        why = ""
        try:
            mesh[name].claim("build")
        except Refused as refused:
            why = refused.name
        assert why == "key_lives_twice", "took work under a key that lives twice"


def backup_put_back(seed: int) -> None:
    """E starts again on an older disk: it is back, and nobody is alarmed."""
    mesh = with_a_copy(seed)
    hosts = mesh.world.hosts
    for _ in range(3):
        mesh.restart("e")
        mesh.run(s=2)
    mesh.kill("e")
    hosts["e"].disk.replace(hosts["z"].disk.restored())
    mesh.world.start("e")
    mesh.run(s=15)
    assert not member_at(mesh, "e").alarm, "a false alarm"
    mesh["e"].claim("build")
