"""Nodes behind address translation by the kernel: nobody can be the first to speak to them.

inside (10.51.h.2)  ==cable==  router (10.51.h.1 | 10.50.0.h, masquerading)  --switch--  rest
"""

import subprocess
import time
from pathlib import Path

from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.lab import PREFIX, Card, Lab, address_of
from tests.faults.load import equal_tables, finish_one, submit
from tests.faults.measures import seconds
from tests.faults.namespace import Namespace
from tests.faults.nodes import PROFILES, START_S, LabMesh, LabNode, empty_lab, wait_until
from tests.faults.watch import Watch

PUBLIC = 3
INSIDE, ROUTER_IN = 1000, 2000
"""Added to the number of a host, the numbers of the two cards of its cable."""
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
EVERYWHERE = 8
"""Prefix of the inside address: everything is sent to the card, so no default route is needed."""
RULES = """
table ip nat {
    chain after { type nat hook postrouting priority 100; oifname "out0" masquerade; }
}
"""
CALM_S = 60.0


def inside_address(host: int) -> str:
    """Return the address of a host in its own network."""
    return f"10.51.{host}.2"


def add_behind_nat(lab: Lab, host: int) -> None:
    """Add a host, and the router in front of it."""
    inside, router = Namespace.make(), Namespace.make()
    lab.spaces[host], lab.spaces[ROUTER_IN + host] = inside, router
    address = inside_address(host)
    own, door = INSIDE + host, ROUTER_IN + host
    lab.cards += [
        Card(own, inside.card("t0", address, EVERYWHERE), (), cable=door),
        Card(door, router.card("in0", f"10.51.{host}.1", 24), (), cable=own),
        Card(host, router.card("out0", address_of(host), PREFIX), (address_of(host),)),
    ]
    with router.entered():
        FORWARD.write_text("1")
        subprocess.run(["nft", "-f", "-"], input=RULES.encode(), check=True)


def _start(mesh: LabMesh, scale: Scale) -> tuple[list[LabNode], list[LabNode]]:
    """Start a few public nodes and two behind routers; returns both."""
    public = mesh.of(mesh.lab.hosts)
    for host in (PUBLIC + 1, PUBLIC + 2):
        add_behind_nat(mesh.lab, host)
        mesh.nodes[host] = LabNode(
            host, mesh.folder / str(host), mesh.lab.spaces[host], inside_address(host)
        )
    mesh.lab.connect()
    public[0].start("--profile", PROFILES[scale])
    wait_until("the first node", public[0].is_up, START_S)
    hidden = [mesh.nodes[PUBLIC + 1], mesh.nodes[PUBLIC + 2]]
    mesh.join([*public[1:], *hidden], by=public[0])
    return public, hidden


def _passed_on(one: LabNode, other: LabNode) -> float:
    """Return how long it takes until one has done what the other submitted, and this is known."""
    begun = time.monotonic()
    kind = f"nat-{begun:.3f}"
    task = submit(one, kind)
    assert finish_one(other, kind, wait_s=CALM_S) == task
    wait_until("its end", lambda: one.tasks()[task]["state"] == "completed", CALM_S)
    return time.monotonic() - begun


def nat(scale: Scale) -> Outcome:
    """Two nodes behind two routers join, work with each other, and restart."""
    full = scale is Scale.FULL
    with empty_lab(PUBLIC) as mesh:
        begun = time.monotonic()
        public, hidden = _start(mesh, scale)
        nodes = [*public, *hidden]
        joined = mesh.together(nodes, CALM_S) and time.monotonic() - begun
        with Watch(nodes) as watch:
            time.sleep(180 if full else 6)
            across = max(_passed_on(*hidden), _passed_on(*reversed(hidden)))
            downs = len(watch.losses())
        hidden[1].kill()
        begun = time.monotonic()
        mesh.restart([hidden[1]])
        mesh.together(nodes, CALM_S)
        back = time.monotonic() - begun
        wait_until("equal tables", lambda: equal_tables(nodes), CALM_S)
    return Outcome(
        (
            Figure("started to full views", joined, "s", at_most=seconds(15.0, scale)),
            Figure("believed down", downs, at_most=0),
            Figure("a task between the two", across, "s", at_most=seconds(5.0, scale)),
            Figure("restart of one to full views", back, "s", at_most=seconds(10.0, scale)),
        ),
        f"{PUBLIC} public nodes, 2 behind routers of their own (nft masquerade)",
    )


FAULTS = (
    Fault(
        "nat",
        "two nodes behind address translation, each behind its own",
        "both are admitted, work with each other, come back after a restart; nobody believed down",
        nat,
        (Need.NAMESPACES, Need.NFT),
    ),
)
