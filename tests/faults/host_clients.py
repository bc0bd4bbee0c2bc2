"""Clients that misbehave and descriptors that run out: other clients and the gossip go on."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mesh.control.client import Client, NodeUnreachable, Refused, encode_request
from tests.end_to_end.processes import submit
from tests.faults.fault import Fault, Figure, Outcome, Scale
from tests.faults.machine import HostMesh, HostNode, Lookout, Stopwatch, host_mesh, seconds_until

ANSWER_LIMIT_MS = 100.0
DESCRIPTORS = 64
CONNECTIONS = 200
HALF_FRAMES = 8
NEVER_READING = 8
CONNECTORS = 4


@contextmanager
def half_frames(node: HostNode, count: int) -> Iterator[None]:
    """Clients that have sent half a question and say nothing more."""
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(node.socket))
            sock.sendall(encode_request(1, "node.status", {})[:25])
        yield


@contextmanager
def never_reading(node: HostNode, count: int) -> Iterator[None]:
    """Clients that want to hear of everything, ask for long answers, and read none of it."""
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(str(node.socket))
            sock.sendall(encode_request(1, "watch", {"topics": ["*"]}))
            for number in range(2, 100):
                sock.sendall(encode_request(number, "task.list", {}))
        yield


def connect_often(node: HostNode, count: int) -> int:
    """Connect and hang up so many times; returns how often that was possible."""
    made = 0
    for _ in range(count):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(node.socket))
            made += 1
    return made


def in_threads(node: HostNode, count: int) -> int:
    """Connect and hang up from several threads at once."""
    made: list[int] = []

    def work() -> None:
        made.append(connect_often(node, count // CONNECTORS))

    threads = [threading.Thread(target=work) for _ in range(CONNECTORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made)


def bad_clients(scale: Scale) -> Outcome:
    """Half frames, clients that never read, and very many connections, all at once."""
    connects, tasks = (4_000, 100) if scale is Scale.QUICK else (100_000, 1_000)
    with host_mesh(3) as mesh:
        victim = mesh.host(1)
        begun_kb = victim.counters()["process_resident_kb"]
        with (
            Lookout(mesh.hosts(), mesh.hosts()) as watch,
            half_frames(victim, HALF_FRAMES),
            Stopwatch(victim) as stopwatch,
        ):
            with never_reading(victim, NEVER_READING):
                for _ in range(tasks):
                    submit(victim, "noise", "x" * 400)
            made = in_threads(victim, connects)
        new_s = seconds_until(victim.is_up, 10, "a new client")
        grown_kb = victim.counters()["process_resident_kb"] - begun_kb
    return Outcome(
        (
            Figure("connections", made, at_least=0.9 * connects),
            *stopwatch.figures("another client", ANSWER_LIMIT_MS),
            Figure("its refusals", stopwatch.refused, at_most=0),
            watch.figure(),
            Figure("a new client is served after", new_s, "s", at_most=5.0),
            Figure("memory grown by", grown_kb / 1024, "MB", at_most=64.0),
        )
    )


def descriptors_gone(scale: Scale) -> Outcome:
    """Take every descriptor that a node may have, through both of its doors."""
    seconds = 3.0 if scale is Scale.QUICK else 60.0
    with host_mesh(2) as mesh:
        victim = mesh.join(wrapper=("prlimit", f"--nofile={DESCRIPTORS}"))
        mesh.together(mesh.nodes)
        with Lookout(mesh.hosts()[:2], mesh.hosts()) as watch, Stopwatch(victim) as stopwatch:
            with Client.connect(str(victim.socket)) as known, ExitStack() as stack:
                opened = sum(_open_tcp(stack, victim) for _ in range(CONNECTIONS))
                opened += sum(_open_control(stack, victim) for _ in range(DESCRIPTORS))
                used = _descriptors(victim)
                submitted = _submit_for(known, seconds)
            recovered_s = seconds_until(lambda: _is_served(victim), 30, "a new client")
        still_member_s = seconds_until(lambda: _sees_all(mesh), 10, "all members")
    return Outcome(
        (
            Figure("connections held open", opened, at_least=DESCRIPTORS),
            Figure("descriptors in use", used, at_least=DESCRIPTORS - 1),
            *stopwatch.figures("a client from before", ANSWER_LIMIT_MS),
            Figure("its refusals", stopwatch.refused, at_most=0),
            Figure("submits acknowledged meanwhile", submitted, at_least=1),
            watch.figure(),
            Figure("a new client is served after", recovered_s, "s", at_most=5.0),
            Figure("all see each other after", still_member_s, "s", at_most=5.0),
        )
    )


def _open_tcp(stack: ExitStack, node: HostNode) -> bool:
    sock = stack.enter_context(socket.socket())
    sock.settimeout(0.05)
    with contextlib.suppress(OSError):
        sock.connect(("127.0.0.1", node.port))
        return True
    return False


def _open_control(stack: ExitStack, node: HostNode) -> bool:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.settimeout(0.05)
    with contextlib.suppress(OSError):
        sock.connect(str(node.socket))
        return True
    return False


def _descriptors(node: HostNode) -> int:
    return len(list(Path(f"/proc/{node.pid}/fd").iterdir()))


def _submit_for(client: Client, seconds: float) -> int:
    acknowledged, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        client.call("task.submit", kind="noise")
        acknowledged += 1
        time.sleep(0.05)
    return acknowledged


def _is_served(node: HostNode) -> bool:
    try:
        node.call("node.status")
    except (NodeUnreachable, Refused, OSError):
        return False
    return True


def _sees_all(mesh: HostMesh) -> bool:
    mesh.together(mesh.nodes)
    return True


FAULTS = (
    Fault(
        name="bad-clients",
        does="half frames, clients that never read, 4,000 connects; 100,000 in the full form",
        criterion="other clients < 100 ms, gossip uninterrupted",
        run=bad_clients,
    ),
    Fault(
        name="no-descriptors",
        does="one node may open 64 descriptors, and connections to both of its doors take them",
        criterion="other clients < 100 ms, gossip uninterrupted; recovers alone",
        run=descriptors_gone,
    ),
)
