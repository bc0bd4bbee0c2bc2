"""The loop of a world: one priority queue of everything that will happen, in virtual time.

An entry of the queue is a tuple, its second field a number that no other entry has, so that ties
are settled by age and the rest is never compared. A node is handed its inputs here, its effects
are performed here, and its one deadline is armed here; nothing else happens.
"""

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

from mesh.core.effects import (
    CloseStream,
    Commit,
    Effect,
    Halt,
    Local,
    Notify,
    OpenStream,
    Reply,
    ReplyError,
    ResolveSeeds,
    Row,
    SendDatagram,
    SendStream,
    Storage,
)
from mesh.core.effects import (
    Network as NetworkEffect,
)
from mesh.core.identity import Address
from mesh.core.inputs import DatagramReceived, Input, SeedsResolved
from mesh.core.instants import NEVER, Instant
from mesh.core.snapshot import Snapshot
from mesh.sim.host import NEVER_S, Host, HostState
from mesh.sim.network import Draw, Network, Packet, lognormal, uniform
from mesh.sim.streams import Streams
from mesh.sim.trace import KINDS, Trace

RESOLVE_S = 0.02
_DATAGRAM, _TIMER, _CALL, _INPUT, _START, _EFFECT = range(len(KINDS))
Entry = tuple[float, int, int, Any, Any, Any]
"""When, tie, kind, host, and two more by kind: data and source, or an action."""

AGAIN_S = 0.2
"""How long a process takes to start anew that wants to."""


