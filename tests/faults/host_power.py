"""Power cuts: what the disk holds at one instant, while a node writes to it, is all that is left.

The node's data lies on an ext4 file system whose image is a file on btrfs. Cloning that file is one
instant to whoever writes to it: the clone has what the node, and the kernel for it, has given to
the disk until then, half-done transactions included, and nothing of what only memory holds. A
second node is started on each clone and asked for everything that the first had acknowledged.
"""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mesh.cli.demo import wait_for
from mesh.control.client import Client, NodeUnreachable, Refused
from tests.end_to_end.processes import START_LIMIT_S
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.machine import HostMesh, HostNode, mounted, run, scratch, task_states

WRITERS = 4
IMAGE_BYTES = 128 * 1024 * 1024
BTRFS_BYTES = 2 * 1024 * 1024 * 1024
LOAD_S = 0.3
"""Before the first cut of a round."""
BETWEEN_S = (0.05, 0.5)


@dataclass
class Load:
    """Clients that submit, claim, start and complete, and remember each acknowledgement."""

    node: HostNode
    submitted: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for _ in range(WRITERS):
            thread = threading.Thread(target=self._write, daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        with (
            contextlib.suppress(NodeUnreachable, Refused),
            Client.connect(str(self.node.socket)) as client,
        ):
            while not self._over.is_set():
                task = client.call("task.submit", kind="cut", payload="cGF5bG9hZA==")["task"]
                self.submitted.append(task)
                if len(self.submitted) % 3 == 0:
                    handle = client.call("task.claim", task=task, detached=True)["handle"]
                    client.call("task.start", handle=handle)
                    client.call("task.complete", handle=handle, output="b2s=")
                    self.completed.append(task)


@dataclass(frozen=True, slots=True)
class Cut:
    """A disk as the power left it, and what had been acknowledged by then."""

    image: Path
    submitted: tuple[str, ...]
    completed: tuple[str, ...]


@dataclass
class Toll:
    """What all cuts together have cost."""

    cuts: int = 0
    acknowledged: int = 0
    lost: int = 0
    damaged_rows: int = 0
    start_worst_s: float = 0.0


def cut_under_load(node: HostNode, image: Path, count: int, chance: random.Random) -> list[Cut]:
    """Load a node and take its disk so many times, at moments that chance picks."""
    cuts = []
    with Load(node) as load:
        wait_for("work", lambda: bool(load.completed), START_LIMIT_S)
        time.sleep(LOAD_S)
        for number in range(count):
            time.sleep(chance.uniform(*BETWEEN_S))
            # Read before the instant: what is acknowledged by now must be on the disk.
            submitted, completed = tuple(load.submitted), tuple(load.completed)
            taken = image.with_name(f"cut-{number}.img")
            run("cp", "--reflink=always", image, taken)
            cuts.append(Cut(taken, submitted, completed))
    return cuts


@contextlib.contextmanager
def node_on(image: Path, folder: Path) -> Iterator[HostNode]:
    """A node whose data lies on a disk image."""
    mesh = HostMesh(folder)
    folder.mkdir(exist_ok=True)
    node = mesh.node()
    with mounted("-o", "loop", image, at=node.data):
        try:
            node.start_node()
            wait_for("the node", node.is_up, START_LIMIT_S)
            yield node
        finally:
            mesh.destroy()


def check(cut: Cut, folder: Path, toll: Toll) -> None:
    """Start a node on what a cut has left, and count what it does not know."""
    begun = time.monotonic()
    with node_on(cut.image, folder) as node:
        toll.start_worst_s = max(toll.start_worst_s, time.monotonic() - begun)
        states = task_states(node)
        toll.cuts += 1
        toll.acknowledged += len(cut.submitted) + len(cut.completed)
        toll.lost += sum(task not in states for task in cut.submitted)
        toll.lost += sum(states.get(task) != "completed" for task in cut.completed)
        toll.damaged_rows += node.counters()["log_rows_quarantined"]
    cut.image.unlink()


def power_cut(scale: Scale) -> Outcome:
    """Cut the power again and again."""
    rounds, cuts = (1, 3) if scale is Scale.QUICK else (10, 10)
    chance = random.Random(rounds)
    toll = Toll()
    with scratch() as folder:
        outer = folder / "outer.img"
        outer.touch()
        run("truncate", "-s", str(BTRFS_BYTES), outer)
        run("mkfs.btrfs", "-q", "-m", "single", outer)
        with mounted("-o", "loop", outer, at=folder / "disk") as disk:
            for number in range(rounds):
                image = disk / "live.img"
                run("truncate", "-s", str(IMAGE_BYTES), image)
                run("mkfs.ext4", "-q", image)
                with node_on(image, folder / f"live{number}") as node:
                    taken = cut_under_load(node, image, cuts, chance)
                image.unlink()
                for at, cut in enumerate(taken):
                    check(cut, folder / f"cut{number}-{at}", toll)
    return Outcome(
        (
            Figure("cuts", toll.cuts, at_least=rounds * cuts),
            Figure("acknowledged records asked for", toll.acknowledged, at_least=1),
            Figure("lost", toll.lost, at_most=0),
            Figure("damaged rows", toll.damaged_rows, at_most=0),
            Figure("slowest start on what was left", toll.start_worst_s, "s"),
        )
    )


FAULTS = (
    Fault(
        name="power-cut",
        does="the power goes while clients submit and complete; 100 times in the full form",
        criterion="0 acknowledged records lost",
        run=power_cut,
        needs=(Need.LOOP, Need.SNAPSHOTS),
        in_quick_run=True,
    ),
)
