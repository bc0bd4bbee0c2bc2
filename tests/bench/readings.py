"""What the kernel tells of processes and of a namespace: CPU, memory, bytes, packets; and losses.

Loss is `iptables -m statistic` on what comes in over `lo`: each packet is dropped independently,
as netem would do it, and that on kernels that lack netem.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.namespace import Namespace

TICKS_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PERCENT = 100.0
MTU = "1500"
TOOLS = {"ip": "iproute2", "iptables": "iptables"}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def loopback_sent(pid: int) -> tuple[int, int]:
    """Return bytes and packets sent over `lo` in the namespace of a process, headers included."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            fields = rest.split()
            return int(fields[8]), int(fields[9])
    raise OSError("no loopback device")


def busy_seconds() -> float:
    """Return for how long processors of this machine were busy, with whatever."""
    values = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / TICKS_S


def missing_tools() -> list[str]:
    """Return the Debian packages that are to be installed, and what else is lacking."""
    lacking = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return lacking + ([] if os.geteuid() == 0 else ["root"])


def make_space() -> Namespace:
    """Return a namespace whose loopback counts packets as an Ethernet would carry them."""
    space = Namespace.make()
    run_inside(space, "ip", "link", "set", "lo", "mtu", MTU, "gso_max_segs", "1")
    return space


def run_inside(space: Namespace, *command: str) -> None:
    """Run a program in a namespace; raises CalledProcessError."""
    with space.entered():
        subprocess.run(command, check=True, capture_output=True)


def lose(space: Namespace, share: float) -> None:
    """From now on drop this share of all packets."""
    run_inside(space, "iptables", "-F", "INPUT")
    if share:
        rule = ("-A", "INPUT", "-i", "lo", "-m", "statistic", "--mode", "random")
        run_inside(space, "iptables", *rule, "--probability", str(share), "-j", "DROP")


@dataclass(frozen=True, slots=True)
class Rates:
    """What one process of a group costs, on average."""

    bytes_s: float
    packets_s: float
    cpu_percent: float
    """Of one core."""
    memory_mb: float


class Meter:
    """Measures processes of one namespace between two moments."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self._at, self._sent, self._cpu = self._read()

    def _read(self) -> tuple[float, tuple[int, int], float]:
        cpu = sum(cpu_seconds(pid) for pid in self._pids)
        return time.monotonic(), loopback_sent(self._pids[0]), cpu

    def rates(self) -> Rates:
        """Return the averages since it was made."""
        at, sent, cpu = self._read()
        share = 1 / (at - self._at) / len(self._pids)
        memory = sum(resident_bytes(pid) for pid in self._pids) / len(self._pids)
        return Rates(
            (sent[0] - self._sent[0]) * share,
            (sent[1] - self._sent[1]) * share,
            (cpu - self._cpu) * share * PERCENT,
            memory / 1e6,
        )


class Others:
    """How much CPU everything but some processes uses meanwhile, in % of one core."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self._at, self._busy, self._own = time.monotonic(), busy_seconds(), self._mine()

    def _mine(self) -> float:
        own = time.process_time()
        for pid in self._pids:
            if Path(f"/proc/{pid}").exists():
                own += cpu_seconds(pid)
        return own

    def percent(self) -> float:
        """Return the average since it was made; rows with much of it are worth less."""
        used = (busy_seconds() - self._busy) - (self._mine() - self._own)
        return max(0.0, PERCENT * used / (time.monotonic() - self._at))
