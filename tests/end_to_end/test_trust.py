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
