"""A whole simulated mesh under one seed: machines, network, faults, and who watches them."""

import random
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import Protocol

from mesh.core.crypto.suite import Suite
from mesh.core.effects import ClientId
from mesh.core.identity import Address, MeshId, PublicKey
from mesh.core.inputs import ClientGone, CommandReceived, LoopLag, SuspendGap
from mesh.core.params import Params
from mesh.core.snapshot import Snapshot
from mesh.sim.clock import SimClock
from mesh.sim.disk import SimDisk
from mesh.sim.engine import Conditions, Engine
from mesh.sim.history import History
from mesh.sim.host import NEVER_S, Birth, Client, Driven, Host, HostState
from mesh.sim.network import Partition, Rule, uniform
from mesh.sim.suite import SimSuite

PORT = 7946
CLOCK_AGE_HIGH_S = 100_000.0
BOOT_AGE_LOW_S, BOOT_AGE_HIGH_S = 1.0, 20.0
"""What the monotonic clock of a machine shows that just got its power back."""

USUAL = Conditions()


class Rank(IntEnum):
    """What a key may do: each can do what those before it can."""

    NOBODY = 0
    NODE = 1
    ADMIN = 2
    ROOT = 3


class NodeFactory(Protocol):
    """Makes the node of one start of one host; called by `World.start`, before `Driven.start`.

    It builds a real node from `birth` (see `Birth`, every field is meant to be used) with
    `world.suite`, `world.params` and `birth.rng`. It must be a function of (world.seed, birth):
    any key or nonce it makes up comes from `birth.rng` or from hashing seed, name and disk. It
    sets `world.mesh_id` once that is known and `world.ticket` when joiners need one. For the
    checkers it puts the root, and whoever takes part without having joined, into `world.ranks`,
    and says in `world.is_open` whether nodes may admit themselves.
    """

    def __call__(self, world: "World", birth: Birth, /) -> Driven:
        """Return the node, not started."""
        ...


