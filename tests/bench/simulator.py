"""How fast real nodes run under virtual time: python -m tests.bench.simulator [nodes] [seconds]."""

import gc
import sys
import time

from mesh.core.params import params_for
from mesh.sim.population import Population
from mesh.sim.scenario import mesh_of

WARM_UP_S = 20.0
ROUNDS = 5


def measure(nodes: int, seconds: float) -> tuple[float, float]:
    """Return the best of some rounds: times faster than real time, and microseconds per event.

    The best one, since whatever else the machine does makes a round slower and none faster.
    """
    mesh = mesh_of(nodes, Population(), params=params_for("lan"))
    world = mesh.world
    world.observers.clear()
    world.run(WARM_UP_S)
    gc.collect()
    best_s, events = float("inf"), 1
    for _ in range(ROUNDS):
        before, began_s = world.events, time.process_time()
        world.run(seconds)
        took_s = time.process_time() - began_s
        if took_s < best_s:
            best_s, events = took_s, world.events - before
    return seconds / best_s, best_s / events * 1e6


def main() -> None:
    """Print one line."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    speed, event_us = measure(nodes, seconds)
    print(f"{nodes} idle nodes, lan: {speed:.0f} x real time, {event_us:.1f} us/event")


if __name__ == "__main__":
    main()
