"""What a service manager hears."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.core.instants import Instant
from mesh.daemon.readiness import Readiness


class Time:
    now = 100.0

    def __call__(self) -> Instant:
        return Instant(self.now)


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[socket.socket]:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.setblocking(False)
    yield listening
    listening.close()


def heard(listening: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(listening.recv(1000))
    except BlockingIOError:
        return found


def readiness(listening: socket.socket, **more: str) -> tuple[Readiness, Time]:
    time = Time()
    return Readiness({"NOTIFY_SOCKET": listening.getsockname(), **more}, time), time


def test_ready_status_and_stopping_are_said(service_manager: socket.socket) -> None:
    speaking, _ = readiness(service_manager)
    speaking.ready("serving on\n127.0.0.1:7700")
    speaking.status("3 members")
    speaking.stopping()
    assert heard(service_manager) == [
        b"READY=1\nSTATUS=serving on 127.0.0.1:7700",
        b"STATUS=3 members",
        b"STOPPING=1",
    ]
    speaking.close()
    speaking.stopping()
    assert heard(service_manager) == []


def test_the_watchdog_is_fed_thrice_per_period(service_manager: socket.socket) -> None:
    speaking, time = readiness(service_manager, WATCHDOG_USEC="3000000")
    for _ in range(100):
        speaking.feed_watchdog()
    assert heard(service_manager) == [b"WATCHDOG=1"]
    time.now += 0.99
    speaking.feed_watchdog()
    assert heard(service_manager) == []
    time.now += 0.02
    speaking.feed_watchdog()
    assert heard(service_manager) == [b"WATCHDOG=1"]
    speaking.close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"},
    ],
)
def test_no_watchdog_no_feeding(
    service_manager: socket.socket, environment: dict[str, str]
) -> None:
    speaking, _ = readiness(service_manager, **environment)
    speaking.feed_watchdog()
    assert heard(service_manager) == []
    speaking.close()


def test_the_watchdog_of_this_process_counts(service_manager: socket.socket) -> None:
    mine = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}
    speaking, _ = readiness(service_manager, **mine)
    speaking.feed_watchdog()
    assert heard(service_manager) == [b"WATCHDOG=1"]
    speaking.close()


def test_abstract_names_are_understood() -> None:
    name = f"mesh-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        speaking = Readiness({"NOTIFY_SOCKET": "@" + name}, Time())
        speaking.ready()
        assert listening.recv(100) == b"READY=1"
        speaking.close()


@pytest.mark.parametrize("where", ["", "relative", "/no/such/socket"])
def test_without_a_service_manager_nothing_happens(where: str) -> None:
    speaking = Readiness({"NOTIFY_SOCKET": where}, Time())
    speaking.ready()
    speaking.feed_watchdog()
    speaking.close()
