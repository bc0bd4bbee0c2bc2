"""Probes: waits follow the measured round trip, tries the measured loss."""

import pytest

from mesh.core.instants import Instant
from mesh.core.membership.probe import LossMeter, Phase, Probe, RoundTrip
from mesh.core.params import MembershipParams

PARAMS = MembershipParams()


def test_an_unmeasured_peer_gets_the_longest_wait() -> None:
    assert RoundTrip().timeout_s(PARAMS) == PARAMS.probe_rto_high_s


def test_the_wait_is_clamped_on_both_sides() -> None:
    near, far = RoundTrip(), RoundTrip()
    for _ in range(50):
        near.add(0.0005)
        far.add(3.0)
    assert near.timeout_s(PARAMS) == PARAMS.probe_rto_low_s
    assert far.timeout_s(PARAMS) == PARAMS.probe_rto_high_s


def test_the_wait_is_four_variations_above_the_mean() -> None:
    trip = RoundTrip()
    trip.add(0.08)
    assert trip.timeout_s(PARAMS) == pytest.approx(0.08 + 4 * 0.04)
    trip.add(0.16)
    assert trip.smoothed_s == pytest.approx(0.09)
    assert trip.variation_s == pytest.approx(0.05)


@pytest.mark.parametrize(("loss", "tries"), [(0.0, 3), (0.1, 3), (0.2, 5), (0.3, 6), (0.6, 6)])
def test_tries_rise_with_loss(loss: float, tries: int) -> None:
    meter = LossMeter()
    failure = 1 - (1 - loss) ** 2
    meter.rate = failure
    assert meter.tries(PARAMS) == tries


def test_loss_is_measured_and_forgotten() -> None:
    meter = LossMeter()
    for _ in range(200):
        meter.add(1)
    assert 0.4 < meter.rate < 0.6
    for _ in range(400):
        meter.add(0)
    assert meter.rate < 1e-3
    assert meter.tries(PARAMS) == PARAMS.probe_tries_low


def test_a_run_backs_off() -> None:
    probe = Probe()
    probe.begin(Instant(10.0), 3, 0.05)
    assert probe.send(Instant(10.0), 1, PARAMS) == pytest.approx(10.05)
    assert probe.send(Instant(10.05), 2, PARAMS) == pytest.approx(10.05 + 0.075)
    assert probe.tries_left == 1
    assert probe.place_of(2) == (1, 10.05)
    assert probe.place_of(9) is None


def test_proof_must_postdate_the_question() -> None:
    probe = Probe()
    assert probe.believes(Instant(1.0))
    probe.begin(Instant(10.0), 3, 0.05)
    assert not probe.believes(Instant(9.9))
    assert probe.believes(Instant(10.0))
    probe.rest()
    assert probe.phase is Phase.QUIET
    assert probe.place_of(1) is None
