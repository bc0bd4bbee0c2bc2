"""Nodes that are taken out of the mesh for good while they talk: what is the last that counts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.control.client import Client, NodeUnreachable, Refused
from tests.faults.background import Background
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.lab import CUT
from tests.faults.load import encoded
from tests.faults.measures import quantile, seconds, worst
from tests.faults.network_liar import refusals
from tests.faults.nodes import LabMesh, LabNode, empty_lab
from tests.faults.switch import Link
from tests.faults.watch import Watch

NODES = 20
QUICK_NODES = 5
DELAY_S = 0.005
LIMIT_S = 10.0
TALKS_S = 5.0
QUICK_TALKS_S = 1.5
DEAF_S = 1.0
"""For so long it is deaf and heard all the same, before it is removed."""
AFTER_S = 20.0
QUICK_AFTER_S = 4.0
EVERY_S = 0.05
KIND = "removed"


class Speaker(Background):
    """Has a node submit tasks as fast as it is sensible, and do every other one itself."""

    def __init__(self, node: LabNode) -> None:
        super().__init__()
        self.node = node
        self.said: dict[str, float] = {}
        """Task whose submit its node has acknowledged -> when it was asked to."""
        self.done: dict[str, float] = {}
        self.silent: float | None = None
        """When its node took nothing any more."""

    def _run(self) -> None:
        try:
            with Client.connect(self.node.socket) as client:
                while not self.ended.wait(EVERY_S):
                    self._say(client)
        except (NodeUnreachable, Refused, OSError):
            self.silent = time.monotonic()

    def _say(self, client: Client) -> None:
        # On its own disk alone: nobody else need have heard it for its node to acknowledge it.
        begun = time.monotonic()
        task = client.call("task.submit", kind=KIND, copies=1)["task"]
        self.said[task] = begun
        if len(self.said) % 2:
            handle = client.call("task.claim", task=task)["handle"]
            client.call("task.start", handle=handle)
            begun = time.monotonic()
            client.call("task.complete", handle=handle, output=encoded(task), copies=1)
            self.done[task] = begun

    def since(self, at: float) -> int:
        """Return how many submits and completions its node was asked for since, and took."""
        return sum(when > at for when in (*self.said.values(), *self.done.values()))


@dataclass(slots=True)
class Removal:
    """What one removal was followed by, in seconds since it was acknowledged."""

    heard_deaf: int = 0
    """Words of it that were accepted after it was deaf, before it was removed."""
    said_after: int = 0
    last: dict[str, float] = field(default_factory=dict)
    """Node -> when it last accepted something of it; negative: before the removal."""
    gone: list[float] = field(default_factory=list)
    """When each of the others let it go."""
    listed: int = 0
    """Nodes that still list it at the end."""
    late: int = 0
    """Tasks that any of the others listed at the end, and not at the limit."""
    told_later: int = 0
    """Tasks that any of them lists, though they were submitted after the removal."""
    refused: int = 0
    """What the others have refused since."""
    silent: float | None = None


def accepted(watch: Watch) -> dict[str, list[float]]:
    """Return when each node took in a task of the removed node, or the end of one."""
    found: dict[str, list[float]] = {}
    known: set[tuple[str, str]] = set()
    for event in list(watch.heard):
        if event.topic != "task" or event.body["kind"] != KIND:
            continue
        seen = (event.by, str(event.body["task"]))
        if seen not in known or event.body["state"] == "completed":
            found.setdefault(event.by, []).append(event.at)
        known.add(seen)
    return found


def listed(nodes: Sequence[LabNode]) -> dict[str, frozenset[str]]:
    """Return which of its tasks each node lists."""
    return {
        node.name: frozenset(t for t, view in node.tasks().items() if view["kind"] == KIND)
        for node in nodes
    }


def remove(mesh: LabMesh, victim: LabNode, scale: Scale, *, deaf: bool) -> Removal:
    """Remove a node that talks; a deaf one does not learn of it, and goes on."""
    full = scale is Scale.FULL
    others = [node for node in mesh.nodes.values() if node is not victim and node.runs]
    found = Removal()
    with Watch(others) as watch, Speaker(victim) as speaker:
        time.sleep(TALKS_S if full else QUICK_TALKS_S)
        cut = time.monotonic()
        if deaf:
            mesh.lab.rule([node.host for node in others], [victim.host], CUT)
            time.sleep(DEAF_S)
        before = accepted(watch)
        others[0].call("trust.remove", node=victim.name)
        removed = time.monotonic()
        refused = refusals(others)
        time.sleep(LIMIT_S if full else QUICK_AFTER_S)
        at_limit = listed(others)
        time.sleep(AFTER_S - LIMIT_S if full else QUICK_AFTER_S / 2)
        gone = watch.first(victim.name, "removed")
    at_end = listed(others)
    found.refused = (refusals(others) - refused).total()
    found.heard_deaf = sum(at > cut for times in before.values() for at in times)
    found.said_after = speaker.since(removed)
    for by, times in accepted(watch).items():
        found.last[by] = max(times) - removed
    found.gone = [at - removed for at in gone.values()]
    found.gone += [float("inf")] * (len(others) - len(gone))
    views = [node.call("member.list")["members"] for node in others]
    found.listed = sum(any(view["id"] == victim.id for view in seen) for seen in views)
    found.late = len(
        frozenset().union(*(at_end[node.name] - at_limit[node.name] for node in others))
    )
    everything = frozenset().union(*at_end.values())
    found.told_later = sum(speaker.said.get(task, removed) > removed for task in everything)
    found.silent = None if speaker.silent is None else speaker.silent - removed
    return found


def figures_of(who: str, found: Removal, said_least: int, scale: Scale) -> list[Figure]:
    """Return what is shown of one removal."""
    last = list(found.last.values())
    limit_s = LIMIT_S if scale is Scale.FULL else QUICK_AFTER_S
    return [
        Figure(f"{who}: last acceptance anywhere", worst(last), "s", at_most=LIMIT_S),
        Figure("p50 of the nodes", quantile(last, 0.5), "s"),
        Figure("gone from the members everywhere", worst(found.gone), "s", at_most=LIMIT_S),
        Figure("nodes that list it at the end", found.listed, at_most=0),
        Figure("taken by its own node since", found.said_after, at_least=said_least),
        Figure("accepted of what it submitted since", found.told_later),
        Figure(f"accepted after {limit_s:.0f} s", found.late, at_most=0),
    ]


def revoke(scale: Scale) -> Outcome:
    """Remove a node that learns of it, and one that hears nothing and goes on talking."""
    count = NODES if scale is Scale.FULL else QUICK_NODES
    with empty_lab(count) as mesh:
        mesh.start(mesh.lab.hosts, scale)
        mesh.lab.everywhere(Link(delay_s=DELAY_S))
        hears = remove(mesh, mesh.node(count), scale, deaf=False)
        deaf = remove(mesh, mesh.node(count - 1), scale, deaf=True)
    silent = float("inf") if hears.silent is None else hears.silent
    return Outcome(
        (
            *figures_of("hears of it", hears, 0, scale),
            Figure("its node has stopped after", silent, "s", at_most=seconds(LIMIT_S, scale)),
            *figures_of("deaf", deaf, 20, scale),
            Figure("refused of what came since", deaf.refused, at_least=1),
            Figure("accepted while it was deaf and a member", deaf.heard_deaf, at_least=1),
        ),
        f"{count} nodes, packets take {DELAY_S * 1000:.0f} to {DELAY_S * 2000:.0f} ms; times since "
        "the removal was acknowledged; each submits some 15 tasks a second and does half of them; "
        "the deaf one hears nothing from 1 s before its removal on, but is heard",
    )


FAULTS = (
    Fault(
        "revoke",
        "an admin removes a node that goes on submitting and doing tasks",
        "last acceptance anywhere connected < 10 s",
        revoke,
        (Need.NAMESPACES,),
    ),
)
