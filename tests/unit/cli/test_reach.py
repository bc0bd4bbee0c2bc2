"""Reaching nodes: real sockets that answer one way, the other, both, or not at all."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mesh.cli.demo import free_ports
from mesh.cli.reach import RECEIVE_BYTES, Reached, reach
from mesh.core.errors import RemoteError
from mesh.core.identity import Address, MeshId
from mesh.core.links.hello import ANSWER, decode_hello_untrusted, encode_hello

MESH = MeshId(b"m" * 32)
HOST = "127.0.0.1"


@contextmanager
def answering(mesh: MeshId = MESH, *, udp: bool = True, tcp: bool = True) -> Iterator[Address]:
    """Answer greetings of one mesh, as a node does, or take connections, or both."""
    address = Address(HOST, free_ports(1)[0])
    with ExitStack() as stack:
        if tcp:
            listener = stack.enter_context(socket.socket())
            listener.bind((HOST, address.port))
            listener.listen()
        if udp:
            port = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            port.bind((HOST, address.port))
            port.settimeout(0.1)
            over = threading.Event()
            thread = threading.Thread(target=_answer, args=(port, mesh, over))
            thread.start()
            stack.callback(thread.join)
            stack.callback(over.set)
        yield address


def _answer(port: socket.socket, mesh: MeshId, over: threading.Event) -> None:
    while not over.is_set():
        try:
            data, source = port.recvfrom(RECEIVE_BYTES)
            decode_hello_untrusted(mesh, data)
        except (TimeoutError, RemoteError):
            continue
        port.sendto(encode_hello(mesh, ANSWER, []), source)


def test_udp_and_tcp_are_told_apart() -> None:
    with ExitStack() as stack:
        both = stack.enter_context(answering())
        blocked = stack.enter_context(answering(udp=False))
        closed = stack.enter_context(answering(tcp=False))
        foreign = stack.enter_context(answering(MeshId(b"x" * 32)))
        nobody = Address(HOST, free_ports(1)[0])
        found = reach(MESH, [both, blocked, closed, foreign, nobody, both])
    assert found == [
        Reached(both, udp=True, tcp=True),
        Reached(blocked, udp=False, tcp=True),
        Reached(closed, udp=True, tcp=False),
        Reached(foreign, udp=False, tcp=True),
        Reached(nobody, udp=False, tcp=False),
    ]


def test_nobody_to_reach_is_nothing_found() -> None:
    assert reach(MESH, []) == []
