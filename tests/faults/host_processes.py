"""Nodes that are stopped, starved, or whose wall clock is nonsense: nobody else pays for it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh.cli.demo import wait_for
from mesh.control.client import Client, Refused
from tests.end_to_end.processes import claim, show, submit
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.machine import HostMesh, HostNode, Lookout, host_mesh, pause, seconds_until
from tests.faults.needs import faketime_library

TAKEOVER_LIMIT_S = 40.0
PERIOD_US = 1_000_000
QUOTA = 0.005
"""Share of one processor that a starved node gets, in one piece a second: it is always late."""
CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
CGROUP_V2 = Path("/sys/fs/cgroup")
BACK_LIMIT_S = 120.0
"""It has much to catch up with: what was worked on elsewhere while it stood almost still."""
TEN_YEARS_S = 10 * 365 * 86_400
STROBE_S = 0.1


def short_pause(scale: Scale) -> Outcome:
    """Stop each node for a second, one after the other.

    In a mesh of the usual profile: `local` takes a node for down after that time, and means to.
    """
    nodes, rounds = (4, 1) if scale is Scale.QUICK else (10, 5)
    with host_mesh(nodes, profile="lan") as mesh, Lookout(mesh.hosts(), mesh.hosts()) as watch:
        pauses = 0
        for _ in range(rounds):
            for node in mesh.hosts():
                pause(node, 1.0)
                pauses += 1
                time.sleep(1.0)
    return Outcome(
        (
            Figure("pauses of 1 s", pauses, at_least=nodes),
            watch.figure(),
            Figure("looks", watch.looks, at_least=nodes),
        )
    )


class Impatient:
    """An agent that goes on talking to its node while that is stopped: all of it waits there."""

    def __init__(self, node: HostNode, handle: str) -> None:
        self.told: dict[str, str] = {}
        """What it asked -> `done`, or the name of the refusal."""
        self._node, self._handle = node, handle
        self._threads = [
            threading.Thread(target=self._ask, args=(method,), daemon=True)
            for method in ("task.start", "task.complete")
        ]
        # Connected before the node stops: the questions lie in the kernel when it wakes.
        self._clients = [Client.connect(str(node.socket), timeout_s=900.0) for _ in self._threads]

    def ask(self) -> None:
        """Ask for a start and a completion; the answers come when the node wakes."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the answers."""
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def _ask(self, method: str) -> None:
        client = self._clients[method == "task.complete"]
        try:
            client.call(method, handle=self._handle)
        except Refused as refused:
            self.told[method] = refused.name
        else:
            self.told[method] = "done"


