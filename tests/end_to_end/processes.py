"""A mesh of real processes for tests, on top of what `mesh demo` starts."""

import base64
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.cli.demo import NAMES, DemoNode, free_ports, wait_for

START_LIMIT_S = 20.0


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass
class RealMesh:
    """Nodes a, b, c ... that join by ticket."""

    folder: Path
    nodes: list[DemoNode] = field(default_factory=list)
    extra: tuple[str, ...] = ()
    """Further options of `mesh up`, for all of them."""

    def node(self, ticket_from: DemoNode | None = None) -> DemoNode:
        """Prepare one more node: the first founds the mesh, others join with a new ticket."""
        number = len(self.nodes)
        join = None
        if ticket_from is not None:
            join = self.folder / f"ticket-{number}"
            join.touch(mode=0o600)
            join.write_text(ticket_from.call("trust.invite", uses=1, ttl_s=300.0)["ticket"])
        made = DemoNode(NAMES[number], self.folder / str(number), free_ports(1)[0], join)
        made.extra = self.extra
        self.nodes.append(made)
        return made

    def start(self, count: int) -> list[DemoNode]:
        """Start `count` nodes and wait until they see each other."""
        for number in range(count):
            node = self.node(self.nodes[0] if number else None)
            node.start_node()
            wait_for(f"node {node.name}", node.is_up, START_LIMIT_S)
        self.together(self.nodes)
        return self.nodes

    def together(self, nodes: list[DemoNode]) -> None:
        """Wait until each of these sees all of them."""
        for node in nodes:
            node.call("member.wait", members=len(nodes), wait_s=START_LIMIT_S)

    def kill(self, node: DemoNode) -> None:
        """Kill -9."""
        assert node.node is not None
        node.node.send_signal(signal.SIGKILL)
        node.node.wait()

    def restart(self, node: DemoNode) -> None:
        """Start it again on the same data."""
        node.start_node()
        wait_for(f"node {node.name}", node.is_up, START_LIMIT_S)

    def stop(self) -> None:
        """End everything, without the goodbyes: that they are said is tested elsewhere."""
        for node in self.nodes:
            if node.node is not None and node.node.poll() is None:
                self.kill(node)
            node.stop()


def submit(node: DemoNode, kind: str = "job", text: str = "", **more: object) -> str:
    """Submit a task and return its id."""
    answer = node.call("task.submit", kind=kind, payload=encoded(text), **more)
    task: str = answer["task"]
    return task


def claim(node: DemoNode, task: str, **more: object) -> dict[str, Any]:
    """Claim a task by id for as long as the node lives."""
    return node.call("task.claim", task=task, detached=True, **more)


def status_of(node: DemoNode, name: str) -> str:
    """Return what a node believes of another."""
    views = node.call("member.list")["members"]
    status: str = next(view["status"] for view in views if view["name"] == name)
    return status


def show(node: DemoNode, task: str) -> dict[str, Any]:
    """Return a task as one node shows it."""
    shown: dict[str, Any] = node.call("task.show", task=task)["task"]
    return shown


def run_mesh(
    *arguments: str, limit_s: float = 30.0, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "mesh", *arguments],
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
        env=environment,
    )
