"""Who should claim first: everyone computes the same order, and it names the same winner.

Picture a draw in which nobody holds the lots. Task, epoch and node are hashed, and the hash is the
node's rank in this race. Nodes whose agents wait for the task know each other's ranks beforehand:
the best claims at once and the others a little later, so that most of them hear of the claim before
they would make their own. Whoever claims all the same is outranked by the very same order.
"""

import hashlib
from collections.abc import Iterable

from mesh.core.identity import NodeId, TaskId
from mesh.core.params import ClaimParams

RANK_CONTEXT = b"mesh-rank-v1\0"
RANK_BYTES = 6
EPOCH_BYTES = 4
LOT_BITS = 8 * RANK_BYTES
"""Of a rank; above them an auction has the score."""


def bid_rank(score: int, lot: int) -> int:
    """Return the rank of a claim in an auction: the score counts before the lot."""
    return score << LOT_BITS | lot


def score_of(rank: int) -> int:
    """Return the part of a rank that was bid; without an auction there is none."""
    return rank >> LOT_BITS


def claim_rank(task: TaskId, epoch: int, node: NodeId) -> int:
    """Return the rank of a node in the race for one epoch of a task: 48 bits that nobody picks."""
    lot = RANK_CONTEXT + task + epoch.to_bytes(EPOCH_BYTES, "big") + node
    return int.from_bytes(hashlib.blake2b(lot, digest_size=RANK_BYTES).digest(), "big")


def stagger_order(task: TaskId, epoch: int, nodes: Iterable[NodeId]) -> tuple[NodeId, ...]:
    """Return the nodes in the order in which they should claim: who would win comes first."""
    ranked = sorted(((claim_rank(task, epoch, node), node) for node in nodes), reverse=True)
    return tuple(node for _, node in ranked)


def stagger_delay_s(position: int, count: int, params: ClaimParams) -> float:
    """Return how long the node at a position of the order waits; the last waits `stagger_s`."""
    assert 0 <= position < count
    return params.stagger_s * position / max(1, count - 1)
