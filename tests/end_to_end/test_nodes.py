"""Real nodes on loopback: joining, one owner, death and return, and what is refused."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.demo import DemoNode, free_ports, wait_for
from mesh.control.client import Client, Refused
from tests.end_to_end.processes import (
    RealMesh,
    claim,
    run_mesh,
    show,
    status_of,
    submit,
)

DETECTION_LIMIT_S = 12.0


def finish(node: DemoNode, kind: str) -> str:
    """Claim the next task of a kind, start and complete it; returns its id."""
    with Client.connect(str(node.socket)) as client:
        owned = client.call("task.claim", kinds=[kind], wait_s=10.0)
        client.call("task.start", handle=owned["handle"])
        client.call("task.complete", handle=owned["handle"], output="b2s=")
        task: str = owned["task"]
        return task


def test_no_node_is_special(real_mesh: RealMesh) -> None:
    """M1: each node is killed in turn, the first one too; work goes on at once."""
    nodes = real_mesh.start(3)
    for victim in nodes:
        others = [node for node in nodes if node is not victim]
        real_mesh.kill(victim)
        task = submit(others[0], kind="turn")
        assert finish(others[1], "turn") == task
        wait_for("the result", lambda: show(others[0], task)["state"] == "completed", 5)  # noqa: B023  called before the next turn
        real_mesh.restart(victim)
        real_mesh.together(nodes)
        wait_for("the table", lambda: show(victim, task)["state"] == "completed", 15)  # noqa: B023  called before the next turn


def test_one_owner_under_a_race(real_mesh: RealMesh) -> None:
    """M2: clients on three nodes claim the same tasks at once; one wins each, for everybody."""
    nodes = real_mesh.start(3)
    tasks = [submit(nodes[i % 3], kind="race") for i in range(15)]
    for node in nodes:
        wait_for("the tasks", lambda: len(node.call("task.list")["tasks"]) == 15, 10)  # noqa: B023  called before the next turn
    outcomes: dict[str, list[str]] = {task: [] for task in tasks}
    refusals: list[str] = []
    barrier = threading.Barrier(3)

    def race(node: DemoNode) -> None:
        with Client.connect(str(node.socket)) as client:
            barrier.wait()
            for task in tasks:
                try:
                    owned = client.call("task.claim", task=task, detached=True)
                except Refused as refused:
                    refusals.append(refused.name)
                else:
                    client.call("task.start", handle=owned["handle"])
                    outcomes[task].append(node.name)

    threads = [threading.Thread(target=race, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(winners) == 1 for winners in outcomes.values()), outcomes
    assert len(refusals) == 2 * len(tasks)
    assert set(refusals) <= {"claim_lost", "already_owned"}

    def agree() -> bool:
        return all(
            show(node, task)["owner"]["node"] == show(nodes[0], task)["owner"]["node"]
            and show(node, task)["starts"] == 1
            for task in tasks
            for node in nodes
        )

    wait_for("equal owners everywhere", agree, 10)


def test_a_killed_owner_is_noticed_and_its_task_retaken_and_the_owner_fenced(
    real_mesh: RealMesh,
) -> None:
    """M6 and M7: kill -9 the owner; one survivor retakes; the returning owner is told it lost."""
    first, owner, heir = real_mesh.start(3)
    task = submit(first, kind="orphan")
    wait_for("the task", lambda: bool(owner.call("task.list")["tasks"]), 5)
    held = claim(owner, task)
    owner.call("task.start", handle=held["handle"])
    real_mesh.kill(owner)
    with Client.connect(str(heir.socket)) as client:
        started = time.monotonic()
        owned = client.call("task.claim", kinds=["orphan"], wait_s=40.0)
        took = time.monotonic() - started
        assert owned["task"] == task
        assert owned["token"] > held["token"]
        assert owned["epoch"] == 2
        assert status_of(first, owner.name) in {"down", "dead"}
        assert took > 4.0, "never before the orphan grace (5 s in this profile, less detection)"
        client.call("task.start", handle=owned["handle"])
        real_mesh.restart(owner)

        def told() -> bool:
            return str(show(owner, task)["token"]) == str(owned["token"])

        wait_for("the old owner to learn", told, 15)
        with pytest.raises(Refused) as refused:
            owner.call("task.start", handle=held["handle"])
        assert refused.value.name in {"claim_lost", "unknown_handle"}
        client.call("task.complete", handle=owned["handle"], output="b2s=")
    wait_for("the result", lambda: show(first, task)["state"] == "completed", 5)
    shown = show(first, task)
    assert shown["starts"] == 2
    assert shown["result"]["token"] == owned["token"]


def test_acknowledged_work_survives_kill_9_of_everybody(real_mesh: RealMesh) -> None:
    nodes = real_mesh.start(3)
    tasks = [submit(nodes[i % 3], kind="keep", request_id=f"r{i}") for i in range(9)]
    ids = [node.call("node.id")["id"] for node in nodes]
    done = finish(nodes[1], "keep")
    for node in nodes:
        real_mesh.kill(node)
    for node in nodes:
        real_mesh.restart(node)
    real_mesh.together(nodes)
    assert [node.call("node.id")["id"] for node in nodes] == ids
    for node in nodes:
        wait_for("all tasks", lambda: len(node.call("task.list")["tasks"]) == 9, 10)  # noqa: B023  called before the next turn
    assert show(nodes[0], done)["state"] == "completed"
    assert submit(nodes[0], kind="keep", request_id="r0") == tasks[0]


def test_the_first_node_is_gone_for_good_and_a_new_one_joins(real_mesh: RealMesh) -> None:
    first, second, _ = real_mesh.start(3)
    real_mesh.kill(first)
    wait_for(
        "the loss", lambda: status_of(second, first.name) in {"down", "dead"}, DETECTION_LIMIT_S
    )
    newcomer = real_mesh.node(ticket_from=second)
    newcomer.start_node()
    wait_for("the newcomer", newcomer.is_up, 15)
    wait_for("its table", lambda: status_of(newcomer, second.name) == "alive", 10)
    task = submit(newcomer, kind="late")
    assert finish(second, "late") == task


def test_a_node_that_leaves_is_gone_at_once(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    assert second.node is not None
    second.node.send_signal(signal.SIGTERM)
    wait_for("the goodbye", lambda: status_of(first, second.name) == "left", 5)
    assert second.node.wait(10) == 0
    assert not second.socket.exists()


def test_a_node_alone_works(real_mesh: RealMesh) -> None:
    (alone,) = real_mesh.start(1)
    task = submit(alone, kind="solo")
    assert finish(alone, "solo") == task
    assert show(alone, task)["starts"] == 1


# ---- wrong input: a clear refusal, and the node stays up


def test_garbage_datagrams_change_nothing(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.3)
        for size in (0, 1, 16, 17, 18, 64, 1200, 1232, 9000):
            for first in (b"\x00", b"\x01", b"\x02", b"\xff"):
                stranger.sendto((first + os.urandom(size))[:size], ("127.0.0.1", node.port))
        with pytest.raises(TimeoutError):
            stranger.recv(2000)
    with socket.create_connection(("127.0.0.1", node.port)) as stream:
        stream.sendall(b"J" + b"\xff" * 4000)
        stream.settimeout(5)
        assert stream.recv(10) == b""
    counters: dict[str, Any] = node.call("node.status")["counters"]
    assert sum(count for name, count in counters.items() if name.startswith("refused_")) >= 10
    task = submit(node, kind="x")
    assert finish(node, "x") == task


@pytest.mark.parametrize("damage", ["used", "other mesh", "cut", "expired"])
def test_a_bad_ticket_is_refused_with_a_hint(real_mesh: RealMesh, damage: str) -> None:
    first = real_mesh.start(1)[0]
    ttl_s = 1.0 if damage == "expired" else 60.0
    ticket = first.call("trust.invite", uses=1, ttl_s=ttl_s)["ticket"]
    if damage == "used":
        friend = real_mesh.node()
        friend.join = real_mesh.folder / "spent"
        friend.join.write_text(ticket)
        friend.start_node()
        wait_for("the friend", friend.is_up, 15)
    elif damage == "cut":
        ticket = ticket[:-9]
    elif damage == "expired":
        time.sleep(2.1)  # whole seconds, rounded up
    elif damage == "other mesh":
        real_mesh.kill(first)
        other = RealMesh(real_mesh.folder / "other")
        other.folder.mkdir()
        stranger = DemoNode("stranger", other.folder / "0", first.port, None)
        stranger.start_node()
        real_mesh.nodes.append(stranger)
        wait_for("the other mesh", stranger.is_up, 15)
    port = free_ports(1)[0]
    done = run_mesh(
        *("up", "--join", ticket, "--data", str(real_mesh.folder / "new")),
        *("--bind", f"127.0.0.1:{port}", "--socket", str(real_mesh.folder / "new.sock")),
    )
    assert done.returncode != 0
    assert "mesh invite" in done.stderr, done.stderr


def test_what_is_taken_is_said_by_whom(real_mesh: RealMesh, folder: Path) -> None:
    (node,) = real_mesh.start(1)
    new = folder / "second"
    port_taken = run_mesh(
        *("up", "--data", str(new), "--bind", f"127.0.0.1:{node.port}"),
        *("--socket", str(folder / "s2")),
    )
    assert port_taken.returncode == 1
    assert str(node.port) in port_taken.stderr
    free = free_ports(1)[0]
    socket_taken = run_mesh(
        *("up", "--data", str(new), "--bind", f"127.0.0.1:{free}"),
        *("--socket", str(node.socket)),
    )
    assert socket_taken.returncode == 1
    assert node.node is not None
    assert str(node.node.pid) in socket_taken.stderr
    data_taken = run_mesh(
        *("up", "--data", str(node.folder / "data"), "--bind", f"127.0.0.1:{free}"),
        *("--socket", str(folder / "s3")),
    )
    assert data_taken.returncode == 1
    assert str(node.node.pid) in data_taken.stderr
    file = folder / "file"
    file.write_text("")
    no_folder = run_mesh(
        *("up", "--data", str(file), "--bind", f"127.0.0.1:{free}", "--socket", str(folder / "s4"))
    )
    assert no_folder.returncode in {1, 5}
    assert str(file) in no_folder.stderr
    assert node.is_up()


def test_five_idle_nodes_are_cheap(real_mesh: RealMesh) -> None:
    nodes = real_mesh.start(5)
    time.sleep(3)
    before = [node.call("node.status")["counters"] for node in nodes]
    time.sleep(5)
    after = [node.call("node.status")["counters"] for node in nodes]
    for node, old, new in zip(nodes, before, after, strict=True):
        sent = (new["bytes_sent"] - old["bytes_sent"]) / 5
        assert sent < 3000, "a mesh of five at rest in the fastest profile"
        assert new["verifications"] == old["verifications"], "no signatures at rest"
        assert node.node is not None
        status = Path(f"/proc/{node.node.pid}/status").read_text()
        resident_kb = int(status.split("VmRSS:")[1].split()[0])
        assert resident_kb < 60_000
