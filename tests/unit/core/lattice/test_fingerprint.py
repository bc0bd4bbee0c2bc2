"""Fingerprints of sets by prefix."""

import hashlib

from mesh.core.lattice.fingerprint import FingerprintTree, Range


def ids(count: int, start: int = 0) -> list[bytes]:
    return [hashlib.sha256(b"%d" % i).digest() for i in range(start, start + count)]


def tree_of(members: list[bytes], salt: bytes = b"salt") -> FingerprintTree:
    tree = FingerprintTree(salt)
    for id_ in members:
        tree.add(id_)
    return tree


def test_an_empty_set_has_an_empty_range() -> None:
    tree = FingerprintTree(b"salt")
    assert len(tree) == 0
    assert tree.range("") == Range("", 0, 0)
    assert tree.ids() == []
    assert tree.children("") == [Range(digit, 0, 0) for digit in "0123456789abcdef"]


def test_the_sixteen_children_add_up_at_every_depth() -> None:
    tree = tree_of(ids(2000))
    for prefix in ("", "0", "f", "00", "a7", "a7c", "a7c1"):
        whole, children = tree.range(prefix), tree.children(prefix)
        assert [child.prefix for child in children] == [prefix + d for d in "0123456789abcdef"]
        assert whole.size == sum(child.size for child in children)
        assert whole.fingerprint == sum(c.fingerprint for c in children) % (1 << 64)


def test_ids_are_found_below_their_prefix_alone() -> None:
    members = ids(500)
    tree = tree_of(members)
    for prefix in ("", "3", "3c", members[0].hex(), "f" * 64):
        expected = sorted(id_ for id_ in members if id_.hex().startswith(prefix))
        assert sorted(tree.ids(prefix)) == expected
        assert tree.range(prefix).size == len(expected)


def test_what_was_removed_leaves_no_trace() -> None:
    tree = tree_of(ids(1000))
    for id_ in ids(960, start=40):
        tree.remove(id_)
    fresh = tree_of(ids(40))
    for prefix in ("", "0", "7", "7f"):
        assert tree.range(prefix) == fresh.range(prefix)
        assert sorted(tree.ids(prefix)) == sorted(fresh.ids(prefix))


def test_ids_that_agree_for_long_are_still_told_apart() -> None:
    members = [bytes(31) + bytes((i,)) for i in range(64)]
    tree = tree_of(members)
    assert tree.range("0" * 62).size == 64
    assert tree.range("0" * 62 + "1f").size == 1
    for id_ in members:
        tree.remove(id_)
    assert tree.range("") == Range("", 0, 0)


def test_sums_are_of_salted_hashes() -> None:
    members = ids(10)
    assert tree_of(members, b"one").fingerprint != tree_of(members, b"two").fingerprint
    assert tree_of([bytes(32)]).fingerprint != 0
