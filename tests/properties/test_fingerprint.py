"""Fingerprints are a function of the set: order and detours do not matter."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.lattice.fingerprint import FingerprintTree

IDS = st.lists(
    st.one_of(
        st.binary(min_size=32, max_size=32), st.integers(0, 200).map(lambda n: bytes((n,)) * 32)
    ),
    unique=True,
    max_size=80,
)


def tree_of(members: list[bytes]) -> FingerprintTree:
    tree = FingerprintTree(b"salt")
    for id_ in members:
        tree.add(id_)
    return tree


@given(IDS, st.randoms(use_true_random=False), st.text("0123456789abcdef", max_size=3))
def test_order_does_not_matter(members: list[bytes], shuffle: object, prefix: str) -> None:
    other = list(members)
    shuffle.shuffle(other)  # type: ignore[attr-defined]  # hypothesis hands in a random.Random
    assert tree_of(members).range(prefix) == tree_of(other).range(prefix)


@given(IDS, st.text("0123456789abcdef", max_size=5))
def test_what_lies_below_a_prefix_is_what_begins_with_it(members: list[bytes], prefix: str) -> None:
    tree = tree_of(members)
    assert sorted(tree.ids(prefix)) == sorted(i for i in members if i.hex().startswith(prefix))
    assert tree.children(prefix) == [tree.range(prefix + digit) for digit in "0123456789abcdef"]
    cut = bytes.fromhex(prefix[: len(prefix) // 2 * 2])
    assert sorted(tree.starting(cut)) == sorted(i for i in members if i.startswith(cut))


@given(IDS, IDS)
def test_adding_and_removing_cancel_out(members: list[bytes], passing: list[bytes]) -> None:
    tree = tree_of(members)
    fresh = [id_ for id_ in passing if id_ not in members]
    for id_ in fresh:
        tree.add(id_)
    for id_ in fresh:
        tree.remove(id_)
    assert tree.range("") == tree_of(members).range("")
    assert sorted(tree.ids()) == sorted(members)


@given(IDS, IDS)
def test_equal_exactly_for_equal_sets(left: list[bytes], right: list[bytes]) -> None:
    equal = sorted(left) == sorted(right)
    assert (tree_of(left).range("") == tree_of(right).range("")) == equal
