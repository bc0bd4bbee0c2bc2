"""Exclusive claims on etcd, on Redis and on mesh, driven in the same closed loop.

A client is a process with one claim in flight. On etcd and Redis a claim creates a key if it is
absent; on mesh it claims a task by id and waits until it may start. Thin clients: the servers are
what is measured.
"""

import base64
import contextlib
import http.client
import json
import multiprocessing
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mesh.cli.demo import free_ports, wait_for
from mesh.control.client import Client, Refused
from tests.bench.claims import fresh_mesh, pids_of, submit_many
from tests.bench.readings import PERCENT, cpu_seconds
from tests.bench.reports import quantile

START_S = 20.0
LEAD_S = 0.5
"""Clients are connected by then, and begin together."""
ROOM_1, ROOM_MORE = 2500, 4000
"""Tasks made beforehand per second of measuring: more than can be claimed."""
NOT_WON = ("not_open", "claim_lost", "already_owned", "no_task")
Claim = Callable[[int], bool]
Connect = Callable[[int], Claim]
"""Given the number of a client, connect it and return what claims the n-th key."""


@dataclass(slots=True)
class Store:
    """A running system to be claimed at."""

    name: str
    durability: str
    pids: list[int]
    prepare: Callable[[int, float, bool], Connect]
    """Given clients, seconds and whether they contend: make room, return how to connect."""


@dataclass(slots=True)
class Driven:
    """What some clients achieved."""

    won: int = 0
    lost: int = 0
    two_winners: int = 0
    elapsed_s: float = 0.0
    cpu_percent: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    winners: list[int] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "won": self.won,
            "lost": self.lost,
            "two_winners": self.two_winners,
            "per_s": (self.won + self.lost) / self.elapsed_s,
            "won_per_s": self.won / self.elapsed_s,
            "p50_ms": quantile(self.latencies_ms, 0.5),
            "p99_ms": quantile(self.latencies_ms, 0.99),
            "cpu_percent": self.cpu_percent,
        }


def _run_client(connect: Connect, number: int, span: tuple[float, float], pipe: Connection) -> None:
    claim = connect(number)
    begin_at, seconds = span
    latencies: list[float] = []
    won: list[int] = []
    lost = key = 0
    time.sleep(max(0.0, begin_at - time.monotonic()))
    while (begun := time.monotonic()) < begin_at + seconds:
        try:
            if claim(key):
                won.append(key)
            else:
                lost += 1
        except IndexError:
            break  # every task that was made beforehand is claimed
        latencies.append((time.monotonic() - begun) * 1000)
        key += 1
    pipe.send((latencies, won, lost, time.monotonic()))
    pipe.close()


def drive(store: Store, clients: int, seconds: float, *, contend: bool) -> Driven:
    """Run clients at once, each in a process, and add up."""
    connect = store.prepare(clients, seconds, contend)
    context = multiprocessing.get_context("fork")
    span = (time.monotonic() + LEAD_S, seconds)
    pipes, processes = [], []
    for number in range(clients):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run_client, args=(connect, number, span, sender))
        process.start()
        pipes.append(receiver)
        processes.append(process)
    time.sleep(max(0.0, span[0] - time.monotonic()))
    before = sum(cpu_seconds(pid) for pid in store.pids)
    driven, end = Driven(), 0.0
    for pipe in pipes:
        latencies, won, lost, ended = pipe.recv()
        driven.latencies_ms += latencies
        driven.winners += won
        driven.won, driven.lost = driven.won + len(won), driven.lost + lost
        end = max(end, ended)
    driven.elapsed_s = end - span[0]
    used = sum(cpu_seconds(pid) for pid in store.pids) - before
    driven.cpu_percent = PERCENT * used / driven.elapsed_s
    if contend:
        driven.two_winners = len(driven.winners) - len(set(driven.winners))
    for process in processes:
        process.join()
    return driven


def _wait_port(port: int) -> None:
    def is_open() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_for(f"port {port}", is_open, START_S)


@contextlib.contextmanager
def _servers(commands: Callable[[Path], list[list[str]]], ports: Sequence[int]) -> Iterator[Any]:
    folder = Path(tempfile.mkdtemp(prefix="mesh-bench-"))
    quiet = subprocess.DEVNULL
    running: list[subprocess.Popen[bytes]] = []
    try:
        running += [
            subprocess.Popen(command, stdout=quiet, stderr=quiet) for command in commands(folder)
        ]
        for port in ports:
            _wait_port(port)
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


# --- etcd


class EtcdClient:
    """The JSON gateway over one connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port)
        self._http.connect()
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask; raises OSError for anything but success."""
        kind = {"Content-Type": "application/json"}
        self._http.request("POST", path, json.dumps(body), kind)
        answer = self._http.getresponse()
        data = answer.read()
        if answer.status != http.client.OK:
            raise OSError(data.decode())
        found: dict[str, Any] = json.loads(data)
        return found


