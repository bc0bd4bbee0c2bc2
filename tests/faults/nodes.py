"""Real `mesh up` processes in the namespaces of a lab."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.control.client import Client, NodeUnreachable, Refused
from tests.faults.fault import Scale
from tests.faults.lab import Lab, address_of
from tests.faults.namespace import Namespace

PORT = 7946
PROFILES = {Scale.FULL: "lan", Scale.QUICK: "fast"}
"""The quick forms are there to find out that something broke, not to measure."""
LAUNCH = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: nodes end with the test\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'mesh', *sys.argv[1:]])\n"
)
START_S = 90.0
STOP_S = 15.0
POLL_S = 0.05
HERE = ("alive",)
GONE = ("down", "dead")


class NotInTime(Exception):  # noqa: N818  it says what is the case
    """Something that a fault waits for did not come."""


def wait_until(what: str, ready: Callable[[], bool], limit_s: float) -> float:
    """Return after how many seconds something held; raises NotInTime."""
    begun = time.monotonic()
    while not ready():
        if time.monotonic() - begun > limit_s:
            raise NotInTime(f"{what}: not within {limit_s:.0f} s")
        time.sleep(POLL_S)
    return time.monotonic() - begun


@dataclass(slots=True)
class LabNode:
    """One node: where it lives, and its process while it runs."""

    host: int
    folder: Path
    space: Namespace
    address: str
    process: "subprocess.Popen[bytes] | None" = None
    id: str = ""

    @property
    def name(self) -> str:
        """Its name in the mesh."""
        return f"n{self.host}"

    @property
    def socket(self) -> str:
        """Where its control socket is."""
        return str(self.folder / "mesh.sock")

    def start(self, *options: str) -> None:
        """Start `mesh up` inside the namespace; a ticket is needed the first time only."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        arguments = [
            *("up", "--data", str(self.folder / "data"), "--socket", self.socket),
            *("--bind", f"0.0.0.0:{PORT}", "--advertise", f"{self.address}:{PORT}"),
            *("--name", self.name, *options),
        ]
        with (self.folder / "node.log").open("ab") as log, self.space.entered():
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill -9, and wait for its end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def runs(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
        """Ask it; raises NodeUnreachable or Refused."""
        with Client.connect(self.socket) as client:
            answer: dict[str, Any] = client.call(method, **parameters)
            return answer

    def is_up(self) -> bool:
        """Whether it answers as a member; raises NotInTime when it has ended instead."""
        if not self.runs:
            tail = (self.folder / "node.log").read_text(errors="replace")[-1500:]
            raise NotInTime(f"node {self.name} has ended:\n{tail}")
        try:
            up = bool(self.call("node.status")["node"]["state"] == "member")
        except (NodeUnreachable, Refused):
            return False
        if up and not self.id:
            self.id = self.call("node.id")["id"]
        return up

    def sees(self) -> dict[str, str]:
        """Return the status of every member it knows, by name."""
        return {view["name"]: view["status"] for view in self.call("member.list")["members"]}

    def counters(self) -> dict[str, int]:
        """Return its counters."""
        found: dict[str, int] = self.call("node.status")["counters"]
        return found

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return every task it knows, by id."""
        return {task["id"]: task for task in self.call("task.list", limit=100_000)["tasks"]}


@dataclass(slots=True)
class LabMesh:
    """A mesh in a lab: nodes by host number."""

    lab: Lab
    folder: Path
    nodes: dict[int, LabNode] = field(default_factory=dict)

    def node(self, host: int) -> LabNode:
        """Return the node of a host, made when it is first asked for."""
        if host not in self.nodes:
            self.nodes[host] = LabNode(
                host, self.folder / str(host), self.lab.spaces[host], address_of(host)
            )
        return self.nodes[host]

    def of(self, hosts: Iterable[int]) -> list[LabNode]:
        """Return the nodes of these hosts."""
        return [self.node(host) for host in hosts]

    def ticket(self, by: LabNode, uses: int) -> str:
        """Have a node invite, and return the option that joins with the ticket."""
        text: str = by.call("trust.invite", uses=uses, ttl_s=3600.0)["ticket"]
        path = self.folder / f"ticket-{text[-16:]}"
        path.touch(mode=0o600)
        path.write_text(text)
        return f"@{path}"

    def start(self, hosts: Sequence[int], scale: Scale) -> None:
        """Found a mesh on the first host, have all others join at once, wait for full views."""
        first, *others = self.of(hosts)
        first.start("--profile", PROFILES[scale])
        wait_until(f"node {first.name}", first.is_up, START_S)
        if others:
            self.join(others, first)
        self.together(self.of(hosts))

    def join(self, newcomers: Sequence[LabNode], by: LabNode) -> None:
        """Have nodes join by one ticket; returns once they are up."""
        ticket = self.ticket(by, len(newcomers))
        for node in newcomers:
            node.start("--join", ticket)
        for node in newcomers:
            wait_until(f"node {node.name}", node.is_up, START_S)

    def together(
        self, nodes: Sequence[LabNode], limit_s: float = START_S, also: Sequence[str] = ()
    ) -> float:
        """Return after how many seconds each of these saw all of them and nobody else alive.

        Those who are no nodes of the lab, but seen as well, are named in `also`.
        """
        names = {node.name for node in nodes} | set(also)

        def full(node: LabNode) -> bool:
            try:
                seen = node.sees()
            except (NodeUnreachable, Refused):
                return False
            return {name for name, status in seen.items() if status in HERE} == names

        begun = time.monotonic()
        for node in nodes:
            left_s = limit_s - (time.monotonic() - begun)
            wait_until(f"full view of {node.name}", lambda: full(node), left_s)  # noqa: B023  called before the next turn
        return time.monotonic() - begun

    def restart(self, nodes: Sequence[LabNode]) -> None:
        """Start nodes again on their data, without ticket or seed, and wait until they are up."""
        for node in nodes:
            node.start()
        for node in nodes:
            wait_until(f"node {node.name}", node.is_up, START_S)

    def stop(self) -> None:
        """End all processes: they are harmed already, no goodbye is needed."""
        running = [node for node in self.nodes.values() if node.runs]
        for node in running:
            node.send(signal.SIGCONT)
            node.send(signal.SIGKILL)
        for node in running:
            assert node.process is not None
            node.process.wait(STOP_S)


_kept: dict[int, LabMesh] = {}
"""Meshes that stay between faults, by their size, while `keeping_meshes` is entered."""
_keeping: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def keeping_meshes() -> Iterator[None]:
    """Within, `mesh_of` gives the same nodes again, mended, to save their start."""
    with contextlib.ExitStack() as stack:
        _keeping.append(stack)
        try:
            yield
        finally:
            _keeping.pop()
            _kept.clear()


@contextlib.contextmanager
def empty_lab(hosts: int) -> Iterator[LabMesh]:
    """Give a lab without any node started, ended at the end."""
    # Not under a long path: that of a Unix socket may have 107 bytes only.
    folder = Path(tempfile.mkdtemp(prefix="mesh-faults-"))
    try:
        with Lab(hosts) as lab:
            mesh = LabMesh(lab, folder)
            try:
                yield mesh
            finally:
                mesh.stop()
    finally:
        if "MESH_FAULTS_KEEP" in os.environ:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def mesh_of(count: int, scale: Scale) -> Iterator[LabMesh]:
    """Give a running mesh with full views; hosts beyond it can be started by the fault."""
    if not _keeping:
        with empty_lab(count) as mesh:
            mesh.start(mesh.lab.hosts, scale)
            yield mesh
        return
    if count not in _kept:
        mesh = _keeping[-1].enter_context(empty_lab(count))
        mesh.start(mesh.lab.hosts, scale)
        _kept[count] = mesh
    mesh = _kept[count]
    yield mesh
    mesh.lab.clear()
    dead = [node for node in mesh.nodes.values() if not node.runs]
    mesh.restart(dead)
    mesh.together(list(mesh.nodes.values()))
