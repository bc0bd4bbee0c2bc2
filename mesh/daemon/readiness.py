"""Telling the service manager how we are: the sd_notify protocol, one datagram per message.

See sd_notify(3): `NOTIFY_SOCKET` names a Unix datagram socket, `@` begins an abstract name, and
`WATCHDOG_USEC` says how long the service may be silent before it is taken for hung.
"""

import os
import socket
from collections.abc import Callable, Mapping

from mesh.core.instants import Instant

FEEDS_PER_PERIOD = 3


class Readiness:
    """Speaks to the service manager; says nothing where there is none."""

    def __init__(self, environment: Mapping[str, str], instant: Callable[[], Instant]) -> None:
        self._instant = instant
        self._where = environment.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if self._where.startswith(("/", "@")):
            flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, flags)
        self.watchdog_s = _watchdog_s(environment) if self._socket is not None else None
        self._fed = Instant(float("-inf"))

    def ready(self, status: str = "") -> None:
        """Say that start-up is complete."""
        self._tell("READY=1" + (f"\nSTATUS={_one_line(status)}" if status else ""))

    def status(self, text: str) -> None:
        """Say in words how things are."""
        self._tell(f"STATUS={_one_line(text)}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1")

    def feed_watchdog(self) -> None:
        """Say that the loop is alive, as often as that is worth saying."""
        if self.watchdog_s is None:
            return
        now = self._instant()
        if now - self._fed >= self.watchdog_s / FEEDS_PER_PERIOD:
            self._fed = now
            self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, message: str) -> None:
        if self._socket is None:
            return
        where = "\0" + self._where[1:] if self._where.startswith("@") else self._where
        try:
            self._socket.sendto(message.encode(), where)
        except OSError:
            # A service manager that does not listen is no reason to stop serving.
            return


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    period = environment.get("WATCHDOG_USEC", "")
    return int(period) / 1e6 if period.isdigit() and int(period) > 0 else None
