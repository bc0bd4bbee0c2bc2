"""Authority on real nodes: who is taken out, and what that does to the others."""

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
    seed = ("--seed", f"127.0.0.1:{first.port}")
    hopeless = stranger(real_mesh, "x", *seed)
    wait_for("a stranger to be turned away", lambda: has_ended(hopeless), 20)
    assert b"--mesh" in (hopeless.folder / "node.log").read_bytes()
    late = stranger(real_mesh, "late", *seed, "--mesh", mesh_id)
    socket = ("--socket", str(first.socket))
    wait_for("it to wait", lambda: "late" in run_mesh("pending", *socket).stdout, 20)
    own = late.call("node.status")["node"]
    assert own["state"] == "pending"
    assert own["fingerprint"] in run_mesh("pending", *socket).stdout
    assert own["fingerprint"].encode() in (late.folder / "node.log").read_bytes()
    assert run_mesh("admit", "nobody", *socket).returncode != 0
    done = run_mesh("admit", "late", *socket)
    assert own["fingerprint"] in done.stdout, done.stderr
    wait_for("it to be a member", late.is_up, 20)
    done = run_mesh("admit", "--listen", "1m", *socket)
    assert done.returncode == 0, done.stderr
    again = stranger(real_mesh, "again", *seed)
    wait_for("it to wait", lambda: "again" in run_mesh("pending", *socket).stdout, 20)
    assert run_mesh("deny", "again", *socket).returncode == 0
    wait_for("it to be sent off", lambda: has_ended(again), 20)


def test_root_keys_go_on_paper_and_come_back(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    socket = ("--socket", str(first.socket))
    paper = real_mesh.folder / "paper"
    paper.write_text(run_mesh("root", "export", *socket).stdout)
    assert run_mesh("root", "lock", f"@{paper}", *socket).returncode == 0
    assert run_mesh("root", "export", *socket).returncode != 0
    real_mesh.kill(first)
    real_mesh.restart(first)
    real_mesh.together([first, second])
    refused = run_mesh("admin", "remove", second.name, *socket)
    assert "--root" in refused.stderr
    done = run_mesh("admin", "remove", second.name, "--root", f"@{paper}", *socket)
    assert done.returncode == 0, done.stderr
    wait_for("no admin", lambda: second.name not in run_mesh("admin", "list", *socket).stdout, 10)
    rotated = run_mesh("root", "rotate", f"@{paper}", *socket)
    assert rotated.returncode == 0, rotated.stderr
    fingerprint = rotated.stdout.split()[4]
    other = ("--socket", str(second.socket))
    wait_for("the root", lambda: fingerprint in run_mesh("admin", "list", *other).stderr, 10)


def test_a_removed_node_comes_back_under_a_new_key(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    former = second.call("node.id")["id"]
    # The second node is an admin: the root key of the first takes it out.
    assert run_mesh("remove", second.name, "--socket", str(first.socket)).returncode == 0
    wait_for("it to stop", lambda: has_ended(second), 20)
    done = run_mesh("rekey", "--data", str(second.folder / "data"))
    assert done.returncode == 0, done.stderr
    assert second.join is not None
    second.join.write_text(first.call("trust.invite", uses=1, ttl_s=60.0)["ticket"])
    real_mesh.restart(second)
    real_mesh.together([first, second])
    assert second.call("node.id")["id"] != former


def warned(node: DemoNode) -> bool:
    """Whether a node says in its status that a key lives twice."""
    return "LIVES TWICE" in str(node.call("node.status")["warnings"])


def test_a_copied_data_directory_is_told_to_both_and_to_all(real_mesh: RealMesh) -> None:
    """M21: within ten seconds, and neither of the two takes work any more."""
    first, second, original = real_mesh.start(3)
    time.sleep(OLD_ENOUGH_S)
    copy = real_mesh.node()
    copy.folder.mkdir(mode=0o700)
    shutil.copytree(original.folder / "data", copy.folder / "data")
    task = submit(first, kind="job")
    copy.start_node()
    begun = time.monotonic()
    wait_for("the copy to be up", copy.is_up, 20)
    for node in (copy, original, first, second):
        wait_for(f"{node.name} to be warned", lambda: warned(node), 12)  # noqa: B023  called before the next turn
    print(f"known to all after {time.monotonic() - begun:.1f} s")
    for node in (copy, original):
        with pytest.raises(Refused) as refused:
            claim(node, task)
        assert refused.value.name == "key_lives_twice"
        assert b"ALARM" in (node.folder / "node.log").read_bytes()
    assert claim(second, task)["token"]


def test_a_backup_that_is_put_back_comes_back_without_an_alarm(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    backup = real_mesh.folder / "backup"
    shutil.copytree(second.folder / "data", backup)
    for _ in range(2):
        real_mesh.kill(second)
        real_mesh.restart(second)
        real_mesh.together([first, second])
    real_mesh.kill(second)
    shutil.rmtree(second.folder / "data")
    shutil.copytree(backup, second.folder / "data")
    second.start_node()
    wait_for("it to be up", second.is_up, 20)
    wait_for("it to be seen", lambda: status_of(first, second.name) == "alive", 20)
    real_mesh.together([first, second])
    assert not warned(first)
    assert not warned(second)
    assert claim(second, submit(first, kind="job"))["token"]
