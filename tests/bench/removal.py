"""What it costs to remove a node of which much is held: python -m tests.bench removal."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mesh.core.gossip.gossip import Family
from mesh.core.node.node import Node
from mesh.core.params import params_for
from mesh.core.trust_commands import TrustRemove
from mesh.sim.checker import unwatch
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, mesh_of
from tests.simulation.busy import past_of, remember
from tests.simulation.hunting import member_at

SETTLED_S = 60.0


@dataclass
class Turns:
    """CPU seconds of the turns of all nodes."""

    longest_s: float = 0.0
    total_s: float = 0.0
    count: int = 0

    def timed(self, turn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a way to drive a node that notes how long its turns take."""

        def wrapped(*given: Any) -> Any:  # noqa: ANN401  whatever the turn takes and returns
            began_s = time.process_time()
            result = turn(*given)
            took_s = time.process_time() - began_s
            self.longest_s = max(self.longest_s, took_s)
            self.total_s += took_s
            self.count += 1
            return result

        return wrapped


def busy_mesh(nodes: int, facts: int) -> Mesh:
    """Return a mesh that holds so many facts of its last node."""
    mesh = mesh_of(nodes, Population(), params=params_for("lan"))
    unwatch(mesh.world)
    mesh.run(s=5)
    past = past_of(member_at(mesh, mesh.names[-1]), facts)[:facts]
    for name in mesh.names:
        remember(member_at(mesh, name), past)
    mesh.run(s=5)
    return mesh


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--facts", type=int, default=100_000, help="of the removed node (100000)")
    parser.add_argument("--discard", action="store_true", help="nothing of it stands")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line."""
    mesh = busy_mesh(options.nodes, options.facts)
    turns, gone = Turns(), mesh.names[-1]
    mesh.world.hosts[gone].retired = True
    mesh.kill(gone)
    others = [member_at(mesh, name) for name in mesh.names[:-1]]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("handle_all", "handle_timeout"):
            patch.setattr(Node, name, turns.timed(getattr(Node, name)))
        mesh["a"].tell(TrustRemove(gone, discard=options.discard))

        [key] = others[0].trust.revoked()

        def is_judged() -> bool:
            return all(
                other.trust.revocations_of(key)
                and None not in other.trust.ranks.listed[key]
                and not other.removals.is_judging
                and not other.trust.wanted_sheets()
                for other in others
            )

        took_s = mesh.run_until(is_judged, SETTLED_S)
    left = [len(tuple(other.gossip.facts(Family.TASKS))) for other in others]
    print(
        f"{options.facts:,} facts on {options.nodes} nodes: judged after {took_s:.1f} s of virtual"
        f" time; longest turn {turns.longest_s * 1000:.0f} ms, all {turns.count:,} turns"
        f" {turns.total_s:.1f} s of CPU; {left} facts left"
    )
    return 0
