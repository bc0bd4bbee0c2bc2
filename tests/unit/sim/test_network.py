"""Rules of the network: each alone, and in company."""

import random

import pytest

from mesh.core.identity import Address
from mesh.sim import network
from mesh.sim.network import DROP, PASS, Deliver, Drop, Network, Packet, Pass

A, B, C = (Address(f"10.0.0.{i}", 1) for i in (1, 2, 3))


def packet(source: Address = A, target: Address = B, data: bytes = b"data") -> Packet:
    return Packet(source, target, data, 0.0)


def rng() -> random.Random:
    return random.Random(7)


def plain(loss: float = 0.0) -> Network:
    return Network(rng(), lambda: 1.0, loss)


def test_without_rules_a_packet_takes_the_usual_time() -> None:
    assert plain().delays(packet()) == [1.0]
    assert plain(loss=1.0).delays(packet()) == []


def test_the_first_rule_that_decides_does() -> None:
    net = plain(loss=1.0)
    net.add(lambda _: PASS)
    net.add(lambda _: Deliver(5.0))
    net.add(lambda _: DROP)
    assert net.delays(packet()) == [5.0]
    net.clear()
    net.add(lambda _: Pass())
    net.add(lambda _: Drop())
    net.add(lambda _: Deliver(5.0))
    assert net.delays(packet()) == [], "any instance counts"


def test_loss_takes_its_share() -> None:
    rule = network.Loss(rng(), 0.3)
    lost = sum(rule(packet()) is DROP for _ in range(5000))
    assert 1350 < lost < 1650


def test_bursts_come_together() -> None:
    rule = network.Bursts(rng(), begin=0.01, end=0.1, loss_when_bad=1.0)
    lost = [rule(packet()) is DROP for _ in range(20000)]
    share = sum(lost) / len(lost)
    after_loss = sum(lost[i + 1] for i in range(len(lost) - 1) if lost[i]) / sum(lost)
    assert 0.03 < share < 0.2
    assert after_loss > 0.8


def test_duplicates_and_late_packets() -> None:
    net = plain()
    net.add(network.Duplicate(rng(), 1.0, lambda: 0.5))
    net.add(network.Reorder(rng(), 1.0, lambda: 3.0))
    assert net.delays(packet()) == [4.0, 4.5]


def test_delay_replaces_the_usual_latency() -> None:
    net = plain()
    net.add(network.Delay(lambda: 9.0))
    assert net.delays(packet()) == [9.0]


def test_corruption_flips_one_bit() -> None:
    damaged = packet(data=bytes(8))
    assert network.Corrupt(rng(), 1.0)(damaged) is PASS
    assert sum(byte.bit_count() for byte in damaged.data) == 1
    nothing = packet(data=b"")
    network.Corrupt(rng(), 1.0)(nothing)
    assert nothing.data == b""


def test_between_is_one_direction() -> None:
    rule = network.Between([A], [B], lambda _: DROP)
    assert rule(packet(A, B)) is DROP
    assert rule(packet(B, A)) is PASS
    assert rule(packet(A, C)) is PASS


def test_a_partition_divides_groups_and_leaves_others_alone() -> None:
    net = plain()
    rule = network.Partition([[A], [B]])
    net.add(rule)
    assert net.delays(packet(A, B)) == []
    assert net.delays(packet(B, A)) == []
    assert net.delays(packet(A, C)) == [1.0]
    assert net.severed(B, A)
    assert not net.severed(C, A)
    assert not net.whole
    net.remove(rule)
    assert net.delays(packet(A, B)) == [1.0]
    assert net.whole


def test_one_way_severs_a_stream_in_both_directions() -> None:
    net = plain()
    net.add(network.OneWay([A], [B]))
    assert net.delays(packet(A, B)) == []
    assert net.delays(packet(B, A)) == [1.0]
    assert net.severed(A, B)
    assert net.severed(B, A)


def test_what_is_held_can_be_taken() -> None:
    net = plain()
    hold = network.Hold([A], [B])
    net.add(hold)
    held = packet()
    assert net.delays(held) == []
    assert hold.take() == [held]
    assert hold.take() == []


def test_a_lognormal_delay_has_its_median_and_tail() -> None:
    draw = network.lognormal(rng(), 0.01, 0.1)
    drawn = sorted(draw() for _ in range(20000))
    assert drawn[10000] == pytest.approx(0.01, rel=0.1)
    assert drawn[19800] == pytest.approx(0.1, rel=0.2)
