"""Members of one system as real processes in one namespace: mesh nodes, or serf agents.

Both are asked the same: start, tell when everybody lists everybody, tell who is believed gone.
Members are numbered from 1; the first one is there before the others.
"""

import compileall
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mesh
from mesh.control.client import NodeUnreachable, Refused
from tests.bench.readings import make_space
from tests.faults.namespace import Namespace
from tests.faults.nodes import LabNode, wait_until
from tests.faults.watch import Watch

PORT = 7946
FORMING_S = 120.0
SERF_JOIN = re.compile(rb"EventMemberJoin: (\S+)")
SERF_FAILED = re.compile(rb"EventMemberFailed: (\S+)")
RETRY_S = 0.02


class Gone(NamedTuple):
    """Somebody believes that a member is gone."""

    at: float
    by: int
    about: int


class Cluster(ABC):
    """Processes of one system."""

    name = ""

    def __init__(self) -> None:
        self.space: Namespace = make_space()
        self.folder = Path(tempfile.mkdtemp(prefix="mesh-bench-"))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.ready: dict[int, float] = {}
        """When each member gave its first sign of life: until then it was being loaded."""

    @abstractmethod
    def start(self, numbers: Sequence[int]) -> None:
        """Start members at once."""

    @abstractmethod
    def wait_full(self, count: int, limit_s: float = FORMING_S) -> float | None:
        """Return when every running member lists that many; None if that is not in time."""

    @abstractmethod
    def watch(self) -> None:
        """Begin to collect who is believed gone."""

    @abstractmethod
    def gone(self, since: float) -> list[Gone]:
        """Return who was believed gone by whom, from a moment on."""

    def pids(self) -> list[int]:
        """Return the processes that run."""
        return [process.pid for process in self.processes.values()]

    def kill(self, number: int) -> float:
        """Kill -9 a member; returns when."""
        process = self.processes.pop(number)
        at = time.monotonic()
        process.kill()
        process.wait()
        return at

    def wait_known(self, number: int, killed: float, limit_s: float) -> list[float]:
        """Return after how long each of the others believed a killed member gone, in order."""
        end = killed + limit_s
        while True:
            found = {by: at for at, by, about in self.gone(killed) if about == number}
            if len(found) >= len(self.processes) or time.monotonic() > end:
                return sorted(at - killed for at in found.values())
            time.sleep(RETRY_S)

    def close(self) -> None:
        """End everything."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.space.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class MeshCluster(Cluster):
    """Nodes of a mesh; what they believe is heard at their control sockets."""

    name = "mesh"

    def __init__(self, profile: str = "lan") -> None:
        super().__init__()
        # As `pip install` does: otherwise some machines would compile every module at every start.
        compileall.compile_dir(Path(mesh.__file__).parent, quiet=1)
        self._profile = profile
        self._nodes: dict[int, LabNode] = {}
        self._ticket = ""
        self._watch: Watch | None = None

    def _node(self, number: int) -> LabNode:
        if number not in self._nodes:
            address = f"127.0.3.{number}"
            self._nodes[number] = LabNode(number, self.folder / str(number), self.space, address)
        return self._nodes[number]

    def start(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            node = self._node(number)
            first = node.folder.exists() is False
            how = ("--profile", self._profile) if number == 1 else ("--join", self._ticket)
            node.start("--bind", f"{node.address}:{PORT}", *(how if first else ()))
            assert node.process is not None
            self.processes[number] = node.process
        if not self._ticket:
            founder = self._node(1)
            wait_until("the first node", founder.is_up, FORMING_S)
            path = self.folder / "ticket"
            path.touch(mode=0o600)
            path.write_text(founder.call("trust.invite", uses=1000, ttl_s=36_000.0)["ticket"])
            self._ticket = f"@{path}"

    def wait_full(self, count: int, limit_s: float = FORMING_S) -> float | None:
        full: list[float] = []
        end = time.monotonic() + limit_s

        def wait(node: LabNode) -> None:
            while time.monotonic() < end:
                try:
                    node.call("member.wait", members=count, wait_s=end - time.monotonic())
                    full.append(time.monotonic())
                    self.ready.setdefault(node.host, full[-1])
                except NodeUnreachable:
                    time.sleep(RETRY_S)
                except Refused:
                    self.ready.setdefault(node.host, time.monotonic())
                    time.sleep(RETRY_S)
                else:
                    return

        nodes = [self._nodes[number] for number in self.processes]
        threads = [threading.Thread(target=wait, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return max(full) if len(full) == len(nodes) else None

    def watch(self) -> None:
        self._unwatch()
        watch = self._watch = Watch(self._nodes[number] for number in self.processes)
        watch.__enter__()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.__exit__(None, None, None)

    def gone(self, since: float) -> list[Gone]:
        assert self._watch is not None
        return [
            Gone(event.at, int(event.by[1:]), int(event.body["name"][1:]))
            for event in self._watch.losses(since)
        ]

    def close(self) -> None:
        self._unwatch()
        super().close()


class SerfCluster(Cluster):
    """Agents of serf; what they believe is read from their logs as they write them."""

    name = "serf"

    def __init__(self, profile: str = "lan") -> None:
        super().__init__()
        self._profile = profile
        self._views: dict[int, dict[int, float]] = {}
        """Who lists whom, and since when."""
        self._gone: list[Gone] = []
        self._rests: dict[int, bytes] = {}
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            own = f"127.0.1.{number}"
            arguments = [
                *("serf", "agent", f"-node=n{number}", f"-bind={own}:{PORT}"),
                *(f"-rpc-addr={own}:7373", f"-profile={self._profile}", "-log-level=info"),
                *(() if number == 1 else (f"-join=127.0.1.1:{PORT}",)),
            ]
            self._views[number], self._rests[number] = {}, b""
            with self.space.entered():
                process = subprocess.Popen(
                    arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            assert process.stdout is not None
            self.processes[number] = process
            self._selector.register(process.stdout, selectors.EVENT_READ, number)
        if list(numbers) == [1]:
            wait_until("the first agent", lambda: bool(self._views[1]), FORMING_S)

    def _read(self) -> None:
        while not self._ended.is_set():
            if not self._selector.get_map():
                time.sleep(RETRY_S)
                continue
            for key, _ in self._selector.select(0.1):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    self._selector.unregister(key.fileobj)
                    continue
                *lines, self._rests[key.data] = (self._rests[key.data] + data).split(b"\n")
                for line in lines:
                    self._note(time.monotonic(), key.data, line)

    def _note(self, now: float, by: int, line: bytes) -> None:
        if found := SERF_JOIN.search(line):
            self._views[by].setdefault(int(found[1][1:]), now)
            self.ready.setdefault(by, now)
        elif found := SERF_FAILED.search(line):
            self._views[by].pop(int(found[1][1:]), None)
            self._gone.append(Gone(now, by, int(found[1][1:])))

    def wait_full(self, count: int, limit_s: float = FORMING_S) -> float | None:
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            views = [dict(self._views[number]) for number in self.processes]
            if all(len(view) >= count for view in views):
                return max(max(view.values()) for view in views)
            time.sleep(RETRY_S)
        return None

    def watch(self) -> None:
        """Nothing to do: the logs are read all the time."""

    def gone(self, since: float) -> list[Gone]:
        return [event for event in list(self._gone) if event.at >= since]

    def kill(self, number: int) -> float:
        self._views.pop(number)
        return super().kill(number)

    def close(self) -> None:
        self._ended.set()
        self._reader.join()
        for process in self.processes.values():
            assert process.stdout is not None
            process.stdout.close()
        super().close()
