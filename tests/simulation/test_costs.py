"""Costs that must not grow: counted in calls of functions, which no load of the machine changes."""

import subprocess
import sys

from mesh.core.commands import Command, TaskClaim
from tests.bench.calls import Counted, in_turn, submit_many

CLAIMS = 60
ROUNDS = 5
TASKS_HELD = 400
BYTES_MAX = 1_200
"""Of an open task in the core of a node."""


def test_a_claim_costs_the_same_however_many_are_held() -> None:
    counted = Counted(2)
    tasks = submit_many(counted, CLAIMS * ROUNDS)
    costs = []
    for turn in range(ROUNDS):
        mine = tasks[turn * CLAIMS : (turn + 1) * CLAIMS]
        claims: list[Command] = [TaskClaim(task=task, detached=True) for task in mine]
        counted.begin()
        in_turn(counted, claims)
        costs.append(counted.calls().total_calls)  # type: ignore[attr-defined]  # missing in typeshed
    assert max(costs[1:]) < 1.05 * costs[1]


def test_an_open_task_takes_little_memory() -> None:
    """In a process of its own: what other tests have left in this one counts as well."""
    code = f"from tests.bench.calls import measure_memory; print(measure_memory({TASKS_HELD}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(told.stdout) < BYTES_MAX
