"""Nodes that are killed: one, all, all but one, the first for good; and restarts under load."""

import math
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.control.client import Client, NodeUnreachable, Refused
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.load import Load, equal_tables, finish_one, lost, started_twice, submit
from tests.faults.measures import quantile, seconds, worst
from tests.faults.nodes import (
    GONE,
    POLL_S,
    LabMesh,
    LabNode,
    empty_lab,
    mesh_of,
    wait_until,
)
from tests.faults.watch import Watch

NODES = 20
QUICK_NODES = 5
DETECTION_S = 30.0
ORPHANS = 4
GRACE_S = 15.0
QUICK_GRACE_S = 1.0
QUICK_REST_S = 0.3
OWNERS_EVERY = 4
"""Every so many kills the victim owns tasks."""
EQUAL_S = 60.0
DONE_S = 60.0
SETTLED_S = 6.0
"""After so long a waiting agent's kind is known everywhere: it is told at most every 5 s."""


def nodes_for(scale: Scale) -> int:
    """Return how many nodes a fault has when its row does not say."""
    return NODES if scale is Scale.FULL else QUICK_NODES


# ---- kill -9 one


class Heirs:
    """Agents at some nodes, each waiting for one task of a kind; tells when which got one."""

    def __init__(self, nodes: Sequence[LabNode], kind: str, wait_s: float) -> None:
        self.owned: dict[str, tuple[float, str]] = {}
        """Task -> when it was claimed, and at which node."""
        self._threads = [
            threading.Thread(target=self._wait, args=(node, kind, wait_s), daemon=True)
            for node in nodes
        ]
        for thread in self._threads:
            thread.start()

    def _wait(self, node: LabNode, kind: str, wait_s: float) -> None:
        try:
            with Client.connect(node.socket) as client:
                client.call("agent.attach", name=f"heir-{node.name}", kinds=[kind])
                held = client.call("task.claim", kinds=[kind], wait_s=wait_s)
                self.owned[held["task"]] = (time.monotonic(), node.name)
                client.call("task.start", handle=held["handle"])
                client.call("task.complete", handle=held["handle"])
        except (Refused, NodeUnreachable):
            return  # its task is missing from `owned`, and that is measured

    def join(self) -> None:
        """Wait until none is waiting any more."""
        for thread in self._threads:
            thread.join()


def hold_work(victim: LabNode, kind: str, grace_s: float) -> list[str]:
    """Have a node own tasks and work on them."""
    tasks = [submit(victim, kind, orphan_grace_s=grace_s) for _ in range(ORPHANS)]
    for task in tasks:
        held = victim.call("task.claim", task=task, detached=True)
        victim.call("task.start", handle=held["handle"])
    return tasks


@dataclass(slots=True)
class Killing:
    """What one kill was followed by, in seconds."""

    known: list[float]
    """From the kill to each other node's belief that the node is down."""
    late: list[float]
    """From the end of the grace to a new owner, for each of its tasks."""


def kill_owner(mesh: LabMesh, victim: LabNode, grace_s: float) -> Killing:
    """Kill a node that owns tasks, while agents elsewhere wait for their kind."""
    kind = f"orphan-{time.monotonic():.0f}"
    tasks = hold_work(victim, kind, grace_s)
    others = [node for node in mesh.nodes.values() if node is not victim]
    heirs = Heirs(others[:ORPHANS], kind, SETTLED_S + DETECTION_S + grace_s)
    time.sleep(SETTLED_S if grace_s == GRACE_S else QUICK_REST_S)
    with Watch(others) as watch:
        killed = time.monotonic()
        victim.kill()
        heirs.join()
        down = watch.first(victim.name, *GONE)
    late = []
    for task in tasks:
        at, by = heirs.owned.get(task, (math.inf, ""))
        late.append(at - (down.get(by, killed) + grace_s))
    return Killing(_since(killed, down, len(others)), late)


def kill_idle(mesh: LabMesh, victim: LabNode) -> Killing:
    """Kill a node that owns nothing."""
    others = [node for node in mesh.nodes.values() if node is not victim]
    with Watch(others) as watch:
        killed = time.monotonic()
        victim.kill()
        end = killed + DETECTION_S
        while len(watch.first(victim.name, *GONE)) < len(others) and time.monotonic() < end:
            time.sleep(POLL_S)
        return Killing(_since(killed, watch.first(victim.name, *GONE), len(others)), [])


def _since(killed: float, down: dict[str, float], others: int) -> list[float]:
    """Return how long each took to know; infinite for those that never did."""
    unaware = [math.inf] * (others - len(down))
    return [at - killed for at in down.values()] + unaware


