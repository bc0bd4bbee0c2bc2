"""Junk for one node from far outside: a second network card whose every packet is ours.

The flooder holds the other end of a TUN device in the node's namespace. So it can send from any
address in the world, nothing of it crosses the network of the other nodes, and whatever the node
sends to those addresses comes back here and is counted.

    python -m tests.faults.flood '{"device": 5, "per_s": 20000, ...}'
"""

import itertools
import json
import math
import os
import random
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

HEAD = struct.Struct("!BBHHHBBH4s4s")
UDP = struct.Struct("!HHHH")
PACKET_BYTES = 2048
PATTERNS = 2000
"""Different packets, sent in turn."""
PAUSE_S = 0.001
LONGEST = 1232
SHORTEST = 64
"""Bits are flipped in real datagrams behind no more than this many bytes, so that all see it."""


def checksum(head: bytes) -> int:
    """Return the checksum of an IP header."""
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def packet(source: bytes, target: bytes, port: int, data: bytes) -> bytes:
    """Return a UDP packet from a made-up port; its UDP checksum is left out, as IPv4 allows."""
    length = HEAD.size + UDP.size + len(data)
    head = HEAD.pack(0x45, 0, length, 0, 0, 64, 17, 0, source, target)
    head = HEAD.pack(0x45, 0, length, 0, 0, 64, 17, checksum(head), source, target)
    return head + UDP.pack(40_000, port, UDP.size + len(data), 0) + data


def junk(rng: random.Random, samples: Sequence[bytes], how: str) -> bytes:
    """Return random bytes, or a real datagram with one bit flipped, or one as it was."""
    if how == "random" or not samples:
        return rng.randbytes(rng.randrange(1, LONGEST + 1))
    data = bytearray(rng.choice(samples))
    if how == "mutated":
        place = rng.randrange(min(len(data), SHORTEST))
        data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def noise(rng: random.Random, samples: Sequence[bytes]) -> bytes:
    """Return something that is no datagram: random, or a real one flipped, cut, extended, mixed."""
    way, data = rng.randrange(5), bytearray(rng.choice(samples))
    if way == 0:
        return rng.randbytes(rng.randrange(1, LONGEST))
    if way == 1:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 2:
        del data[rng.randrange(1, len(data)) :]
    elif way == 3:
        data += rng.randbytes(rng.randrange(1, 33))
    else:
        data[rng.randrange(1, len(data)) :] = rng.choice(samples)[rng.randrange(8) :]
    return b"?" if bytes(data) in samples else bytes(data[:LONGEST])


def packets_of(plan: dict[str, Any]) -> Iterator[bytes]:
    """Return packets without end: new ones each time for noise, else some in turn."""
    rng, network = random.Random(plan["seed"]), bytes.fromhex(plan["network"])
    target, port = bytes.fromhex(plan["target"]), plan["port"]
    samples = [bytes.fromhex(sample) for sample in plan["samples"]]
    while plan["how"] == "noise":
        yield packet(network + rng.randbytes(2), target, port, noise(rng, samples))
    patterns = [
        packet(network + rng.randbytes(2), target, port, junk(rng, samples, plan["how"]))
        for _ in range(PATTERNS)
    ]
    yield from itertools.cycle(patterns)


def flood(plan: dict[str, Any]) -> dict[str, int]:
    """Send at a steady rate, for a while or so many, and count what comes back."""
    device, packets, total = plan["device"], packets_of(plan), plan.get("total", math.inf)
    counts = {"sent": 0, "sent_bytes": 0, "refused": 0, "replies": 0, "reply_bytes": 0}
    begun = time.monotonic()
    while (elapsed := time.monotonic() - begun) < plan["lasts_s"] and counts["sent"] < total:
        due = min(int(elapsed * plan["per_s"]), total) - counts["sent"] - counts["refused"]
        for data in itertools.islice(packets, max(0, due)):
            try:
                os.write(device, data)
            except OSError:
                counts["refused"] += 1
                continue
            counts["sent"] += 1
            counts["sent_bytes"] += len(data)
        _hear(device, counts)
        time.sleep(PAUSE_S)
    time.sleep(0.5)
    _hear(device, counts)
    return counts


def _hear(device: int, counts: dict[str, int]) -> None:
    while True:
        try:
            data = os.read(device, PACKET_BYTES)
        except OSError:
            return
        if data[0] >> 4 == 4:  # the kernel itself greets every card over IPv6
            counts["replies"] += 1
            counts["reply_bytes"] += len(data)


if __name__ == "__main__":
    print(json.dumps(flood(json.loads(sys.stdin.read()))))
