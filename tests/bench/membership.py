"""What is measured of real members: joining, the price of being idle, false deaths, kills.

Several clusters are measured side by side: they start one after the other, since starting uses all
of the machine, and then they are idle, lose packets and lose a member at the same time.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.clusters import Cluster
from tests.bench.readings import Meter, Others, lose

LOSSES = (0.0, 0.05, 0.25)
CALM_S = 4.0
KNOWN_S = 60.0
BETWEEN_S = (0.5, 2.0)
"""So long after all else somebody is killed: no moment of a probe round is preferred."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure at each loss, and how many to kill."""

    idle_s: float
    kills: int
    losses: tuple[float, ...] = LOSSES
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


def _settle(clusters: Sequence[Cluster], share: float, calm_s: float) -> None:
    """Lose this share of all packets from now on, and listen to whoever runs."""
    for cluster in clusters:
        cluster.watch()
        lose(cluster.space, share)
    time.sleep(calm_s)


def _idle(clusters: Sequence[Cluster], seconds: float) -> list[Row]:
    """Return what each cluster costs per member, and how often somebody was believed gone."""
    others = Others([pid for cluster in clusters for pid in cluster.pids()])
    meters = [Meter(cluster.pids()) for cluster in clusters]
    begun = time.monotonic()
    time.sleep(seconds)
    rates, noise = [meter.rates() for meter in meters], others.percent()
    return [
        {**asdict(rate), "others_percent": noise, "innocents": len(cluster.gone(begun))}
        for cluster, rate in zip(clusters, rates, strict=True)
    ]


def _kill(clusters: Sequence[Cluster], rows: Sequence[Row], number: int) -> None:
    """Kill a member of each; adds after how long the others knew, and whom they wronged."""
    killed = [cluster.kill(number) for cluster in clusters]
    for cluster, at, row in zip(clusters, killed, rows, strict=True):
        known = cluster.wait_known(number, at, KNOWN_S)
        row["known_s"] += known
        row["unknown"] += len(cluster.processes) - len(known)
        row["innocents"] += sum(event.about != number for event in cluster.gone(at))


def _bring_back(clusters: Sequence[Cluster], number: int) -> None:
    """Start it again, without loss: a start that fails is not what is measured."""
    for cluster in clusters:
        lose(cluster.space, 0.0)
        cluster.start([number])
    for cluster in clusters:
        cluster.wait_full(len(cluster.processes))


def measure_at(
    clusters: Sequence[Cluster], share: float, plan: Plan, rng: random.Random
) -> list[Row]:
    """Lose a share of all packets; returns a row for each cluster, which is whole again then."""
    _settle(clusters, share, plan.calm_s)
    rows: list[Row] = [
        {"loss": share, **row, "kills": plan.kills, "known_s": [], "unknown": 0}
        for row in _idle(clusters, plan.idle_s)
    ]
    for turn in range(plan.kills):
        if turn:
            _settle(clusters, share, plan.calm_s)
        time.sleep(rng.uniform(*BETWEEN_S))
        victim = rng.randrange(2, len(clusters[0].processes) + 1)
        _kill(clusters, rows, victim)
        _bring_back(clusters, victim)
    return rows
