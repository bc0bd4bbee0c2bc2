"""Nodes on one machine to do harm to, real processes on loopback, and what others see of it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mesh.cli.demo import DemoNode, wait_for
from mesh.control.client import Client, NodeUnreachable, Refused
from tests.end_to_end.processes import START_LIMIT_S, RealMesh
from tests.faults.fault import Figure

GONE = ("down", "dead")
LOOK_S = 0.1


@dataclass(slots=True)
class HostNode(DemoNode):
    """A node, and maybe a worker, whose processes get what a fault wraps around them."""

    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    """A command that runs its arguments, such as `prlimit --nofile=64`."""
    program: str = "mesh"
    """The module to run."""

    @property
    def pid(self) -> int:
        """The process of the node."""
        assert self.node is not None
        return self.node.pid

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    def log(self) -> str:
        """Return what the node has said since its first start."""
        return (self.folder / "node.log").read_text(errors="replace")

    def counters(self) -> dict[str, int]:
        """Return its counters."""
        counters: dict[str, int] = self.call("node.status")["counters"]
        return counters

    def employ(self, kind: str, command: Sequence[str], *, jobs: int = 1) -> None:
        """Start `mesh work` beside it."""
        options = ["--kind", kind, "--name", self.name, "--jobs", str(jobs)]
        self.worker = self._start(
            ["work", *options, "--socket", str(self.socket), "--", *command], "worker.log"
        )

    def _start(self, arguments: list[str], log: str) -> "subprocess.Popen[bytes]":
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | self.environment,
            )


class HostMesh(RealMesh):
    """Nodes a fault can do anything to; however it leaves them, they are gone in the end."""

    profile = "local"
    program = "mesh"

    def host(self, number: int) -> HostNode:
        """Return one of its nodes."""
        node = self.nodes[number]
        assert isinstance(node, HostNode)
        return node

    def hosts(self) -> list[HostNode]:
        """Return its nodes."""
        return [self.host(number) for number in range(len(self.nodes))]

    def node(self, ticket_from: DemoNode | None = None) -> HostNode:
        """Prepare one more node."""
        plain = super().node(ticket_from)
        made = HostNode(plain.name, plain.folder, plain.port, plain.join)
        made.extra = ("--profile", self.profile)
        made.program = self.program
        self.nodes[-1] = made
        return made

    def join(
        self, environment: dict[str, str] | None = None, wrapper: tuple[str, ...] = ()
    ) -> HostNode:
        """Start one more node, wrapped in something, and wait until it is a member."""
        node = self.node(self.nodes[0] if self.nodes else None)
        node.environment, node.wrapper = environment or {}, wrapper
        node.start_node()
        wait_for(f"node {node.name}", node.is_up, START_LIMIT_S)
        return node

    def run(self, count: int) -> list[HostNode]:
        """Start nodes and wait until they see each other."""
        self.start(count)
        return self.hosts()

    def destroy(self) -> None:
        """Kill everything that still runs, stopped processes too."""
        for process in [process for node in self.nodes for process in node.processes()]:
            process.kill()
            process.wait()


@contextlib.contextmanager
def host_mesh(count: int = 0, profile: str = "local", program: str = "mesh") -> Iterator[HostMesh]:
    """A mesh of nodes that see each other, in a folder of its own."""
    with scratch() as folder:
        mesh = HostMesh(folder)
        mesh.profile, mesh.program = profile, program
        try:
            mesh.run(count)
            yield mesh
        finally:
            mesh.destroy()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder whose path is short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="mesh-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(*command: str | Path) -> str:
    """Run a program of the system to its end; returns what it printed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": path},
    )
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def mounted(*options: str | Path, at: Path) -> Iterator[Path]:
    """Something mounted at a folder that is made for it, private as a data directory must be."""
    at.mkdir(mode=0o700, parents=True, exist_ok=True)
    run("mount", *options, at)
    try:
        at.chmod(0o700)
        yield at
    finally:
        run("umount", at)


def pause(node: HostNode, seconds: float) -> None:
    """Stop a node's process for so long."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(node.pid, signal.SIGCONT)


# --- what others see meanwhile


@dataclass
class Lookout:
    """Looks at nodes through others until it is left, and keeps what it should not have seen."""

    observers: Sequence[DemoNode]
    subjects: Sequence[DemoNode]
    looks: int = 0
    silent: int = 0
    """Looks that an observer did not answer."""
    gone: dict[tuple[str, str], float] = field(default_factory=dict)
    """(observer, subject seen down or dead) -> when first, on the monotonic clock."""
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def false_deaths(self) -> int:
        """Pairs of an observer and a node that it saw down."""
        return len(self.gone)

    def figure(self, name: str = "false deaths") -> Figure:
        """Return the figure for nodes that did not deserve it."""
        return Figure(name, self.false_deaths, at_most=0)

    def __enter__(self) -> Self:
        for observer in self.observers:
            thread = threading.Thread(target=self._look, args=(observer,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _look(self, observer: DemoNode) -> None:
        names = {node.name for node in self.subjects if node is not observer}
        while not self._over.wait(LOOK_S):
            try:
                views = observer.call("member.list")["members"]
            except (NodeUnreachable, Refused, OSError):
                self.silent += 1
                continue
            self.looks += 1
            for view in views:
                if view["name"] in names and view["status"] in GONE:
                    self.gone.setdefault((observer.name, view["name"]), time.monotonic())


@dataclass
class Stopwatch:
    """Asks a node the same small thing over and over, and keeps how long each answer took."""

    node: DemoNode
    connects: bool = False
    """Whether each question takes a new connection."""
    pause_s: float = 0.01
    took_s: list[float] = field(default_factory=list)
    refused: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def quantile_ms(self, part: float) -> float:
        """Return how long that part of the answers took at most."""
        ordered = sorted(self.took_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))]

    def figures(self, who: str, limit_ms: float) -> tuple[Figure, ...]:
        """Return how long answers took, with a limit on the slowest of a hundred."""
        return (
            Figure(f"{who}: answers", len(self.took_s), at_least=1),
            Figure(f"{who} p50", self.quantile_ms(0.5), "ms"),
            Figure(f"{who} p99", self.quantile_ms(0.99), "ms", at_most=limit_ms),
        )

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def _ask(self) -> None:
        client = Client.connect(str(self.node.socket))
        while not self._over.wait(self.pause_s):
            begun = time.monotonic()
            try:
                if self.connects:
                    client.close()
                    client = Client.connect(str(self.node.socket))
                client.call("node.status")
            except (NodeUnreachable, Refused, OSError):
                self.refused += 1
                continue
            self.took_s.append(time.monotonic() - begun)
        client.close()


def seconds_until(ready: Callable[[], bool], limit_s: float, what: str = "it") -> float:
    """Wait for something; returns how long it took. Raises DemoError after the limit."""
    begun = time.monotonic()
    wait_for(what, ready, limit_s)
    return time.monotonic() - begun


def task_states(node: DemoNode) -> Mapping[str, str]:
    """Return the state of every task as one node has it."""
    tasks = node.call("task.list", limit=100_000)["tasks"]
    return {task["id"]: task["state"] for task in tasks}
