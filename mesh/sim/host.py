"""One simulated machine: its node, clock and disk, who is connected to it, and what waits."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from mesh.core.blobs.shelf import Inventory
from mesh.core.effects import ClientId, Effect, Json, Reply, ReplyError
from mesh.core.identity import Address
from mesh.core.inputs import DatagramReceived, Input
from mesh.core.instants import NEVER, Instant, Now
from mesh.core.snapshot import Snapshot
from mesh.sim.clock import SimClock
from mesh.sim.disk import Rows, SimDisk

SOCKET_DATAGRAMS_MAX = 256
"""Datagrams that the kernel keeps for a process that does not read."""

NEVER_S = float("inf")


class Driven(Protocol):
    """The slice of a node that a driver calls; the simulator knows nothing else of it."""

    def start(self, now: Now) -> list[Effect]:
        """Begin; called once, before anything else."""
        ...

    def handle(self, now: Now, event: Input, /) -> list[Effect]:
        """Take one input."""
        ...

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Do what is due; then `next_deadline()` lies after `now.instant`."""
        ...

    def next_deadline(self) -> Instant:
        """Return when `handle_timeout` wants to be called."""
        ...

    def snapshot(self, now: Now) -> Snapshot:
        """Return plain data about the node; changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Birth:
    """Everything that a factory needs to know to make the node of one start."""

    name: str
    index: int
    """Place among the hosts of the world, from 0."""
    address: Address
    seeds: tuple[str, ...]
    """Texts that `ResolveSeeds` understands: addresses of all other hosts so far."""
    rows: Rows
    """What the simulated disk kept; empty on the first start and after `destroy_disk`."""
    blobs: Inventory
    rng: random.Random
    """The node's own chance, drawn anew from the world's at each start."""
    starts: int
    """How many times a node was started here before, on whatever disk."""
    disk: int
    """Number of the disk, raised by `destroy_disk`: the key of the node was on it, so the key
    must be a function of (world seed, name, disk)."""
    founding: bool
    """Whether this start makes the mesh: the first start of the first host."""
    ticket: str | None
    """What `World.ticket` holds at this moment."""
    tags: Mapping[str, str]


class HostState(Enum):
    """What a machine and its node are doing."""

    OFF = "off"
    RUNNING = "running"
    PAUSED = "paused"
    """The node's process is stopped (SIGSTOP); the kernel and the agents go on."""
    ASLEEP = "asleep"
    """The whole machine is suspended."""


class Client(Protocol):
    """Who sits at the other end of a control socket."""

    def handle_reply(self, reply: Reply | ReplyError) -> None:
        """Take the answer to one request."""
        ...

    def handle_notice(self, topic: str, body: Mapping[str, Json]) -> None:
        """Take a notification."""
        ...

    def handle_disconnected(self, *, machine: bool) -> None:
        """The node is gone; with `machine`, this client dies with it."""
        ...

    def handle_started(self) -> None:
        """A node runs here again."""
        ...


Deferred = Callable[[], None]


@dataclass(slots=True, eq=False)
class Host:
    """One machine of the world."""

    name: str
    index: int
    address: Address
    clock: SimClock
    disk: SimDisk
    tags: Mapping[str, str]
    node: Driven | None = None
    state: HostState = HostState.OFF
    run: int = 0
    """Raised at each start and stop: what was meant for an earlier run is dropped."""
    stop: int = 0
    """Raised at each pause, suspend and wake: an end that comes too late is ignored."""
    starts: int = 0
    disk_number: int = 0
    deadline: Instant = NEVER
    armed_s: float = NEVER_S
    stopped_s: float = 0.0
    disturbed_s: float = 0.0
    """When something last went wrong here; see `World.calm_since`."""
    changed: bool = False
    """Whether it has made something durable that the observers have not looked at."""
    disk_lost_s: float = -1.0
    """When its disk was last destroyed."""
    retired: bool = False
    """Never started again."""
    halted: str | None = None
    clients: dict[ClientId, Client] = field(default_factory=dict)
    """Connected to the running node, by connection."""
    programs: list[Client] = field(default_factory=list)
    """Programs of this machine, connected or not."""
    next_client: int = 1
    datagrams: int = 0
    bytes_sent: int = 0
    _backlog: deque[Input | Deferred] = field(default_factory=deque)
    _waiting_datagrams: int = 0

    def hold(self, event: Input) -> None:
        """Keep an input for later; datagrams beyond the kernel's buffer are lost."""
        if isinstance(event, DatagramReceived):
            # A suspended machine's network is down: nothing can be queued.
            if self.state is HostState.ASLEEP or self._waiting_datagrams >= SOCKET_DATAGRAMS_MAX:
                return
            self._waiting_datagrams += 1
        self._backlog.append(event)

    def defer(self, action: Deferred) -> None:
        """Keep what a program of this machine wanted to do while the machine sleeps."""
        self._backlog.append(action)

    def take_backlog(self) -> list[Input | Deferred]:
        """Remove and return what waits, oldest first."""
        waiting = list(self._backlog)
        self.forget_backlog()
        return waiting

    def forget_backlog(self) -> None:
        """Lose what waits."""
        self._backlog.clear()
        self._waiting_datagrams = 0
