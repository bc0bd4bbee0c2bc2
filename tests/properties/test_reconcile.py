"""Whatever nodes hold, comparing ends with the union everywhere, at a price near the difference."""

import functools

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.gossip.gossip import Family
from mesh.core.gossip.messages import SyncFacts
from mesh.core.wire.envelope import Verified
from tests.unit.core.gossip.network import Network, Note, Station, Weather, params_with

TASKS = Family.TASKS
LEAF_BYTES = 700
"""One difference: some levels of 16 ranges, a list of ids, a wish; facts are counted apart."""


@functools.cache
def notes() -> list[Verified[Note]]:
    writer = Station(99, params_with())
    return [writer.notes(b"%d" % i)[0] for i in range(700)]


def fill(network: Network, sets: list[list[int]]) -> dict[bytes, None]:
    union: dict[bytes, None] = {}
    for station, numbers in zip(network.stations, sets, strict=True):
        for number in numbers:
            station.gossip.restore(TASKS, notes()[number])
            union[notes()[number].id] = None
    return union


SETS = st.lists(st.integers(0, 699), unique=True, max_size=60)


@settings(max_examples=25, deadline=None)
@given(st.lists(SETS, min_size=2, max_size=3), st.integers(0, 400), st.integers(0, 10_000))
def test_without_loss_one_comparison_of_each_pair_is_enough(
    sets: list[list[int]], shared: int, seed: int
) -> None:
    network = Network(len(sets), seed=seed + 1)
    union = fill(network, [sorted({*numbers, *range(shared)}) for numbers in sets])
    first, *others = network.stations
    for _ in range(len(others)):
        for other in others:
            network.do(first, lambda g, now, o=other: g.start_sync(now, o.id))  # type: ignore[misc]  # defaults bind the loop's value
            network.run(1.5)
    assert network.all_equal()
    assert first.gossip.ids(TASKS) == tuple(sorted(union))


@settings(max_examples=12, deadline=None)
@given(st.lists(SETS, min_size=2, max_size=3), st.integers(0, 10_000))
def test_loss_and_reordering_only_delay(sets: list[list[int]], seed: int) -> None:
    weather = Weather(loss=0.25, doubled=0.1, high_s=0.1)
    network = Network(len(sets), seed=seed + 1, weather=weather)
    union = fill(network, sets)
    for _ in range(20):
        network.run_with_pings(4)
        if network.all_equal():
            break
    assert network.all_equal()
    assert network.stations[0].gossip.ids(TASKS) == tuple(sorted(union))


@settings(max_examples=25, deadline=None)
@given(SETS, SETS, st.integers(0, 10_000))
def test_the_price_is_near_the_difference(left: list[int], right: list[int], seed: int) -> None:
    network = Network(2, seed=seed + 1)
    everything = range(700)
    sets = [
        [n for n in everything if n not in left],
        [n for n in everything if n not in right],
    ]
    fill(network, sets)
    difference = len({*left} ^ {*right})
    a, b = network.stations
    network.do(a, lambda g, now: g.start_sync(now, b.id))
    network.run(1.5)
    assert network.all_equal()
    facts = sum(size for kind, size in network.messages if kind == SyncFacts.KIND)
    talk = sum(size for kind, size in network.messages if kind != SyncFacts.KIND)
    assert talk <= 1_000 + LEAF_BYTES * difference
    assert facts <= 200 * difference
