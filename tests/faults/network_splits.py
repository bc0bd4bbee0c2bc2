"""Partitions, with both sides at work on the same tasks, and their healing."""

import time
from collections.abc import Callable, Sequence

from mesh.control.client import Refused
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.load import Load, equal_tables, lost, submit
from tests.faults.measures import seconds
from tests.faults.nodes import HERE, LabMesh, LabNode, mesh_of, wait_until
from tests.faults.watch import Heard, Watch

CONTESTED = 10
CALM_S = 120.0
APART_S = 30.0
TOLD_S = 0.5
"""Members that change are told in cuts, every quarter of a second."""

Parts = Callable[[Sequence[int]], list[list[int]]]


def _halves(hosts: Sequence[int]) -> list[list[int]]:
    middle = len(hosts) // 2
    return [list(hosts[:middle]), list(hosts[middle:])]


def _one_alone(hosts: Sequence[int]) -> list[list[int]]:
    return [list(hosts[:-1]), list(hosts[-1:])]


def _thirds(hosts: Sequence[int]) -> list[list[int]]:
    third = len(hosts) // 3
    return [list(hosts[:third]), list(hosts[third : 2 * third]), list(hosts[2 * third :])]


def _claim_on_every_side(sides: list[list[LabNode]], tasks: list[str]) -> int:
    """Have one node of each side own and start every task; returns how many owners there are."""
    owners = 0
    for task in tasks:
        for side in sides:
            try:
                held = side[0].call("task.claim", task=task, detached=True)
                side[0].call("task.start", handle=held["handle"])
                owners += 1
            except Refused:
                continue
    return owners


def _owners(nodes: Sequence[LabNode], tasks: list[str]) -> int:
    """Return how many owners the nodes name for the task with the most."""
    named = [
        {view["owner"] and view["owner"]["node"] for view in (tables[task] for tables in found)}
        for found in [[node.tasks() for node in nodes]]
        for task in tasks
    ]
    return max(map(len, named))


def _is_contact(event: Heard, healed: float) -> bool:
    return event.topic == "member" and event.body["new"] == "alive" and event.at > healed


def _illusions(mesh: LabMesh, sides: list[list[int]]) -> int:
    """Return how often somebody still believes that a node of another side is alive."""
    count = 0
    for side in sides:
        own = {mesh.node(host).name for host in side}
        for node in mesh.of(side):
            count += sum(status in HERE for name, status in node.sees().items() if name not in own)
    return count


def _until_apart(mesh: LabMesh, sides: list[list[int]]) -> tuple[float, int]:
    """Wait until nobody believes in the other sides, or for long; returns how long, how many do."""
    begun = time.monotonic()
    while (left := _illusions(mesh, sides)) and time.monotonic() < begun + APART_S:
        time.sleep(TOLD_S)
    return time.monotonic() - begun, left


def split(parts: Parts) -> Callable[[Scale], Outcome]:
    """Return the fault that cuts a mesh into these parts."""

    def run(scale: Scale) -> Outcome:
        full = scale is Scale.FULL
        with mesh_of(20 if full else 5, scale) as mesh:
            nodes = list(mesh.nodes.values())
            sides = parts(list(mesh.nodes))
            tasks = [submit(nodes[0], "contested") for _ in range(CONTESTED)]
            wait_until("the tasks", lambda: equal_tables(nodes), CALM_S)
            with Watch(nodes) as watch:
                with Load(nodes, per_s=5, kind=f"sides-{time.monotonic():.0f}") as load:
                    mesh.lab.split(*sides)
                    apart, left = _until_apart(mesh, sides)
                    owners = _claim_on_every_side([mesh.of(side) for side in sides], tasks)
                    time.sleep(90 if full else 0.5)
                healed = time.monotonic()
                mesh.lab.clear()
                mesh.together(nodes, CALM_S)
                views = time.monotonic() - healed
                wait_until("equal tables", lambda: equal_tables(nodes), CALM_S)
                tables = time.monotonic() - healed
                time.sleep(TOLD_S)
                contact = min(event.at for event in watch.heard if _is_contact(event, healed))
            return Outcome(
                (
                    Figure("waited until each side saw itself alone", apart, "s"),
                    Figure("beliefs in far nodes left", left),
                    Figure("owners before", owners / CONTESTED, "per task"),
                    Figure("first contact without seeds", contact - healed, "s"),
                    Figure("full views", views, "s", at_most=seconds(10.0, scale)),
                    Figure("equal tables", tables, "s", at_most=seconds(10.0, scale)),
                    Figure("owners of one task", _owners(nodes, tasks), at_most=1),
                    Figure("acknowledged writes lost", lost(nodes, load), at_most=0),
                ),
                f"sides of {', '.join(str(len(side)) for side in sides)}; "
                f"{len(load.submitted)} tasks submitted, {len(load.finished)} done meanwhile",
            )

    return run


NEEDS = (Need.NAMESPACES,)
CRITERION = (
    "both sides work on; after healing one owner per task and equal tables <= 10 s, no seeds needed"
)
FAULTS = (
    Fault(
        "split-halves",
        "the mesh is cut into halves, then healed",
        CRITERION,
        split(_halves),
        NEEDS,
        in_quick_run=True,
    ),
    Fault(
        "split-one",
        "one node is cut off from all others, then healed",
        CRITERION,
        split(_one_alone),
        NEEDS,
    ),
    Fault(
        "split-thirds",
        "the mesh is cut three ways, then healed",
        CRITERION,
        split(_thirds),
        NEEDS,
    ),
)
