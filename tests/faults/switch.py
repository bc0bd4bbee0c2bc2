"""The network between namespaces: one process that passes packets on, late, or not at all.

It holds the other ends of all TUN devices and knows which address is behind which. Rules are kept
per direction between two devices and may change at any time; loss and jitter come from a seed.
Orders arrive as lines of JSON on standard input, each answered by one line.

A *cable* joins two devices whatever the addresses say: so a router, with network address
translation by the kernel, can stand in a namespace of its own between a node and the rest.
"""

import heapq
import json
import os
import random
import select
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

PACKET_BYTES = 2048
UDP = 17
SAMPLES = 512
GREETING = b"\x02"
TURN = 64
"""Packets read from one device before the next has its turn."""
WAITING_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Link:
    """One direction between two devices; a packet is lost, or waits `delay_s` and up to twice."""

    loss: float = 0.0
    delay_s: float = 0.0
    open: bool = True


CLEAR = Link()
"""A network without faults."""


@dataclass(slots=True)
class Switch:
    """Devices, rules, and the packets that are under way."""

    devices: dict[int, int]
    """Number of a device -> its descriptor."""
    places: dict[bytes, int]
    """Address, in bytes -> number of the device behind which it is."""
    cables: dict[int, int]
    rng: random.Random
    links: dict[tuple[int, int], Link] = field(default_factory=dict)
    needles: list[bytes] = field(default_factory=list)
    under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    samples: deque[bytes] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    """The last UDP payloads, of whomever."""
    greetings: deque[bytes] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    """The last of them that greet: those are answered without being sealed."""
    order: int = 0

    def take(self, number: int, packet: bytes) -> None:
        """Decide about one packet."""
        if packet[0] >> 4 != 4:
            return  # the kernel greets every card over IPv6
        self.counters["packets"] += 1
        self.counters["bytes"] += len(packet)
        if packet[9] == UDP:
            kept = self.greetings if packet[28:29] == GREETING else self.samples
            kept.append(packet[28:])
        if self.needles and any(needle in packet for needle in self.needles):
            self.counters["found"] += 1
        target = self.cables.get(number)
        if target is None:
            target = self.places.get(packet[16:20])
        if target is None:
            self.counters["nowhere"] += 1
            return
        link = self.links.get((number, target), CLEAR)
        if not link.open or (link.loss and self.rng.random() < link.loss):
            self.counters["lost"] += 1
        elif not link.delay_s:
            self.give(target, packet)
        elif len(self.under_way) >= WAITING_MAX:
            self.counters["overrun"] += 1
        else:
            self.order += 1
            due = time.monotonic() + link.delay_s * (1 + self.rng.random())
            heapq.heappush(self.under_way, (due, self.order, target, packet))

    def give(self, target: int, packet: bytes) -> None:
        """Hand a packet to the kernel behind a device."""
        try:
            os.write(self.devices[target], packet)
        except OSError:  # its queue is full, or its namespace is going
            self.counters["overrun"] += 1

    def give_due(self) -> float | None:
        """Hand over what has waited long enough; returns the wait for the next, None for none."""
        now = time.monotonic()
        while self.under_way and self.under_way[0][0] <= now:
            _, _, target, packet = heapq.heappop(self.under_way)
            self.give(target, packet)
        return max(0.0, self.under_way[0][0] - now) if self.under_way else None

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order; returns all counters, or what was asked for."""
        match order["order"]:
            case "rule":
                link = Link(**order["link"])
                for source in order["sources"]:
                    for target in order["targets"]:
                        self.links[source, target] = link
            case "clear":
                self.links.clear()
            case "look":
                self.needles = [bytes.fromhex(needle) for needle in order["needles"]]
                self.counters["found"] = 0
            case "count":
                pass
            case "samples":
                both = (*self.samples, *self.greetings)
                return {"samples": [sample.hex() for sample in both]}
            case other:
                raise ValueError(f"no such order: {other}")
        return dict(self.counters)


def run(switch: Switch) -> None:
    """Pass packets on until standard input ends."""
    poll = select.epoll()
    numbers = {descriptor: number for number, descriptor in switch.devices.items()}
    for descriptor in numbers:
        poll.register(descriptor, select.EPOLLIN)
    orders = sys.stdin.fileno()
    poll.register(orders, select.EPOLLIN | select.EPOLLHUP)
    partial = b""
    while True:
        for descriptor, _ in poll.poll(switch.give_due()):
            if descriptor == orders:
                read = os.read(orders, 1 << 20)
                if not read:
                    return
                *lines, partial = (partial + read).split(b"\n")
                for line in lines:
                    print(json.dumps(switch.obey(json.loads(line))), flush=True)
                continue
            _drain(switch, numbers[descriptor], descriptor)


def _drain(switch: Switch, number: int, descriptor: int) -> None:
    for _ in range(TURN):
        try:
            packet = os.read(descriptor, PACKET_BYTES)
        except OSError:
            return
        switch.take(number, packet)


def main() -> None:
    """Read the plan from the only argument, and be the network."""
    plan = json.loads(sys.argv[1])
    switch = Switch(
        devices={int(number): descriptor for number, descriptor in plan["devices"].items()},
        places={bytes.fromhex(address): number for address, number in plan["places"]},
        cables=dict(plan["cables"]),
        rng=random.Random(plan["seed"]),
    )
    print("{}", flush=True)
    run(switch)


if __name__ == "__main__":
    main()
