"""A long time of ordinary life: what a node needs does not grow."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mesh.control.client import Client, Refused
from tests.faults import forgetful_node
from tests.faults.fault import Fault, Figure, Outcome, Scale
from tests.faults.machine import HostMesh, HostNode, host_mesh, task_states

SAMPLE_S = 0.5
PACE_S = 0.01
MEMORY_GROWTH_MAX = 5.0
LOG_GROWTH_MAX_KB = 6 * 1024
"""Presences are written anew as agents come and go; SQLite begins its journal again after 4 MB."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one node uses at one moment."""

    resident_kb: int
    descriptors: int
    log_bytes: int


def sample(node: HostNode) -> Sample:
    """Look at a node from outside."""
    process = Path(f"/proc/{node.pid}")
    status = (process / "status").read_text()
    return Sample(
        int(status.split("VmRSS:")[1].split()[0]),
        len(list((process / "fd").iterdir())),
        sum(path.stat().st_size for path in node.data.glob("log.sqlite*")),
    )


@dataclass
class Phase:
    """Something that is done over and over on every node, and the samples meanwhile."""

    mesh: HostMesh
    do: Callable[[HostNode, Client], None]
    turns: int = 0
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> None:
        """Do it for so long."""
        nodes = self.mesh.hosts()
        threads = [threading.Thread(target=self._work, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(SAMPLE_S)
            for node in nodes:
                self.samples.setdefault(node.name, []).append(sample(node))
        self._over.set()
        for thread in threads:
            thread.join()

    def _work(self, node: HostNode) -> None:
        with Client.connect(str(node.socket)) as client:
            while not self._over.wait(PACE_S):
                self.do(node, client)
                self.turns += 1

    def figures(self, name: str, *, is_long: bool) -> tuple[Figure, ...]:
        """Return what still grew at the end; limits are for runs that are long enough."""
        memory, memory_late = self.growth(lambda each: each.resident_kb)
        log, log_late = self.growth(lambda each: each.log_bytes)
        opened, opened_late = self.growth(lambda each: each.descriptors)
        growth = 100 * (memory_late - memory) / memory
        return (
            Figure(name, self.turns, at_least=1),
            Figure("memory +", growth, "%", at_most=MEMORY_GROWTH_MAX if is_long else None),
            Figure("log +", (log_late - log) / 1024, "KB", at_most=LOG_GROWTH_MAX_KB),
            Figure("descriptors +", opened_late - opened, at_most=2),
        )

    def growth(self, of: Callable[[Sample], int]) -> tuple[float, float]:
        """Return (from, to) of the node that grew most: medians of the first and last third."""
        grown = []
        for samples in self.samples.values():
            third = max(1, len(samples) // 3)
            # The first third warms caches up; what counts is what still grows after it.
            middle = statistics.median(of(each) for each in samples[third : 2 * third])
            late = statistics.median(of(each) for each in samples[-third:])
            grown.append((late - middle, middle, late))
        _, middle, late = max(grown)
        return middle, late


def ask(node: HostNode, client: Client) -> None:
    """Connect anew, read everything, wait for work that does not come, and be refused."""
    with Client.connect(str(node.socket)) as fresh:
        fresh.call("agent.attach", name="soak", kinds=["nothing"])
    for method in ("node.status", "member.list", "task.list"):
        client.call(method)
    for parameters in ({"kinds": ["nothing"], "wait_s": 0.01}, {"task": "1-1-00"}):
        try:
            client.call("task.claim", **parameters)
        except Refused:
            continue


def work(_: HostNode, client: Client) -> None:
    """Submit, claim, start and complete one task."""
    task = client.call("task.submit", kind="soak", payload="cGF5bG9hZA==")["task"]
    handle = client.call("task.claim", task=task, detached=True)["handle"]
    client.call("task.start", handle=handle)
    client.call("task.complete", handle=handle, output="b2s=")


def soak(scale: Scale) -> Outcome:
    """Ask for a third of the time, work for the rest; what is looked at is the end of each.

    Nodes keep 10,000 finished tasks for a day; here they keep 300, so that forgetting has begun
    long before the end.
    """
    seconds = 12.0 if scale is Scale.QUICK else 900.0
    with host_mesh(3, program=forgetful_node.__name__) as mesh:
        asking, working = Phase(mesh, ask), Phase(mesh, work)
        asking.run(seconds / 3)
        working.run(2 * seconds / 3)
        listed = max(len(task_states(node)) for node in mesh.hosts())
        resident_kb = max(sample(node).resident_kb for node in mesh.hosts())
    figures = [
        figure
        for name, phase in (("questions", asking), ("tasks done", working))
        for figure in phase.figures(name, is_long=scale is Scale.FULL)
    ]
    return Outcome(
        (
            *figures,
            Figure("tasks kept at the end", listed),
            Figure("resident at the end", resident_kb / 1024, "MB"),
        ),
        f"nodes that keep {forgetful_node.FINISHED_MAX} finished tasks, not 10,000; "
        "growth is from the middle third to the last",
    )


FAULTS = (
    Fault(
        name="soak",
        does="questions, then submit, claim, start, complete, on 3 nodes; 15 minutes in full",
        criterion="memory, fds, database flat",
        run=soak,
    ),
)
