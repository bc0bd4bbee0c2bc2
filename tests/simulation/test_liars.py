"""A fifth of the members lie together, and nobody honest is evicted, robbed or drowned."""

import pytest

from tests.simulation.liars import NODES, gang_at_work

MINUTE_H = 1 / 60


@pytest.mark.parametrize("nodes", [5, NODES])
def test_a_fifth_of_the_members_lies_together(nodes: int, seeds: range) -> None:
    for seed in seeds[: max(1, len(seeds) // 3)]:
        gang = gang_at_work(seed, nodes, MINUTE_H, every_s=0.25)
        assert len(gang.liars) == nodes // 5
        assert sum(gang.sent.values()) > 200
        assert gang.sent["frame"] > 5
