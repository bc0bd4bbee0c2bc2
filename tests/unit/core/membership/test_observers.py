"""Rings: symmetric, about eight observers, closing over whoever is not there."""

import hashlib
import statistics

import pytest

from mesh.core.identity import NodeId
from mesh.core.membership.observers import RING_HASH_BYTES, RingObservers, ring_place


def nodes(count: int) -> list[NodeId]:
    return [NodeId(hashlib.blake2b(bytes((i,)), digest_size=16).digest()) for i in range(count)]


def rule_of(members: list[NodeId]) -> RingObservers:
    rule = RingObservers(4, 9)
    for node in members:
        rule.add(node)
    return rule


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_in_a_small_mesh_everybody_observes_everybody(count: int) -> None:
    members = nodes(count)
    rule = rule_of(members)
    for node in members:
        assert list(rule.observers(node)) == sorted(set(members) - {node})


def test_edges_are_symmetric_and_about_eight() -> None:
    members = nodes(100)
    rule = rule_of(members)
    for node in members:
        assert node not in rule.observers(node)
        assert all(node in rule.observers(other) for other in rule.observers(node))
        assert rule.observes(node) == set(rule.observers(node))
    counts = [len(rule.observers(node)) for node in members]
    assert max(counts) <= 8
    assert statistics.mean(counts) > 7


def test_order_of_arrival_does_not_matter() -> None:
    members = nodes(40)
    rule, other = rule_of(members), rule_of(members[::-1])
    assert [rule.observers(n) for n in members] == [other.observers(n) for n in members]


def test_rings_close_over_the_missing_and_open_again() -> None:
    members = nodes(60)
    rule, before = rule_of(members), rule_of(members)
    lost = members[:20]
    for node in lost:
        rule.remove(node)
        rule.remove(node)
    fresh = rule_of(members[20:])
    for node in members:
        assert rule.observers(node) == fresh.observers(node)
        assert not rule.observes(node) & set(lost)
        assert len(rule.observers(node)) >= 4
    for node in lost:
        rule.add(node)
        rule.add(node)
    assert [rule.observers(n) for n in members] == [before.observers(n) for n in members]


def test_places_are_pinned() -> None:
    # Nodes that order the rings differently would not accept each other's accusations.
    node = NodeId(bytes(range(16)))
    assert ring_place(3, node)[:RING_HASH_BYTES].hex() == "9febafb83aaf2600"
    assert ring_place(3, node)[RING_HASH_BYTES:] == node
