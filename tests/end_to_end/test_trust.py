"""Authority on real nodes: who is taken out, and what that does to the others."""

from mesh.cli.demo import DemoNode, wait_for
from tests.end_to_end.processes import RealMesh, claim, run_mesh, show, submit


def has_ended(node: DemoNode) -> bool:
    """Whether the process of a node has given up."""
    assert node.node is not None
    return node.node.poll() == 1


def names_at(node: DemoNode) -> list[str]:
    """Return who is listed at a node."""
    return [view["name"] for view in node.call("member.list")["members"]]


def test_a_removed_node_stops_and_its_work_is_free(real_mesh: RealMesh) -> None:
    first, second, third = real_mesh.start(3)
    task = submit(third, kind="job")
    claim(third, task)
    told = run_mesh("remove", third.name, "--socket", str(first.socket), "--note", "stolen")
    assert told.returncode == 0, told.stderr
    assert "goes on counting" in told.stdout
    wait_for("the removed node to stop", lambda: has_ended(third), 20)
    assert b"was removed from the mesh" in (third.folder / "node.log").read_bytes()
    wait_for("the others to forget it", lambda: third.name not in names_at(second), 10)
    assert claim(second, task, wait_s=10.0)["token"]
    assert show(first, task)["state"] == "working"
    third.start_node()
    wait_for("it to stop again", lambda: has_ended(third), 20)
    again = run_mesh("remove", third.name, "--socket", str(first.socket))
    assert again.returncode != 0
    assert "hint:" in again.stderr
