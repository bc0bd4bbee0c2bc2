"""Binding, and which addresses can be sent to."""

import os
import socket

import pytest

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.daemon import sockets as sockets_module
from mesh.daemon.port_owner import port_owner
from mesh.daemon.sockets import KNOWN_MAX, AddressBook, bind_sockets, plain_address

LOCAL = Address("127.0.0.1", 0)


def test_both_sockets_share_a_port() -> None:
    bound = bind_sockets(LOCAL)
    assert bound.udp.getsockname() == bound.listener.getsockname() == bound.address
    assert bound.address.port
    assert not bound.udp.getblocking()
    assert bound.udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 200_000
    bound.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_names_its_user(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(LOCAL)
        if kind == socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(LocalError) as refused:
            bind_sockets(Address(*taken.getsockname()))
    assert refused.value.name == "port_in_use"
    assert f"process {os.getpid()} (" in refused.value.message


def test_a_port_that_is_taken_for_tcp_alone_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Address] = []
    bind = sockets_module._bind

    def bind_or_refuse(family: int, kind: int, address: Address) -> socket.socket:
        if kind == socket.SOCK_STREAM:
            tried.append(address)
            if len(tried) < 3:
                raise LocalError("port_in_use", "", "")
        return bind(family, kind, address)

    monkeypatch.setattr(sockets_module, "_bind", bind_or_refuse)
    bound = bind_sockets(LOCAL)
    assert bound.address == tried[2]
    bound.close()


def test_addresses_that_are_not_ours_are_refused() -> None:
    with pytest.raises(LocalError) as refused:
        bind_sockets(Address("192.0.2.1", 0))
    assert refused.value.name == "address_not_here"
    with pytest.raises(LocalError) as refused:
        bind_sockets(Address("localhost", 0))
    assert refused.value.name == "bind_not_numeric"


def test_nobody_holds_a_free_port() -> None:
    bound = bind_sockets(LOCAL)
    bound.close()
    assert port_owner("udp", bound.address.port) == ""


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (socket.AF_INET, Address("10.0.0.1", 7), ("10.0.0.1", 7)),
        (socket.AF_INET, Address("::1", 7), None),
        (socket.AF_INET6, Address("::1", 7), ("::1", 7)),
        (socket.AF_INET6, Address("10.0.0.1", 7), ("::ffff:10.0.0.1", 7)),
        (socket.AF_INET, Address("localhost", 7), None),
        (socket.AF_INET, Address("", 7), None),
        (socket.AF_INET, Address("10.0.0.1", 0), None),
        (socket.AF_INET, Address("10.0.0.1", 65_536), None),
        (socket.AF_INET, Address("10.0.0.1", -1), None),
    ],
)
def test_only_numeric_addresses_of_the_family_can_be_sent_to(
    family: int, address: Address, expected: object
) -> None:
    book = AddressBook(family)
    assert book.socket_address(address) == expected
    assert book.socket_address(address) == expected, "remembered"


def test_the_book_is_bounded() -> None:
    book = AddressBook(socket.AF_INET)
    for port in range(1, KNOWN_MAX + 10):
        book.socket_address(Address("10.0.0.1", port))
    assert len(book._known) <= KNOWN_MAX


def test_mapped_addresses_read_as_ipv4() -> None:
    assert plain_address(("::ffff:10.0.0.1", 7, 0, 0)) == Address("10.0.0.1", 7)
    assert plain_address(("::1", 7, 0, 0)) == Address("::1", 7)
    assert plain_address(("10.0.0.1", 7)) == Address("10.0.0.1", 7)
