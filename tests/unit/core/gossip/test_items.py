"""Items: batches travel whole where they are whole, and estimates are upper bounds."""

import pytest

from mesh.core.gossip.items import (
    ITEM_HEADER_BYTES,
    Form,
    decode_item_untrusted,
    make_items,
    single_bytes,
)
from tests.unit.core.gossip.network import MESH, Station, params_with

STATION = Station(1, params_with())


def test_whole_batches_travel_as_one_and_parts_of_batches_alone() -> None:
    first, second = STATION.notes(b"a", b"b", b"c"), STATION.notes(b"d", b"e")
    items = make_items([*first, *second[:1]], 1000)
    assert [item.form for item in items] == [Form.BATCH, Form.SINGLE]
    assert [item.form for item in make_items([first[1], first[0], first[2]], 1000)] == [
        Form.SINGLE
    ] * 3
    assert make_items([], 1000) == []


def test_a_batch_beyond_the_bound_travels_in_single_facts() -> None:
    facts = STATION.notes(b"a" * 100, b"b" * 100)
    (whole,) = make_items(facts, 1000)
    size = ITEM_HEADER_BYTES + len(whole.data)
    assert len(make_items(facts, size - 1)) == 2


@pytest.mark.parametrize("count", [1, 2, 33, 64])
@pytest.mark.parametrize("size", [0, 31, 255, 700])
def test_estimates_are_close_upper_bounds(count: int, size: int) -> None:
    facts = STATION.notes(*[bytes((i,)) * size for i in range(count)])
    for fact in facts:
        true = ITEM_HEADER_BYTES + len(fact.signed.encode())
        assert true <= single_bytes(fact.signed) <= true + 20
    (batch,) = make_items(facts, 60_000)
    tight = ITEM_HEADER_BYTES + len(batch.data)
    assert len(make_items(facts, tight + 3 * count + 10)) == 1
    assert [v.signed for v in facts] == list(decode_item_untrusted(batch, MESH))
