"""Hours of a large mesh under steady loss: who is wrongly declared dead, how soon a crash is known.

    python -m tests.bench soak --nodes 100 --hours 24 --loss 5

Real nodes in virtual time, on one core. A random node is killed every ten minutes and comes back
two minutes later; everything else that is ever called down or dead was innocent. Nothing is
sampled: the figures come from what each node tells its watchers, a quarter of a second after it
believed it at most. After each hour a line says how it stands, so that a run that is cut short was
not in vain.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.core.effects import Notify
from mesh.core.identity import node_id
from mesh.core.params import params_for
from mesh.sim.checker import Checker, watch
from mesh.sim.engine import Conditions
from mesh.sim.host import Host, HostState
from mesh.sim.network import Bursts
from mesh.sim.population import Population, node_key
from mesh.sim.sizing import quantile
from mesh.sim.trial import names_of
from mesh.sim.world import World

FORMING_S = 60.0
CRASH_EVERY_S = 600.0
BACK_AFTER_S = 120.0
HOUR_S = 3600.0
SHARE = 0.99
FAILED = ("down", "dead")


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What is run."""

    nodes: int
    seconds: float
    loss: float
    seed: int = 1
    bursts: bool = False
    crash_every_s: float = CRASH_EVERY_S


@dataclass(slots=True, eq=False)
class Listener(Checker):
    """Hears what every node tells its watchers about members."""

    world: World
    names: dict[str, str]
    """Hosts by the id of the node on them."""
    false_down: int = 0
    false_dead: int = 0
    wronged: dict[str, int] = field(default_factory=dict)
    """How often each node was wronged, by name."""
    victim: str = ""
    crashed_s: float = 0.0
    heard: dict[str, float] = field(default_factory=dict)
    """Who knows of the crash under way, and since when."""

    def handle_notice(self, host: Host, notice: Notify) -> None:
        """A node told its watchers something."""
        new = notice.body.get("new")
        if notice.topic != "member" or new not in FAILED:
            return
        name = self.names[str(notice.body["node"])]
        if name == self.victim:
            self.heard.setdefault(host.name, self.world.now_s - self.crashed_s)
        elif self.world.hosts[name].state is HostState.RUNNING:
            self.false_down += new == "down"
            self.false_dead += new == "dead"
            self.wronged[name] = self.wronged.get(name, 0) + 1


class Soak:
    """One run."""

    def __init__(self, plan: SoakPlan) -> None:
        self.plan = plan
        conditions = Conditions(loss=plan.loss)
        self.world = World(plan.seed, params_for("lan"), Population(), conditions=conditions)
        self.names = names_of(plan.nodes)
        for name in self.names:
            self.world.add_host(name)
        suite = self.world.suite
        ids = {name: suite.public_key(node_key(self.world, name, 0)) for name in self.names}
        self.listener = Listener(
            self.world, {node_id(key).hex(): name for name, key in ids.items()}
        )
        self.detections: list[float] = []
        self.unknown = 0
        self.began_s = time.process_time()

    def run(self, out: Path | None) -> dict[str, Any]:
        """Run to the end; every hour a line of JSON says how it stands."""
        world, plan = self.world, self.plan
        for name in self.names:
            world.start(name)
        world.run(FORMING_S)
        if plan.bursts:
            world.add_rule(Bursts(world.rng, 0.01, 0.2, 0.9))
        watch(world, [self.listener])
        end_s, next_line_s = world.now_s + plan.seconds, world.now_s + HOUR_S
        before = self._sent()
        began_s = world.now_s
        while world.now_s + plan.crash_every_s <= end_s:
            self._crash()
            if world.now_s >= next_line_s:
                next_line_s += HOUR_S
                _write(out, self.body(before, began_s))
        world.run_until(end_s)
        body = self.body(before, began_s)
        _write(out, body)
        return body

    def _crash(self) -> None:
        world, listener, plan = self.world, self.listener, self.plan
        end_s = world.now_s + plan.crash_every_s
        world.run(world.rng.uniform(0.0, plan.crash_every_s - BACK_AFTER_S - 60.0))
        victim = world.rng.choice(self.names)
        listener.victim, listener.crashed_s, listener.heard = victim, world.now_s, {}
        world.kill(victim)
        world.run(BACK_AFTER_S)
        times = sorted(listener.heard.values())
        needed = math.ceil((plan.nodes - 1) * SHARE)
        if len(times) >= needed:
            self.detections.append(times[needed - 1])
        else:
            self.unknown += 1
        world.start(victim)
        world.run(30.0)
        listener.victim = ""
        world.run_until(end_s)

    def _sent(self) -> tuple[int, int]:
        hosts = self.world.hosts.values()
        return sum(h.datagrams for h in hosts), sum(h.bytes_sent for h in hosts)

    def body(self, before: tuple[int, int], began_s: float) -> dict[str, Any]:
        """Return the figures so far."""
        plan, seconds = self.plan, self.world.now_s - began_s
        cpu_s = time.process_time() - self.began_s
        packets, sent = (b - a for a, b in zip(before, self._sent(), strict=True))
        detections = self.detections
        return {
            "nodes": plan.nodes,
            "loss": plan.loss,
            "bursts": plan.bursts,
            "seed": plan.seed,
            "simulated_h": round(seconds / HOUR_S, 3),
            "node_hours": round(seconds / HOUR_S * plan.nodes, 1),
            "false_down": self.listener.false_down,
            "false_dead": self.listener.false_dead,
            "wronged": dict(sorted(self.listener.wronged.items())),
            "crashes": len(detections) + self.unknown,
            "not_known": self.unknown,
            "known_p50_s": round(quantile(detections, 0.5), 3) if detections else None,
            "known_p99_s": round(quantile(detections, 0.99), 3) if detections else None,
            "known_worst_s": round(max(detections), 3) if detections else None,
            "packets_s": round(packets / seconds / plan.nodes, 2),
            "bytes_s": round(sent / seconds / plan.nodes, 1),
            "events": self.world.events,
            "cpu_s": round(cpu_s, 1),
            "times_real": round(self.world.now_s / cpu_s, 1),
            "cpu_ms_per_node_s": round(cpu_s / self.world.now_s / plan.nodes * 1e3, 4),
        }


def _write(out: Path | None, body: dict[str, Any]) -> None:
    line = json.dumps(body)
    sys.stderr.write(line + "\n")
    if out is not None:
        with out.open("a") as file:
            file.write(line + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `soak`."""
    parser.add_argument("--nodes", type=int, default=100, help="how many (100)")
    parser.add_argument("--hours", type=float, default=24.0, help="simulated (24)")
    parser.add_argument("--loss", type=float, default=5.0, help="percent of packets lost (5)")
    parser.add_argument("--bursts", action="store_true", help="and bursts of loss on every link")
    parser.add_argument("--seed", type=int, default=1, help="of everything that chance decides (1)")
    parser.add_argument("--out", type=Path, help="add a line of JSON per simulated hour here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run one soak and print its last line; 1 when somebody was wronged for good."""
    plan = SoakPlan(
        options.nodes, options.hours * HOUR_S, options.loss / 100, options.seed, options.bursts
    )
    body = Soak(plan).run(options.out)
    print(json.dumps(body, indent=2))
    return 1 if body["false_dead"] else 0
