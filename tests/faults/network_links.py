"""Links that lose packets, carry one way only, come and go, or are missing between some."""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.lab import CUT
from tests.faults.load import Load, equal_tables, finish_one, lost, submit
from tests.faults.measures import seconds, worst
from tests.faults.nodes import LabMesh, LabNode, mesh_of, wait_until
from tests.faults.switch import CLEAR, Link
from tests.faults.watch import Watch

NODES = 20
QUICK_NODES = 5
DELAY_S = 0.001
CALM_S = 120.0
"""After a fault everything must be well again within this."""


def nodes_for(scale: Scale) -> int:
    """Return how many nodes these faults have."""
    return NODES if scale is Scale.FULL else QUICK_NODES


@dataclass(slots=True)
class Seen:
    """What was seen of live nodes while links were harmed and until all was well again."""

    down: int = 0
    """Times that a node believed a live one down."""
    dead: int = 0
    healed: list[float] = field(default_factory=list)
    """How long each such belief lasted."""
    well_after: float = 0.0
    """From the end of the harm to full views and equal tables."""
    lost: int = 0
    submitted: int = 0


@contextmanager
def harmed(mesh: LabMesh, seen: Seen, per_s: float = 2.0) -> Iterator[Load]:
    """Watch and work while the body harms the links; then mend them and wait for calm."""
    nodes = list(mesh.nodes.values())
    with Watch(nodes) as watch:
        with Load(nodes, per_s=per_s, kind=f"links-{time.monotonic():.0f}") as load:
            yield load
        mesh.lab.clear()
        begun = time.monotonic()
        mesh.together(nodes, CALM_S)
        wait_until("equal tables", lambda: equal_tables(nodes), CALM_S)
        seen.well_after = time.monotonic() - begun
        seen.lost, seen.submitted = lost(nodes, load), len(load.submitted)
        for event in watch.losses():
            seen.down += 1
            back = [
                again.at - event.at
                for again in watch.changes(str(event.body["name"]), "alive", since=event.at)
                if again.by == event.by
            ]
            seen.healed.append(min(back, default=0.0))
        seen.dead = sum(event.body.get("new") == "dead" for event in watch.heard)


def safety(seen: Seen, well_s: float) -> tuple[Figure, ...]:
    """Return the figures that hold whatever is done to links."""
    return (
        Figure("believed dead", seen.dead, at_most=0),
        Figure("acknowledged writes lost", seen.lost, f"of {seen.submitted}", at_most=0),
        Figure("full views and equal tables after", seen.well_after, "s", at_most=well_s),
    )


# ---- loss


def loss(percent: int, minutes: float, down_max: float | None) -> Callable[[Scale], Outcome]:
    """Return the fault that loses so many percent of all packets."""

    def run(scale: Scale) -> Outcome:
        full = scale is Scale.FULL
        seen = Seen()
        lasts_s = minutes * 60 if full else 2.5
        with mesh_of(nodes_for(scale), scale) as mesh:
            with harmed(mesh, seen):
                mesh.lab.everywhere(Link(loss=percent / 100, delay_s=DELAY_S))
                time.sleep(lasts_s)
            hours = len(mesh.nodes) * lasts_s / 3600
        well_s = 120.0 if percent >= 50 else seconds(10.0, scale)
        figures = [Figure("false downs", seen.down, at_most=down_max)]
        if seen.healed:
            limit = None if percent >= 50 else seconds(10.0, scale)
            figures.append(Figure("the longest", worst(seen.healed), "s", at_most=limit))
        return Outcome(
            (*figures, *safety(seen, well_s)), f"{len(mesh.nodes)} nodes, {hours:.2g} node-hours"
        )

    return run


# ---- one way, bridge, flapping


def _works_across(one: LabNode, other: LabNode) -> float:
    """Return how long it takes until one has done a task that the other submitted."""
    kind = f"across-{time.monotonic():.3f}"
    begun = time.monotonic()
    task = submit(one, kind)
    wait_until("the task", lambda: task in other.tasks(), CALM_S)
    assert finish_one(other, kind) == task
    wait_until("its end", lambda: one.tasks()[task]["state"] == "completed", CALM_S)
    return time.monotonic() - begun


def _not_seen_down(seen: Seen, across: float) -> tuple[Figure, ...]:
    return (
        Figure("live nodes believed down", seen.down, at_most=0),
        Figure("a task over the broken link done after", across, "s", at_most=10.0),
        *safety(seen, 15.0),
    )


def one_way(scale: Scale) -> Outcome:
    """One node hears another and is not heard by it."""
    seen = Seen()
    with mesh_of(nodes_for(scale), scale) as mesh:
        deaf, heard = mesh.node(1), mesh.node(2)
        with harmed(mesh, seen):
            mesh.lab.rule([heard.host], [deaf.host], CUT)
            time.sleep(60 if scale is Scale.FULL else 5)
            across = max(_works_across(deaf, heard), _works_across(heard, deaf))
    return Outcome(_not_seen_down(seen, across), f"{len(mesh.nodes)} nodes")


