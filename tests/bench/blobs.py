"""A large result from its owner to its submitter, two real nodes: `python -m tests.bench blobs`.

For each size the owner's client stores a result on its node and completes a task; the submitter's
node fetches it by itself over the sealed stream, and a client reads it there. It is done once more
with the receiver killed half-way, and once with the connection cut. What it costs is shown
beside `cp` and `sha256sum` of the same bytes, and beside rsync over loopback where it is installed.
On a machine that does other things as well, compare the CPU, not the seconds.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.cli.demo import DemoNode, free_ports, wait_for
from mesh.control import blobs
from mesh.control.client import Client
from tests.bench import reports
from tests.bench.readings import cpu_seconds
from tests.bench.reports import RESULTS, Kept, number
from tests.end_to_end.processes import RealMesh, claim, submit

MEBIBYTE = 1 << 20
KIBIBYTE = 1 << 10
SIZES = "1,64"
PATIENCE_S = 600.0
LOOK_S = 0.005
REST_S = 2.0
"""What the end of one transfer left to do must not count for the next."""
SIDES = ("sport", "dport")
PARTS = {
    "put": "the owner's client stores it on its node",
    "between": "**from node to node, sealed**",
    "killed": "the same, receiver killed (-9) half-way",
    "cut": "the same, connection cut half-way",
    "get": "the submitter's client reads it",
    "cp": "beside: `cp`, fsync and `sha256sum`",
    "rsync": "beside: rsync daemon on loopback, no encryption",
}
Row = dict[str, Any]


@dataclass
class Meter:
    """Seconds, CPU and memory of some processes between two moments."""

    pids: tuple[int, ...]
    began: float = field(default_factory=time.monotonic)
    cpu: list[float] = field(init=False)
    memory: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.cpu = [cpu_seconds(pid) for pid in self.pids]
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        self.memory = [_status_bytes(pid, "VmRSS") for pid in self.pids]

    def row(self, part: str, size: int) -> Row:
        """Return what it took since."""
        row: Row = {"part": part, "size": size, "seconds": time.monotonic() - self.began}
        for name, pid, cpu, memory in zip(
            ("sender", "receiver"), self.pids, self.cpu, self.memory, strict=False
        ):
            row[f"{name}_cpu_s"] = cpu_seconds(pid) - cpu
            row[f"{name}_peak_bytes"] = _status_bytes(pid, "VmHWM") - memory
        return row


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIBIBYTE
    raise OSError(f"no {name} of {pid}")


def pid_of(node: DemoNode) -> int:
    """Return the process of a running node."""
    assert node.node is not None
    return node.node.pid


def stored(node: DemoNode, digest: str) -> tuple[int, bool]:
    """Return how much of a blob a node has, and whether that is all."""
    for view in node.call("blob.list")["blobs"]:
        if view["digest"] == digest:
            return view["stored"], view["complete"]
    return 0, False


def wait_stored(node: DemoNode, digest: str, enough: int) -> None:
    """Wait until a node has so much of a blob; raises TimeoutError."""
    end = time.monotonic() + PATIENCE_S
    while stored(node, digest) < (enough, False):
        if time.monotonic() > end:
            raise TimeoutError(f"{node.name} has {stored(node, digest)} of {enough} bytes")
        time.sleep(LOOK_S)


def wait_whole(node: DemoNode, digest: str, size: int) -> None:
    """Wait until a node has a blob as a whole; raises Refused when that takes too long."""
    node.call("blob.fetch", digest=digest, size=size, wait_s=PATIENCE_S)


@dataclass
class Pair:
    """The owner's node, the submitter's node, and tasks between them."""

    mesh: RealMesh
    sender: DemoNode
    receiver: DemoNode

    def put(self, data: bytes) -> Row:
        """Store bytes at the sender."""
        meter = Meter((pid_of(self.sender),))
        with Client.connect(str(self.sender.socket), timeout_s=PATIENCE_S) as client:
            blobs.put(client, data)
        return meter.row("put", len(data))

    def complete(self, data: bytes) -> str:
        """Let the sender own a task of the receiver, and complete it with a stored blob."""
        task = submit(self.receiver, "large")
        wait_for("the task", lambda: _knows(self.sender, task), PATIENCE_S)
        handle = claim(self.sender, task)["handle"]
        digest = blobs.digest_of(data)
        self.sender.call("task.complete", handle=handle, blob=digest)
        return digest

    def between(self, data: bytes) -> Row:
        """Let a result go to its submitter."""
        meter = Meter((pid_of(self.sender), pid_of(self.receiver)))
        wait_whole(self.receiver, self.complete(data), len(data))
        return meter.row("between", len(data))

    def broken(self, data: bytes, part: str, breaks: Callable[[], None]) -> Row:
        """The same, with something that breaks half-way."""
        began, sent = time.monotonic(), self.sent()
        digest = self.complete(data)
        wait_stored(self.receiver, digest, len(data) // 2)
        breaks()
        wait_whole(self.receiver, digest, len(data))
        seconds = time.monotonic() - began
        again = self.sent() - sent - len(data)
        return {"part": part, "size": len(data), "seconds": seconds, "again_bytes": again}

    def sent(self) -> int:
        """Return how many bytes of blobs the sender has sent."""
        counters = self.sender.call("node.status")["counters"]
        sent: int = counters.get("blob_bytes_sent", 0)
        return sent

    def kill_receiver(self) -> None:
        """Kill -9 and start again."""
        self.mesh.kill(self.receiver)
        self.mesh.restart(self.receiver)
        self.mesh.together([self.sender, self.receiver])

    def cut(self) -> None:
        """Reset the connections between the two, all in one moment."""
        ports = [f"{side} = :{node.port}" for node in self.mesh.nodes for side in SIDES]
        command = ["ss", "-K", "-t", f"( {' or '.join(ports)} )"]
        killed = subprocess.run(command, check=True, capture_output=True).stdout
        assert b"ESTAB" in killed, "no connection was there to cut"

    def get(self, data: bytes) -> Row:
        """Read the result where it was submitted, and see that it is right."""
        meter = Meter((pid_of(self.receiver),))
        digest = blobs.digest_of(data)
        with Client.connect(str(self.receiver.socket), timeout_s=PATIENCE_S) as client:
            content = b"".join(blobs.get(client, digest, len(data)))
        row = meter.row("get", len(data))
        assert content == data
        assert stored(self.sender, digest)[1], "the owner keeps it as well"
        return row


def _knows(node: DemoNode, task: str) -> bool:
    return any(each["id"] == task for each in node.call("task.list", limit=1000)["tasks"])


@contextmanager
def pair() -> Iterator[Pair]:
    """Start two nodes."""
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        mesh = RealMesh(Path(folder))
        try:
            receiver, sender = mesh.start(2)
            yield Pair(mesh, sender, receiver)
        finally:
            mesh.stop()


def content(size: int, mark: str) -> bytes:
    """Return bytes that do not repeat and do not compress."""
    return hashlib.shake_128(mark.encode()).digest(size)


def measure(size: int) -> Iterator[Row]:
    """Send results of one size, and yield what it took."""
    with pair() as ends:
        for part in ("between", "killed", "cut"):
            data = content(size, part)
            put = ends.put(data)
            time.sleep(REST_S)
            if part == "between":
                yield put
                yield ends.between(data)
                yield ends.get(data)
            elif part == "killed":
                yield ends.broken(data, part, ends.kill_receiver)
                ends.get(data)
            elif shutil.which("ss") is not None and os.geteuid() == 0:
                yield ends.broken(data, part, ends.cut)
                ends.get(data)
    yield from beside(content(size, "beside"))


def beside(data: bytes) -> Iterator[Row]:
    """Let programs that everybody knows do the like."""
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name:
        folder = Path(name)
        source, target = folder / "from" / "blob", folder / "to" / "blob"
        source.parent.mkdir()
        target.parent.mkdir()
        source.write_bytes(data)
        yield _timed("cp", len(data), lambda: _copy(source, target))
        target.unlink()
        if shutil.which("rsync") is not None:
            with _rsync_daemon(folder, source.parent) as address:
                yield _timed("rsync", len(data), lambda: _run("rsync", "-W", address, str(target)))
            assert target.read_bytes() == data


def _copy(source: Path, target: Path) -> None:
    _run("cp", "--reflink=never", str(source), str(target))
    _run("sync", str(target))
    _run("sha256sum", str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _timed(part: str, size: int, action: Callable[[], None]) -> Row:
    began, before = time.monotonic(), os.times()
    action()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user
    cpu -= before.children_system
    seconds = time.monotonic() - began
    return {"part": part, "size": size, "seconds": seconds, "sender_cpu_s": cpu}


@contextmanager
def _rsync_daemon(folder: Path, shown: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    settings = folder / "rsyncd.conf"
    settings.write_text(f"use chroot = no\n[blobs]\npath = {shown}\n")
    daemon = subprocess.Popen(
        [
            *("rsync", "--daemon", "--no-detach", "--address", "127.0.0.1"),
            *("--port", str(port), "--config", str(settings)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"rsync://127.0.0.1:{port}/blobs/blob"
    try:
        wait_for("rsync", lambda: _answers(address), PATIENCE_S)
        yield address
    finally:
        daemon.terminate()
        daemon.wait()


def _answers(address: str) -> bool:
    return subprocess.run(["rsync", address], capture_output=True, check=False).returncode == 0


def blobs_table(rows: list[Row]) -> str:
    """Return the table of everything that was measured."""
    found = {(row["part"], row["size"]): row for row in rows}
    lines = []
    for size in sorted({row["size"] for row in rows}):
        copy = found.get(("cp", size), {})
        for part, label in PARTS.items():
            if (part, size) in found:
                lines.append(_cells(label, found[part, size], copy))
    header = ("MiB", "what", "MiB/s", "x `cp`", "CPU ms/MiB: sender, receiver")
    return reports.table((*header, "peak memory: sender, receiver", "sent twice"), lines)


def _cells(label: str, row: Row, copy: Row) -> tuple[str, ...]:
    mib = row["size"] / MEBIBYTE
    rate = mib / row["seconds"]
    copy_rate = mib / copy["seconds"] if copy else None
    again = row.get("again_bytes")
    return (
        number(mib),
        label,
        number(rate),
        reports.ratio(rate, copy_rate),
        _both(row, "cpu_s", 1000 / mib, "ms"),
        _both(row, "peak_bytes", 1 / MEBIBYTE, "MiB"),
        "" if again is None else number(again / MEBIBYTE, "MiB"),
    )


def _both(row: Row, what: str, factor: float, unit: str) -> str:
    values = [row[f"{side}_{what}"] for side in ("sender", "receiver") if f"{side}_{what}" in row]
    return ", ".join(number(value * factor, unit) for value in values)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say how large."""
    parser.add_argument("--sizes", default=SIZES, help=f"in MiB, with commas ({SIZES})")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, show, keep."""
    kept = Kept(options.out or (RESULTS / "blobs.jsonl" if options.write else None))
    if options.source:
        rows = reports.load(options.source)
    else:
        for size in options.sizes.split(","):
            for row in measure(round(float(size) * MEBIBYTE)):
                kept.add(row)
        rows = kept.rows
    text = blobs_table(rows)
    print(text)
    if options.write:
        reports.put_between(options.write, "blobs", text)
    return 0
