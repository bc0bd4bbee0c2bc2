"""The workers that the howto shows, run as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from mesh.cli.demo import DemoNode
from tests.end_to_end.processes import RealMesh, claim, submit
from tests.end_to_end.test_command import mesh
from tests.unit.core.blobs.pieces import content

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "write-a-worker.md"
WORK = (sys.executable, "-m", "mesh", "work", "--grace", "1s")


def example(language: str) -> str:
    """Return the one example in a language."""
    fenced = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    (found,) = fenced.findall(PAGE.read_text())
    text: str = found
    return text


def employ(node: DemoNode, *command: str, stderr: IO[bytes] | None = None) -> None:
    environment = {**os.environ, "MESH_SOCKET": str(node.socket)}
    node.worker = subprocess.Popen(command, env=environment, start_new_session=True, stderr=stderr)


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: its example was NOT run")


def test_shell_and_jq(real_mesh: RealMesh, folder: Path) -> None:
    needs("jq")
    (node,) = real_mesh.start(1)
    (folder / "sum.sh").write_text(example("sh"))
    employ(node, *WORK, "--kind", "sum", "--", "sh", str(folder / "sum.sh"))
    answer = mesh(node, "task", "submit", "sum", '{"a": 2, "b": 3}', "--wait")
    assert answer.strip() == '{"sum":5}'


def test_node_that_stays(real_mesh: RealMesh, folder: Path) -> None:
    needs("node")
    (node,) = real_mesh.start(1)
    (folder / "reverse.js").write_text(example("js"))
    command = ("node", str(folder / "reverse.js"))
    employ(node, *WORK, "--kind", "reverse", "--stream", "--", *command)
    for text in ("abc", "überall"):
        assert mesh(node, "task", "submit", "reverse", text, "--wait") == text[::-1]


def test_plain_python_on_the_socket(real_mesh: RealMesh, folder: Path) -> None:
    (node,) = real_mesh.start(1)
    (folder / "count.py").write_text(example("python"))
    employ(node, sys.executable, "-S", str(folder / "count.py"))
    for text, words in (("a b c", "3"), ("", "0")):
        assert mesh(node, "task", "submit", "count", text, "--wait") == words


def test_the_next_attempt_goes_on_where_the_last_one_was(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    script = (
        'at=$(cat "$MESH_CHECKPOINT" 2>/dev/null || echo 0);'
        ' if [ "$at" = 0 ]; then echo 46 > "$MESH_CHECKPOINT.new";'
        ' mv "$MESH_CHECKPOINT.new" "$MESH_CHECKPOINT"; kill -9 $$; fi; printf "from $at"'
    )
    employ(node, *WORK, "--kind", "count", "--", "sh", "-c", script)
    assert mesh(node, "task", "submit", "count", "--backoff", "100ms", "--wait") == "from 46"


def test_a_task_that_is_given_back_holds_up_no_other(real_mesh: RealMesh) -> None:
    # It came back at once, for ever, and whatever waited behind it was never done.
    (node,) = real_mesh.start(1)
    script = 'read -r word; echo "no room" >&2; [ "$word" = small ] || exit 75; printf done'
    employ(node, *WORK, "--kind", "job", "--", "sh", "-c", script)
    mesh(node, "task", "submit", "job", "large")
    for _ in range(2):
        assert mesh(node, "task", "submit", "job", "small", "--wait", "--timeout", "10s") == "done"
    (large, *_) = json.loads(mesh(node, "task", "list", "--json"))["tasks"]
    runs = json.loads(mesh(node, "task", "show", large["id"], "--json"))["task"]["runs"]
    assert (runs[0]["outcome"], runs[0]["error"]) == ("declined", "no room")
    assert large["attempts"] == 0


def test_show_tells_of_the_last_runs(real_mesh: RealMesh, folder: Path) -> None:
    first, second = real_mesh.start(2)
    marker = folder / "tried"
    script = f'[ -e {marker} ] && exec printf fine; touch {marker}; echo "no disk" >&2; exit 3'
    employ(second, *WORK, "--kind", "job", "--name", "bot", "--", "sh", "-c", script)
    assert mesh(first, "task", "submit", "job", "--backoff", "100ms", "--wait") == "fine"
    (task,) = mesh(first, "task", "list", "-q").split()
    shown = json.loads(mesh(first, "task", "show", task, "--json"))["task"]
    told = [(run["epoch"], run["agent"], run["outcome"], run["error"]) for run in shown["runs"]]
    assert told == [(1, "bot", "failed", "no disk"), (2, "bot", "completed", None)]
    for run in shown["runs"]:
        assert run["name"] == second.name
        assert run["started_at"] <= run["ended_at"]
    table = mesh(first, "task", "show", task).splitlines()[-3:]
    assert table[0].split() == ["RUN", "BY", "STARTED", "ENDED", "OUTCOME", "ERROR"]
    assert f"bot on {second.name}" in table[1]
    assert "no disk" in table[1]
    assert "completed" in table[2]


def test_trio_asks_many_things_on_one_line(real_mesh: RealMesh, folder: Path) -> None:
    (node,) = real_mesh.start(1)
    (folder / "submit.py").write_text(example("py"))
    environment = {**os.environ, "MESH_SOCKET": str(node.socket)}
    payloads = ["eA=="] * 99 + ["!"]
    done = subprocess.run(
        [sys.executable, str(folder / "submit.py"), "many", *payloads],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *tasks, refused = done.stdout.split()
    assert refused == "bad_base64"
    listed = json.loads(mesh(node, "task", "list", "--json", "--limit", "200"))["tasks"]
    assert sorted(tasks) == sorted(each["id"] for each in listed)


def test_checkpoints_in_the_shell_of_any_size(real_mesh: RealMesh, folder: Path) -> None:
    needs("jq")
    (node,) = real_mesh.start(1)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for size in (200, 40_000):
        state = content(size)
        (folder / "state").write_bytes(state)
        task = submit(node)
        handle = claim(node, task)["handle"]
        subprocess.run(
            ["bash", "-ec", example("bash")],
            cwd=folder,
            env={
                **os.environ,
                "PATH": path,
                "MESH_SOCKET": str(node.socket),
                "MESH_TASK_ID": task,
                "MESH_TASK_HANDLE": handle,
            },
            timeout=60,
            check=True,
        )
        assert (folder / "state.back").read_bytes() == state