@contextlib.contextmanager
def etcd() -> Iterator[Store]:
    """Run three members; a claim is a transaction under a lease that the client holds."""
    ports = free_ports(6)
    client_ports, peer_ports = ports[:3], ports[3:]
    cluster = ",".join(f"e{i}=http://127.0.0.1:{port}" for i, port in enumerate(peer_ports))

    def commands(folder: Path) -> list[list[str]]:
        return [
            [
                *("etcd", "--name", f"e{i}", "--data-dir", str(folder / f"e{i}")),
                *("--listen-client-urls", f"http://127.0.0.1:{client_ports[i]}"),
                *("--advertise-client-urls", f"http://127.0.0.1:{client_ports[i]}"),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer_ports[i]}"),
                *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer_ports[i]}"),
                *("--initial-cluster", cluster, "--initial-cluster-state", "new"),
                *("--logger", "zap", "--log-level", "error"),
            ]
            for i in range(3)
        ]

    with _servers(commands, client_ports) as pids:
        time.sleep(3)  # a leader is elected
        order = _leader_first(client_ports)
        yield Store("etcd x3", "fsync on 2 of 3", pids, _etcd_prepare(order))


def _leader_first(ports: Sequence[int]) -> list[int]:
    def leads(port: int) -> bool:
        status = EtcdClient(port).post("/v3/maintenance/status", {})
        return bool(status["header"]["member_id"] == status["leader"])

    return sorted(ports, key=lambda port: not leads(port))


def _etcd_prepare(ports: Sequence[int]) -> Callable[[int, float, bool], Connect]:
    def prepare(_clients: int, _seconds: float, contend: bool) -> Connect:
        mark = f"{time.monotonic_ns()}"

        def connect(number: int) -> Claim:
            client = EtcdClient(ports[number % len(ports)])
            lease = client.post("/v3/lease/grant", {"TTL": 60})["ID"]
            value = base64.b64encode(f"client-{number}".encode()).decode()

            def claim(key: int) -> bool:
                name = f"{mark}-{key}" if contend else f"{mark}-{number}-{key}"
                at = base64.b64encode(name.encode()).decode()
                absent = {"target": "CREATE", "result": "EQUAL", "create_revision": "0"}
                put = {"request_put": {"key": at, "value": value, "lease": lease}}
                body = {"compare": [{"key": at, **absent}], "success": [put]}
                return bool(client.post("/v3/kv/txn", body).get("succeeded", False))

            return claim

        return connect

    return prepare


# --- Redis


@contextlib.contextmanager
def redis() -> Iterator[Store]:
    """Run one server that syncs its log before each answer; a claim is SET NX PX."""
    (port,) = free_ports(1)

    def commands(folder: Path) -> list[list[str]]:
        durable = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
        where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder))
        return [["redis-server", *where, *durable]]

    def prepare(_clients: int, _seconds: float, contend: bool) -> Connect:
        mark = f"{time.monotonic_ns()}"

        def connect(number: int) -> Claim:
            stream = socket.create_connection(("127.0.0.1", port)).makefile("rwb", buffering=0)

            def claim(key: int) -> bool:
                name = f"{mark}-{key}" if contend else f"{mark}-{number}-{key}"
                words = ("SET", name, f"client-{number}", "NX", "PX", "60000")
                parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                stream.write(f"*{len(words)}\r\n{parts}".encode())
                return bool(stream.readline().startswith(b"+OK"))

            return claim

        return connect

    with _servers(commands, [port]) as pids:
        yield Store("Redis x1", "fsync, one copy", pids, prepare)


# --- mesh


@contextlib.contextmanager
def mesh() -> Iterator[Store]:
    """Run three nodes; a claim is answered once it may start."""
    with fresh_mesh() as nodes:
        made = 0

        def prepare(clients: int, seconds: float, contend: bool) -> Connect:
            nonlocal made
            made += 1
            room = ROOM_1 if clients == 1 or contend else ROOM_MORE
            tasks = submit_many(nodes, int(room * seconds), f"kind-{made}")

            def connect(number: int) -> Claim:
                client = Client.connect(str(nodes[number % len(nodes)].socket))
                mine = tasks if contend else tasks[number::clients]

                def claim(key: int) -> bool:
                    try:
                        client.call("task.claim", task=mine[key], detached=True)
                    except Refused as no:
                        if no.name in NOT_WON:
                            return False
                        raise
                    return True

                return claim

            return connect

        yield Store("mesh x3", "fsync on 1, acknowledged by all 3", pids_of(nodes), prepare)
