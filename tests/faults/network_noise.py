"""A million datagrams that are none, from everywhere: as if nobody were here."""

import json
import time
from typing import Any

from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.load import equal_tables, submit
from tests.faults.network_hostile import OUTSIDE, OUTSIDE_PREFIX, PER_S, send_junk
from tests.faults.nodes import LabNode, mesh_of, wait_until
from tests.faults.watch import Watch

TOTAL = 1_000_000
QUICK_TOTAL = 20_000
LIMIT_S = 300.0
CALM_S = 30.0
CARD = "noise0"
ABOUT_LINKS = ("address", "rtt_ms", "age_s")
"""What changes of itself while nothing happens."""


def state_of(node: LabNode) -> str:
    """Return everything that a node knows and shows, but for what it counts and measures."""
    status = node.call("node.status")
    del status["counters"], status["node"]["uptime_s"]
    views = node.call("member.list")["members"]
    members = [{key: view[key] for key in view if key not in ABOUT_LINKS} for view in views]
    told: dict[str, Any] = {"status": status, "members": members, "tasks": node.tasks()}
    told["tickets"] = node.call("trust.invites")
    told["pending"] = node.call("trust.pending")
    return json.dumps(told, sort_keys=True)


def _disk(node: LabNode) -> int:
    return sum(path.stat().st_size for path in (node.folder / "data").rglob("*") if path.is_file())


def _log_lines(node: LabNode) -> int:
    return (node.folder / "node.log").read_bytes().count(b"\n")


def _grown(before: dict[str, int], after: dict[str, int], *starts: str) -> int:
    return sum(
        after[name] - before.get(name, 0)
        for name in after
        if any(name.startswith(start) for start in starts)
    )


def noise(scale: Scale) -> Outcome:
    """Send junk of every sort to one node, and compare everything it knows before and after."""
    total = TOTAL if scale is Scale.FULL else QUICK_TOTAL
    with mesh_of(3, scale) as mesh:
        nodes = list(mesh.nodes.values())
        victim, others = nodes[0], nodes[1:]
        device = victim.space.card(CARD, OUTSIDE, OUTSIDE_PREFIX)
        submit(victim, "before")
        wait_until("equal tables", lambda: equal_tables(nodes), CALM_S)
        time.sleep(1.0)  # what is on its way to the disk
        lines, disk, state = _log_lines(victim), _disk(victim), state_of(victim)
        before, sent = victim.counters(), [node.counters() for node in others]
        with Watch(nodes) as watch:
            plan = {"how": "noise", "lasts_s": LIMIT_S, "total": total}
            counts = send_junk(device, {**plan, "samples": mesh.lab.samples()})
        after, sent_after = victim.counters(), [node.counters() for node in others]
        said = sum(_grown(*pair, "datagrams_sent") for pair in zip(sent, sent_after, strict=True))
        taken = _grown(before, after, "udp_received", "udp_oversize")
        refused = _grown(before, after, "refused_", "udp_oversize")
        changes = int(state_of(victim) != state)
        lines, disk = _log_lines(victim) - lines, _disk(victim) - disk
    return Outcome(
        (
            Figure("sent", counts["sent"], "datagrams", at_least=total),
            Figure("taken in by the node", taken, "datagrams", at_least=total / 2),
            Figure("replies", counts["replies"], at_most=0),
            Figure("neither refused by a counted reason nor from a member",
                   max(0, taken - refused - said), at_most=max(16, total // 10_000)),
            Figure("refused beyond what came", max(0, refused - taken), at_most=0),
            Figure("changes of what it knows", changes, at_most=0),
            Figure("bytes on its disk", disk, at_most=0),
            Figure("lines of its log", lines, at_most=2),
            Figure("believed down", len(watch.losses()), at_most=0),
        ),
        "each datagram is another one: random bytes, or real ones flipped, cut, extended, mixed; "
        f"{PER_S} a second at most, from 65,536 addresses",
    )  # fmt: skip


FAULTS = (
    Fault(
        "noise",
        "10^6 random and mutated datagrams from outside at one node",
        "no reply, nothing it knows or keeps changes, two lines of log, all of it counted",
        noise,
        (Need.NAMESPACES,),
        in_quick_run=True,
    ),
)
