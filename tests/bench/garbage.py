"""Many tasks through three real nodes that forget: memory and database have to stay flat."""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mesh.cli.demo import DemoNode
from mesh.control.client import Client
from tests.end_to_end.processes import RealMesh

TASKS = 100_000
ROUNDS = 10
RETENTION = "5s"
TOGETHER = 32
"""Requests on one line."""
MEGABYTE = 1 << 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say how many."""
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"in all ({TASKS})")
    parser.set_defaults(run=run)


def size_mb(node: DemoNode) -> float:
    """Return how much a node has on disk."""
    files = [path for path in Path(node.folder).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / MEGABYTE


def work_off(nodes: list[DemoNode], count: int) -> None:
    """Submit, claim and complete so many tasks, some at one node after the other."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client.connect(str(node.socket))) for node in nodes]
        for number, begun in enumerate(range(0, count, TOGETHER)):
            client, together = clients[number % len(clients)], min(TOGETHER, count - begun)
            submits = [("task.submit", {"kind": "job", "copies": 1})] * together
            tasks = [answer["task"] for answer in client.bundle(submits)]
            claims = [("task.claim", {"task": task, "detached": True}) for task in tasks]
            handles = [answer["handle"] for answer in client.bundle(claims)]
            ends = [("task.complete", {"handle": handle, "copies": 1}) for handle in handles]
            assert all(answer["digest"] for answer in client.bundle(ends))


def row(done: int, nodes: list[DemoNode]) -> str:
    """Return one line of figures."""
    cells: list[Any] = [done]
    for node in nodes:
        counters = node.call("node.status")["counters"]
        cells.append(f"{counters['process_resident_kb'] / 1024:.0f} MB")
        cells.append(f"{size_mb(node):.1f} MB")
        cells.append(counters["finished_kept"])
    return "| " + " | ".join(map(str, cells)) + " |"


def run(options: argparse.Namespace) -> int:
    """Print memory, disk and finished tasks of each node after every tenth of the tasks."""
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        mesh = RealMesh(Path(folder), extra=("--retention", RETENTION))
        try:
            nodes = mesh.start(3)
            head = [f"{node.name} {what}" for node in nodes for what in ("memory", "disk", "kept")]
            print("| tasks | " + " | ".join(head) + " |")
            print("|---" * (1 + len(head)) + "|")
            for number in range(ROUNDS):
                work_off(nodes, options.tasks // ROUNDS)
                print(row((number + 1) * (options.tasks // ROUNDS), nodes), flush=True)
        finally:
            mesh.stop()
    return 0