def long_pause(seconds: float) -> Outcome:
    """Stop an owner that has claimed and not begun; its agent asks for everything meanwhile."""
    with host_mesh(3) as mesh:
        other, owner, heir = mesh.hosts()
        task = submit(other, "pause")
        wait_for("the task", lambda: bool(owner.call("task.list")["tasks"]), 10)
        held = claim(owner, task)
        agent = Impatient(owner, held["handle"])
        with Lookout([other, heir], [other, heir]) as watch:
            os.kill(owner.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            agent.ask()
            with Client.connect(str(heir.socket)) as client:
                owned = client.call("task.claim", kinds=["pause"], wait_s=TAKEOVER_LIMIT_S)
                taken_s = time.monotonic() - stopped
                client.call("task.start", handle=owned["handle"])
                client.call("task.complete", handle=owned["handle"], output="aGVpcg==")
            time.sleep(max(0.0, seconds - (time.monotonic() - stopped)))
            os.kill(owner.pid, signal.SIGCONT)
            agent.join()
        learned_s = seconds_until(lambda: _winner(owner, task) == owned["token"], 15, "the result")
        mesh.together(mesh.nodes)
        wrong = sum(_winner(node, task) != owned["token"] for node in mesh.hosts())
        starts = max(show(node, task)["starts"] for node in mesh.hosts())
    return Outcome(
        (
            Figure("taken over after", taken_s, "s", at_most=TAKEOVER_LIMIT_S),
            Figure("starts", starts, at_most=1, at_least=1),
            Figure(
                "said done to the outranked", list(agent.told.values()).count("done"), at_most=0
            ),
            Figure("nodes where it won over the greater token", wrong, at_most=0),
            Figure("learned of it after", learned_s, "s", at_most=5.0),
            watch.figure(),
        ),
        "the sleeper's agent heard "
        + ", ".join(f"{m}: {t}" for m, t in sorted(agent.told.items())),
    )


def _winner(node: HostNode, task: str) -> str | None:
    result = show(node, task)["result"]
    return None if result is None else str(result["token"])


def pause_of_ten(_: Scale) -> Outcome:
    """Ten seconds: more than detection and grace of this profile."""
    return long_pause(10.0)


def pause_of_minutes(scale: Scale) -> Outcome:
    """Five minutes in the full form."""
    return long_pause(15.0 if scale is Scale.QUICK else 300.0)


# --- a processor that is hardly there


@contextmanager
def starved(node: HostNode, share: float) -> Iterator[None]:
    """Give one node so much of a processor, by a control group of either kind."""
    is_v1 = (CGROUP_V1 / "cpu.cfs_quota_us").exists()
    group = (CGROUP_V1 if is_v1 else CGROUP_V2) / f"mesh-fault-{os.getpid()}"
    if not is_v1:
        (CGROUP_V2 / "cgroup.subtree_control").write_text("+cpu")
    group.mkdir()
    try:
        quota = int(PERIOD_US * share)
        if is_v1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        (group / "cgroup.procs").write_text(str(node.pid))
        yield
    finally:
        parent = CGROUP_V1 if is_v1 else CGROUP_V2
        (parent / "cgroup.procs").write_text(str(node.pid))
        group.rmdir()


def starved_processor(scale: Scale) -> Outcome:
    """Starve one node, and have work go on everywhere, also through it."""
    nodes, seconds = (4, 10.0) if scale is Scale.QUICK else (10, 1800.0)
    with host_mesh(nodes) as mesh:
        victim, healthy = mesh.host(1), [mesh.host(n) for n in range(nodes) if n != 1]
        submitted = 0
        with (
            starved(victim, QUOTA),
            Lookout(healthy, healthy) as watch,
            Lookout(healthy, [victim]) as victim_watch,
        ):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                submit(healthy[submitted % len(healthy)], "starved")
                submitted += 1
                time.sleep(1.0)
        back_s = seconds_until(lambda: _all_alive(healthy[0], nodes), BACK_LIMIT_S, "the victim")
        with Client.connect(str(victim.socket), timeout_s=BACK_LIMIT_S) as client:
            lag_s = client.call("node.status")["counters"]["loop_lag_max_us"] / 1e6
    return Outcome(
        (
            Figure("for", seconds, "s", at_least=seconds),
            watch.figure("false deaths of healthy nodes"),
            Figure("the starved one seen down by", victim_watch.false_deaths, "nodes"),
            Figure("its loop late by at most", lag_s, "s"),
            Figure("submits elsewhere meanwhile", submitted, at_least=1),
            Figure("all alive again after", back_s, "s", at_most=BACK_LIMIT_S),
        ),
        f"{nodes} nodes, the victim on {QUOTA:.1%} of one processor",
    )


def _all_alive(node: HostNode, count: int) -> bool:
    views = node.call("member.list")["members"]
    alive = [view for view in views if view["status"] == "alive"]
    return len(alive) == count


# --- a wall clock that lies


def wall_clock(scale: Scale) -> Outcome:
    """Move one node's wall clock by ten years and back, in one step and many times a second."""
    steps_s, strobe_s = (3.0, 3.0) if scale is Scale.QUICK else (60.0, 120.0)
    library = faketime_library()
    assert library is not None
    with host_mesh(2) as mesh:
        clock = mesh.folder / "clock"
        set_clock(clock, 0)
        victim = mesh.join(
            {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        )
        mesh.together(mesh.nodes)
        nodes = mesh.hosts()
        owned = [claim(node, submit(node, "clock")) for node in nodes]
        for node, held in zip(nodes, owned, strict=True):
            node.call("task.start", handle=held["handle"])
        jumped = []
        with Lookout(nodes, nodes) as watch:
            for offset_s in (TEN_YEARS_S, -TEN_YEARS_S):
                set_clock(clock, offset_s)
                time.sleep(steps_s)
                jumped.append(abs(_wall_seen(victim) - time.time()))
            end, sign = time.monotonic() + strobe_s, 1
            while time.monotonic() < end:
                set_clock(clock, sign * TEN_YEARS_S)
                sign = -sign
                time.sleep(STROBE_S)
            set_clock(clock, 0)
        changed = sum(_owner_changed(mesh, held) for held in owned)
        for node, held in zip(nodes, owned, strict=True):
            node.call("task.complete", handle=held["handle"])
    return Outcome(
        (
            Figure("its clock was off by", min(jumped) / 86_400 / 365, "years", at_least=9.9),
            watch.figure(),
            Figure("looks", watch.looks, at_least=10),
            Figure("owners changed", changed, at_most=0),
        )
    )


def set_clock(file: Path, offset_s: int) -> None:
    """Set the victim's wall clock off by so much."""
    draft = file.with_suffix(".new")
    draft.write_text(f"{offset_s:+d}s\n")
    draft.replace(file)


def _wall_seen(node: HostNode) -> float:
    """Return what a node takes for the time, as it stamps a new task."""
    task = submit(node, "stamp")
    created = show(node, task)["created_at"]
    return time.mktime(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone


def _owner_changed(mesh: HostMesh, held: dict[str, object]) -> bool:
    return any(show(node, str(held["task"]))["token"] != held["token"] for node in mesh.hosts())


FAULTS = (
    Fault(
        name="pause-1s",
        does="SIGSTOP of each node in turn for 1 s; 10 nodes, 5 rounds in the full form",
        criterion="no false death",
        run=short_pause,
    ),
    Fault(
        name="pause-10s",
        does="SIGSTOP of an owner for 10 s; its agent asks to start and complete meanwhile",
        criterion="learns that it is superseded before any agent acts; "
        "nothing of an outranked token wins",
        run=pause_of_ten,
    ),
    Fault(
        name="pause-5min",
        does="the same for 5 minutes; 15 s in the quick form",
        criterion="as for 10 s",
        run=pause_of_minutes,
    ),
    Fault(
        name="starved-cpu",
        does="one node gets 0.5 % of a processor; 10 nodes for 30 minutes in the full form",
        criterion="no false deaths of healthy nodes in 30 min",
        run=starved_processor,
        needs=(Need.CGROUPS,),
    ),
    Fault(
        name="wall-clock",
        does="one node's wall clock goes +10 years, -10 years, then to and fro ten times a second",
        criterion="no ownership change, no false death",
        run=wall_clock,
        needs=(Need.FAKETIME,),
    ),
)