def broken_pairs(scale: Scale) -> Outcome:
    """Every node has lost its link to another one, both ways."""
    seen = Seen()
    with mesh_of(nodes_for(scale), scale) as mesh:
        hosts = list(mesh.nodes)
        random.Random(1).shuffle(hosts)
        pairs = list(itertools.pairwise(hosts))[::2]
        with harmed(mesh, seen):
            for one, other in pairs:
                mesh.lab.cut([one], [other])
            time.sleep(60 if scale is Scale.FULL else 5)
            one, other = pairs[0]
            across = _works_across(mesh.node(one), mesh.node(other))
    return Outcome(
        _not_seen_down(seen, across), f"{len(mesh.nodes)} nodes, {len(pairs)} pairs apart"
    )


def bridge(scale: Scale) -> Outcome:
    """Two nodes meet only through a third."""
    seen = Seen()
    with mesh_of(3, scale) as mesh:
        left, right = mesh.node(1), mesh.node(3)
        with harmed(mesh, seen):
            mesh.lab.cut([left.host], [right.host])
            time.sleep(60 if scale is Scale.FULL else 8)
            across = max(_works_across(left, right), _works_across(right, left))
    return Outcome(_not_seen_down(seen, across), "3 nodes, A - B - C")


def bridge_of_halves(scale: Scale) -> Outcome:
    """Two halves of a mesh meet only through one node."""
    seen = Seen()
    with mesh_of(nodes_for(scale), scale) as mesh:
        middle, *rest = mesh.nodes
        left, right = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        with harmed(mesh, seen):
            mesh.lab.cut(left, right)
            time.sleep(90 if scale is Scale.FULL else 8)
            across = _works_across(mesh.node(left[0]), mesh.node(right[0]))
    figures = (
        Figure("believed down for a moment", seen.down),
        Figure("the longest", max(seen.healed, default=0.0), "s", at_most=10.0),
        *_not_seen_down(seen, across)[1:],
    )
    return Outcome(figures, f"{len(left)} - 1 - {len(right)} nodes, only {middle} reaches all")


def _flap(mesh: LabMesh, ends: tuple[Sequence[int], Sequence[int]], lasts_s: float) -> int:
    """Have links between these hosts go and come each second; returns how often."""
    end = time.monotonic() + lasts_s
    turns = 0
    while time.monotonic() < end:
        mesh.lab.cut(*ends)
        time.sleep(1.0)
        for sources, targets in (ends, ends[::-1]):
            mesh.lab.rule(sources, targets, CLEAR)
        time.sleep(1.0)
        turns += 1
    return turns


def flapping(scale: Scale) -> Outcome:
    """A link comes and goes each second; then all links of one node do."""
    lasts_s = 60.0 if scale is Scale.FULL else 4.0
    link, card = Seen(), Seen()
    with mesh_of(nodes_for(scale), scale) as mesh:
        first, second, *rest = mesh.nodes
        with harmed(mesh, link):
            _flap(mesh, ([first], [second]), lasts_s)
        with harmed(mesh, card):
            turns = _flap(mesh, ([first], [second, *rest]), lasts_s)
    return Outcome(
        (
            Figure("one link: believed down", link.down, at_most=0),
            *safety(link, 15.0),
            Figure("all links of a node: believed down", card.down, at_most=0),
            *safety(card, 15.0),
        ),
        f"{len(mesh.nodes)} nodes, {turns} times 1 s off and 1 s on",
    )


NEEDS = (Need.NAMESPACES,)
APART = "nobody who can be reached through others is believed down; work goes through"
FAULTS = (
    Fault(
        "loss-5",
        "5 % of all packets are lost",
        "0 false downs, healed <= 10 s",
        loss(5, 5, 0),
        NEEDS,
    ),
    Fault(
        "loss-20",
        "20 % of all packets are lost",
        "0 false downs, healed <= 10 s",
        loss(20, 5, 0),
        NEEDS,
        in_quick_run=True,
    ),
    Fault(
        "loss-30",
        "30 % of all packets are lost",
        "<= 1 false down per node-day (so <= 1 here), healed <= 10 s",
        loss(30, 5, 1),
        NEEDS,
    ),
    Fault(
        "loss-50",
        "50 % of all packets are lost",
        "nobody dead, nothing lost, all well <= 120 s after",
        loss(50, 3, None),
        NEEDS,
    ),
    Fault("one-way-link", "one node does not hear another", APART, one_way, NEEDS),
    Fault("broken-pairs", "every node has lost its link to one other", APART, broken_pairs, NEEDS),
    Fault("bridge", "two nodes meet only through a third", APART, bridge, NEEDS),
    Fault(
        "bridge-of-halves",
        "two halves meet only in one node",
        "nobody who can be reached through others is declared dead; work goes through",
        bridge_of_halves,
        NEEDS,
    ),
    Fault("flapping", "links go and come every second", APART, flapping, NEEDS),
)
