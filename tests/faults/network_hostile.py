"""Strangers: a flood of junk for one node, and somebody who reads every packet."""

import ipaddress
import json
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.background import Background
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.lab import ROOT
from tests.faults.load import encoded, equal_tables, finish_one, submit
from tests.faults.measures import quantile
from tests.faults.nodes import PORT, LabMesh, LabNode, mesh_of, wait_until
from tests.faults.watch import Watch

OUTSIDE = "10.60.0.1"
OUTSIDE_PREFIX = 16
NETWORK = b"\x0a\x3c"
"""The first half of everybody's address out there."""
PER_S = 20_000
SAMPLE_S = 0.5
WINDOW = 8
"""Bytes of a secret in a row that count as found."""
SECRET = 48
CALM_S = 30.0
KINDS_OF_JUNK = ("random", "mutated", "replayed")


# ---- flood


@dataclass(eq=False)
class Gauge(Background):
    """Reads memory and round trips of a node again and again while it is flooded."""

    victim: LabNode
    peers: list[LabNode]
    resident_mb: list[float] = field(default_factory=list)
    round_trips_ms: list[float] = field(default_factory=list)
    answers_ms: list[float] = field(default_factory=list)
    """How long the node's control socket took to answer."""

    def _run(self) -> None:
        while not self.ended.wait(SAMPLE_S):
            self.read()

    def read(self) -> None:
        """Read once."""
        begun = time.monotonic()
        views = self.victim.call("member.list")["members"]
        self.answers_ms.append((time.monotonic() - begun) * 1000)
        self.round_trips_ms += [view["rtt_ms"] for view in views if view["rtt_ms"] is not None]
        for peer in self.peers:
            views = peer.call("member.list")["members"]
            own = next(view for view in views if view["name"] == self.victim.name)
            if own["rtt_ms"] is not None:
                self.round_trips_ms.append(own["rtt_ms"])
        assert self.victim.process is not None
        pages = int(Path(f"/proc/{self.victim.process.pid}/statm").read_text().split()[1])
        self.resident_mb.append(pages * 4096 / 1e6)


def send_junk(device: int, plan: dict[str, Any]) -> dict[str, int]:
    """Have another process send junk, and return what it counted."""
    plan = {
        "device": device,
        "target": ipaddress.IPv4Address(OUTSIDE).packed.hex(),
        "port": PORT,
        "network": NETWORK.hex(),
        "per_s": PER_S,
        "seed": 1,
        **plan,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.flood"],
        input=json.dumps(plan).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        pass_fds=[device],
        check=True,
    )
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def flood(scale: Scale) -> Outcome:
    """Send random bytes, damaged datagrams and repeated ones to one node, from everywhere."""
    full = scale is Scale.FULL
    lasts_s = 60.0 if full else 2.0
    with mesh_of(20 if full else 5, scale) as mesh:
        nodes = list(mesh.nodes.values())
        victim = nodes[1]
        device = victim.space.card("out0", OUTSIDE, OUTSIDE_PREFIX)
        counts: dict[str, dict[str, int]] = {}
        gauge = Gauge(victim, nodes[2:6])
        gauge.read()
        before = victim.counters()
        with Watch(nodes) as watch:
            with gauge:
                for how in KINDS_OF_JUNK:
                    plan = {"how": how, "lasts_s": lasts_s, "samples": mesh.lab.samples()}
                    counts[how] = send_junk(device, plan)
                    if how == KINDS_OF_JUNK[0]:
                        gauge.resident_mb[:] = gauge.resident_mb[-1:]  # grown once: buffers, caches
            suspected = sum(event.body.get("new") == "suspect" for event in watch.heard)
            downs = len(watch.losses())
        task = submit(victim, "after")
        assert finish_one(nodes[0], "after") == task
        after = victim.counters()
    return _flooded(
        counts, gauge, {"down": downs, "suspect": suspected}, _spent(before, after, lasts_s * 3)
    )


def _spent(before: dict[str, int], after: dict[str, int], lasted: float) -> dict[str, float]:
    cpu_ms = after["process_cpu_ms"] - before["process_cpu_ms"]
    received = after["udp_received"] - before["udp_received"]
    return {"cpu": cpu_ms / 10 / lasted, "received": received / lasted, "lasted": lasted}


