"""What is measured of real members: joining, the price of being idle, losses, a kill.

Several clusters are measured side by side: they start one after the other, since starting uses all
of the machine, and then they are idle, lose packets and lose a member at the same time.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.clusters import Cluster
from tests.bench.readings import Meter, Others, lose

CALM_S = 4.0
HEALED_S = 90.0
KNOWN_S = 60.0
Row = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the parts take."""

    idle_s: float
    loss_s: float
    losses: tuple[float, ...]
    calm_s: float = CALM_S


def form(cluster: Cluster, count: int) -> Row:
    """Start all but one member at once, and the last one when all is quiet."""
    cluster.start([1])
    cluster.wait_full(1)
    begun = time.monotonic()
    cluster.start(range(2, count))
    full = cluster.wait_full(count - 1)
    time.sleep(CALM_S)
    joined = time.monotonic()
    cluster.start([count])
    last = cluster.wait_full(count)
    ready = cluster.ready.get(count)
    return {
        "burst_s": None if full is None else full - begun,
        "late_s": None if last is None else last - joined,
        "late_load_s": None if ready is None else ready - joined,
    }


def be_idle(clusters: Sequence[Cluster], seconds: float) -> list[Row]:
    """Return what each cluster costs per member."""
    meters = [Meter(cluster.pids()) for cluster in clusters]
    time.sleep(seconds)
    return [asdict(meter.rates()) for meter in meters]


def be_lossy(clusters: Sequence[Cluster], share: float, seconds: float) -> list[Row]:
    """Lose packets for a while, and return what that costs and who was wrongly believed gone."""
    for cluster in clusters:
        lose(cluster.space, share)
    begun = time.monotonic()
    rows = be_idle(clusters, seconds)
    for cluster, row in zip(clusters, rows, strict=True):
        wrong = cluster.gone(begun)
        row["loss"] = share
        row["false_deaths"] = len(wrong)
        row["members_hit"] = len({event.about for event in wrong})
    return rows


def heal(clusters: Sequence[Cluster]) -> list[float | None]:
    """Let all packets pass; returns after how long each cluster had full views again."""
    for cluster in clusters:
        lose(cluster.space, 0)
    begun = time.monotonic()
    healed = [cluster.wait_full(len(cluster.processes), HEALED_S) for cluster in clusters]
    return [None if at is None else max(0.0, at - begun) for at in healed]


def kill_one(clusters: Sequence[Cluster], number: int) -> list[Row]:
    """Kill one member of each cluster; returns first, median, last belief that it is gone."""
    killed = [cluster.kill(number) for cluster in clusters]
    rows = []
    for cluster, at in zip(clusters, killed, strict=True):
        known = cluster.wait_known(number, at, KNOWN_S)
        row: Row = {"known_s": known, "of": len(cluster.processes)}
        if known:
            middle = known[len(known) // 2]
            row |= {"first_s": known[0], "median_s": middle, "last_s": known[-1]}
        rows.append(row)
    return rows


def measure(clusters: Sequence[Cluster], count: int, plan: Plan, rng: random.Random) -> list[Row]:
    """Measure clusters of one size; returns a row for each."""
    rows: list[Row] = [
        {"system": cluster.name, "nodes": count, **form(cluster, count)} for cluster in clusters
    ]
    time.sleep(plan.calm_s)
    others = Others([pid for cluster in clusters for pid in cluster.pids()])
    for row, idle in zip(rows, be_idle(clusters, plan.idle_s), strict=True):
        row["idle"] = idle
    for cluster in clusters:
        cluster.watch()
    lossy = [be_lossy(clusters, share, plan.loss_s) for share in plan.losses]
    healed = heal(clusters)
    time.sleep(rng.uniform(0.5, 2.0))
    kills = kill_one(clusters, rng.randrange(2, count + 1))
    for index, row in enumerate(rows):
        row["lossy"] = [several[index] for several in lossy]
        row["healed_s"], row["kill"] = healed[index], kills[index]
        row["others_percent"] = others.percent()
    return rows
