"""The main job on real input, and that nothing of it stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mesh.cli.demo import wait_for
from tests.end_to_end.processes import run_mesh


def running_in(folder: Path) -> list[int]:
    """Return the processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found


def test_everything_is_right_and_nothing_is_left(folder: Path) -> None:
    done = run_mesh(
        "demo", "--json", limit_s=100, environment={**os.environ, "TMPDIR": str(folder)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["wrong"] == []
    assert report["nodes"] == 5
    assert report["tasks"] >= 200
    assert sum(report["tasks_per_node"].values()) == report["tasks"]
    assert report["detection_s"] < 5
    assert report["takeover_s"] > report["detection_s"]
    once = report["starts_per_task"]["1"]
    assert once + len(report["started_more_than_once"]) == report["tasks"]
    assert 0 < report["elapsed_s"] < 300, "generous: a busy machine takes a minute"
    assert running_in(folder) == []
    assert list(folder.iterdir()) == []


def test_an_interrupted_demo_leaves_nothing(folder: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "mesh", "demo", "--nodes", "3"],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for("the nodes", lambda: len(running_in(folder)) >= 4, 20)
        time.sleep(1)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 130
    finally:
        demo.kill()
        demo.wait()
    wait_for("their end", lambda: running_in(folder) == [], 5)
    assert list(folder.iterdir()) == []
