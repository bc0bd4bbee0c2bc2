"""What `mesh doctor` looks at; each check returns findings, and none changes anything."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mesh.cli.reach import Reached, reach
from mesh.core.errors import LocalError
from mesh.core.identity import Address, MeshId
from mesh.core.trust.tickets import Ticket, parse_ticket
from mesh.daemon.places import is_loopback, parse_address
from mesh.storage.state_directory import inspect_state

OK, NOTE, WRONG = "ok", "note", "wrong"
CLOCK_SLACK_S = 60.0
SUSPICIOUS = {
    "refused_wrong_mesh": (
        "greetings of another mesh came in",
        "some machine joins with an old ticket, or another mesh uses this port",
    ),
    "refused_not_admitted": (
        "nodes without a certificate of this mesh spoke",
        "give them a ticket (`mesh invite`), or find out who they are",
    ),
    "refused_bad_signature": (
        "forged or damaged facts came in",
        "see which member relays them in `mesh events`; three of them mute it for a while",
    ),
    "commits_failed": (
        "the disk did not take what was to be written",
        "free space, or look at the disk; submits are refused meanwhile",
    ),
    "udp_send_failed": (
        "the system did not let datagrams leave",
        "look at routes and at the firewall of this machine",
    ),
    "refused_on_load": (
        "rows of the log did not verify when the node started",
        "they were left out and come back from the others; check the disk",
    ),
}


WARNINGS = {
    "THE KEY OF": (WRONG, "stop one of the two; `mesh rekey` gives the other a key of its own"),
    "this node cannot write": (WRONG, "free space on its disk, or repair it"),
    "isolated": (WRONG, "look at the network and the firewall of this machine"),
    "fewer than two admins": (NOTE, "`mesh admin add NODE` makes another one"),
    "this mesh is OPEN": (NOTE, "that is for trying things out: found one without --open for more"),
}
"""How the warnings of a node begin, how bad they are, and what to do."""
FREE_BYTES_LOW = 64 * 1024 * 1024
"""Less than one blob of the greatest size."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what a person should know of it."""

    check: str
    level: str
    """`ok`, `note` or `wrong`."""
    says: str
    hint: str = ""

    def view(self) -> dict[str, str]:
        """Return it as JSON."""
        return asdict(self)


def check_state(path: Path) -> Iterator[Finding]:
    """Look at the state directory without opening what is in it."""
    if not path.exists() and not path.is_symlink():
        hint = "`mesh up` makes it; if the node keeps its state elsewhere, say so with --data"
        yield Finding("state", NOTE, f"{path} is not there", hint)
        return
    try:
        inspect_state(path)
    except LocalError as wrong:
        yield Finding("state", WRONG, wrong.message, wrong.hint)
    else:
        yield Finding("state", OK, f"{path} is private to this user")
        yield from _space(path)


def _space(path: Path) -> Iterator[Finding]:
    try:
        found = os.statvfs(path)
    except OSError as wrong:
        yield Finding("state", WRONG, f"{path}: {wrong.strerror}", "look at the disk")
        return
    free = found.f_bavail * found.f_frsize
    if free < FREE_BYTES_LOW:
        yield Finding(
            "state",
            WRONG,
            f"{free // 1024:,} KiB are free on the disk of {path}",
            "free some space: a node that cannot write refuses work",
        )


def check_ticket(text: str, own_mesh: str | None, now_s: float) -> Iterator[Finding]:
    """Look at a ticket, and at who serves it."""
    try:
        ticket = parse_ticket(text)
    except LocalError as wrong:
        yield Finding("ticket", WRONG, wrong.message, wrong.hint)
        return
    yield _expiry(ticket, now_s)
    if own_mesh is not None and ticket.mesh.hex() != own_mesh:
        yield Finding(
            "ticket",
            WRONG,
            f"it is for mesh {ticket.mesh.hex()[:16]}, this node is in {own_mesh[:16]}",
            "take a ticket of this mesh, or start another node with --instance and --data",
        )
    for reached in reach(ticket.mesh, ticket.addresses):
        yield _issuer(reached)


def _expiry(ticket: Ticket, now_s: float) -> Finding:
    left_s = ticket.expires_s - now_s
    clock = datetime.fromtimestamp(now_s).astimezone().isoformat(timespec="seconds")
    if left_s <= 0:
        return Finding(
            "ticket",
            WRONG,
            f"it expired {-left_s:.0f} s ago, by this machine's clock ({clock})",
            "ask for a new one; if the time is wrong, set the clock",
        )
    return Finding("ticket", OK, f"good for {left_s:.0f} s, by this machine's clock ({clock})")


