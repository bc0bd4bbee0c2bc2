"""What an owner leaves to the next one is larger than a fact: on real nodes."""

import base64
import json
import os
import signal
import sys
from pathlib import Path

from mesh.cli.demo import DemoNode, wait_for
from tests.end_to_end.processes import RealMesh, claim, run_mesh, show, submit
from tests.end_to_end.test_together import command, known, wait_state, worker

STEPS = """
import json, os, pathlib, sys, time
file = pathlib.Path(os.environ["MESH_CHECKPOINT"])
state = json.loads(file.read_text()) if file.exists() else {{"item": 0, "trail": ""}}
log = pathlib.Path({log!r}) / (str(os.getpid()) + ".items")
log.write_text(str(state["item"]))
if state["item"] == 0:
    state = {{"item": 46, "trail": "x" * 20_000}}
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(state))
    draft.rename(file)
    time.sleep(600)
print(state["item"], len(state["trail"]))
"""


def has(node: DemoNode, digest: str) -> bool:
    blobs = node.call("blob.list")["blobs"]
    return any(blob["digest"] == digest and blob["complete"] for blob in blobs)


def test_a_worker_goes_on_from_its_20_kb_checkpoint_on_another_node(
    real_mesh: RealMesh, folder: Path
) -> None:
    """Its first worker is killed with its node, midway."""
    first, owner, heir = real_mesh.start(3)
    logs = folder / "items"
    logs.mkdir()
    script = STEPS.format(log=str(logs))
    worker(owner, "steps", sys.executable, "-c", script)
    task = submit(first, kind="steps", orphan_grace_s=1.0)
    wait_for(
        "the checkpoint",
        lambda: known(heir, task) and bool(show(heir, task)["checkpoint"]),
        30,
    )
    kept = show(heir, task)["checkpoint"]
    assert 20_000 < kept["size"] < 20_100
    wait_for("a copy beside the owner's", lambda: has(first, kept["digest"]), 20)
    assert owner.worker is not None
    os.killpg(owner.worker.pid, signal.SIGKILL)
    real_mesh.kill(owner)
    worker(heir, "steps", sys.executable, "-c", script)
    shown = wait_state(first, task, "completed", 40)
    assert base64.b64decode(shown["result"]["output"]).split() == [b"46", b"20000"]
    assert sorted(path.read_text() for path in logs.iterdir()) == ["0", "46"]
    assert shown["starts"] == 2


def test_a_5_kb_context_arrives_whole_and_survives_its_giver(
    real_mesh: RealMesh, folder: Path
) -> None:
    giver, receiver, third = real_mesh.start(3)
    task = submit(giver, kind="review")
    held = claim(giver, task, agent="ann")
    context = {
        "goal": "merge it",
        "done": [f"read file {i} of the change" for i in range(200)],
        "decisions": [{"what": "keep the API", "why": "others use it"}],
    }
    sent = folder / "context.json"
    sent.write_text(json.dumps(context))
    assert sent.stat().st_size > 5_000
    offer = ("task", "handoff", "offer", held["handle"], "--to", receiver.name, "--context")
    for bad, name in (
        ("[]", "not a JSON object"),
        (json.dumps({"goal": "g" * 70_000}), "at most 65536"),
    ):
        (folder / "bad").write_text(bad)
        environment = {**os.environ, "MESH_SOCKET": str(giver.socket), "NO_COLOR": "1"}
        refused = run_mesh(*offer, f"@{folder / 'bad'}", environment=environment)
        assert refused.returncode in {1, 2}
        assert name in refused.stderr
    assert show(giver, task)["handoff"] is None
    assert show(giver, task)["owner"]["agent"] == "ann"
    command(giver, *offer, f"@{sent}")
    wait_for(
        "the offer", lambda: known(receiver, task) and bool(show(receiver, task)["handoff"]), 5
    )
    digest = show(receiver, task)["handoff"]["context_blob"]["digest"]
    wait_for("the context", lambda: has(receiver, digest), 20)
    taken = command(receiver, "task", "handoff", "accept", task, "--agent", "bob")
    assert taken["handoff"]["context"] == context
    real_mesh.kill(giver)
    seen = command(receiver, "task", "show", task)["task"]["handoff"]
    assert seen["context"] == context
    blob = seen["context_blob"]
    third.call("blob.fetch", digest=blob["digest"], size=blob["size"], wait_s=20.0)
    facts = command(third, "task", "history", task)["facts"]
    assert [fact["context"] for fact in facts if fact["kind"] == "offer"] == [context]
