"""Hunts about nodes that are taken out of a mesh."""

from mesh.core.commands import TrustRemove
from mesh.core.gossip.gossip import Family
from mesh.core.snapshot import TaskState
from tests.simulation.hunting import Liar, a_mesh, close, is_state, member_at


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
