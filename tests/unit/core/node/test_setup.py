"""What the disk says of the last start."""

import pytest

from mesh.core.node.setup import last_start


def test_a_new_disk_has_seen_no_start() -> None:
    assert last_start({}) == 0
    assert last_start({"boot": {}}) == 0


def test_the_number_of_the_last_start_comes_back() -> None:
    assert last_start({"boot": {b"": (7).to_bytes(8, "big")}}) == 7


@pytest.mark.parametrize(
    "row", [b"", b"\7", bytes(9), b"\xff" * 8, ((1 << 36) - 1).to_bytes(8, "big")]
)
def test_a_number_that_cannot_be_is_none(row: bytes) -> None:
    assert last_start({"boot": {b"": row}}) is None
