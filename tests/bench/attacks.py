"""The attacks of memberlist#370 and #371 on serf and on mesh, side by side.

    python -m tests.bench.attacks

Serf (Debian package `serf`) runs in the clear and then with a key that the attacker holds as every
member does; mesh is attacked by a stranger that has the mesh id, and by an admitted member. Three
nodes each, on loopback. Nothing here passes or fails: the table says what happened.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mesh.cli.demo import write
from mesh.core.identity import Address
from tests.attacks import on_mesh, on_serf
from tests.attacks.evil_member import HOST, EvilMember
from tests.attacks.on_mesh import Hijack, Reflection
from tests.end_to_end.processes import RealMesh

NODES = 3
JOINED_S = 20.0


class Row(NamedTuple):
    """One attacker of one system."""

    system: str
    attacker: str
    hijack: Hijack
    reflections: tuple[Reflection, ...]


def attack_serf() -> Iterator[Row]:
    """Attack serf without and with a key."""
    for encrypted in (False, True):
        with on_serf.serf(encrypted=encrypted) as cluster:
            reflections = (
                on_serf.reflect(cluster, named_in_payload=True),
                on_serf.reflect(cluster, named_in_payload=False),
            )
            attacker = "holds the key, as every member" if encrypted else "anybody (no key set)"
            yield Row("serf", attacker, on_serf.hijack(cluster), reflections)


def attack_mesh() -> Iterator[Row]:
    """Attack mesh as a stranger and as a member."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = RealMesh(Path(folder))
        try:
            nodes = mesh.start(NODES)
            observer, victim = nodes[0], nodes[-1].name
            address = Address(HOST, observer.port)
            ticket: str = observer.call("trust.invite", uses=1, ttl_s=300.0)["ticket"]
            with EvilMember(Path(folder) / "evil", ticket) as evil:
                for node in nodes:
                    node.call("member.wait", members=NODES + 1, wait_s=JOINED_S)
                time.sleep(1.0)
                yield Row(
                    "mesh",
                    "a stranger with the mesh id",
                    on_mesh.hijack_as_stranger(observer, address, evil, victim),
                    (on_mesh.reflect_as_stranger(address),),
                )
                yield Row(
                    "mesh",
                    "an admitted member",
                    on_mesh.hijack_as_member(observer, evil, victim),
                    (on_mesh.reflect_as_member(observer, evil),),
                )
        finally:
            mesh.stop()


def shown(row: Row) -> str:
    """Return a row of the table."""
    hijack = "hijacked" if row.hijack.worked else "refused"
    seen = ", ".join(row.hijack.statuses)
    factors = ", ".join(
        f"{each.factor:.1f} ({each.bytes_in:,} in, {each.bytes_at_victim:,} out)"
        for each in row.reflections
    )
    places = len(row.hijack.addresses)
    return f"| {row.system} | {row.attacker} | {hijack}: {seen}, {places} address(es) | {factors} |"


def main() -> int:
    """Print the table."""
    write("| system | attacker | #370: forged goodbye, new address | #371: bytes out per byte in |")
    write("|---|---|---|---|")
    if on_serf.is_installed():
        for row in attack_serf():
            write(shown(row))
    else:
        write("serf is not installed: apt-get install serf", file=sys.stderr)
    for row in attack_mesh():
        write(shown(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
