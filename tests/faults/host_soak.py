"""A long time of ordinary life: what a node needs does not grow, but for the tasks it keeps."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mesh.control.client import Client, Refused
from tests.faults.fault import Fault, Figure, Outcome, Scale
from tests.faults.machine import HostMesh, HostNode, host_mesh

SAMPLE_S = 0.5
PACE_S = 0.01
MEMORY_GROWTH_MAX = 0.05
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
    """Ask for half of the time, work for the other half."""
    seconds = 10.0 if scale is Scale.QUICK else 600.0
    with host_mesh(3) as mesh:
        asking, working = Phase(mesh, ask), Phase(mesh, work)
        asking.run(seconds / 2)
        before = {node.name: sample(node) for node in mesh.hosts()}
        working.run(seconds / 2)
        after = {node.name: sample(node) for node in mesh.hosts()}
    calm, calm_late = asking.growth(lambda each: each.resident_kb)
    log, log_late = asking.growth(lambda each: each.log_bytes)
    opened, opened_late = working.growth(lambda each: each.descriptors)
    tasks = max(1, working.turns)
    memory_kb = max(after[name].resident_kb - before[name].resident_kb for name in after)
    log_bytes = max(after[name].log_bytes - before[name].log_bytes for name in after)
    return Outcome(
        (
            Figure("rounds of questions", asking.turns, at_least=1),
            Figure(
                "memory grown by them",
                100 * (calm_late - calm) / calm,
                "%",
                at_most=100 * MEMORY_GROWTH_MAX,
            ),
            Figure("log grown by them", (log_late - log) / 1024, "KB", at_most=LOG_GROWTH_MAX_KB),
            Figure("tasks done", working.turns, at_least=1),
            Figure("descriptors grown by", opened_late - opened, at_most=2),
            Figure("memory per finished task and node", memory_kb / tasks, "KB"),
            Figure("log per finished task and node", log_bytes / tasks / 1024, "KB"),
            Figure("resident at the end", max(s.resident_kb for s in after.values()) / 1024, "MB"),
        ),
        "not flat while tasks are done: finished ones are kept, and forgotten by nobody yet",
    )


FAULTS = (
    Fault(
        name="soak",
        does="questions, then submit, claim, start, complete, on 3 nodes; 10 minutes in full",
        criterion="memory, fds, database flat, but for finished tasks, which are kept",
        run=soak,
    ),
)
