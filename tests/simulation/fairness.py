"""How evenly equal tasks fall on equal nodes: `python -m tests.simulation.fairness --tasks N`."""

import argparse
import sys
import time

from mesh.core.commands import TaskSubmit
from mesh.core.params import params_for
from mesh.sim.agent import Habits
from mesh.sim.checker import unwatch
from mesh.sim.history import What
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, mesh_of

BATCH = 100
"""Tasks submitted at a time: more agents wait than tasks, then more tasks than agents."""
SHARE_MAX = 1.3


def shares(tasks: int, nodes: int, seed: int) -> dict[str, int]:
    """Let one equal agent per node work off equal tasks; return how many each has completed."""
    mesh: Mesh = mesh_of(nodes, Population(), seed=seed, params=params_for("local"))
    mesh.checkers.clear()
    unwatch(mesh.world)
    done = dict.fromkeys(mesh.names, 0)

    def count(event: object) -> None:
        if getattr(event, "what", None) is What.COMPLETED:
            done[getattr(event, "host", "")] += 1

    mesh.world.history.listeners.append(count)
    for name in mesh.names:
        mesh.employ(name, "build", habits=Habits(("build",), work_s=(0.05, 0.15)))
    for number in range(tasks):
        submitter = mesh.names[number % nodes]
        mesh[submitter].ask(TaskSubmit("build"))
        if number % BATCH == BATCH - 1:
            while sum(done.values()) < number - BATCH // 2:
                mesh.run(s=0.25)
    while sum(done.values()) < tasks:
        mesh.run(s=0.5)
    return done


def main(arguments: list[str]) -> int:
    """Print each node's share; the exit code says whether all are within 1.3 of the mean."""
    parser = argparse.ArgumentParser(prog="fairness", description="Equal tasks on equal nodes.")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began_s = time.perf_counter()
    done = shares(options.tasks, options.nodes, options.seed)
    mean = options.tasks / options.nodes
    for name, count in sorted(done.items()):
        print(f"{name}  {count:6}  {count / mean:.3f}")
    print(f"worst {max(done.values()) / mean:.3f}, in {time.perf_counter() - began_s:.0f} s")
    return int(max(done.values()) > SHARE_MAX * mean)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
