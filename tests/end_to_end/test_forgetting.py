"""Finished tasks are forgotten on real nodes, and who was away does none of them again."""

import json
import sys

from mesh.cli.demo import wait_for
from tests.end_to_end.processes import RealMesh, claim, submit
from tests.end_to_end.test_command import mesh, worker

LIMIT_S = 60.0


def test_who_comes_back_after_all_was_forgotten_runs_nothing_again(real_mesh: RealMesh) -> None:
    first = real_mesh.node()
    first.extra = ("--retention", "1s")
    first.start_node()
    wait_for("the first node", first.is_up, LIMIT_S)
    second = real_mesh.node(first)
    second.start_node()
    wait_for("the second node", second.is_up, LIMIT_S)
    real_mesh.together([first, second])
    tasks = [submit(first, kind="job", text=str(number)) for number in range(5)]
    real_mesh.kill(second)
    for task in tasks:
        handle = claim(first, task)["handle"]
        first.call("task.complete", handle=handle, copies=1)
    wait_for("everything forgotten", lambda: not first.call("task.list")["tasks"], LIMIT_S)
    real_mesh.restart(second)
    worker(second, "job", sys.executable, "-c", "print(1)")
    real_mesh.together([first, second])
    wait_for("it to know", lambda: not second.call("task.list")["tasks"], LIMIT_S)
    conflicts = json.loads(mesh(second, "task", "list", "--conflicts", "--json"))["tasks"]
    assert sorted(task["id"] for task in conflicts) == sorted(tasks)
    assert second.call("node.status")["counters"].get("started", 0) == 0
