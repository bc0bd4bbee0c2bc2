"""Real node processes on loopback, ended whatever happens to the test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.processes import RealMesh


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: the path of a Unix socket may have 107 bytes only.
    path = Path(tempfile.mkdtemp(prefix="mesh-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def real_mesh(folder: Path) -> Iterator[RealMesh]:
    mesh = RealMesh(folder)
    yield mesh
    mesh.stop()
