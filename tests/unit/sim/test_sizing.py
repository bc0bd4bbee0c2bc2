"""Sizing: figures that follow from the seed, and that are near the design's at small sizes."""

import random

import pytest

from mesh.sim import sizing
from mesh.sim.claim_time import measure_claims
from mesh.sim.engine import Conditions
from mesh.sim.sizing import (
    Setting,
    measure_detection,
    measure_idle,
    measure_mass_join,
    quantile,
)


def test_a_quantile_is_one_of_the_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [quantile(values, share) for share in (0.0, 0.2, 0.5, 0.99, 1.0)] == [1, 1, 3, 5, 5]
    assert quantile([7.0], 0.5) == 7.0


def test_the_same_seed_gives_the_same_figures() -> None:
    assert measure_idle(Setting(3), 20.0) == measure_idle(Setting(3), 20.0)
    assert measure_idle(Setting(3, seed=2), 20.0) != measure_idle(Setting(3), 20.0)


@pytest.mark.parametrize("nodes", [3, 10, 30])
def test_an_idle_node_sends_equally_little_at_every_size(nodes: int) -> None:
    cost = measure_idle(Setting(nodes), 30.0)
    assert 1.0 < cost.packets_s < 3.5
    assert cost.datagram_bytes_s < 200
    assert cost.wire_bytes_s < 320


@pytest.mark.parametrize(
    ("sent_per_pause", "pauses"),
    [([500, 100, 60, 58], 4), ([50, 51], 2), ([1000 * 0.9**at for at in range(20)], 8)],
)
def test_idle_begins_when_nodes_no_longer_send_less_and_less(
    monkeypatch: pytest.MonkeyPatch, sent_per_pause: list[float], pauses: int
) -> None:
    """A thousand that had joined at once were measured while they greeted: ten times the cost."""
    sample = sizing._Sample(Setting(2))

    def sent() -> tuple[float, int, int]:
        return sum(sent_per_pause[: round(sample.world.now_s / sizing.CALM_S)]), 0, 0

    monkeypatch.setattr(sample, "sent", sent)
    sample.settle()
    assert sample.world.now_s == pauses * sizing.CALM_S


def test_loss_costs_no_flood() -> None:
    assert measure_idle(Setting(20, loss=0.2), 30.0).datagram_bytes_s < 500


def test_a_crash_is_suspected_within_a_second_and_known_within_four() -> None:
    found = measure_detection(Setting(10), crashes=4)
    assert len(found.crashes) == 4
    assert 0 < found.suspected_s(0.5) < 1.3
    assert found.suspected_s(1.0) < found.known_s(0.5) < 4
    assert found.known_s(1.0) < 5
    assert found.innocents == 0


def test_all_who_join_at_once_see_each_other_soon() -> None:
    joined = measure_mass_join(Setting(20))
    assert 0 < joined.most_s <= joined.all_s < 2


@pytest.mark.parametrize("conditions", [Conditions(), Conditions(delay_s=(0.02, 0.08))])
def test_what_is_called_typical_of_a_network_is_what_it_draws(conditions: Conditions) -> None:
    draw = conditions.latency(random.Random(1))
    drawn = [draw() for _ in range(4000)]
    median_s, p99_s = conditions.typical_s()
    assert quantile(drawn, 0.5) == pytest.approx(median_s, rel=0.1)
    assert quantile(drawn, 0.99) == pytest.approx(p99_s, rel=0.15)


def test_delay_makes_everything_later_by_some_trips() -> None:
    trip_s = 0.05
    near, far = Setting(5), Setting(5, delay_s=(trip_s, trip_s))
    claims = [measure_claims(setting, 8).within_s(0.5) for setting in (near, far)]
    assert claims[0] < 0.02
    assert claims[1] - claims[0] == pytest.approx(2 * trip_s, abs=0.01), "there and back"
    known = [measure_detection(setting, crashes=4).known_s(0.5) for setting in (near, far)]
    assert 2 * trip_s < known[1] - known[0] < 40 * trip_s
    joined = [measure_mass_join(setting).all_s for setting in (near, far)]
    assert joined[1] - joined[0] > 4 * trip_s
    calm = [measure_idle(setting, 20.0).packets_s for setting in (near, far)]
    assert calm[1] < 2 * calm[0], "an answer that takes its time is not asked for twice"
