"""All benchmarks by one name: `python -m tests.bench --help` says which there are."""

import argparse
import signal
import sys
from pathlib import Path

from tests.bench import (
    blobs,
    calls,
    claims,
    cost,
    figures,
    garbage,
    peers,
    removal,
    reports,
    simulator,
    soak,
)


def parser() -> argparse.ArgumentParser:
    """Return the commands and their options."""
    made = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    claims.add_options(commands.add_parser("claims", help="claims and submits on three real nodes"))
    calls.add_options(commands.add_parser("calls", help="what claims cost, in counts"))
    blobs.add_options(commands.add_parser("blobs", help="large results between two real nodes"))
    simulator.add_options(commands.add_parser("simulator", help="how fast virtual time passes"))
    garbage.add_options(commands.add_parser("garbage", help="many tasks through nodes that forget"))
    removal.add_options(commands.add_parser("removal", help="the longest turn of a removal"))
    soak.add_options(commands.add_parser("soak", help="simulated hours: false deaths, detection"))
    figures.add_options(commands.add_parser("figures", help="what membership is to reach"))
    costs = commands.add_parser("cost", help="what a node costs as the mesh grows")
    costs.add_argument("--real", default=",".join(map(str, cost.REAL)), help="sizes of real meshes")
    costs.add_argument(
        "--simulated", default=",".join(map(str, cost.SIMULATED)), help="sizes of simulated ones"
    )
    costs.set_defaults(run=cost.run)
    beside = commands.add_parser("peers", help="mesh beside serf, etcd and Redis")
    parts = ",".join(peers.PARTS)
    beside.add_argument(
        "--parts", default=parts, type=reports.some_of(peers.PARTS), help="serf, stores or both"
    )
    beside.add_argument("--rounds", type=int, default=peers.ROUNDS, help="of everything (5)")
    beside.add_argument("--sizes", default=",".join(map(str, peers.SIZES)), help="for membership")
    beside.add_argument("--install", action="store_true", help="install the peers first (apt-get)")
    beside.set_defaults(run=peers.run)
    for each in (costs, beside):
        each.add_argument("--quick", action="store_true", help="short: to see that it works")
    for each in (costs, beside, commands.choices["claims"], commands.choices["blobs"]):
        each.add_argument("--out", type=Path, help="write raw data here, as lines of JSON")
        each.add_argument("--write", type=Path, help="put the tables into this document")
        each.add_argument(
            "--from", dest="source", type=Path, help="measure nothing: show this raw data"
        )
    return made


def main() -> int:
    """Run one benchmark."""
    # Ended from outside, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = parser().parse_args()
    result: int = options.run(options)
    return result


if __name__ == "__main__":
    sys.exit(main())
