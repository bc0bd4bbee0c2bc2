"""One seed, one history: whatever order the interpreter keeps its sets and hashes in."""

import os
import subprocess
import sys

TRIAL = """
from mesh.core.params import params_for
from mesh.sim.population import Population
from mesh.sim.trial import Plan, run_trial

plan = Plan({seed}, nodes=5, storm_s=20.0, tasks=5)
print(run_trial(plan, params_for("local"), Population()).trace)
"""


def begin_trial(hash_seed: str, seed: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TRIAL.format(seed=seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
    )


def trace_of(trial: "subprocess.Popen[str]") -> str:
    printed, _ = trial.communicate(timeout=60)
    assert trial.returncode == 0
    assert len(printed.strip()) == 32
    return printed


def test_a_trial_of_real_nodes_repeats_to_the_byte_in_another_process() -> None:
    trials = [begin_trial("1", 7), begin_trial("2", 7)]
    one, other = (trace_of(trial) for trial in trials)
    assert one == other


def test_another_seed_is_another_history() -> None:
    trials = [begin_trial("1", 7), begin_trial("1", 8)]
    one, other = (trace_of(trial) for trial in trials)
    assert one != other
