"""What this machine can do: whether a fault can be run here, and if not, what is missing."""

import ctypes.util
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.fault import Fault, Need

ROOT = Path(__file__).parent.parent.parent
FAKETIME_PATHS = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
CGROUP_ROOTS = ("/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")


def faketime_library() -> Path | None:
    """Return the library that fakes the clock, wherever this system keeps it."""
    for folder in FAKETIME_PATHS:
        for path in sorted(Path(folder).glob("**/libfaketime.so.1")):
            return path
    return None


def _namespaces() -> bool:
    # In a process of its own: a namespace is left only by ending.
    attempt = "from tests.faults.namespace import attempt; attempt()"
    done = subprocess.run(
        [sys.executable, "-c", attempt], cwd=ROOT, capture_output=True, check=False
    )
    return done.returncode == 0


def _is_root() -> bool:
    return os.geteuid() == 0


def _mounts() -> bool:
    if not _is_root() or ctypes.util.find_library("c") is None:
        return False
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _loop() -> bool:
    return _mounts() and Path("/dev/loop-control").exists() and _has("mkfs.ext4")


def _cgroups() -> bool:
    return _is_root() and any(os.access(path, os.W_OK) for path in CGROUP_ROOTS)


def _has(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


CHECKS: dict[Need, Callable[[], bool]] = {
    Need.NAMESPACES: _namespaces,
    Need.LOOP: _loop,
    Need.MOUNTS: _mounts,
    Need.CGROUPS: _cgroups,
    Need.COMPILER: lambda: _has("gcc") or _has("cc"),
    Need.FAKETIME: lambda: faketime_library() is not None,
    Need.NFT: lambda: _is_root() and _has("nft"),
    Need.SNAPSHOTS: lambda: _has("mkfs.btrfs") and "btrfs" in Path("/proc/filesystems").read_text(),
}


@functools.cache
def is_met(need: Need) -> bool:
    """Whether this machine has it; looked at once."""
    return CHECKS[need]()


def missing(fault: Fault) -> str:
    """Return what a fault lacks here as words, empty if it can be run."""
    lacking = [need.value for need in fault.needs if not is_met(need)]
    return "needs " + ", ".join(lacking) if lacking else ""
