"""The draw: the same order for everybody, spread over nodes, staggered in time."""

import json
from pathlib import Path

import pytest

from mesh.core.claims.allocation import claim_rank, stagger_delay_s, stagger_order
from mesh.core.identity import NodeId, TaskId
from mesh.core.params import ClaimParams
from tests.unit.core.claims.scribe import ANN, BOB, CAT, DAN

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "claims.json").read_text())
NODES = tuple(scribe.id for scribe in (ANN, BOB, CAT, DAN))


@pytest.mark.parametrize("vector", VECTORS["claim_rank"], ids=lambda v: v["name"])
def test_rank_is_pinned(vector: dict[str, str | int]) -> None:
    task = TaskId(bytes.fromhex(str(vector["task"])))
    node = NodeId(bytes.fromhex(str(vector["node"])))
    assert claim_rank(task, int(vector["epoch"]), node) == int(str(vector["rank"]), 16)


def test_rank_leaves_room_for_a_score() -> None:
    ranks = [claim_rank(TaskId(bytes(27) + bytes([i])), 1, NODES[0]) for i in range(256)]
    assert max(ranks) < 2**48
    assert len(set(ranks)) == len(ranks)


def test_best_first_whatever_the_order_of_the_nodes() -> None:
    task = TaskId(b"t" * 28)
    order = stagger_order(task, 1, NODES)
    ranks = [claim_rank(task, 1, node) for node in order]
    assert ranks == sorted(ranks, reverse=True)
    assert stagger_order(task, 1, NODES[::-1]) == order
    assert stagger_order(task, 1, ()) == ()


def test_every_node_comes_first_now_and_then() -> None:
    firsts = [stagger_order(TaskId(bytes(27) + bytes([i])), 1, NODES)[0] for i in range(256)]
    assert all(firsts.count(node) > 32 for node in NODES)


def test_each_epoch_draws_again() -> None:
    orders = {stagger_order(TaskId(b"t" * 28), epoch, NODES) for epoch in range(1, 9)}
    assert len(orders) > 3


def test_first_claims_at_once_and_last_waits_the_whole_stagger() -> None:
    params = ClaimParams(stagger_s=0.06)
    delays = [stagger_delay_s(i, 4, params) for i in range(4)]
    assert delays == pytest.approx([0.0, 0.02, 0.04, 0.06])
    assert stagger_delay_s(0, 1, params) == 0.0
    with pytest.raises(AssertionError):
        stagger_delay_s(4, 4, params)
