"""Churn, and many nodes that join at once."""

import time
from dataclasses import dataclass, field

from mesh.control.client import NodeUnreachable, Refused
from tests.faults.background import Background
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.load import Load, equal_tables, lost
from tests.faults.measures import quantile, seconds
from tests.faults.nodes import (
    HERE,
    PROFILES,
    START_S,
    LabMesh,
    empty_lab,
    mesh_of,
    wait_until,
)

SAMPLE_S = 0.5
CALM_S = 60.0


@dataclass(eq=False)
class Sampler(Background):
    """Asks all nodes again and again whom they see alive, and compares with who runs."""

    mesh: LabMesh
    errors: list[float] = field(default_factory=list)
    """Per sample: which part of all (observer, subject) pairs was wrong."""

    def _run(self) -> None:
        while not self.ended.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        """Compare the views of all nodes that answer with the processes that run."""
        nodes = list(self.mesh.nodes.values())
        wrong = pairs = 0
        for node in nodes:
            try:
                seen = node.sees()
            except (NodeUnreachable, Refused, OSError):
                continue
            for other in nodes:
                wrong += (seen.get(other.name) in HERE) != other.runs
                pairs += 1
        if pairs:
            self.errors.append(wrong / pairs)


def churn(scale: Scale) -> Outcome:
    """Each minute a tenth of the nodes is killed and comes back half a minute later."""
    full = scale is Scale.FULL
    pause_s, turns = (15.0, 10) if full else (4.0, 1)
    with mesh_of(20 if full else 5, scale) as mesh:
        nodes = list(mesh.nodes.values())
        with Sampler(mesh) as sampler, Load(nodes[:4], per_s=2, kind="churn") as load:
            for turn in range(turns):
                victim = nodes[-1 - turn]
                victim.kill()
                time.sleep(pause_s)
                mesh.restart([victim])
                time.sleep(pause_s)
        calm = mesh.together(nodes, CALM_S)
        wait_until("equal tables", lambda: equal_tables(nodes), CALM_S)
        gone = lost(nodes, load)
    mean = 100 * sum(sampler.errors) / len(sampler.errors)
    limit = 2.0 if full else None
    return Outcome(
        (
            Figure("view error, mean over time", mean, "%", at_most=limit),
            Figure("p99 of samples", 100 * quantile(sampler.errors, 0.99), "%"),
            Figure("full views after the last", calm, "s", at_most=seconds(10.0, scale)),
            Figure("acknowledged writes lost", gone, at_most=0),
        ),
        f"{len(nodes)} nodes, one killed every {2 * pause_s:.0f} s, {turns} times; the time in "
        "which nobody can know yet counts as error",
    )


def mass_join(scale: Scale) -> Outcome:
    """Start many nodes at one moment, all with one ticket of the same node."""
    count = 30 if scale is Scale.FULL else 8
    with empty_lab(count) as mesh:
        first, *others = mesh.of(mesh.lab.hosts)
        first.start("--profile", PROFILES[scale])
        wait_until("the first node", first.is_up, START_S)
        ticket = mesh.ticket(first, len(others))
        begun = time.monotonic()
        for node in others:
            node.start("--join", ticket)
        started = time.monotonic() - begun
        for node in others:
            wait_until(f"node {node.name}", node.is_up, START_S)
        up = time.monotonic() - begun
        mesh.together([first, *others])
        full_s = time.monotonic() - begun
    return Outcome(
        (
            Figure("processes started", started, "s"),
            Figure("all admitted", up, "s"),
            Figure("full views everywhere", full_s, "s", at_most=seconds(30.0, scale)),
        ),
        f"{count} nodes by one ticket; most of the time is the start of {count - 1} interpreters "
        "on this machine; 100 at once are simulated",
    )


NEEDS = (Need.NAMESPACES,)
FAULTS = (
    Fault(
        "churn",
        "10 % of the nodes per minute are killed and come back",
        "view error <= 2 %",
        churn,
        NEEDS,
    ),
    Fault(
        "mass-join",
        "30 nodes join at once through one",
        "full views everywhere <= 30 s",
        mass_join,
        NEEDS,
    ),
)
