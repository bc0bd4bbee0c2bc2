"""What a node is given when it is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mesh.core.blobs.shelf import Inventory
from mesh.core.crypto.suite import SigningKey, Suite
from mesh.core.identity import BOOT_RANDOM_BITS, Address
from mesh.core.params import Params
from mesh.core.rng import Rng

Rows = Mapping[str, Mapping[bytes, bytes]]
"""What the durable log held: kind -> key -> newest value."""

BOOT_ROW_BYTES = 8


def last_start(rows: Rows) -> int | None:
    """Return how often the node had started; None when the disk says what cannot be."""
    value = rows.get("boot", {}).get(b"")
    if value is None:
        return 0
    number = int.from_bytes(value, "big")
    if len(value) != BOOT_ROW_BYTES or number + 1 >= 1 << 64 - BOOT_RANDOM_BITS:
        return None
    return number


@dataclass(frozen=True, slots=True)
class Founding:
    """A wish to make a new mesh rather than to join one."""

    name: str
    profile: str
    open: bool


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """Identity, numbers, chance, memory, and how to find the others."""

    suite: Suite
    key: SigningKey
    params: Params
    rng: Rng
    name: str
    addresses: tuple[Address, ...]
    seeds: tuple[str, ...] = ()
    ticket: str | None = None
    mesh: bytes | None = None
    """The mesh id to insist on when joining by bare seed address."""
    founding: Founding | None = None
    wants_admin: bool = True
    tags: tuple[tuple[str, str], ...] = ()
    rows: Rows | None = None
    blobs: Inventory = field(default_factory=dict)
    """What of blobs the disk held."""
    version: str = "0"
    driver_counters: Callable[[], Mapping[str, int]] = dict
    """Figures of whatever drives the node (CPU, memory, sockets, disk), for status only."""
