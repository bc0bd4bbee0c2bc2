"""A network namespace with a TUN device: a machine of its own, as far as its network goes.

A namespace has no name in the system: it lives as long as somebody holds it open, so nothing is
left behind even if this process is killed. Its one network card is a TUN device, and whoever reads
and writes the device is the network. Interfaces are set up by ioctl, so no program is needed.
"""

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x1, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
SIOCSIFMTU, SIOCSIFTXQLEN = 0x8922, 0x8943
IFF_UP = 0x1
MTU = 1400
QUEUE = 10_000
OWN = "/proc/thread-self/ns/net"

LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


@dataclass(slots=True)
class Namespace:
    """One namespace, held open by a descriptor."""

    descriptor: int
    devices: list[int] = field(default_factory=list)

    @classmethod
    def make(cls) -> "Namespace":
        """Make a namespace with nothing but its loopback device up; needs root."""
        before = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(LIBC.unshare(CLONE_NEWNET), "unshare")
            made = cls(os.open(OWN, os.O_RDONLY | os.O_CLOEXEC))
            _set_flags("lo")
        finally:
            _checked(LIBC.setns(before, CLONE_NEWNET), "setns")
            os.close(before)
        return made

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside: sockets opened and processes started here belong to the namespace."""
        before = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        _checked(LIBC.setns(self.descriptor, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _checked(LIBC.setns(before, CLONE_NEWNET), "setns")
            os.close(before)

    def card(self, name: str, address: str, prefix: int) -> int:
        """Add a TUN device with an address; returns the descriptor of its other end."""
        with self.entered():
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self.devices.append(device)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
            _set_address(name, address, prefix)
        return device

    def close(self) -> None:
        """Let go; it is gone once no process is left in it."""
        for device in self.devices:
            os.close(device)
        self.devices.clear()
        os.close(self.descriptor)


def _address(text: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, ipaddress.IPv4Address(text).packed)


def _set_flags(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), IFF_UP))


def _set_address(name: str, address: str, prefix: int) -> None:
    mask = str(ipaddress.IPv4Network(f"0.0.0.0/{prefix}").netmask)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        label = name.encode()
        fcntl.ioctl(handle, SIOCSIFADDR, struct.pack("16s16s", label, _address(address)))
        fcntl.ioctl(handle, SIOCSIFNETMASK, struct.pack("16s16s", label, _address(mask)))
        fcntl.ioctl(handle, SIOCSIFMTU, struct.pack("16si12x", label, MTU))
        fcntl.ioctl(handle, SIOCSIFTXQLEN, struct.pack("16si12x", label, QUEUE))
    _set_flags(name)


def attempt() -> None:
    """Make a namespace with a device and let it go; raises OSError where that is not allowed."""
    made = Namespace.make()
    made.card("try0", "10.99.0.1", 24)
    made.close()
