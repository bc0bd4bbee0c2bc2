"""mesh beside what one would use instead: serf for membership, etcd and Redis for claims.

    python -m tests.bench peers [--parts serf,stores] [--rounds 5] [--write docs/benchmarks.md]

Membership: serf agents and mesh nodes, each system in a namespace of its own with profile `lan`,
started one after the other and then measured at the same time, without loss and with it. Claims:
each store in turn, so that it has the machine to itself. Every figure is the median over the
rounds; the times until a killed member is known are quantiles over all rounds and members.
"""

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import membership, stores
from tests.bench.clusters import Cluster, MeshCluster, SerfCluster
from tests.bench.membership import KNOWN_S, Plan
from tests.bench.readings import Others, missing_tools
from tests.bench.reports import (
    RESULTS,
    Kept,
    Row,
    load,
    median,
    number,
    put_between,
    quantile,
    ratio,
    table,
)

PARTS = ("serf", "stores")
SIZES = (3, 10, 30)
CLIENTS = (1, 8, 32)
CONTENDERS = 8
ROUNDS = 5
FULL = Plan(idle_s=20.0, kills=1)
QUICK = Plan(idle_s=4.0, kills=1, losses=(0.0, 0.25), calm_s=1.0)
SECONDS, QUICK_SECONDS = 2.0, 0.5
PEERS = {
    "serf": {"serf": "serf"},
    "stores": {"etcd": "etcd-server", "redis-server": "redis-server"},
}
POLICY = Path("/usr/sbin/policy-rc.d")
STORES: tuple[Callable[[], contextlib.AbstractContextManager[stores.Store]], ...] = (
    stores.etcd,
    stores.redis,
    stores.mesh,
)


