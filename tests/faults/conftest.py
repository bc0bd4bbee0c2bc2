"""Nodes that the quick faults of one test run share."""

from collections.abc import Iterator

import pytest

from tests.faults.nodes import keeping_meshes


@pytest.fixture(scope="session")
def kept_meshes() -> Iterator[None]:
    with keeping_meshes():
        yield
