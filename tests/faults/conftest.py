"""Nodes that the quick faults of one module share."""

from collections.abc import Iterator

import pytest

from tests.faults.nodes import keeping_meshes


@pytest.fixture(scope="module")
def kept_meshes() -> Iterator[None]:
    with keeping_meshes():
        yield
