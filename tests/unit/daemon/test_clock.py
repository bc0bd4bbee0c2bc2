"""The clocks of the machine that runs the tests."""

import time

import pytest

from mesh.daemon.clock import SystemClock


def test_instants_rise_and_count_suspend() -> None:
    clock = SystemClock()
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    readings = [clock.now() for _ in range(100)]
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert readings == sorted(readings, key=lambda now: now.instant)
    assert before <= readings[0].instant <= readings[-1].instant <= after
    assert readings[0].wall == pytest.approx(time.time(), abs=5)


def test_the_time_slept_stands_still_while_the_host_runs() -> None:
    clock = SystemClock()
    readings = [slept for slept in (clock.slept_s() for _ in range(50)) if slept is not None]
    assert readings
    assert max(readings) - min(readings) < 0.01


def test_readings_that_were_torn_apart_are_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "clock_gettime", lambda _: float(next(ticking)))
    assert SystemClock().slept_s() is None
