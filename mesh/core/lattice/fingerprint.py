"""Fingerprints of sets of ids by prefix: two nodes find out where their sets differ.

Picture a tree that branches on the hex digits of the ids. Every node of it knows how many ids
stand below and the sum, modulo 2**64, of their salted hashes. A sum does not depend on the order
in which ids came, one id is added or taken away in a few steps, and two sets differ exactly below
the prefixes whose sums differ (Meyer, "Range-Based Set Reconciliation", 2022). Only hashes are
summed, never ids, so nobody chooses the summands. Sums of 64 bits find accidents and losses; they
are no proof against a member that spends its own many facts on making two sums collide, who
thereby hides its own facts and nobody else's.
"""

import hashlib
from array import array
from typing import NamedTuple

LEAF_IDS_MAX = 128
"""Each of 16 new branches takes as much memory as six ids, and at first has eight. A search by the
first bytes of an id looks at all of a branch: some 0.1 us each."""
HEX_DIGITS = "0123456789abcdef"
_MASK = (1 << 64) - 1


class Range(NamedTuple):
    """How many ids begin with these hex digits, and the fingerprint of all of them."""

    prefix: str
    size: int
    fingerprint: int


class _Branch:
    """One prefix: ids with their hashes, or 16 longer prefixes, and the sum over them."""

    __slots__ = ("children", "count", "elements", "ids", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.children: list[_Branch] | None = None
        self.ids: list[bytes] = []
        self.elements = array("Q")
        """The hash of each of the ids: numbers in a row take less room than objects."""

    def put(self, id_: bytes, element: int) -> None:
        """Count one more id."""
        self.count += 1
        self.total = self.total + element & _MASK
        if self.children is None:
            self.ids += (id_,)
            self.elements.append(element)

    def take(self, id_: bytes, element: int) -> None:
        """Count one id less."""
        self.count -= 1
        self.total = self.total - element & _MASK
        if self.children is None:
            at = self.ids.index(id_)
            del self.ids[at], self.elements[at]


def _digit(id_: bytes, depth: int) -> int:
    return id_[depth >> 1] & 15 if depth & 1 else id_[depth >> 1] >> 4


class FingerprintTree:
    """The fingerprints of one set of 32-byte ids, kept up to date; equal for equal sets."""

    __slots__ = ("_root", "_salt")

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._root = _Branch()

    def __len__(self) -> int:
        return self._root.count

    @property
    def fingerprint(self) -> int:
        """The fingerprint of the whole set."""
        return self._root.total

    def add(self, id_: bytes) -> None:
        """Add an id that is not in the set."""
        element = self._element(id_)
        branch, depth = self._root, 0
        branch.put(id_, element)
        while branch.children is not None:
            branch = branch.children[_digit(id_, depth)]
            branch.put(id_, element)
            depth += 1
        if branch.count > LEAF_IDS_MAX:
            _split(branch, depth)

    def remove(self, id_: bytes) -> None:
        """Take away an id that is in the set."""
        element = self._element(id_)
        branch, depth = self._root, 0
        merge: _Branch | None = None
        branch.take(id_, element)
        while branch.children is not None:
            if merge is None and branch.count <= LEAF_IDS_MAX // 2:
                merge = branch
            branch = branch.children[_digit(id_, depth)]
            branch.take(id_, element)
            depth += 1
        if merge is not None:
            items, merge.children = _items(merge), None
            merge.ids = [id_ for id_, _ in items]
            merge.elements = array("Q", [element for _, element in items])

    def range(self, prefix: str) -> Range:
        """Return size and fingerprint of the ids that begin with these hex digits."""
        branch, depth = self._find(prefix)
        if depth == len(prefix):
            return Range(prefix, branch.count, branch.total)
        inside = [element for _, element in _below(branch, prefix)]
        return Range(prefix, len(inside), sum(inside) & _MASK)

    def children(self, prefix: str) -> list[Range]:
        """Return the 16 ranges that are one digit longer."""
        branch, _ = self._find(prefix)
        if branch.children is not None:
            children = zip(HEX_DIGITS, branch.children, strict=True)
            return [Range(prefix + digit, child.count, child.total) for digit, child in children]
        sizes, totals = [0] * len(HEX_DIGITS), [0] * len(HEX_DIGITS)
        for id_, element in _below(branch, prefix):
            digit = _digit(id_, len(prefix))
            sizes[digit] += 1
            totals[digit] += element
        found = zip(HEX_DIGITS, sizes, totals, strict=True)
        return [Range(prefix + digit, size, total & _MASK) for digit, size, total in found]

    def ids(self, prefix: str = "") -> list[bytes]:
        """Return the ids that begin with these hex digits, in an order of no meaning."""
        branch, depth = self._find(prefix)
        if depth == len(prefix):
            return _ids(branch)
        return [id_ for id_, _ in _below(branch, prefix)]

    def starting(self, cut: bytes) -> list[bytes]:
        """Return the ids that begin with these bytes, in an order of no meaning."""
        branch, depth = self._root, 0
        while depth < 2 * len(cut) and branch.children is not None:
            branch = branch.children[_digit(cut, depth)]
            depth += 1
        return [id_ for id_ in _ids(branch) if id_.startswith(cut)]

    def _element(self, id_: bytes) -> int:
        digest = hashlib.blake2b(id_, digest_size=8, key=self._salt, person=b"mesh-range-v1")
        return int.from_bytes(digest.digest(), "big")

    def _find(self, prefix: str) -> tuple[_Branch, int]:
        """Return the branch of a prefix, or the leaf above it, and its depth."""
        branch, depth = self._root, 0
        while depth < len(prefix) and branch.children is not None:
            branch = branch.children[int(prefix[depth], 16)]
            depth += 1
        return branch, depth


def _split(branch: _Branch, depth: int) -> None:
    children = [_Branch() for _ in HEX_DIGITS]
    for id_, element in _items(branch):
        children[_digit(id_, depth)].put(id_, element)
    branch.children = children
    branch.ids, branch.elements = [], array("Q")
    for child in children:
        if child.count > LEAF_IDS_MAX:
            _split(child, depth + 1)


def _below(branch: _Branch, prefix: str) -> list[tuple[bytes, int]]:
    """Return the items of a leaf, or of all below a branch, whose ids begin with a prefix."""
    if not prefix:
        return _items(branch)
    last = len(prefix) - 1
    # Bytes are compared faster than digits; an odd digit is left over.
    whole = bytes.fromhex(prefix if last & 1 else prefix[:last])
    found = [item for item in _items(branch) if item[0].startswith(whole)]
    if last & 1:
        return found
    digit = int(prefix[last], 16)
    return [item for item in found if _digit(item[0], last) == digit]


def _items(branch: _Branch) -> list[tuple[bytes, int]]:
    if branch.children is None:
        return list(zip(branch.ids, branch.elements, strict=True))
    found: list[tuple[bytes, int]] = []
    for child in branch.children:
        found += _items(child)
    return found


def _ids(branch: _Branch) -> list[bytes]:
    if branch.children is None:
        return list(branch.ids)
    return [id_ for child in branch.children for id_ in _ids(child)]
