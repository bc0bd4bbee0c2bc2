"""Seeing a mesh at work, through the command."""

import json
import os
import subprocess
import sys
import time

from tests.end_to_end.processes import RealMesh, claim, submit
from tests.end_to_end.test_command import mesh, worker


def test_top_tax_and_filters_tell_what_happens(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    worker(second, "upper", "tr", "a-z", "A-Z")
    for number in range(3):
        assert mesh(first, "task", "submit", "upper", f"t{number}", "--wait") == f"T{number}"
    held = submit(first, kind="slow")
    claim(first, held, agent="ann")
    frame = mesh(first, "top")
    assert "2 members" in frame
    assert "ann on" in frame
    assert "\x1b" not in frame, "nobody looks at it"
    bill = json.loads(mesh(first, "tax", "--json"))["tax"]
    assert bill["tasks"] == 3
    assert bill["kinds"]["push"]["messages"] > 0
    assert bill["verifications"] > 0
    assert "BYTES/TASK" in mesh(second, "tax")
    assert mesh(first, "task", "list", "--owner", "ann", "-q").split() == [held]
    assert len(mesh(first, "task", "list", "--state", "completed", "-q").split()) == 3
    assert mesh(first, "task", "list", "--duplicates", "-q") == ""
    assert mesh(first, "task", "list", "--conflicts", "-q") == ""
    assert len(mesh(first, "task", "list", "--since", "1h", "-q").split()) == 4


def test_watch_prints_the_changes_of_one_kind_as_they_happen(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    worker(second, "upper", "tr", "a-z", "A-Z")
    environment = {**os.environ, "MESH_SOCKET": str(first.socket)}
    line = (sys.executable, "-m", "mesh", "task", "watch", "--kind", "upper", "--count", "3")
    with subprocess.Popen(
        (*line, "--jsonl"), env=environment, stdout=subprocess.PIPE, text=True
    ) as watch:
        tasks, limit = list[str](), time.monotonic() + 60
        while watch.poll() is None and time.monotonic() < limit:
            submit(first, kind="other")
            tasks.append(submit(first, kind="upper"))
            time.sleep(0.2)
        watch.kill()
        said = watch.stdout.read() if watch.stdout is not None else ""
    assert watch.returncode == 0, "it has seen enough"
    events = [json.loads(each) for each in said.splitlines()]
    assert len(events) == 3
    assert {event["kind"] for event in events} == {"upper"}
    assert {event["task"] for event in events} <= set(tasks)
    states = [event["state"] for event in events if event["topic"] == "task"]
    assert set(states) <= {"submitted", "working", "completed"}
    assert states
