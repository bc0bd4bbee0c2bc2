"""The network between namespaces, without any namespace: pipes stand in for devices."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.flood import checksum, packet
from tests.faults.switch import Switch

ONE, TWO = b"\x0a\x32\x00\x01", b"\x0a\x32\x00\x02"


@pytest.fixture
def ends() -> Iterator[dict[int, tuple[int, int]]]:
    pipes = {number: os.pipe() for number in (1, 2)}
    for read, _ in pipes.values():
        os.set_blocking(read, False)
    yield pipes
    for pipe in pipes.values():
        for end in pipe:
            os.close(end)


@pytest.fixture
def switch(ends: dict[int, tuple[int, int]]) -> Switch:
    devices = {number: write for number, (_, write) in ends.items()}
    return Switch(devices, {ONE: 1, TWO: 2}, {}, random.Random(1))


def arrived(ends: dict[int, tuple[int, int]], number: int) -> bytes:
    try:
        return os.read(ends[number][0], 1 << 16)
    except BlockingIOError:
        return b""


def rule(switch: Switch, source: int, target: int, **link: object) -> None:
    switch.obey({"order": "rule", "sources": [source], "targets": [target], "link": link})


def test_a_packet_goes_to_whom_it_names(switch: Switch, ends: dict[int, tuple[int, int]]) -> None:
    sent = packet(ONE, TWO, 7946, b"hello")
    switch.take(1, sent)
    assert arrived(ends, 2) == sent
    switch.take(1, packet(ONE, b"\x0a\x32\x00\x03", 7946, b"to nobody"))
    assert switch.obey({"order": "count"})["nowhere"] == 1


def test_a_cut_is_one_way_until_it_is_cleared(
    switch: Switch, ends: dict[int, tuple[int, int]]
) -> None:
    rule(switch, 1, 2, open=False)
    switch.take(1, packet(ONE, TWO, 7946, b"lost"))
    switch.take(2, packet(TWO, ONE, 7946, b"kept"))
    assert (arrived(ends, 2), arrived(ends, 1)[-4:]) == (b"", b"kept")
    switch.obey({"order": "clear"})
    switch.take(1, packet(ONE, TWO, 7946, b"kept"))
    assert arrived(ends, 2)[-4:] == b"kept"


def test_loss_is_as_strong_as_asked_and_the_same_for_a_seed(switch: Switch) -> None:
    rule(switch, 1, 2, loss=0.3)
    for _ in range(1000):
        switch.take(1, packet(ONE, TWO, 7946, b""))
    assert switch.counters["lost"] == 280


def test_a_late_packet_is_handed_over_when_its_time_has_come(
    switch: Switch, ends: dict[int, tuple[int, int]]
) -> None:
    rule(switch, 1, 2, delay_s=60.0)
    switch.take(1, packet(ONE, TWO, 7946, b"late"))
    wait_s = switch.give_due()
    assert wait_s is not None
    assert 50.0 < wait_s <= 120.0
    assert arrived(ends, 2) == b""


def test_a_text_in_a_packet_is_found(switch: Switch) -> None:
    switch.obey({"order": "look", "needles": [b"secret".hex()]})
    switch.take(1, packet(ONE, TWO, 7946, b"a secret here"))
    switch.take(1, packet(ONE, TWO, 7946, b"sealed"))
    assert switch.counters["found"] == 1


def test_greetings_are_kept_apart_from_what_is_frequent(switch: Switch) -> None:
    switch.take(1, packet(ONE, TWO, 7946, b"\x02 greeting"))
    for number in range(1000):
        switch.take(1, packet(ONE, TWO, 7946, b"\x01" + bytes([number % 256])))
    samples = switch.obey({"order": "samples"})["samples"]
    assert b"\x02 greeting".hex() in samples
    assert len(samples) == 513


def test_a_made_up_packet_has_a_right_checksum() -> None:
    assert checksum(packet(ONE, TWO, 7946, b"data")[:20]) == 0