def _issuer(reached: Reached) -> Finding:
    where = f"the issuer at {reached.address}"
    if reached.udp and reached.tcp:
        return Finding("ticket", OK, f"{where} answers by UDP and TCP")
    if reached.tcp:
        return Finding(
            "ticket",
            WRONG,
            f"{where} takes connections, but no greeting of this ticket's mesh is answered",
            f"UDP port {reached.address.port} is blocked on the way, or another mesh runs there",
        )
    if reached.udp:
        return Finding(
            "ticket",
            WRONG,
            f"{where} answers by UDP, but takes no connection",
            f"open TCP port {reached.address.port} too: joining needs it",
        )
    return Finding(
        "ticket",
        WRONG,
        f"nobody answers at {reached.address}",
        "is that node up, and is its advertised address right? see `mesh status` there",
    )


def check_status(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at what the node says of itself."""
    node = status["node"]
    if node["state"] == "joining":
        asking = ", ".join(node.get("asking", ())) or "nobody"
        yield Finding(
            "node",
            WRONG,
            f"{node['name']} is not in a mesh yet; it asks {asking}: {node.get('last_problem')}",
            "`mesh doctor --join TICKET` looks at the ticket and the way to its issuers",
        )
        return
    if node["state"] == "pending":
        yield Finding(
            "node",
            WRONG,
            f"{node['name']} ({node['fingerprint']}) waits to be let into mesh "
            f"{status['mesh']['id'][:16]}",
            f"compare the fingerprint with `mesh pending` there, then `mesh admit {node['name']}`",
        )
        return
    yield Finding("node", OK, f"{node['name']} runs, as a member of {status['mesh']['name']}")
    for warning in status.get("warnings", ()):
        level, hint = next(
            (found for start, found in WARNINGS.items() if warning.startswith(start)), (NOTE, "")
        )
        yield Finding("node", level, warning, hint)
    for name, (says, hint) in SUSPICIOUS.items():
        times = status.get("counters", {}).get(name, 0)
        if times:
            yield Finding("counters", NOTE, f"{says} ({name}: {times})", hint)


def check_members(mesh: MeshId, members: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Look at every way from here to the others, and to this node's own address."""
    own = next(member for member in members if member["is_self"])
    others = [member for member in members if not member["is_self"] and member["status"] != "left"]
    # Names may be alike: machines that were cloned, or are all called localhost.
    here, *places = [parse_address(member["address"], 0) for member in (own, *others)]
    found = {each.address: each for each in reach(mesh, [here, *places])}
    yield from _own_address(here, found, places)
    for member, place in zip(others, places, strict=True):
        reached = found.get(place)
        if reached is not None:
            yield _member(member, reached)


def _own_address(
    own: Address, found: Mapping[Address, Reached], others: Sequence[Address]
) -> Iterator[Finding]:
    if is_loopback(own.host) and any(not is_loopback(other.host) for other in others):
        yield Finding(
            "address",
            WRONG,
            f"this node tells the others to reach it at {own}, which is this machine alone",
            "start it with --advertise HOST:PORT, an address that the others can reach",
        )
    elif not found[own].udp or not found[own].tcp:
        yield Finding(
            "address",
            WRONG,
            f"nobody answers at {own}, where this node tells the others to reach it",
            "correct --advertise, or let this machine's firewall pass its port (UDP and TCP)",
        )
    else:
        yield Finding("address", OK, f"this node answers at {own}, the address it advertises")


def _member(member: Mapping[str, Any], reached: Reached) -> Finding:
    name, status = member["name"], member["status"]
    where = f"{name} ({status}) at {reached.address}"
    port = reached.address.port
    if reached.udp and reached.tcp:
        return Finding("members", OK, f"{where} answers by UDP and TCP")
    if reached.tcp:
        return Finding(
            "members",
            WRONG,
            f"{where} takes connections, but UDP does not get through",
            f"let the firewalls between pass UDP port {port}, both ways",
        )
    if reached.udp:
        return Finding(
            "members",
            NOTE,
            f"{where} answers by UDP, but takes no connection",
            f"let the firewalls between pass TCP port {port}: large transfers need it",
        )
    if status == "alive":
        return Finding(
            "members",
            NOTE,
            f"{where} does not answer there, though it is alive",
            "it is behind a NAT or reached through others; a reachable --advertise is better",
        )
    return Finding("members", NOTE, f"{where} does not answer", "is that machine on?")


def check_clock(tasks: Sequence[Mapping[str, Any]], now_s: float) -> Iterator[Finding]:
    """Look for tasks that were made in this machine's future."""
    made = [task["created_at"] for task in tasks if task.get("created_at")]
    ahead_s = max((datetime.fromisoformat(each).timestamp() - now_s for each in made), default=0.0)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now_s))
    if ahead_s > CLOCK_SLACK_S:
        yield Finding(
            "clock",
            WRONG,
            f"a task was made {ahead_s:.0f} s in the future of this machine's clock ({clock})",
            "set the clock here or on its submitter: expiry, not-before and deadlines go by it",
        )
    else:
        yield Finding("clock", OK, f"{clock}; no task comes from the future")
