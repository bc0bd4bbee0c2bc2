"""The options of `mesh demo`; what it does is in `mesh.cli.demo`."""

import argparse

from mesh.cli.options import add_json
from mesh.cli.values import count


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh demo`."""
    add_json(parser)
    parser.add_argument(
        "--nodes", metavar="N", type=count, default=5, help="how many, up to 50 (5)"
    )
    parser.add_argument("--keep", action="store_true", help="keep data and logs of the nodes")
    parser.set_defaults(run=demo)


def demo(options: argparse.Namespace) -> int:
    """Start a few nodes here, work, and kill one of them."""
    from mesh.cli.demo import run_demo

    return run_demo(nodes=options.nodes, as_json=options.json, keep=options.keep)
