"""Where a node keeps its state and where it listens, from options and the machine's habits."""

import grp
import ipaddress
import os
import socket
import stat
from pathlib import Path

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.daemon.options import UpOptions

PORT = 7946
EVERYWHERE = "0.0.0.0"  # noqa: S104  peers on other machines are the point
UNSPECIFIED = (EVERYWHERE, "::")
UNROUTED = "192.0.2.1"
"""RFC 5737: reserved for documentation; a UDP connect to it sends nothing and picks a source."""


def data_directory(options: UpOptions) -> Path:
    """Return the state directory: given, or the usual one of root or of this user."""
    if options.data is not None:
        return Path(options.data)
    name = "mesh" if options.instance is None else f"mesh-{options.instance}"
    if os.geteuid() == 0:
        return Path("/var/lib") / name
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local/state") / name / "data"


def operators(options: UpOptions) -> int | None:
    """Return the number of the group that may operate the node; raises LocalError."""
    if options.group is None:
        return None
    try:
        return grp.getgrnam(options.group).gr_gid
    except KeyError:
        raise LocalError(
            "bad_group",
            f"there is no group {options.group!r} on this machine",
            "make it with `groupadd`, or name another one",
        ) from None


def shut_out(folder: Path, group: int | None) -> str | None:
    """Return what to tell a person whose group cannot pass the directory of the socket."""
    if group is None or not folder.is_dir():
        return None  # one that is not there yet is made for the group
    status = folder.stat()
    if status.st_mode & stat.S_IXOTH:
        return None
    if status.st_gid == group and status.st_mode & stat.S_IXGRP:
        return None
    return (
        f"the group cannot reach the socket through {folder} (mode 0{status.st_mode & 0o777:o}): "
        "choose a --socket in a directory that is not there yet, or that the group may pass"
    )


def bind_address(options: UpOptions) -> Address:
    """Return where to bind; raises LocalError for an open mesh on more than loopback."""
    port = PORT + (options.instance or 0)
    address = Address("127.0.0.1" if options.open else EVERYWHERE, port)
    if options.bind is not None:
        address = parse_address(options.bind, port)
    if options.open:
        check_open(address, insist=options.insist)
    return address


def check_open(address: Address, *, insist: bool) -> None:
    """Raise LocalError for an open mesh on more than loopback, unless somebody insists."""
    if not insist and not is_loopback(address.host):
        raise LocalError(
            "open_mesh_reachable",
            f"an open mesh on {address} admits everybody who reaches it",
            "bind to 127.0.0.1, use tickets instead of --open, or add --i-know",
        )


def parse_address(text: str, port: int) -> Address:
    """Return a numeric address, with a default port; raises LocalError."""
    has_port = "]:" in text or text.count(":") == 1
    host, _, number = text.rpartition(":") if has_port else (text, "", str(port))
    host = host.removeprefix("[").removesuffix("]")
    if not _is_numeric(host) or not number.isdecimal() or int(number) > 65_535:
        raise LocalError(
            "bad_address",
            f"{text!r} is not a numeric address",
            "give HOST:PORT such as 10.0.0.5:7946 or [fd00::5]:7946",
        )
    return Address(host, int(number))


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    return ipaddress.ip_address(host).is_loopback


def advertised_addresses(options: UpOptions, bound: Address) -> tuple[Address, ...]:
    """Return where others are to reach this node; raises LocalError."""
    if options.advertise:
        return tuple(parse_address(text, bound.port) for text in options.advertise)
    if bound.host in UNSPECIFIED:
        return (Address(_own_host(), bound.port),)
    return (bound,)


def _own_host() -> str:
    """Return the address from which this machine would speak to the world."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect((UNROUTED, 9))
        return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
    finally:
        probe.close()


def warnings_about(options: UpOptions, bound: Address, advertised: Address) -> list[str]:
    """Return what a person should know about how this node can be reached."""
    warnings = []
    if is_loopback(advertised.host) and bound.host in UNSPECIFIED:
        warnings.append(
            "no address of this machine was found to advertise: others cannot reach it; "
            "give one with --advertise HOST:PORT"
        )
    if is_loopback(bound.host) and not is_loopback(advertised.host):
        warnings.append(f"bound to {bound}, nobody can reach it at {advertised}")
    if options.open:
        warnings.append("this mesh is OPEN: everybody who reaches it takes part")
    return warnings
