"""Work for nodes while they are harmed, and what must hold of it afterwards."""

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from mesh.control.client import Client, NodeUnreachable, Refused
from tests.faults.nodes import LabNode

KIND = "work"
CLAIM_WAIT_S = 0.4
REST_S = 0.2


def encoded(text: str) -> str:
    """Return text as the payload of a task."""
    return base64.b64encode(text.encode()).decode()


def submit(node: LabNode, kind: str = KIND, text: str = "", **more: object) -> str:
    """Submit a task, and return its id once it is durable."""
    task: str = node.call("task.submit", kind=kind, payload=encoded(text), **more)["task"]
    return task


def finish_one(node: LabNode, kind: str, wait_s: float = 10.0) -> str:
    """Claim the next task of a kind, start and complete it; returns its id."""
    with Client.connect(node.socket) as client:
        held = client.call("task.claim", kinds=[kind], wait_s=wait_s)
        client.call("task.start", handle=held["handle"])
        client.call("task.complete", handle=held["handle"], output=encoded(held["task"]))
        task: str = held["task"]
        return task


@dataclass(slots=True)
class Load:
    """Submits tasks through all nodes in turn and has an agent at each node do them.

    Agents and submitter live with what fails: a node that does not answer is tried again later.
    """

    nodes: Sequence[LabNode]
    per_s: float
    agents: int = 4
    kind: str = KIND
    submitted: dict[str, float] = field(default_factory=dict)
    """Task whose submit was acknowledged -> when."""
    finished: dict[str, float] = field(default_factory=dict)
    """Task whose completion was acknowledged -> when."""
    troubles: "Counter[str]" = field(default_factory=Counter)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._submit, name="submitter", daemon=True)]
        self._threads += [
            threading.Thread(
                target=self._work, args=(node,), name=f"agent {node.name}", daemon=True
            )
            for node in self.nodes[:: max(1, len(self.nodes) // self.agents)]
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the load; what is claimed stays with nobody's agent."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _submit(self) -> None:
        number, run = 0, time.monotonic_ns()
        while not self._ended.wait(1 / self.per_s):
            number += 1
            node = self.nodes[number % len(self.nodes)]
            try:
                task = submit(node, self.kind, f"payload {number}", request_id=f"{run}-{number}")
            except (NodeUnreachable, Refused, OSError) as trouble:
                self._note(trouble)
            else:
                self.submitted[task] = time.monotonic()

    def _work(self, node: LabNode) -> None:
        while not self._ended.is_set():
            try:
                with Client.connect(node.socket) as client:
                    client.call("agent.attach", name=f"agent-{node.name}", kinds=[self.kind])
                    while not self._ended.is_set():
                        self._do_one(client)
            except (NodeUnreachable, Refused, OSError) as trouble:
                self._note(trouble)
                self._ended.wait(REST_S)

    def _do_one(self, client: Client) -> None:
        try:
            held = client.call("task.claim", kinds=[self.kind], wait_s=CLAIM_WAIT_S)
        except Refused as refused:
            if refused.name != "no_task":
                self._note(refused)
                self._ended.wait(REST_S)
            return
        try:
            client.call("task.start", handle=held["handle"])
            client.call("task.complete", handle=held["handle"], output=encoded(held["task"]))
        except Refused as refused:
            self._note(refused)
        else:
            self.finished[held["task"]] = time.monotonic()

    def _note(self, trouble: Exception) -> None:
        name = trouble.name if isinstance(trouble, Refused) else type(trouble).__name__
        self.troubles[name] += 1


# ---- what must hold

Table = dict[str, tuple[Any, ...]]


def table_of(node: LabNode) -> Table:
    """Return what a node says of every task, as far as all nodes must say the same."""
    return {
        task: (
            view["state"],
            view["token"],
            None if view["owner"] is None else view["owner"]["node"],
            view["epoch"],
            view["starts"],
            None if view["result"] is None else view["result"]["token"],
        )
        for task, view in node.tasks().items()
    }


def equal_tables(nodes: Sequence[LabNode]) -> bool:
    """Whether all of them say the same of every task, one owner each included."""
    try:
        first, *others = map(table_of, nodes)
    except (NodeUnreachable, Refused):
        return False
    return all(other == first for other in others)


def lost(nodes: Iterable[LabNode], load: Load) -> int:
    """Return how many acknowledged submits or completions some node does not know of."""
    missing: set[str] = set()
    for node in nodes:
        table = table_of(node)
        missing |= {task for task in load.submitted if task not in table}
        missing |= {
            task for task in load.finished if table.get(task, ("missing",))[0] != "completed"
        }
    return len(missing)


def started_twice(node: LabNode) -> int:
    """Return how many tasks were started more than once."""
    return sum(view["starts"] > 1 for view in node.tasks().values())