def say(text: str) -> None:
    """Tell a person how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def packages(parts: Iterable[str]) -> list[str]:
    """Return the Debian packages that these parts lack."""
    lacking = [
        package
        for part in parts
        for program, package in PEERS[part].items()
        if shutil.which(program) is None
    ]
    return lacking + (missing_tools() if "serf" in parts else [])


def install(names: Sequence[str]) -> None:
    """Install Debian packages whose services do not start."""
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *names], check=True)
    finally:
        if made:
            POLICY.unlink()


# --- measuring


def measure_members(sizes: Sequence[int], rounds: int, plan: Plan) -> Iterable[Row]:
    """Yield one row per system, size, loss and round."""
    rng = random.Random(1)
    for turn in range(rounds):
        for size in sizes:
            with contextlib.ExitStack() as stack:
                clusters: list[Cluster] = [SerfCluster(), MeshCluster()]
                for cluster in clusters:
                    stack.callback(cluster.close)
                joined = [membership.form(cluster, size) for cluster in clusters]
                for share in plan.losses:
                    say(f"round {turn + 1} of {rounds}, {size} members each, {share:.0%} loss")
                    rows = membership.measure_at(clusters, share, plan, rng)
                    for cluster, join, row in zip(clusters, joined, rows, strict=True):
                        what = {"system": cluster.name, "nodes": size}
                        yield {"part": "serf", "round": turn, **what, **row, **join}


def measure_stores(rounds: int, seconds: float) -> Iterable[Row]:
    """Yield one row per store, number of clients and round."""
    tries = [(clients, False) for clients in CLIENTS] + [(CONTENDERS, True)]
    for turn in range(rounds):
        for run in STORES:
            with run() as store:
                say(f"claims, round {turn + 1} of {rounds}, {store.name}")
                for clients, contend in tries:
                    others = Others(store.pids)
                    driven = stores.drive(store, clients, seconds, contend=contend)
                    yield {
                        "part": "stores",
                        "round": turn,
                        "system": store.name,
                        "durability": store.durability,
                        "clients": clients,
                        "contend": contend,
                        **driven.row(),
                        "others_percent": others.percent(),
                    }


# --- tables


def _of(rows: Iterable[Row], **wanted: Any) -> list[Row]:  # noqa: ANN401  JSON
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def _median_of(name: str) -> Callable[[Sequence[Row]], float | None]:
    return lambda rows: median(row[name] for row in rows)


def _known(share: float) -> Callable[[Sequence[Row]], float | None]:
    return lambda rows: quantile([at for row in rows for at in row["known_s"]], share)


JOINING = {
    "late joiner listed by all, s": _median_of("late_s"),
    "of that, until it was loaded, s": _median_of("late_load_s"),
    "all but one started at once, full views, s": _median_of("burst_s"),
    "memory, MB": _median_of("memory_mb"),
}
AT_EACH_LOSS = {
    "bytes/s sent, idle": _median_of("bytes_s"),
    "packets/s sent, idle": _median_of("packets_s"),
    "CPU idle, % of a core": _median_of("cpu_percent"),
    "kill -9 to known, p50 of all others, s": _known(0.5),
    "kill -9 to known, p99, s": _known(0.99),
}
IN_SUM = {
    "live members believed gone, sum of views": "innocents",
    f"killed and not known after {KNOWN_S:.0f} s, sum of views": "unknown",
}


def members_table(rows: Sequence[Row]) -> str:
    """Return serf and mesh side by side; below 1 x mesh takes less, or is sooner."""
    losses = sorted({row["loss"] for row in rows})
    header = ["per member", *(f"{size} members" for size in sorted({row["nodes"] for row in rows}))]
    calm = _of(rows, loss=losses[0])
    lines = [_beside(name, calm, figure) for name, figure in JOINING.items()]
    for name, figure in AT_EACH_LOSS.items():
        lines += [_beside(f"{name}: {x:.0%} loss", _of(rows, loss=x), figure) for x in losses]
    for name, key in IN_SUM.items():
        lines += [_sums(f"{name}: {x:.0%} loss", _of(rows, loss=x), key) for x in losses]
    return table(header, lines)


def _pairs(rows: Sequence[Row]) -> Iterable[tuple[list[Row], list[Row]]]:
    """Yield what was measured of serf and of mesh, size by size."""
    for size in sorted({row["nodes"] for row in rows}):
        of_size = _of(rows, nodes=size)
        yield _of(of_size, system="serf"), _of(of_size, system="mesh")


def _beside(
    name: str, rows: Sequence[Row], figure: Callable[[Sequence[Row]], float | None]
) -> list[str]:
    cells = [name]
    for both in _pairs(rows):
        serf, mesh = map(figure, both)
        cells.append(f"{number(serf)} / {number(mesh)} ({ratio(mesh, serf)})")
    return cells


def _sums(name: str, rows: Sequence[Row], key: str) -> list[str]:
    """Return what happened in all rounds together."""
    sums = [[sum(row[key] for row in some) for some in both] for both in _pairs(rows)]
    return [name, *(f"{serf} / {mesh}" for serf, mesh in sums)]


def stores_table(rows: Sequence[Row]) -> str:
    """Return claims per second and their latencies, store by store."""
    header = ["clients", *dict.fromkeys(f"{row['system']} ({row['durability']})" for row in rows)]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    header += [f"mesh : {name}" for name in systems if not name.startswith("mesh")]
    lines = []
    for clients, contend in dict.fromkeys((row["clients"], row["contend"]) for row in rows):
        cells = [f"{clients}, for the same keys" if contend else f"{clients}"]
        rates = {}
        for name in systems:
            some = _of(rows, system=name, clients=clients, contend=contend)
            rates[name] = median(row["won_per_s"] for row in some)
            p50, p99 = (median(row[key] for row in some) for key in ("p50_ms", "p99_ms"))
            cells.append(f"{number(rates[name])}/s, {number(p50)} / {number(p99)} ms")
            twice = sum(row["two_winners"] for row in some)
            if contend:
                cells[-1] += f", {twice} won twice"
        ours = next(rate for name, rate in rates.items() if name.startswith("mesh"))
        cells += [ratio(ours, rates[name]) for name in systems if not name.startswith("mesh")]
        lines.append(cells)
    return table(header, lines)


def report(rows: Sequence[Row]) -> dict[str, str]:
    """Return the text of each part that was measured."""
    texts = {}
    members, claims = _of(rows, part="serf"), _of(rows, part="stores")
    if members:
        rounds = 1 + max(row["round"] for row in members)
        noise = median(row["others_percent"] for row in members)
        texts["serf"] = (
            f"serf / mesh (mesh as a multiple of serf), medians of {rounds} rounds; everything "
            f"else on the machine used {number(noise)} % of a core.\n\n{members_table(members)}"
        )
    if claims:
        rounds = 1 + max(row["round"] for row in claims)
        texts["stores"] = (
            "Exclusive claims won per second, p50 / p99 of an attempt, "
            f"medians of {rounds} rounds.\n\n{stores_table(claims)}"
        )
    return texts


def measure(part: str, options: argparse.Namespace) -> Iterable[Row]:
    """Yield the rows of one part."""
    if part == "serf":
        sizes = [int(size) for size in options.sizes.split(",")]
        return measure_members(sizes, options.rounds, QUICK if options.quick else FULL)
    return measure_stores(options.rounds, QUICK_SECONDS if options.quick else SECONDS)


def run(options: argparse.Namespace) -> int:
    """Measure what is asked for, show it, keep it."""
    if options.source:
        rows = load(options.source)
    else:
        lacking = packages(options.parts)
        if lacking and options.install:
            install(lacking)
        elif lacking:
            say(f"to be installed first (or give --install): {' '.join(lacking)}")
            return 1
        shared = Kept(options.out) if options.out else None
        rows = []
        for part in options.parts:
            kept = shared or Kept(RESULTS / f"{part}.jsonl" if options.write else None)
            for row in measure(part, options):
                kept.add(row)
                rows.append(row)
    for name, text in report(rows).items():
        print(text)
        if options.write:
            put_between(options.write, name, text)
    return 0
