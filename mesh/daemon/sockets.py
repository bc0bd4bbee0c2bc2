"""Sockets of a node: one address for UDP and TCP, and numeric addresses only."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.daemon.port_owner import port_owner

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
BACKLOG = 128
PORT_TRIES = 16
KNOWN_MAX = 4096
MAPPED = "::ffff:"

SocketAddress = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sockets:
    """A bound UDP socket and a TCP listener on one address; neither blocks."""

    udp: socket.socket
    listener: socket.socket
    address: Address

    def close(self) -> None:
        """Give the address back."""
        self.udp.close()
        self.listener.close()


class AddressBook:
    """Turns addresses into what one family of sockets takes, and back; asks no name server."""

    def __init__(self, family: int) -> None:
        self.family = family
        self._known: dict[Address, SocketAddress | None] = {}

    def socket_address(self, address: Address) -> SocketAddress | None:
        """Return where to send for this address; None if a socket of this family can not."""
        if address in self._known:
            return self._known[address]
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        found = self._known[address] = self._look(address)
        return found

    def _look(self, address: Address) -> SocketAddress | None:
        # A name here would make the system look it up, with everything else waiting for that.
        try:
            parsed = ipaddress.ip_address(address.host)
        except ValueError:
            return None
        if not 0 < address.port < 65_536:
            return None
        if self.family == socket.AF_INET:
            return (address.host, address.port) if parsed.version == 4 else None
        return (MAPPED + address.host if parsed.version == 4 else address.host, address.port)


def plain_address(found: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Return what a socket reports, with an IPv4 address in its own form."""
    host = found[0]
    if host.startswith(MAPPED) and "." in host:
        host = host[len(MAPPED) :]
    return Address(host, found[1])


def family_of(host: str) -> socket.AddressFamily:
    """Return the socket family of a numeric host; raises LocalError for anything else."""
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError as error:
        raise LocalError(
            "bind_not_numeric",
            f"{host!r} is no numeric address",
            "bind to an address of this machine, such as 0.0.0.0 or 127.0.0.1",
        ) from error
    return socket.AF_INET6 if is_v6 else socket.AF_INET


def bind_sockets(address: Address) -> Sockets:
    """Bind both sockets, on a free port for port 0; raises LocalError saying what is in the way."""
    family = family_of(address.host)
    for left in reversed(range(PORT_TRIES if address.port == 0 else 1)):
        udp = _bind(family, socket.SOCK_DGRAM, address)
        bound = plain_address(udp.getsockname())
        try:
            listener = _bind(family, socket.SOCK_STREAM, bound)
        except LocalError as error:
            udp.close()
            # The port that UDP was given may be taken for TCP: then another one is tried.
            if error.name != "port_in_use" or not left:
                raise
            continue
        try:
            listener.listen(BACKLOG)
        except OSError as error:
            udp.close()
            listener.close()
            raise _bind_error(error, socket.SOCK_STREAM, bound) from error
        return Sockets(udp, listener, bound)
    raise AssertionError("the last try has returned or raised")


def _bind(family: int, kind: int, address: Address) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        made.bind((address.host, address.port))
    except OSError as error:
        made.close()
        raise _bind_error(error, kind, address) from error
    return made


def _bind_error(error: OSError, kind: int, address: Address) -> LocalError:
    protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(protocol.lower(), address.port)
        return LocalError(
            "port_in_use",
            f"{protocol} port {address.port} is in use" + (f" by {owner}" if owner else ""),
            "choose another port with --bind, or stop the other program",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return LocalError(
            "address_not_here",
            f"{address.host} is no address of this machine",
            "bind to 0.0.0.0 or to one of its own addresses; --advertise says what others use",
        )
    return LocalError(
        "bind_failed",
        f"{protocol} {address}: {error.strerror or error}",
        "choose another address or port with --bind",
    )