def kill_one(scale: Scale) -> Outcome:
    """Kill nodes one after the other, and restart each."""
    full = scale is Scale.FULL
    count = nodes_for(scale)
    killings: list[Killing] = []
    back: list[float] = []
    with mesh_of(count, scale) as mesh:
        victims = list(mesh.nodes.values()) if full else [mesh.node(count)]
        for number, victim in enumerate(victims):
            if not full or number % OWNERS_EVERY == 0:
                killings.append(kill_owner(mesh, victim, GRACE_S if full else QUICK_GRACE_S))
            else:
                killings.append(kill_idle(mesh, victim))
            begun = time.monotonic()
            mesh.restart([victim])
            mesh.together(list(mesh.nodes.values()))
            back.append(time.monotonic() - begun)
            if full:
                time.sleep(SETTLED_S)
    known = [value for killing in killings for value in killing.known]
    late = [value for killing in killings for value in killing.late]
    return Outcome(
        (
            Figure("down known p50", quantile(known, 0.5), "s", at_most=seconds(3.5, scale)),
            Figure("p99", quantile(known, 0.99), "s", at_most=seconds(5.0, scale)),
            Figure("worst", worst(known), "s"),
            Figure(
                "owned again after the end of its grace, worst",
                worst(late),
                "s",
                at_most=seconds(0.2, scale),
            ),
            Figure("restart to full views, worst", worst(back), "s", at_most=seconds(5.0, scale)),
        ),
        f"{count} nodes, {len(victims)} kills, {len(known)} views, {len(late)} tasks",
    )


# ---- kill -9 all


def kill_all(scale: Scale) -> Outcome:
    """Kill all nodes at once while they work, and start them again on their data."""
    full = scale is Scale.FULL
    formed: list[float] = []
    gone = acknowledged = 0
    with mesh_of(nodes_for(scale), scale) as mesh:
        nodes = list(mesh.nodes.values())
        for turn in range(5 if full else 1):
            with Load(nodes, per_s=20 if full else 10, kind=f"all-{turn}") as load:
                time.sleep(10 if full else 1.5)
                for node in nodes:
                    node.send(signal.SIGKILL)
                for node in nodes:
                    node.kill()
            begun = time.monotonic()
            mesh.restart(nodes)
            mesh.together(nodes)
            formed.append(time.monotonic() - begun)
            wait_until("equal tables", lambda: equal_tables(nodes), EQUAL_S)
            gone += lost(nodes, load)
            acknowledged += len(load.submitted) + len(load.finished)
    return Outcome(
        (
            Figure(
                "re-formed without seeds, worst", worst(formed), "s", at_most=seconds(15.0, scale)
            ),
            Figure("acknowledged writes", acknowledged, at_least=1),
            Figure("of them lost", gone, at_most=0),
        ),
        f"{len(nodes)} nodes, {len(formed)} times; time counts from the start of the processes",
    )


# ---- all but one


def _orphaned(survivor: LabNode, others: Sequence[LabNode], full: bool) -> list[str]:
    grace_s = GRACE_S if full else QUICK_GRACE_S
    tasks = []
    for node in others:
        task = submit(node, "left-behind", orphan_grace_s=grace_s)
        held = node.call("task.claim", task=task, detached=True)
        node.call("task.start", handle=held["handle"])
        tasks.append(task)
    wait_until("the tasks", lambda: set(tasks) <= set(survivor.tasks()), EQUAL_S)
    return tasks


def lone_survivor(count: int, scale: Scale) -> tuple[float, float]:
    """Kill all but one; returns when it did new work, and when it owned all that was left."""
    with empty_lab(count) as mesh:
        mesh.start(mesh.lab.hosts, scale)
        survivor, *others = reversed(mesh.nodes.values())
        tasks = _orphaned(survivor, others, scale is Scale.FULL)
        for node in others:
            node.send(signal.SIGKILL)
        killed = time.monotonic()
        task = submit(survivor, "new")
        assert finish_one(survivor, "new") == task
        worked = time.monotonic() - killed
        while tasks:
            tasks.remove(finish_one(survivor, "left-behind", wait_s=90.0))
        return worked, time.monotonic() - killed


def all_but_one(scale: Scale) -> Outcome:
    """Lose N - 1 of N nodes at once."""
    figures = []
    for count in (1, 2, 3, 5):
        worked, inherited = lone_survivor(count, scale)
        figures.append(
            Figure(f"N = {count}: new work done", worked, "s", at_most=seconds(3.0, scale))
        )
        if count > 1:
            figures.append(Figure("all orphans done", inherited, "s", at_most=45.0))
    return Outcome(tuple(figures), "default orphan grace 15 s" if scale is Scale.FULL else "")


