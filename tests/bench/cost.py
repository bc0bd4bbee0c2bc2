"""What a node costs as the mesh grows: real processes up to 30, the simulator beyond.

    python -m tests.bench cost [--quick] [--write docs/benchmarks.md]

Real: `mesh up` processes in one namespace, packets counted by the kernel with all headers, lost by
iptables. Simulated: the same nodes under virtual time; 28 bytes for UDP and IP and 14 for an
Ethernet are added to each datagram, and CPU is that of the simulator, without system calls.
"""

import argparse
import dataclasses
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mesh.sim import sizing
from mesh.sim.sizing import UDP_HEADER_BYTES, Late, Setting
from tests.bench.clusters import MeshCluster
from tests.bench.membership import LOSSES, Plan, form, measure_at
from tests.bench.plot import Panel, draw
from tests.bench.readings import PERCENT, missing_tools
from tests.bench.reports import (
    RESULTS,
    Kept,
    Row,
    load,
    number,
    put_between,
    quantile,
    table,
)

REAL, SIMULATED = (3, 10, 30), (100, 300, 1000)
KEY = ("kind", "nodes", "loss")
IMAGE = Path("images/cost-against-n.svg")
ETHERNET_BYTES = 14
DETECTION_TARGET_S = 5.0
FULL_VIEW_TARGET_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure, and how often."""

    idle_s: float
    kills: int
    simulated_s: float
    crashes: dict[int, int]
    """By the number of simulated nodes; each is seen by all others."""


FULL = Effort(20.0, 5, 20.0, {100: 5, 300: 2, 1000: 1})
QUICK = Effort(4.0, 1, 10.0, {100: 1, 300: 1, 1000: 1})


def say(text: str) -> None:
    """Tell a person how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measure_real(nodes: int, effort: Effort, rng: random.Random) -> Iterable[Row]:
    """Yield a row per loss for one mesh of real processes."""
    plan = Plan(effort.idle_s, effort.kills)
    cluster = MeshCluster()
    try:
        joined = form(cluster, nodes)
        for share in plan.losses:
            say(f"{nodes} processes, {share:.0%} loss")
            (row,) = measure_at([cluster], share, plan, rng)
            row |= _detection(row.pop("known_s"))
            joined_s = joined["burst_s"] if share == 0 else None
            yield {"kind": "real", "nodes": nodes, **row, "joined_s": joined_s}
    finally:
        cluster.close()


def measure_simulated(nodes: int, share: float, effort: Effort) -> Row:
    """Return the row of one simulated mesh; what could not be had in time is missing."""
    setting = Setting(nodes, share)
    row: Row = {"kind": "simulated", "nodes": nodes, "loss": share}
    try:
        _measure_formed(setting, effort, row)
        if share == 0:
            row["joined_s"] = sizing.measure_mass_join(setting).all_s
    except Late as late:
        say(str(late))
    return row


def _measure_formed(setting: Setting, effort: Effort, row: Row) -> None:
    """Add what is seen in one mesh; nothing of it is left in memory when another one begins."""
    sample = sizing._Sample(setting)
    sample.start_all()
    sample.wait(sample.is_full, sizing.FORMING_S)
    sample.settle()
    row |= _idle(sample, effort.simulated_s)
    crashes = [_crash(sample) for _ in range(effort.crashes[setting.nodes])]
    row |= {"kills": len(crashes), "innocents": sum(wrong for _, wrong in crashes)}
    row |= _detection([at for known, _ in crashes for at in known])


def _idle(sample: sizing._Sample, seconds: float) -> Row:
    begun, before = time.process_time(), sample.sent()
    sample.world.run(seconds)
    share = 1 / seconds / sample.setting.nodes
    packets, sent_bytes = (
        (b - a) * share for a, b in zip(before[:2], sample.sent()[:2], strict=True)
    )
    return {
        "packets_s": packets,
        "bytes_s": sent_bytes + (UDP_HEADER_BYTES + ETHERNET_BYTES) * packets,
        "cpu_percent": PERCENT * (time.process_time() - begun) * share,
    }


def _crash(sample: sizing._Sample) -> tuple[list[float], int]:
    """Kill one and bring it back; returns when who knew, and how often others were blamed."""
    world = sample.world
    victim = world.rng.choice(sample.names)
    world.run(world.rng.uniform(1.0, 4.0))
    world.kill(victim)
    begun, others, subject = world.now_s, list(world.running()), sample.ids[victim]
    known: list[float] = []

    def all_know() -> bool:
        waiting = [host for host in others if sizing.status_at(host, subject) not in sizing.GONE]
        known.extend([world.now_s - begun] * (len(others) - len(waiting)))
        others[:] = waiting
        return not waiting

    sample.wait(all_know, sizing.DETECTION_S)
    wrong = len(sizing._innocents(world.running(), subject))
    world.start(victim)
    sample.wait(sample.is_full, sizing.FORMING_S)
    return known, wrong


