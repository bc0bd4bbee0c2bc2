"""The options of `mesh sim`; what it does is in `mesh.cli.simulate` and its neighbours."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from mesh.cli.options import add_json
from mesh.cli.values import count, duration_s, whole
from mesh.control.client import Refused
from mesh.core.params import PROFILES, Params
from mesh.sim.stories import STORIES
from mesh.sim.weather import FaultKind

Value = TypeVar("Value")
TRIAL = ("nodes", "storm", "calm", "tasks", "profile", "loss", "delay", "faults", "scheduled")
GOES_WITH = {
    "sizing": ("nodes", "profile", "loss", "delay", "seed", "jobs"),
    "scenario": ("nodes", "profile", "seed", "loss", "delay", "trace"),
    "list": (),
    "seeds": (*TRIAL, "from", "jobs"),
    "seed": (*TRIAL, "trace"),
}
"""What can be simulated -> the options that it takes; the first that is given is meant."""
EVERYTHING = dict.fromkeys(option for options in GOES_WITH.values() for option in options)
USAGE_HINT = "see `mesh sim --help`"


def add_sim(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh sim`."""
    what = parser.add_argument_group("what to simulate")
    what.add_argument("--seed", metavar="N", type=whole, help="one trial, told as it happens")
    what.add_argument("--seeds", metavar="N", type=count, help="so many trials, on all processors")
    what.add_argument("--scenario", choices=tuple(STORIES), help="a story; takes `--seed` (1) too")
    what.add_argument("--list", action="store_true", default=None, help="what the scenarios are")
    what.add_argument(
        "--sizing", action="store_true", default=None, help="measure meshes of several sizes"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--nodes", metavar="N,...", type=several(count), help="how many (5; 3,10,30,100 to size)"
    )
    how.add_argument("--profile", choices=PROFILES, help="timings of the mesh (lan)")
    how.add_argument("--storm", metavar="T", type=duration_s, help="how long faults happen (60s)")
    how.add_argument(
        "--calm", metavar="T", type=duration_s, help="then all must be well within this (120s)"
    )
    how.add_argument("--tasks", metavar="N", type=whole, help="tasks submitted in the storm (10)")
    how.add_argument(
        "--loss",
        metavar="P,...",
        type=several(percentage),
        help="percent of packets lost; several to size (drawn; 0 to size)",
    )
    how.add_argument(
        "--delay",
        metavar="MEDIAN:P99,...",
        type=several(delay_s),
        help="network delay, as 20ms:80ms; several to size (drawn; 0.2 to 2 ms to size)",
    )
    how.add_argument(
        "--faults",
        metavar="KIND,...",
        type=fault_kinds,
        help=f"draw from these only: {', '.join(FaultKind)} (all)",
    )
    how.add_argument(
        "--scheduled",
        action="store_true",
        default=None,
        help="tasks with priorities, limits and auctions, drawn too",
    )
    how.add_argument("--from", metavar="N", type=whole, help="the first of the seeds (0)")
    how.add_argument("--jobs", metavar="N", type=count, help="processes (one per processor)")
    how.add_argument(
        "--trace", action="store_true", default=None, help="tell every packet, timer and answer"
    )
    add_json(parser)
    parser.set_defaults(run=simulate)


def percentage(text: str) -> float:
    """Return the share that `5` or `5%` stands for, below 100 percent."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to below 100")
    return percent / 100


def delay_s(text: str) -> tuple[float, float]:
    """Return median and p99 for `20ms:80ms`."""
    halves = tuple(duration_s(half) for half in text.split(":"))
    if len(halves) != 2 or not 0 < halves[0] <= halves[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form MEDIAN:P99, as 20ms:80ms")
    return halves[0], halves[1]


def fault_kinds(text: str) -> tuple[FaultKind, ...]:
    """Return the kinds of faults that are named; none for an empty text."""
    words = [word for word in text.split(",") if word]
    for word in words:
        if word not in tuple(FaultKind):
            known = ", ".join(FaultKind)
            raise argparse.ArgumentTypeError(f"{word!r} is no kind of fault: those are {known}")
    return tuple(map(FaultKind, words))


def several(one: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Return what reads several values with commas between them."""

    def read(text: str) -> tuple[Value, ...]:
        return tuple(one(part) for part in text.split(","))

    return read


def chosen(options: argparse.Namespace) -> str:
    """Return what is to be simulated; raises Refused where that or an option makes no sense."""
    given = {name for name, value in vars(options).items() if value is not None}
    what = next((name for name in GOES_WITH if name in given), None)
    if what is None:
        raise Refused("usage", "nothing to simulate: say --seed N, or what else", USAGE_HINT)
    for option in (*GOES_WITH, *EVERYTHING):
        if option in given and option not in (what, *GOES_WITH[what]):
            raise Refused("usage", f"--{option} does not go with --{what}", USAGE_HINT)
    most = Params().membership.members_max
    if max(options.nodes or (0,)) > most:
        raise Refused("usage", f"a mesh has at most {most} members", "give fewer --nodes")
    for option in ("nodes", "loss", "delay"):
        if what != "sizing" and option in given and len(getattr(options, option)) > 1:
            raise Refused("usage", f"--{what} takes one value for --{option}", USAGE_HINT)
    return what


def simulate(options: argparse.Namespace) -> int:
    """Run real nodes in virtual time."""
    match chosen(options):
        case "seed":
            from mesh.cli.simulate import show_trial

            return show_trial(options)
        case "seeds":
            from mesh.cli.simulate_sweep import sweep

            return sweep(options)
        case "sizing":
            from mesh.cli.simulate_sizing import show_sizes

            return show_sizes(options)
        case "list":
            from mesh.cli.simulate import list_scenarios

            return list_scenarios(options)
        case _:
            from mesh.cli.simulate import show_scenario

            return show_scenario(options)