# ---- the first node, for good


def _is_admin(node: LabNode) -> bool:
    return bool(node.call("node.status")["node"]["admin"])


def first_gone(scale: Scale) -> Outcome:
    """Destroy the founder, have a newcomer join through another admin, and let it work."""
    count = nodes_for(scale)
    with empty_lab(count + 1) as mesh:
        mesh.start(range(1, count + 1), scale)
        first, second, *_ = mesh.nodes.values()
        admins = [node for node in mesh.nodes.values() if _is_admin(node)]
        first.kill()
        shutil.rmtree(first.folder)
        rest = [node for node in mesh.nodes.values() if node is not first]
        wait_until("the loss", lambda: second.sees()[first.name] in GONE, DETECTION_S)
        newcomer = mesh.node(count + 1)
        begun = time.monotonic()
        mesh.join([newcomer], by=next(node for node in admins if node is not first))
        mesh.together([*rest, newcomer])
        joined = time.monotonic() - begun
        task = submit(newcomer, "late")
        done = finish_one(rest[-1], "late") == task
    return Outcome(
        (
            Figure("admins before", len(admins), at_least=2),
            Figure("newcomer started to full views", joined, "s", at_most=seconds(30.0, scale)),
            Figure("its task done elsewhere", done, at_least=1),
        ),
        f"{count} nodes",
    )


# ---- rolling restarts


def _roll(mesh: LabMesh, node: LabNode, rest_s: float) -> None:
    node.send(signal.SIGTERM)
    assert node.process is not None
    node.process.wait(DETECTION_S)
    mesh.restart([node])
    mesh.together(list(mesh.nodes.values()))
    time.sleep(rest_s)


def rolling(scale: Scale) -> Outcome:
    """Restart every node in turn, with a goodbye, while all work."""
    full = scale is Scale.FULL
    with mesh_of(nodes_for(scale), scale) as mesh:
        nodes = list(mesh.nodes.values())
        with Watch(nodes) as watch, Load(nodes, per_s=10, kind="rolling") as load:
            time.sleep(1)
            for node in nodes if full else nodes[:2]:
                _roll(mesh, node, 2.0 if full else 0.0)
                watch.add(node)
            time.sleep(1)
        believed_down = len(watch.losses())
        all_done = wait_until("all done", lambda: _all_done(nodes[0], load), DONE_S)
        wait_until("equal tables", lambda: equal_tables(nodes), EQUAL_S)
        gone, again = lost(nodes, load), started_twice(nodes[0])
    return Outcome(
        (
            Figure("acknowledged submits", len(load.submitted), at_least=1),
            Figure("acknowledged writes lost", gone, at_most=0),
            Figure("believed down", believed_down, at_most=0),
            Figure("last task done after the last restart", all_done, "s", at_most=DONE_S),
            Figure("started again", again),
        ),
        f"{len(nodes)} nodes; troubles of clients: {dict(load.troubles)}",
    )


def _all_done(node: LabNode, load: Load) -> bool:
    """Whether all tasks are over; an agent here does what is left."""
    try:
        while True:
            finish_one(node, load.kind, wait_s=0.2)
    except Refused:
        states = {task["state"] for task in node.tasks().values() if task["kind"] == load.kind}
        return states <= {"completed"}


FAULTS = (
    Fault(
        "kill-one",
        "kill -9 one node, tasks in its hands; restart it",
        "down known everywhere p50 <= 3.5 s, p99 <= 5 s; tasks owned again within 200 ms of the "
        "end of their grace; restart to full views <= 5 s",
        kill_one,
        (Need.NAMESPACES,),
        in_quick_run=True,
    ),
    Fault(
        "kill-all",
        "kill -9 every node at once under load; restart on the same disks",
        "re-formed from disk without seeds <= 15 s, nothing acknowledged lost",
        kill_all,
        (Need.NAMESPACES,),
    ),
    Fault(
        "all-but-one",
        "lose N - 1 of N nodes at once, N = 1, 2, 3, 5",
        "the survivor goes on at once and takes over what was left",
        all_but_one,
        (Need.NAMESPACES,),
    ),
    Fault(
        "first-gone",
        "the founder and its disk are destroyed; a new node joins",
        "admission goes on by another admin, work too",
        first_gone,
        (Need.NAMESPACES,),
    ),
    Fault(
        "rolling-restart",
        "restart every node in turn under load",
        "nothing acknowledged lost, nobody believed down, all tasks done",
        rolling,
        (Need.NAMESPACES,),
    ),
)