class World(Engine):
    """Nodes, network and time of one simulated mesh."""

    __slots__ = (
        "_control",
        "_partition",
        "conditions",
        "disturbed_s",
        "factory",
        "history",
        "is_open",
        "mesh_id",
        "params",
        "ranks",
        "seed",
        "suite",
        "ticket",
    )

    def __init__(
        self,
        seed: int,
        params: Params,
        factory: NodeFactory,
        *,
        suite: Suite | None = None,
        conditions: Conditions = USUAL,
    ) -> None:
        super().__init__(seed, conditions)
        self.seed = seed
        self.params = params
        self.factory = factory
        self.suite: Suite = SimSuite() if suite is None else suite
        self.conditions = conditions
        self.history = History()
        self.mesh_id: MeshId | None = None
        self.ticket: str | None = None
        self.ranks: dict[PublicKey, Rank] = {}
        """Who may write, and admit others, as far as any node has kept the records for it."""
        self.is_open = False
        self.disturbed_s = 0.0
        """When the network last got worse or better; see `calm_since`."""
        self._partition: Partition | None = None
        self._control = uniform(self.rng, *conditions.control_s)

    # Hosts

    def add_host(self, name: str, tags: Mapping[str, str] | None = None) -> Host:
        """Add a machine, switched off."""
        assert name not in self.hosts
        index, rng, usual = len(self.hosts), self.rng, self.conditions
        address = Address(f"10.0.{index // 250}.{index % 250 + 1}", PORT)
        clock = SimClock(
            base_s=rng.uniform(0.0, CLOCK_AGE_HIGH_S),
            since_s=self.now_s,
            rate=1.0 + rng.uniform(-usual.drift, usual.drift),
            wall_error_s=rng.uniform(-usual.wall_error_s, usual.wall_error_s),
        )
        disk = SimDisk(rng, uniform(rng, *usual.commit_s))
        host = Host(name, index, address, clock, disk, tags or {})
        disk.written = partial(self.show_written, host)
        self.hosts[name] = self.by_address[address] = host
        return host

    def move(self, name: str, address: Address) -> None:
        """Give a machine another address, as a network does; its node is not told."""
        host = self.hosts[name]
        assert address not in self.by_address
        del self.by_address[host.address]
        host.address = address
        self.by_address[address] = host
        self.streams.drop_host(host, machine=True)
        self.disturb(host)

    def start(self, name: str) -> None:
        """Start a node on what its disk kept; does nothing when one runs already."""
        host = self.hosts[name]
        if host.state is not HostState.OFF or host.retired:
            return
        seeds = tuple(str(other.address) for other in self.hosts.values() if other is not host)
        birth = Birth(
            name=name,
            index=host.index,
            address=host.address,
            seeds=seeds,
            rows=host.disk.restored(),
            blobs=host.disk.blobs.inventory(),
            rng=random.Random(self.rng.getrandbits(64)),
            starts=host.starts,
            disk=host.disk_number,
            founding=host.index == 0 and host.starts == 0,
            ticket=self.ticket,
            tags=host.tags,
        )
        host.node = self.factory(self, birth)
        host.run += 1
        host.starts += 1
        host.state = HostState.RUNNING
        host.halted = None
        self.disturb(host)
        self.note_start(host)
        effects = host.node.start(host.clock.read(self.now_s))
        self.perform(host, effects)
        self.arm(host)
        for program in list(host.programs):
            program.handle_started()

    def kill(self, name: str, *, machine: bool = False) -> None:
        """Stop a node without warning (kill -9); with `machine`, cut the power of all of it."""
        host = self.hosts[name]
        if host.state is HostState.OFF:
            return
        self.disturb(host)
        host.disk.crash()
        self.switch_off(host, machine=machine)
        if machine:
            host.clock.reboot(self.now_s, self.rng.uniform(BOOT_AGE_LOW_S, BOOT_AGE_HIGH_S))

    def destroy_disk(self, name: str) -> None:
        """Cut the power of a machine and lose its disk with everything on it."""
        self.kill(name, machine=True)
        host = self.hosts[name]
        host.disk_lost_s = self.now_s
        host.disk.destroy()
        host.disk_number += 1

    def pause(self, name: str, seconds: float) -> None:
        """Stop the node's process for a while (SIGSTOP); what arrives meanwhile is handled late."""
        self._stop(self.hosts[name], HostState.PAUSED, seconds)

    def suspend(self, name: str, seconds: float) -> None:
        """Let a whole machine sleep for a while, its agents included."""
        self._stop(self.hosts[name], HostState.ASLEEP, seconds)

    def wake(self, name: str) -> None:
        """End a pause or a sleep now."""
        host = self.hosts[name]
        self._wake(host, host.stop)

    def set_clock_rate(self, name: str, rate: float | None = None) -> None:
        """Let the clocks of a machine run faster or slower than the world's; None: as usual."""
        host = self.hosts[name]
        host.clock.set_rate(self.now_s, rate)
        self.arm(host)

    # Network

    def partition(self, *groups: Sequence[str]) -> None:
        """Let nothing through between groups of hosts; replaces an earlier partition."""
        self._remove_partition()
        self._partition = Partition([self.addresses(group) for group in groups])
        self.add_rule(self._partition)

    def repair(self) -> None:
        """End the partition."""
        self._remove_partition()
        self.disturbed_s = self.now_s

    def add_rule(self, rule: Rule) -> None:
        """Put a rule in force; streams that it cuts break."""
        self.network.add(rule)
        self.disturbed_s = self.now_s
        self.streams.sweep()

    def remove_rule(self, rule: Rule) -> None:
        """Take a rule back."""
        self.network.remove(rule)
        self.disturbed_s = self.now_s

    def clear_rules(self) -> None:
        """Take back every rule, the partition included."""
        self._partition = None
        self.network.clear()
        self.disturbed_s = self.now_s

    def addresses(self, names: Sequence[str]) -> list[Address]:
        """Return the addresses of some hosts, for rules."""
        return [self.hosts[name].address for name in names]

    # Clients

    def connect(self, host: Host, client: Client) -> ClientId:
        """Connect a client to the node that runs on a host; ids are never used twice."""
        assert host.state in {HostState.RUNNING, HostState.PAUSED}
        number = ClientId(host.next_client)
        host.next_client += 1
        host.clients[number] = client
        return number

    def disconnect(self, host: Host, client: ClientId) -> None:
        """Close a client's socket."""
        if host.clients.pop(client, None) is not None:
            self.input_later(host, self._control(), ClientGone(client))

    def command(self, host: Host, command: CommandReceived) -> None:
        """Let a connected client ask something."""
        assert command.client in host.clients
        self.input_later(host, self._control(), command)

    # Watching

    def running(self) -> list[Host]:
        """Return the hosts whose node runs, in the order they were added."""
        return [host for host in self.hosts.values() if host.state is HostState.RUNNING]

    def snapshots(self) -> dict[str, Snapshot]:
        """Return the state of all running nodes, by name."""
        return {host.name: self.snapshot(host) for host in self.running()}

    def snapshot(self, host: Host) -> Snapshot:
        """Return the state of one running node."""
        assert host.node is not None
        return host.node.snapshot(host.clock.read(self.now_s))

    def watch(self, every_s: float) -> None:
        """Show all nodes to the observers, now and every so often; each whenever it commits."""
        self.is_watched = True
        self.show()
        self.call_later(every_s, partial(self.watch, every_s))

    def show(self) -> None:
        """Show all nodes to the observers now."""
        if not self.observers:
            return
        snapshots = self.snapshots()
        for observer in self.observers:
            observer.handle_snapshots(snapshots)

    def calm_since(self, since_s: float, *names: str) -> bool:
        """Whether nothing went wrong since then, in the network or at these hosts."""
        return (
            self.disturbed_s < since_s
            and self.network.whole
            and all(
                self.hosts[name].disturbed_s < since_s
                and self.hosts[name].state is HostState.RUNNING
                for name in names
            )
        )

    def ruined(self, at_s: float) -> int:
        """Return how many disks of that moment are destroyed or switched off for good."""
        running = {host.name: None for host in self.running()}
        return sum(
            host.disk_lost_s >= at_s or name not in running for name, host in self.hosts.items()
        )

    # Parts

    def _stop(self, host: Host, state: HostState, seconds: float) -> None:
        if host.state is not HostState.RUNNING:
            return
        self.disturb(host)
        host.state = state
        host.stop += 1
        host.stopped_s = self.now_s
        self.call_later(seconds, partial(self._wake, host, host.stop))

    def _wake(self, host: Host, stop: int) -> None:
        if host.stop != stop or host.state not in {HostState.PAUSED, HostState.ASLEEP}:
            return
        gap_s = self.now_s - host.stopped_s
        first = SuspendGap(gap_s) if host.state is HostState.ASLEEP else LoopLag(gap_s)
        waiting = host.take_backlog()
        run = host.run
        host.state = HostState.RUNNING
        host.stop += 1
        host.armed_s = NEVER_S
        self.disturb(host)
        self.give(host, first)
        for event in waiting:
            if callable(event):
                event()
            elif run == host.run:
                self.give(host, event)

    def _remove_partition(self) -> None:
        if self._partition is not None:
            self.network.remove(self._partition)
            self._partition = None
