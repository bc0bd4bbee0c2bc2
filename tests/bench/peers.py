"""mesh beside what one would use instead: serf for membership, etcd and Redis for claims.

    python -m tests.bench peers [--parts serf,stores] [--rounds 5] [--write docs/benchmarks.md]

Membership: serf agents and mesh nodes, each system in a namespace of its own with profile `lan`,
started one after the other and then measured at the same time. Claims: each store in turn, so that
it has the machine to itself. Every figure is the median over the rounds.
"""

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import membership, stores
from tests.bench.clusters import Cluster, MeshCluster, SerfCluster
from tests.bench.membership import Plan
from tests.bench.readings import Others, missing_tools
from tests.bench.reports import (
    RESULTS,
    Kept,
    Row,
    load,
    median,
    number,
    put_between,
    ratio,
    table,
)

PARTS = ("serf", "stores")
SIZES = (3, 10, 30)
CLIENTS = (1, 8, 32)
CONTENDERS = 8
ROUNDS = 5
FULL = Plan(idle_s=20.0, loss_s=30.0, losses=(0.1, 0.25))
QUICK = Plan(idle_s=4.0, loss_s=4.0, losses=(0.25,), calm_s=1.0)
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
    """Yield one row per system, size and round."""
    rng = random.Random(1)
    for turn in range(rounds):
        for size in sizes:
            say(f"membership, round {turn + 1} of {rounds}, {size} members each")
            with contextlib.ExitStack() as stack:
                clusters: list[Cluster] = [SerfCluster(), MeshCluster()]
                for cluster in clusters:
                    stack.callback(cluster.close)
                for row in membership.measure(clusters, size, plan, rng):
                    yield {"part": "serf", "round": turn, **row}


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


def _lossy(row: Row, share: float, name: str) -> float | None:
    return next((each[name] for each in row["lossy"] if each["loss"] == share), None)


FIGURES: Mapping[str, Callable[[Row], float | None]] = {
    "late joiner listed by all, s": lambda row: row["late_s"],
    "of that, until it was loaded, s": lambda row: row["late_load_s"],
    "all but one started at once, full views, s": lambda row: row["burst_s"],
    "bytes/s sent, idle": lambda row: row["idle"]["bytes_s"],
    "packets/s sent, idle": lambda row: row["idle"]["packets_s"],
    "CPU idle, % of a core": lambda row: row["idle"]["cpu_percent"],
    "memory, MB": lambda row: row["idle"]["memory_mb"],
    "kill -9: first to know, s": lambda row: row["kill"].get("first_s"),
    "kill -9: half know, s": lambda row: row["kill"].get("median_s"),
    "kill -9: last to know, s": lambda row: row["kill"].get("last_s"),
    "bytes/s at 25 % loss": lambda row: _lossy(row, 0.25, "bytes_s"),
}


def members_table(rows: Sequence[Row]) -> str:
    """Return serf and mesh side by side; below 1 x mesh takes less, or is sooner."""
    sizes = sorted({row["nodes"] for row in rows})
    header = ["per member" if len(sizes) > 1 else "", *(f"{n} members" for n in sizes)]
    lines = []
    for name, figure in FIGURES.items():
        cells = [name]
        for size in sizes:
            serf, mesh = (
                median(figure(row) for row in _of(rows, nodes=size, system=system))
                for system in ("serf", "mesh")
            )
            cells.append(f"{number(serf)} / {number(mesh)} ({ratio(mesh, serf)})")
        lines.append(cells)
    return table(header, lines + _deaths(rows, sizes))


def _deaths(rows: Sequence[Row], sizes: Sequence[int]) -> list[list[str]]:
    """Return, for each loss, how many were believed dead in error in all rounds."""
    shares = sorted({each["loss"] for row in rows for each in row["lossy"]})
    lines = []
    for share in shares:
        cells = [f"false deaths at {share:.0%} loss, sum of all views and rounds"]
        for size in sizes:
            counts = [
                sum(_lossy(row, share, "false_deaths") or 0 for row in _of(rows, nodes=size, **of))
                for of in ({"system": "serf"}, {"system": "mesh"})
            ]
            cells.append(f"{counts[0]:.0f} / {counts[1]:.0f}")
        lines.append(cells)
    return lines


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