class Observer(Protocol):
    """A checker: told of everything durable or announced and, every so often, of all nodes."""

    def handle_rows(self, host: Host, rows: Sequence[Row]) -> None:
        """A node asked for these rows to be made durable."""
        ...

    def handle_written(self, host: Host, rows: Sequence[Row]) -> None:
        """These rows are durable from now on, whether or not the node is there to hear of it."""
        ...

    def handle_notice(self, host: Host, notice: Notify) -> None:
        """A node told its watchers, or one client, something."""
        ...

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a world is without any weather."""

    latency_s: tuple[float, float] = (0.0002, 0.002)
    """The bounds of what a packet takes, anything between them equally often."""
    delay_s: tuple[float, float] | None = None
    """Median and p99 instead of bounds: mostly quick, with a long tail."""
    loss: float = 0.0
    commit_s: tuple[float, float] = (0.0005, 0.003)
    control_s: tuple[float, float] = (0.00005, 0.0003)
    drift: float = 0.00005
    """Clocks run at most this much too fast or too slow."""
    wall_error_s: float = 2.0

    def latency(self, rng: random.Random) -> Draw:
        """Return a draw of what a packet takes."""
        if self.delay_s is not None:
            return lognormal(rng, *self.delay_s)
        return uniform(rng, *self.latency_s)

    def typical_s(self) -> tuple[float, float]:
        """Return median and p99 of what a packet takes."""
        if self.delay_s is not None:
            return self.delay_s
        low_s, high_s = self.latency_s
        return (low_s + high_s) / 2, low_s + 0.99 * (high_s - low_s)


class Engine:
    """Time, the queue, and the performing of effects."""

    __slots__ = (
        "_queue",
        "_tie",
        "by_address",
        "events",
        "hosts",
        "is_watched",
        "names_resolve",
        "network",
        "now_s",
        "observers",
        "rng",
        "streams",
        "trace",
    )

    def __init__(self, seed: int, conditions: Conditions) -> None:
        self.now_s = 0.0
        self.events = 0
        self.rng = random.Random(seed)
        self.network = Network(self.rng, conditions.latency(self.rng), conditions.loss)
        self.streams = Streams(self)
        self.trace = Trace()
        self.hosts: dict[str, Host] = {}
        self.by_address: dict[Address, Host] = {}
        self.observers: list[Observer] = []
        self.names_resolve = True
        self.is_watched = False
        self._queue: list[Entry] = []
        self._tie = 0

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run_until(self.now_s + seconds)

    def run_until(self, until_s: float) -> None:
        """Let virtual time pass up to and including a moment."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= until_s:
            at_s, _, kind, host, what, source = pop(queue)
            self.now_s = at_s
            if kind == _DATAGRAM:
                if host.state is HostState.RUNNING:
                    self.trace.note(at_s, _DATAGRAM, host.index, what)
                    self._handle(host, DatagramReceived(what, source))
                elif host.state is not HostState.OFF:
                    host.hold(DatagramReceived(what, source))
            elif kind == _TIMER:
                if at_s == host.armed_s and host.state is HostState.RUNNING:
                    self._expire(host)
            else:
                what()
        self.now_s = max(self.now_s, until_s)

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a while."""
        self._push(self.now_s + delay_s, _CALL, None, action, None)

    def call_on(self, host: Host, delay_s: float, action: Callable[[], None]) -> None:
        """Let a program of a machine do something after a while, or when the machine wakes."""
        self.call_later(delay_s, partial(self._call_on, host, action))

    def inject(self, packet: Packet, delay_s: float = 0.0) -> None:
        """Deliver a packet past all rules: one that was held, or one that nobody sent."""
        host = self.by_address.get(packet.target)
        if host is not None:
            self._push(self.now_s + delay_s, _DATAGRAM, host, packet.data, packet.source)

    def note_start(self, host: Host) -> None:
        """Put the start of a node into the trace."""
        self.trace.note(self.now_s, _START, host.index, host.run.to_bytes(4, "big"))

    def host_at(self, address: Address) -> Host | None:
        """Return the host that has an address."""
        return self.by_address.get(address)

    def input_later(self, host: Host, delay_s: float, event: Input) -> None:
        """Hand a host an input after a while, unless its node ends before."""
        self.call_later(delay_s, partial(self._give_run, host, host.run, event))

    def give(self, host: Host, event: Input) -> None:
        """Hand a host an input now; kept for later while it does not run."""
        if host.state is HostState.RUNNING:
            self.trace.note(self.now_s, _INPUT, host.index, repr(event).encode())
            self._handle(host, event)
        elif host.state is not HostState.OFF:
            host.hold(event)

    def switch_off(self, host: Host, *, machine: bool) -> None:
        """End the node of a host: its timers, streams and connections end with it."""
        host.state = HostState.OFF
        host.node = None
        host.run += 1
        host.stop += 1
        host.armed_s, host.deadline = NEVER_S, NEVER
        host.forget_backlog()
        self.streams.drop_host(host, machine=machine)
        host.clients.clear()
        for program in list(host.programs):
            program.handle_disconnected(machine=machine)

    def disturb(self, host: Host) -> None:
        """Remember that something went wrong at a host, or was mended."""
        host.disturbed_s = self.now_s

    def _push(self, at_s: float, kind: int, host: Host | None, what: object, more: object) -> None:
        self._tie += 1
        heapq.heappush(self._queue, (at_s, self._tie, kind, host, what, more))

    def _handle(self, host: Host, event: Input) -> None:
        node = host.node
        assert node is not None
        self.events += 1
        effects = node.handle(host.clock.read(self.now_s), event)
        if effects:
            self.perform(host, effects)
        self.arm(host)
        if host.changed:
            self._look_at(host)

    def _expire(self, host: Host) -> None:
        node, clock = host.node, host.clock
        assert node is not None
        host.armed_s = NEVER_S
        if clock.when(host.deadline) > self.now_s:
            self._arm_at(host, host.deadline)  # it moved on since this timer was armed
            return
        clock.reach(host.deadline)
        now = clock.read(self.now_s)
        self.events += 1
        self.trace.note(self.now_s, _TIMER, host.index, b"")
        effects = node.handle_timeout(now)
        if effects:
            self.perform(host, effects)
        if host.state is HostState.RUNNING:
            deadline = node.next_deadline()
            assert deadline > now.instant, f"the timers of {host.name} spin"
            self._arm_at(host, deadline)
        if host.changed:
            self._look_at(host)

    def _look_at(self, host: Host) -> None:
        """Show a node to the observers: what it knows has changed, or it would not commit."""
        host.changed = False
        if not (self.is_watched and self.observers):
            return  # what nobody looks at need not be drawn up: it costs a look at every task
        if host.state is HostState.RUNNING and host.node is not None:
            snapshots = {host.name: host.node.snapshot(host.clock.read(self.now_s))}
            for observer in self.observers:
                observer.handle_snapshots(snapshots)

    def arm(self, host: Host) -> None:
        """Make sure that the node's deadline is in the queue."""
        if host.state is HostState.RUNNING and host.node is not None:
            self._arm_at(host, host.node.next_deadline())

    def _arm_at(self, host: Host, deadline: Instant) -> None:
        # A timer that goes off too early is armed again then, which costs less than a new
        # entry of the queue for each deadline that moves on.
        host.deadline = deadline
        at_s = host.clock.when(deadline)
        if at_s < self.now_s:  # noqa: PLR1730  max() costs four times as much, for each event
            at_s = self.now_s
        if at_s < host.armed_s:
            host.armed_s = at_s
            self._tie += 1
            heapq.heappush(self._queue, (at_s, self._tie, _TIMER, host, None, None))

    def perform(self, host: Host, effects: Sequence[Effect]) -> None:
        """Do what a node asked for, in order, up to its end."""
        for effect in effects:
            if type(effect) is SendDatagram:
                self._send(host, effect.target, effect.data)
            elif isinstance(effect, NetworkEffect):
                self._perform_network(host, effect)
            elif isinstance(effect, Storage):
                self._perform_storage(host, effect)
            else:
                self._perform_local(host, effect)
                if type(effect) is Halt:
                    return

    def _send(self, host: Host, target: Address, data: bytes) -> None:
        host.datagrams += 1
        host.bytes_sent += len(data)
        peer = self.by_address.get(target)
        if peer is None:
            return
        network = self.network
        if network.rules:
            packet = Packet(host.address, target, data, self.now_s)
            for delay_s in network.delays(packet):
                self._push(self.now_s + delay_s, _DATAGRAM, peer, packet.data, packet.source)
        elif not network.loss or self.rng.random() >= network.loss:
            self._tie += 1
            at_s = self.now_s + network.latency()
            heapq.heappush(self._queue, (at_s, self._tie, _DATAGRAM, peer, data, host.address))

    def _perform_network(self, host: Host, effect: NetworkEffect) -> None:
        match effect:
            case SendDatagram(target, data):
                self._send(host, target, data)
            case OpenStream(stream, target):
                self.streams.open(host, stream, target)
            case SendStream(stream, data):
                self.streams.send(host, stream, data)
            case CloseStream(stream):
                self.streams.close(host, stream)
            case ResolveSeeds(seeds):
                found = SeedsResolved(tuple(self._resolve(seeds)))
                self.input_later(host, RESOLVE_S, found)
            case _:
                assert_never(effect)

    def _perform_storage(self, host: Host, effect: Storage) -> None:
        at_s = host.disk.blobs.begin(self.now_s, host.disk.draw())
        self._push(at_s, _CALL, None, partial(self._store, host, host.run, effect), None)

    def _store(self, host: Host, run: int, effect: Storage) -> None:
        if run != host.run:
            return
        if host.state is HostState.ASLEEP:
            host.defer(partial(self._store, host, run, effect))
            return
        host.disk.blobs.full = host.disk.full
        outcome = host.disk.blobs.perform(effect)
        if outcome is not None:
            self.give(host, outcome)

    def _perform_local(self, host: Host, effect: Local) -> None:
        match effect:
            case Commit(_, rows):
                for observer in self.observers:
                    observer.handle_rows(host, rows)
                host.changed = True
                at_s = host.disk.begin(self.now_s, effect)
                self._push(at_s, _CALL, None, partial(self._commit, host, host.run, effect), None)
            case Reply(client) | ReplyError(client):
                self.trace.note(self.now_s, _EFFECT, host.index, repr(effect).encode())
                if client in host.clients:
                    host.clients[client].handle_reply(effect)
            case Notify():
                self._notify(host, effect)
            case Halt(reason, _, again):
                host.halted = reason
                host.disk.flush()
                self.disturb(host)
                self.switch_off(host, machine=False)
                if again:
                    self.call_later(AGAIN_S, partial(self.start, host.name))
            case _:
                assert_never(effect)

    def show_written(self, host: Host, rows: Sequence[Row]) -> None:
        """Tell the observers what has just become durable at a host."""
        for observer in self.observers:
            observer.handle_written(host, rows)

    def start(self, name: str) -> None:
        """Start a node on what its disk kept; worlds know how."""
        raise NotImplementedError

    def _notify(self, host: Host, notice: Notify) -> None:
        self.trace.note(self.now_s, _EFFECT, host.index, repr(notice).encode())
        for observer in self.observers:
            observer.handle_notice(host, notice)
        if notice.client is None:
            for client in list(host.clients.values()):
                client.handle_notice(notice.topic, notice.body)
        elif notice.client in host.clients:
            host.clients[notice.client].handle_notice(notice.topic, notice.body)

    def _commit(self, host: Host, run: int, commit: Commit) -> None:
        if run != host.run:
            return  # the crash has settled its fate
        if host.state is HostState.ASLEEP:
            host.defer(partial(self._commit, host, run, commit))
            return
        self.give(host, host.disk.finish(commit))

    def _resolve(self, seeds: Sequence[str]) -> list[Address]:
        """Names of hosts and texts of addresses stand for what they stand for."""
        if not self.names_resolve:
            return []
        known = {str(host.address): host.address for host in self.hosts.values()}
        known |= {name: host.address for name, host in self.hosts.items()}
        return [known[seed] for seed in seeds if seed in known]

    def _give_run(self, host: Host, run: int, event: Input) -> None:
        if run == host.run:
            self.give(host, event)

    def _call_on(self, host: Host, action: Callable[[], None]) -> None:
        if host.state is HostState.ASLEEP:
            host.defer(action)
        else:
            action()
