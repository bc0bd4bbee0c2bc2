"""Authority on real nodes: who is let in, who is taken out, and keys that live twice."""

import shutil
import time

import pytest

from mesh.cli.demo import DemoNode, wait_for
from mesh.control.client import Refused
from tests.end_to_end.processes import RealMesh, claim, run_mesh, show, status_of, submit

OLD_ENOUGH_S = 5.5
"""A node that has only just begun takes a greater boot for its own past."""


def has_ended(node: DemoNode) -> bool:
    """Whether the process of a node has given up."""
    assert node.node is not None
    return node.node.poll() == 1


def log_of(node: DemoNode) -> str:
    """Return what a node has said on its terminal."""
    return (node.folder / "node.log").read_text()


def warned(node: DemoNode) -> bool:
    """Whether a node says in its status that a key lives twice."""
    return "LIVES TWICE" in str(node.call("node.status")["warnings"])


def test_a_removed_node_stops_and_comes_back_under_a_new_key(real_mesh: RealMesh) -> None:
    first, second, third = real_mesh.start(3)
    socket = ("--socket", str(first.socket))
    paper = real_mesh.folder / "paper"
    paper.write_text(run_mesh("root", "export", *socket).stdout)
    assert run_mesh("root", "lock", f"@{paper}", *socket).returncode == 0
    task, former = submit(third, kind="job"), third.call("node.id")["id"]
    claim(third, task)
    refused = run_mesh("remove", third.name, *socket)
    assert "--root" in refused.stderr, "the third is an admin, and the root key is on paper"
    told = run_mesh("remove", third.name, "--root", f"@{paper}", "--note", "stolen", *socket)
    assert "goes on counting" in told.stdout, told.stderr
    wait_for("the removed node to stop", lambda: has_ended(third), 30)
    assert "was removed from the mesh" in log_of(third)
    assert claim(second, task, wait_s=10.0)["token"]
    assert show(first, task)["state"] == "working"
    done = run_mesh("rekey", "--data", str(third.folder / "data"))
    assert done.returncode == 0, done.stderr
    assert third.join is not None
    third.join.write_text(first.call("trust.invite", uses=1, ttl_s=60.0)["ticket"])
    real_mesh.restart(third)
    real_mesh.together([first, second, third])
    assert third.call("node.id")["id"] != former
    rotated = run_mesh("root", "rotate", f"@{paper}", *socket)
    assert rotated.returncode == 0, rotated.stderr
    fingerprint = rotated.stdout.split()[4]
    other = ("--socket", str(second.socket))
    wait_for("the root", lambda: fingerprint in run_mesh("admin", "list", *other).stderr, 20)


def stranger(real_mesh: RealMesh, name: str, *options: str) -> DemoNode:
    """Start a node that has no ticket."""
    node = real_mesh.node()
    node.name = name
    node.extra = options
    node.start_node()
    return node


def test_without_a_ticket_somebody_waits_until_an_admin_says_yes(real_mesh: RealMesh) -> None:
    (first,) = real_mesh.start(1)
    mesh_id = str(first.call("node.id")["mesh"]["id"])
    seed, socket = ("--seed", f"127.0.0.1:{first.port}"), ("--socket", str(first.socket))
    hopeless = stranger(real_mesh, "x", *seed)
    late = stranger(real_mesh, "late", *seed, "--mesh", mesh_id)
    wait_for("a stranger to be turned away", lambda: has_ended(hopeless), 30)
    assert "--mesh" in log_of(hopeless)
    wait_for("it to wait", lambda: "late" in run_mesh("pending", *socket).stdout, 30)
    own = late.call("node.status")["node"]
    assert own["state"] == "pending"
    assert own["fingerprint"] in run_mesh("pending", *socket).stdout
    assert own["fingerprint"] in log_of(late)
    done = run_mesh("admit", "late", "--listen", "1m", *socket)
    assert own["fingerprint"] in done.stdout, done.stderr
    again = stranger(real_mesh, "again", *seed)
    wait_for("it to be a member", late.is_up, 30)
    wait_for("the other to wait", lambda: "again" in run_mesh("pending", *socket).stdout, 30)
    assert run_mesh("deny", "again", *socket).returncode == 0
    wait_for("it to be sent off", lambda: has_ended(again), 30)


def test_a_copy_is_told_to_all_and_a_backup_to_nobody(real_mesh: RealMesh) -> None:
    """M21: within ten seconds, and neither of the two takes work any more."""
    first, second, original = real_mesh.start(3)
    began = time.monotonic()
    backup, copy = real_mesh.folder / "backup", real_mesh.node()
    shutil.copytree(second.folder / "data", backup)
    for _ in range(2):
        real_mesh.kill(second)
        real_mesh.restart(second)
    real_mesh.kill(second)
    shutil.rmtree(second.folder / "data")
    shutil.copytree(backup, second.folder / "data")
    second.start_node()
    wait_for("it to be up", second.is_up, 30)
    wait_for("it to be seen", lambda: status_of(first, second.name) == "alive", 30)
    real_mesh.together([first, second, original])
    assert not warned(first)
    assert not warned(second)

    time.sleep(max(0.0, began + OLD_ENOUGH_S - time.monotonic()))
    copy.folder.mkdir(mode=0o700)
    shutil.copytree(original.folder / "data", copy.folder / "data")
    task = submit(first, kind="job")
    copy.start_node()
    wait_for("the copy to be up", copy.is_up, 30)
    for node in (copy, original, first, second):
        wait_for(f"{node.name} to be warned", lambda: warned(node), 20)  # noqa: B023  called before the next turn
    for node in (copy, original):
        with pytest.raises(Refused) as refused:
            claim(node, task)
        assert refused.value.name == "key_lives_twice"
        assert "ALARM" in log_of(node)
    assert claim(second, task)["token"]