def _flooded(
    counts: dict[str, dict[str, int]],
    gauge: Gauge,
    events: dict[str, int],
    spent: dict[str, float],
) -> Outcome:
    unanswered = counts["random"]["replies"] + counts["mutated"]["replies"]
    totals = {name: sum(count[name] for count in counts.values()) for name in counts["random"]}
    replay = counts["replayed"]
    amplification = replay["reply_bytes"] / max(1, replay["sent_bytes"])
    grown = max(gauge.resident_mb) - gauge.resident_mb[0]
    return Outcome(
        (
            Figure("sent", totals["sent"] / spent["lasted"], "datagrams/s", at_least=PER_S * 0.9),
            Figure("probe p99", quantile(gauge.round_trips_ms, 0.99), "ms", at_most=500.0),
            Figure("memory grown while it lasted", grown, "MB", at_most=8.0),
            Figure("replies to random and damaged", unanswered, at_most=0),
            Figure("bytes back for repeated, amplification", amplification, at_most=1.0),
            Figure("believed down", events["down"], at_most=0),
            Figure("suspected", events["suspect"]),
            Figure("control socket p99", quantile(gauge.answers_ms, 0.99), "ms"),
            Figure("taken in by the node", spent["received"], "datagrams/s"),
            Figure("its CPU", spent["cpu"], "% of a core"),
        ),
        "many of the damaged and repeated ones are greetings; round trips are the smoothed ones of "
        "the node and four peers; what its socket's buffer cannot hold is dropped by the kernel",
    )


# ---- a reader of every packet


def _windows(secret: bytes) -> list[bytes]:
    return [secret[at : at + WINDOW] for at in range(len(secret) - WINDOW + 1)]


def _look_works(mesh: LabMesh, secret: bytes) -> int:
    """Send a secret in the open, and return in how many packets it was found: the search works."""
    mesh.lab.look_for(_windows(secret))
    one, two = mesh.node(1), mesh.node(2)
    with one.space.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.sendto(b"...." + secret, (two.address, 9))
    wait_until("the packet", lambda: mesh.lab.counters()["found"] > 0, CALM_S)
    return mesh.lab.counters()["found"]


def capture(scale: Scale) -> Outcome:
    """Work with secret texts in every field of a task, and look for them in every packet."""
    full = scale is Scale.FULL
    secret = secrets.token_bytes(SECRET // 2).hex().encode()
    with mesh_of(20 if full else 5, scale) as mesh:
        found_open = _look_works(mesh, b"open" + secret)
        mesh.lab.look_for(_windows(secret))
        before = mesh.lab.counters()
        nodes = list(mesh.nodes.values())
        text, late = secret.decode(), nodes.pop()
        for number in range(50 if full else 3):
            giver, worker = nodes[number % len(nodes)], nodes[(number + 1) % len(nodes)]
            task = submit(giver, "known", text, note=text[:SECRET])
            wait_until("the task", lambda: task in worker.tasks(), CALM_S)  # noqa: B023  called before the next turn
            held = worker.call("task.claim", task=task, detached=True)
            worker.call("task.start", handle=held["handle"])
            if number % 3 == 0:
                worker.call("task.fail", handle=held["handle"], error=text)
            else:
                worker.call("task.complete", handle=held["handle"], output=encoded(text))
            if number == 1:
                late.kill()
        mesh.restart([late])
        wait_until("equal tables", lambda: equal_tables([*nodes, late]), CALM_S)
        after = mesh.lab.counters()
    return Outcome(
        (
            Figure("the same text sent in the open: found", found_open, at_least=1),
            Figure("packets with any 8 bytes of it", after["found"], at_most=0),
            Figure("packets looked at", after["packets"] - before["packets"], at_least=100),
            Figure("bytes", after["bytes"] - before["bytes"]),
        ),
        "payload, note, result and error of tasks; UDP and the streams of a node that "
        "was killed meanwhile and catches up",
    )


FAULTS = (
    Fault(
        "flood",
        "20,000 junk datagrams/s at one node, from 65,536 addresses",
        "probe p99 < 500 ms, memory flat, amplification <= 1.0, nobody believed down, no reply",
        flood,
        (Need.NAMESPACES,),
    ),
    Fault(
        "capture",
        "somebody reads every packet while known texts are worked on",
        "not 8 bytes of them in a row in any packet",
        capture,
        (Need.NAMESPACES,),
    ),
)
