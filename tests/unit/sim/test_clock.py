"""Clocks of machines: own beginnings, own rates, and no way back."""

import pytest

from mesh.core.instants import Instant
from mesh.sim.clock import WALL_EPOCH_S, SimClock


@pytest.mark.parametrize("rate", [0.999, 1.0, 1.0001, 2.0])
def test_a_timer_goes_off_when_the_clock_shows_it(rate: float) -> None:
    clock = SimClock(base_s=5000.0, since_s=10.0, rate=rate)
    deadline = Instant(clock.read(20.0).instant + 3.0)
    at_s = clock.when(deadline)
    assert at_s == pytest.approx(20.0 + 3.0 / rate)
    assert clock.read(at_s).instant == pytest.approx(deadline)


def test_an_instant_never_goes_back() -> None:
    clock = SimClock()
    clock.reach(Instant(7.0))
    assert clock.read(6.9999).instant == 7.0
    assert clock.read(7.5).instant == 7.5


def test_the_wall_jumps_alone() -> None:
    clock = SimClock(wall_error_s=1.0)
    clock.jump_wall(-100.0)
    now = clock.read(10.0)
    assert (now.instant, now.wall) == (10.0, WALL_EPOCH_S + 10.0 - 99.0)


def test_a_reboot_begins_anew() -> None:
    clock = SimClock(base_s=5000.0)
    clock.read(50.0)
    clock.reboot(60.0, 2.0)
    assert clock.read(61.0).instant == 3.0
