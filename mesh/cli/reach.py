"""Whether the nodes at some addresses can be reached from here, by UDP and by TCP.

A node answers a greeting that is keyed by its mesh's id, whoever sends it, and stays silent for
any other. So a silent UDP port behind an open TCP port is a blocked one, or another mesh's.
"""

import ipaddress
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mesh.core.identity import Address, MeshId
from mesh.core.links.hello import ASK, HELLO_BYTES, encode_hello

UDP_WAIT_S = 1.5
UDP_TRIES = 3
TCP_WAIT_S = 2.0
ADDRESSES_MAX = 32
"""Probed at once; a node answers 20 greetings of one source a second."""
RECEIVE_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Reached:
    """What answered at one address."""

    address: Address
    udp: bool
    tcp: bool


def reach(mesh: MeshId, addresses: Sequence[Address]) -> list[Reached]:
    """Try all of these addresses; takes two seconds at most."""
    chosen = list(dict.fromkeys(addresses))[:ADDRESSES_MAX]
    with ThreadPoolExecutor(max_workers=len(chosen) + 1) as pool:
        greeted = pool.submit(_greet, mesh, chosen)
        connected = list(pool.map(_connects, chosen))
        answered = greeted.result()
    return [
        Reached(address, address in answered, tcp)
        for address, tcp in zip(chosen, connected, strict=True)
    ]


def _connects(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), TCP_WAIT_S):
            return True
    except OSError:
        return False


def _greet(mesh: MeshId, addresses: Sequence[Address]) -> dict[Address, None]:
    """Return who answered a greeting of this mesh."""
    greeting = encode_hello(mesh, ASK, [])
    answered: dict[Address, None] = {}
    families = {_family(address) for address in addresses}
    for family in sorted(families):
        wanted = [address for address in addresses if _family(address) == family]
        with socket.socket(family, socket.SOCK_DGRAM) as port:
            _ask(port, greeting, wanted, answered)
    return answered


def _ask(
    port: socket.socket,
    greeting: bytes,
    wanted: Sequence[Address],
    answered: dict[Address, None],
) -> None:
    for _ in range(UDP_TRIES):
        for address in wanted:
            if address not in answered:
                _send(port, greeting, address)
        end = time.monotonic() + UDP_WAIT_S / UDP_TRIES
        while (left_s := end - time.monotonic()) > 0:
            port.settimeout(left_s)
            try:
                data, source = port.recvfrom(RECEIVE_BYTES)
            except OSError:
                continue
            if len(data) <= HELLO_BYTES:
                answered[Address(source[0], source[1])] = None
        if all(address in answered for address in wanted):
            return


def _send(port: socket.socket, greeting: bytes, address: Address) -> None:
    try:
        port.sendto(greeting, (address.host, address.port))
    except OSError:
        return  # no route: it stays unanswered


def _family(address: Address) -> int:
    version = ipaddress.ip_address(address.host).version
    return socket.AF_INET6 if version == 6 else socket.AF_INET
