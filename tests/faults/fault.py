"""What a fault is: something done to real nodes, a criterion, and the figures that were measured.

A fault is a function. It sets up its own nodes, does its harm, measures, cleans up, and returns an
`Outcome`; it never asserts. So one function serves the test run, the table of
`python -m tests.faults`, and whoever wants the numbers.
"""

import dataclasses
from collections.abc import Callable
from enum import Enum


class Scale(Enum):
    """How much of a fault is run: a quick form for every test run, or the form that is reported."""

    QUICK = "quick"
    FULL = "full"


class Need(Enum):
    """What a fault needs of the machine, beyond ordinary processes."""

    NAMESPACES = "root that can make network namespaces and TUN devices"
    LOOP = "root that can mount loop devices"
    MOUNTS = "root that can mount a tmpfs"
    CGROUPS = "root that can set a processor quota"
    COMPILER = "a C compiler"
    FAKETIME = "libfaketime"
    NFT = "nft (Debian package nftables)"
    SNAPSHOTS = "mkfs.btrfs (Debian package btrfs-progs)"


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; with a limit it decides whether the fault was withstood."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the value keeps its limits; one without limits always does."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did to the nodes, in figures, and what a reader should know beside them."""

    figures: tuple[Figure, ...]
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its limits; no figure at all shows nothing."""
        return bool(self.figures) and all(figure.holds for figure in self.figures)


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A fault with its name, the criterion in words, what it needs, and the function itself."""

    name: str
    does: str
    criterion: str
    run: Callable[[Scale], Outcome]
    needs: tuple[Need, ...] = ()
    in_quick_run: bool = False
    """Whether the default tests run its quick form."""
