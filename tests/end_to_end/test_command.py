"""The command as people use it, on real nodes."""

import grp
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from mesh.cli.demo import DemoNode, free_ports, wait_for
from tests.end_to_end.processes import RealMesh, run_mesh, show


def mesh(node: DemoNode, *arguments: str, code: int = 0, limit_s: float = 30.0) -> str:
    """Run a command against a node and return its standard output."""
    environment = {**os.environ, "MESH_SOCKET": str(node.socket), "NO_COLOR": "1"}
    done = run_mesh(*arguments, limit_s=limit_s, environment=environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def worker(node: DemoNode, kind: str, *command: str) -> "subprocess.Popen[bytes]":
    """Start `mesh work`; it ends with the node's folder."""
    node.worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "mesh", "work", "--socket", str(node.socket)),
            *("--kind", kind, "--grace", "1s", "--", *command),
        ],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return node.worker


def test_a_task_from_submit_to_output(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    worker(second, "upper", "tr", "a-z", "A-Z")
    assert mesh(first, "task", "submit", "upper", "hello", "--wait") == "HELLO"
    task = mesh(first, "task", "submit", "upper", "again", "-q").strip()
    shown = json.loads(mesh(second, "task", "wait", task, "--json"))
    assert shown["v"] == 1
    listed = json.loads(mesh(first, "task", "list", "--json"))
    assert [entry["state"] for entry in listed["tasks"]] == ["completed", "completed"]
    history = mesh(first, "task", "history", task) if "history" in mesh(first, "task", "-h") else ""
    assert history == "" or "claim" in history


def test_exit_codes_of_a_worker_mean_what_they_say(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    worker(node, "bad", "sh", "-c", "echo oh no >&2; exit 3")
    message = mesh(node, "task", "submit", "bad", "--retries", "0", "--wait", code=1)
    assert "oh no" in message
    assert node.worker is not None
    node.worker.terminate()
    node.worker.wait(10)
    assert "no task" in mesh(node, "task", "show", "1-2-" + "0" * 32, code=4)


def test_by_hand_claim_start_complete(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    task = mesh(node, "task", "submit", "hand", "-q").strip()
    owned = json.loads(mesh(node, "task", "claim", task, "--json"))
    assert "belongs to" in mesh(node, "task", "claim", task, code=7)
    mesh(node, "task", "complete", owned["handle"], "done")
    shown = json.loads(mesh(node, "task", "show", task, "--json"))["task"]
    assert (shown["state"], shown["starts"]) == ("completed", 1)
    mesh(node, "task", "cancel", task, code=7)


def test_cancel_stops_the_process_group_of_the_worker(real_mesh: RealMesh, folder: Path) -> None:
    first, second = real_mesh.start(2)
    mark = folder / "pid"
    worker(second, "long", "sh", "-c", f"sleep 300 & echo $! > {mark}; wait")
    task = mesh(first, "task", "submit", "long", "-q").strip()
    wait_for("the worker", lambda: mark.exists() and mark.read_text().strip() != "", 15)
    child = int(mark.read_text())
    mesh(first, "task", "cancel", task)
    wait_for("the end of the group", lambda: not Path(f"/proc/{child}").exists(), 10)
    assert show(first, task)["state"] == "canceled"


def test_a_worker_that_lost_its_node_stops_its_command(real_mesh: RealMesh, folder: Path) -> None:
    first, second = real_mesh.start(2)
    mark = folder / "pid"
    worker(second, "long", "sh", "-c", f"trap '' TERM; echo $$ > {mark}; sleep 300")
    task = mesh(first, "task", "submit", "long", "-q").strip()
    wait_for("the worker", lambda: mark.exists() and mark.read_text().strip() != "", 15)
    child = int(mark.read_text())
    real_mesh.kill(second)
    wait_for("the end of the command", lambda: not Path(f"/proc/{child}").exists(), 8)
    assert show(first, task)["starts"] == 1


def test_a_command_outlives_its_killed_runner_by_seconds_at_most(
    real_mesh: RealMesh, folder: Path
) -> None:
    (node,) = real_mesh.start(1)
    mark = folder / "pid"
    running = worker(node, "long", "sh", "-c", f"sleep 300 & echo $! > {mark}; wait")
    mesh(node, "task", "submit", "long", "-q")
    wait_for("the worker", lambda: mark.exists() and mark.read_text().strip() != "", 15)
    child = int(mark.read_text())
    running.send_signal(signal.SIGKILL)
    running.wait()
    wait_for("the end of the command", lambda: not Path(f"/proc/{child}").exists(), 4)


def test_a_short_restart_of_the_node_does_not_disturb_the_work(
    real_mesh: RealMesh, folder: Path
) -> None:
    """M24: the runner comes back with its handle and finishes the same claim."""
    first, second = real_mesh.start(2)
    gate = folder / "gate"
    mark = folder / "pid"
    script = f"echo $$ >> {mark}; while [ ! -e {gate} ]; do sleep 0.1; done; echo fine"
    worker(second, "long", "sh", "-c", script)
    task = mesh(first, "task", "submit", "long", "-q").strip()
    wait_for("the worker", mark.exists, 15)
    token = show(first, task)["token"]
    real_mesh.kill(second)
    real_mesh.restart(second)
    gate.touch()
    wait_for("the result", lambda: show(first, task)["state"] == "completed", 20)
    shown = show(first, task)
    assert shown["result"]["token"] == token
    assert shown["starts"] == 1
    assert len(mark.read_text().split()) == 1


def test_an_open_mesh_is_joined_by_bare_seed(folder: Path, real_mesh: RealMesh) -> None:
    ports = free_ports(2)

    def up(name: str, port: int, *more: str) -> DemoNode:
        node = DemoNode(name, folder / name, port, None)
        node.folder.mkdir()
        real_mesh.nodes.append(node)
        arguments = [
            *("up", "--data", str(node.folder / "data"), "--bind", f"127.0.0.1:{port}"),
            *("--name", name, "--socket", str(node.socket), *more),
        ]
        node.node = node._start(arguments, "node.log")
        wait_for(f"node {name}", node.is_up, 15)
        return node

    first = up("first", ports[0], "--open", "--profile", "local")
    second = up("second", ports[1], "--seed", f"127.0.0.1:{ports[0]}")
    real_mesh.together([first, second])
    status: dict[str, Any] = json.loads(mesh(second, "status", "--json"))
    assert status["mesh"]["open"]
    assert "OPEN" in (first.folder / "node.log").read_text()
    refused = run_mesh("up", "--open", "--bind", "0.0.0.0:1", "--data", str(folder / "x"))
    assert refused.returncode == 2
    assert "--i-know" in refused.stderr


def test_node_of_one_mesh_is_not_taken_into_another_in_silence(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    mesh_id = json.loads(mesh(node, "id", "--json"))["mesh"]["id"]
    mesh(node, "leave")
    assert node.node is not None
    node.node.wait(10)
    other = ("0" if mesh_id[0] != "0" else "1") + mesh_id[1:]
    place = ("--data", str(node.folder / "data"), "--bind", f"127.0.0.1:{node.port}")
    refused = run_mesh("up", *place, "--seed", "127.0.0.1:1", "--mesh", other)
    assert refused.returncode == 1
    assert f"belongs to a node of mesh amber-mesh ({mesh_id[:16]})" in refused.stderr
    assert "mesh rekey" in refused.stderr


def test_status_shows_what_the_node_costs(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    counters = json.loads(mesh(node, "status", "--json"))["counters"]
    assert counters["process_cpu_ms"] > 0
    assert 10_000 < counters["process_resident_kb"] < 60_000
    assert "datagrams_sent" in counters
    assert "bytes_sent" in counters
    members = json.loads(mesh(node, "members", "--json"))
    assert members["members"][0]["is_self"]
    assert mesh(node, "wait", "--members", "2", "--timeout", "1s", code=6)
    assert "mesh up" in mesh(DemoNode("none", node.folder / "none", 1, None), "members", code=3)


def test_a_group_may_use_the_socket_of_a_node(real_mesh: RealMesh) -> None:
    group = grp.getgrgid(os.getegid())
    real_mesh.extra = ("--group", group.gr_name)
    (node,) = real_mesh.start(1)
    status = node.socket.stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (group.gr_gid, 0o660)
    log = (node.folder / "node.log").read_text()
    assert "the group cannot reach the socket" in log  # its folder is private here
