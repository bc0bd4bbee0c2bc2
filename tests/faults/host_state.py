"""Damaged and deleted state: what peers hold comes back from them, the rest is said in one line."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.cli.demo import DemoError
from mesh.control.client import Client
from tests.end_to_end.processes import START_LIMIT_S, status_of, submit
from tests.faults.fault import Fault, Figure, Outcome, Scale
from tests.faults.machine import (
    HostMesh,
    HostNode,
    host_mesh,
    seconds_until,
    task_states,
)

REBUILT_LIMIT_S = 30.0
LOG = "log.sqlite"
KEY = "key"
DAMAGED = 5


def work(mesh: HostMesh, tasks: int) -> None:
    """Have tasks submitted everywhere, a third of them done."""
    for number in range(tasks):
        node = mesh.host(number % len(mesh.nodes))
        task = submit(node, "state", f"task {number}")
        if number % 3 == 0:
            with Client.connect(str(node.socket)) as client:
                owned = client.call("task.claim", task=task, detached=True)
                client.call("task.start", handle=owned["handle"])
                client.call("task.complete", handle=owned["handle"], output="b2s=")


def agreed(node: HostNode, expected: Mapping[str, str]) -> bool:
    """Whether a node has all tasks again, in the states that they have."""
    return task_states(node) == expected


def settled_states(mesh: HostMesh) -> Mapping[str, str]:
    """Return the states of all tasks once all nodes say the same of them."""
    first = mesh.host(0)
    for node in mesh.hosts():
        seconds_until(lambda: task_states(node) == task_states(first), 15, "equal tables")  # noqa: B023  called here
    return task_states(first)


def damage_values(log: Path, kind: str | None, count: int) -> int:
    """Change some rows' values behind the node's back, never back again; returns how many."""
    with contextlib.closing(sqlite3.connect(log, isolation_level=None)) as connection:
        rows = connection.execute(
            "select number, value from log where value is not null and kind = coalesce(?, kind) "
            "order by number desc limit ?",
            (kind, count),
        ).fetchall()
        for number, value in rows:
            changed = bytes([byte ^ 1 for byte in value[:1]]) + value[1:] + b"\1"
            connection.execute("update log set value = ? where number = ?", (changed, number))
        connection.execute("pragma wal_checkpoint(truncate)")
    return len(rows)


def corrupt_rows(scale: Scale) -> Outcome:
    """Damage the newest facts of a node that is down, and start it."""
    tasks, wanted = (12, DAMAGED) if scale is Scale.QUICK else (600, 200)
    with host_mesh(2) as mesh:
        work(mesh, tasks)
        expected = settled_states(mesh)
        node = mesh.host(1)
        mesh.kill(node)
        damaged = damage_values(node.data / LOG, "fact", wanted)
        begun = time.monotonic()
        mesh.restart(node)
        seconds_until(lambda: agreed(node, expected), REBUILT_LIMIT_S * 2, "all tasks")
        rebuilt_s = time.monotonic() - begun
        quarantined = node.counters()["log_rows_quarantined"]
    return Outcome(
        (
            Figure("rows damaged", damaged, at_least=wanted),
            Figure("rows set aside", quarantined, at_least=damaged, at_most=damaged),
            Figure("tasks", len(expected), at_least=tasks),
            Figure("rebuilt after", rebuilt_s, "s", at_most=REBUILT_LIMIT_S),
        )
    )


# --- what may be damaged, and what may become of it


def start_and_see(node: HostNode) -> tuple[str, float]:
    """Start a node; returns ("up", 0) or what it said last, and the time until either."""
    before = len(node.log())
    begun = time.monotonic()
    node.start_node()
    with contextlib.suppress(DemoError):
        seconds_until(node.is_up, START_LIMIT_S)
    if node.node is not None and node.node.poll() is None:
        return "up", time.monotonic() - begun
    return node.log()[before:], time.monotonic() - begun


def is_one_clear_line(said: str) -> bool:
    """Whether a node that would not start said what is wrong and what to do, and nothing else."""
    lines = [line for line in said.splitlines() if line.strip()]
    return len(lines) == 2 and lines[0].startswith("mesh up: ") and lines[1].startswith("  hint: ")


def delete_log(data: Path) -> None:
    for path in data.glob(f"{LOG}*"):
        path.unlink()


def overwrite_page(data: Path) -> None:
    log = data / LOG
    with contextlib.closing(sqlite3.connect(log, isolation_level=None)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def overwrite_head(data: Path) -> None:
    with (data / LOG).open("r+b") as file:
        file.write(b"\xff" * 4096)
    (data / f"{LOG}-wal").unlink(missing_ok=True)


def cut_log(data: Path) -> None:
    log = data / LOG
    with contextlib.closing(sqlite3.connect(log, isolation_level=None)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)


def rows_of(kind: str) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        damage_values(data / LOG, kind, 1_000_000)

    return damage


def kinds_in(log: Path) -> list[str]:
    """Return the kinds of rows in a log."""
    with contextlib.closing(sqlite3.connect(log)) as connection:
        return [kind for (kind,) in connection.execute("select distinct kind from log")]


@dataclass
class Aftermath:
    """What became of a node after each kind of damage."""

    rebuilt: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def try_damage(
        self, mesh: HostMesh, node: HostNode, name: str, damage: Callable[[Path], None]
    ) -> None:
        """Damage the state of a node that is down, and start it; leaves it down, and sound."""
        other = next(each for each in mesh.hosts() if each is not node)
        expected = task_states(other)
        backup = mesh.folder / "backup"
        shutil.copytree(node.data, backup)
        damage(node.data)
        said, took_s = start_and_see(node)

        def is_back() -> bool:
            return agreed(node, expected) and status_of(other, node.name) == "alive"

        if said == "up":
            try:
                took_s += seconds_until(is_back, REBUILT_LIMIT_S * 2, f"{name}: all tasks")
            finally:
                mesh.kill(node)
            self.rebuilt[name] = took_s
        else:
            # It has not run: nobody has heard of a start that the copy does not know.
            self.refused[name] = said
            shutil.rmtree(node.data)
            shutil.copytree(backup, node.data)
        shutil.rmtree(backup)

    def figures(self) -> tuple[Figure, ...]:
        """Return how it went."""
        otherwise = [said for said in self.refused.values() if not is_one_clear_line(said)]
        return (
            Figure("kinds of damage", len(self.rebuilt) + len(self.refused), at_least=8),
            Figure("rebuilt from a peer", len(self.rebuilt), at_least=5),
            Figure("slowest", max(self.rebuilt.values()), "s", at_most=REBUILT_LIMIT_S),
            Figure("would not start and said why in one line", len(self.refused)),
            Figure("said otherwise", len(otherwise), at_most=0),
        )


DAMAGES: dict[str, Callable[[Path], None]] = {
    "log deleted": delete_log,
    "log cut in half": cut_log,
    "first page of the log": overwrite_head,
}


def damaged_state(scale: Scale) -> Outcome:
    """Damage one thing at a time.

    The second node has its ticket at hand; the full form goes on without it, and with the founder.
    """
    aftermath = Aftermath()
    with host_mesh(2) as mesh:
        work(mesh, 6 if scale is Scale.QUICK else 60)
        settled_states(mesh)
        founder, second = mesh.hosts()
        turns = [("", second, True)]
        if scale is Scale.FULL:
            turns += [("without a ticket: ", second, False), ("founder: ", founder, False)]
        for prefix, node, has_ticket in turns:
            mesh.kill(node)
            ticket, node.join = node.join, node.join if has_ticket else None
            damages = DAMAGES | {
                f"{kind} rows": rows_of(kind) for kind in kinds_in(node.data / LOG)
            }
            if scale is Scale.QUICK or not has_ticket:
                # Last: the node lives with such a page, other programs refuse the file.
                damages["one page of the log"] = overwrite_page
            for name, damage in damages.items():
                aftermath.try_damage(mesh, node, prefix + name, damage)
            node.join = ticket
            mesh.restart(node)
            mesh.together(mesh.nodes)
            settled_states(mesh)  # the next one to be damaged is rebuilt from this one
    said = ", ".join(aftermath.refused)
    return Outcome(aftermath.figures(), f"would not start: {said}" if said else "")


def corrupt_key(scale: Scale) -> Outcome:
    """Damage the key in several ways and start the node again and again; then put it back."""
    tries = 1 if scale is Scale.QUICK else 5
    with host_mesh(2) as mesh:
        node = mesh.host(1)
        before = node.call("node.id")["id"]
        mesh.kill(node)
        key = node.data / KEY
        right = key.read_bytes()
        damages = {"empty": b"", "short": right[:17], "long": right + b"\n", "gone": None}
        damages["another"] = bytes([right[0] ^ 1]) + right[1:]
        otherwise, slowest_s, started = [], 0.0, []
        for name, wrong in damages.items():
            for _ in range(tries):
                if wrong is None:
                    key.unlink(missing_ok=True)
                else:
                    key.write_bytes(wrong)
                    key.chmod(0o600)
                said, took_s = start_and_see(node)
                slowest_s = max(slowest_s, took_s)
                if said == "up":
                    started.append(name)
                    mesh.kill(node)
                elif not is_one_clear_line(said) or "Traceback" in said:
                    otherwise.append(name)
        key.write_bytes(right)
        key.chmod(0o600)
        mesh.restart(node)
        mesh.together(mesh.nodes)
        after = node.call("node.id")["id"]
    return Outcome(
        (
            Figure("starts with a damaged key", tries * len(damages), at_least=5),
            Figure("ended otherwise than with one clear line", len(otherwise), at_most=0),
            Figure("started all the same", len(started), at_most=0),
            Figure("slowest to say so", slowest_s, "s", at_most=10.0),
            Figure("the same node with its key back", before == after, at_least=1),
        ),
        ", ".join(dict.fromkeys([*otherwise, *started])),
    )


FAULTS = (
    Fault(
        name="corrupt-rows",
        does="the newest facts in a node's log are damaged while it is down; 200 in the full form",
        criterion="bad rows quarantined, rebuilt from peers <= 30 s",
        run=corrupt_rows,
        in_quick_run=True,
    ),
    Fault(
        name="damaged-state",
        does="the log is deleted, cut, overwritten in parts; every kind of row is damaged in turn",
        criterion="rebuilt from peers <= 30 s, or one clear line",
        run=damaged_state,
    ),
    Fault(
        name="corrupt-key",
        does="the key file is emptied, cut, extended, deleted, replaced; the node is started",
        criterion="one clear line, no crash loop",
        run=corrupt_key,
    ),
)
