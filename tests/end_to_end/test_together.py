"""Work that goes from hand to hand on real nodes: reports, hand-over, questions, stop switches."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mesh import cli as mesh_cli
from mesh.cli.demo import DemoNode, wait_for
from mesh.control.client import Client, Refused
from tests.end_to_end.processes import RealMesh, claim, encoded, run_mesh, show, submit

COUNTER = """
import base64, json, os, pathlib, subprocess, sys, time
task, handle, socket = (os.environ["MESH_" + n] for n in ("TASK_ID", "TASK_HANDLE", "SOCKET"))
sys.path.insert(0, {root!r})
from mesh.control.client import Client
client = Client.connect(socket)
kept = client.call("task.show", task=task)["task"]["checkpoint"]
first = int(base64.b64decode(kept["data"])) if kept else 0
log = pathlib.Path({log!r}) / (str(os.getpid()) + ".items")
for item in range(first, 100):
    with log.open("a") as out:
        out.write(str(item) + "\\n")
    done = str(item + 1)
    client.call(
        "task.progress", handle=handle, done=item + 1, total=100,
        checkpoint=base64.b64encode(done.encode()).decode(),
    )
    if item + 1 == 46 and first == 0:
        time.sleep(600)
print(done)
"""
ROOT = str(Path(mesh_cli.__file__).parents[2])
STUCK = "import time; time.sleep(600)"


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


def command(node: DemoNode, *arguments: str) -> Any:  # noqa: ANN401  JSON
    """Run a command against a node and return its document."""
    environment = {**os.environ, "MESH_SOCKET": str(node.socket), "NO_COLOR": "1"}
    done = run_mesh(*arguments, "--json", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def wait_state(node: DemoNode, task: str, state: str, limit_s: float = 20) -> dict[str, Any]:
    wait_for(f"{state} at {node.name}", lambda: show(node, task)["state"] == state, limit_s)
    return show(node, task)


def known(node: DemoNode, task: str) -> bool:
    try:
        return bool(show(node, task))
    except Refused:
        return False


def test_m11_a_task_resumes_at_item_46_and_not_at_1(real_mesh: RealMesh, folder: Path) -> None:
    """Its first worker is killed with its node, midway through 100 items."""
    first, owner, heir = real_mesh.start(3)
    logs = folder / "items"
    logs.mkdir()
    root = ROOT
    script = COUNTER.format(root=root, log=str(logs))
    worker(owner, "items", sys.executable, "-c", script)
    task = submit(first, kind="items", orphan_grace_s=1.0)
    wait_for(
        "46 items",
        lambda: known(heir, task) and (show(heir, task)["progress"] or {}).get("done") == 46,
        30,
    )
    assert owner.worker is not None
    os.killpg(owner.worker.pid, signal.SIGKILL)
    real_mesh.kill(owner)
    worker(heir, "items", sys.executable, "-c", script)
    shown = wait_state(first, task, "completed", 40)
    assert base64.b64decode(shown["result"]["output"]).split() == [b"100"]
    runs = sorted((path.read_text().split() for path in logs.iterdir()), key=len)
    assert [run[0] for run in runs] == ["0", "46"]
    assert shown["starts"] == 2


def test_m9_m10_a_hand_over_carries_its_context_and_its_history_survives_its_authors(
    real_mesh: RealMesh,
) -> None:
    giver, receiver, third = real_mesh.start(3)
    task = submit(giver, kind="review", verify=1)
    held = claim(giver, task, agent="ann")
    giver.call("task.start", handle=held["handle"])
    asked = giver.call("task.ask", handle=held["handle"], text="which branch?")
    wait_for("the question", lambda: known(third, task) and bool(show(third, task)["questions"]), 5)
    assert show(third, task)["state"] == "input-required"
    command(third, "task", "answer", task, "main", "--agent", "tom")
    wait_for("the answer", lambda: show(giver, task)["state"] == "working", 5)
    told = giver.call("task.await_answer", task=task, question=asked["question"])
    assert told["answers"][0]["text"] == "main"
    command(
        *(giver, "task", "handoff", "offer", held["handle"], "--to", receiver.name),
        *("--goal", "merge it", "--done", "tests", "--pending", "changelog"),
        *("--decision", "keep the API", "others use it", "--caveat", "flaky on arm"),
    )
    wait_for("the offer", lambda: bool(show(receiver, task)["handoff"]), 5)
    assert show(receiver, task)["owner"]["agent"] == "ann"
    taken = command(receiver, "task", "handoff", "accept", task, "--agent", "bob")
    assert taken["handoff"]["context"]["decisions"] == [
        {"what": "keep the API", "why": "others use it"}
    ]
    with pytest.raises(Refused) as refused:
        giver.call("task.progress", handle=held["handle"])
    assert refused.value.name == "claim_lost"
    receiver.call("task.complete", handle=taken["handle"], output=encoded("merged"))
    wait_for("the result", lambda: show(third, task)["waits_for"] == "review", 5)
    command(third, "task", "verify", "accept", task, "ran it", "--agent", "tom")
    for author in (giver, receiver):
        real_mesh.kill(author)
    wait_state(third, task, "completed", 5)
    facts = third.call("task.history", task=task)["facts"]
    kinds = [fact["kind"] for fact in facts]
    assert [kind for kind in kinds if kind != "progress"] == [
        *("spec", "claim", "question", "answer", "offer", "accept"),
        *("claim", "result", "review"),
    ]
    assert all(fact["signature_ok"] for fact in facts)


def test_m7_a_stopped_owner_learns_of_its_loss_before_its_agent_may_act(
    real_mesh: RealMesh,
) -> None:
    """SIGSTOP: the others take over; on waking nothing is started with the old token."""
    first, owner, heir = real_mesh.start(3)
    task = submit(first, kind="nap", orphan_grace_s=1.0)
    wait_for("the task", lambda: known(owner, task), 5)
    held = claim(owner, task)
    owner.call("task.start", handle=held["handle"])
    assert owner.node is not None
    owner.node.send_signal(signal.SIGSTOP)
    with Client.connect(str(heir.socket)) as client:
        taken = client.call("task.claim", kinds=["nap"], wait_s=60.0)
        assert taken["token"] > held["token"]
        client.call("task.start", handle=taken["handle"])
        owner.node.send_signal(signal.SIGCONT)
        for write in ("task.start", "task.progress", "task.ask"):
            more = {"text": "?"} if write == "task.ask" else {}
            with pytest.raises(Refused) as refused:
                owner.call(write, handle=held["handle"], **more)
            assert refused.value.name == "claim_lost", write
        client.call("task.complete", handle=taken["handle"], output=encoded("done"))
    shown = wait_state(owner, task, "completed", 15)
    assert shown["result"]["token"] == taken["token"]
    assert shown["superseded"] == []


def test_m6_m26_a_stuck_worker_and_a_canceled_one_are_stopped_with_all_their_processes(
    real_mesh: RealMesh, folder: Path
) -> None:
    """Node and socket are alive; the first worker says nothing, and the second does not obey."""
    first, second = real_mesh.start(2)
    stuck = worker(second, "stuck", sys.executable, "-c", STUCK)
    task = submit(first, kind="stuck", progress_limit_s=1.0, max_attempts=1)
    shown = wait_state(first, task, "failed", 15)
    assert "no progress for 1 s" in shown["error"]
    assert shown["timeouts"] == 1
    (dead,) = first.call("task.list", state="dead")["tasks"]
    assert dead["id"] == task
    stuck.terminate()
    assert stuck.wait(10) == 0, "its command was stopped before"
    pids = folder / "pids"
    child = f"(trap '' TERM; echo $BASHPID >> {pids}; sleep 600)"
    script = f"echo $$ >> {pids}; trap '' TERM; {child} & sleep 600"
    worker(second, "long", "bash", "-c", script)
    task = submit(first, kind="long")
    wait_for("its processes", lambda: pids.exists() and len(pids.read_text().split()) == 2, 20)
    group = [int(pid) for pid in pids.read_text().split()]
    command(first, "task", "cancel", task)
    started = time.monotonic()
    wait_for("their end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in group), 20)
    assert time.monotonic() - started < 20
    assert show(second, task)["state"] == "canceled"