def _detection(known: Sequence[float]) -> Row:
    """Return quantiles over all kills and all nodes that were left."""
    return {"known_p50_s": quantile(known, 0.5), "known_p99_s": quantile(known, 0.99)}


def measure(effort: Effort, real: Sequence[int], simulated: Sequence[int]) -> Iterable[Row]:
    """Yield every row."""
    rng = random.Random(1)
    for nodes in real:
        yield from measure_real(nodes, effort, rng)
    for nodes in simulated:
        for share in LOSSES:
            say(f"{nodes} simulated nodes, {share:.0%} loss")
            yield measure_simulated(nodes, share, effort)


# --- what is shown


def _by_size(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    grouped: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["kind"], row["nodes"]), []).append(row)
    return grouped


def _joined(rows: Sequence[Row], name: str) -> str:
    return " / ".join(number(row.get(name)) for row in rows)


def _known(row: Row) -> str:
    return f"{number(row.get('known_p50_s'))}, {number(row.get('known_p99_s'))}"


def cost_table(rows: Sequence[Row]) -> str:
    """Return one line per size; cells hold the figures for each loss in turn."""
    losses = " / ".join(f"{share * 100:g}" for share in dict.fromkeys(row["loss"] for row in rows))
    header = [
        "nodes",
        f"bytes/s at {losses} % loss",
        "packets/s",
        "CPU, % of a core",
        "memory, MB",
        "killed to known, p50, p99 over all others, s",
        "kills per loss",
        "others believed gone",
        "all joined at once, s",
    ]
    lines = []
    for (kind, nodes), some in _by_size(rows).items():
        lines.append(
            [
                f"{nodes:,} {kind}",
                _joined(some, "bytes_s"),
                _joined(some, "packets_s"),
                _joined(some, "cpu_percent"),
                number(some[0].get("memory_mb")),
                " / ".join(_known(row) for row in some),
                f"{max(row.get('kills', 0) for row in some)}",
                _joined(some, "innocents"),
                number(some[0].get("joined_s")),
            ]
        )
    return table(header, lines)


def plot(rows: Sequence[Row]) -> str:
    """Return the plot."""
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    sizes = list(dict.fromkeys(row["nodes"] for row in rows))

    def lines(figure: Callable[[Row], float | None]) -> dict[str, list[tuple[float, float]]]:
        return {
            f"{share:.0%} loss": [
                (row["nodes"], value)
                for row in rows
                if row["loss"] == share and (value := figure(row)) is not None
            ]
            for share in losses
        }

    real = max((row["nodes"] for row in rows if row["kind"] == "real"), default=1)
    beyond = min((row["nodes"] for row in rows if row["kind"] == "simulated"), default=1e6)
    gap = math.sqrt(real * beyond)
    joined = {"0% loss": lines(lambda row: row.get("joined_s"))["0% loss"]}
    panels = [
        Panel(title, several, target, sizes, gap)
        for title, several, target in (
            ("bytes/s sent per idle node", lines(lambda row: row.get("bytes_s")), None),
            ("packets/s sent per idle node", lines(lambda row: row.get("packets_s")), None),
            (
                "killed to known by the others: p99, in s",
                lines(lambda row: row.get("known_p99_s")),
                DETECTION_TARGET_S,
            ),
            ("all joined at once: full views, in s", joined, FULL_VIEW_TARGET_S),
        )
    ]
    return draw(panels, "left of the dotted line real processes, right of it simulated")


def run(options: argparse.Namespace) -> int:
    """Measure, show, keep."""
    kept = Kept(options.out or (RESULTS / "cost.jsonl" if options.write else None), KEY)
    if options.source:
        rows = load(options.source)
    else:
        real = [int(size) for size in options.real.split(",") if size]
        lacking = missing_tools() if real else []
        if lacking:
            say(f"needed: {' '.join(lacking)}")
            return 1
        simulated = [int(size) for size in options.simulated.split(",") if size]
        for row in measure(QUICK if options.quick else FULL, real, simulated):
            kept.add(row)
        rows = sorted(kept.rows, key=lambda row: [row[part] for part in KEY])
    text = cost_table(rows)
    print(text)
    if options.write:
        image = options.write.parent / IMAGE
        image.parent.mkdir(exist_ok=True)
        image.write_text(plot(rows))
        words = "Cost against the number of nodes"
        put_between(options.write, "cost", f"![{words}]({IMAGE})\n\n{text}")
    return 0
