"""One file per blob: whole or not there, whenever the machine stops."""

import stat
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.core.effects import DropBlob, ReadBlob, SealBlob, WriteBlob
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId
from mesh.core.inputs import BlobFailed, BlobInput, BlobRead, BlobSealed, BlobWritten
from mesh.daemon.blob_files import BlobFiles, inventory_of, make_directory
from tests.unit.core.blobs.pieces import content, name_of

DATA = content(3000)
BLOB = name_of(DATA)


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    return BlobFiles(make_directory(tmp_path / "blobs"), lambda _: None)


def test_a_blob_is_whole_once_its_hash_is_its_name(files: BlobFiles, tmp_path: Path) -> None:
    assert files.perform(WriteBlob(BLOB, 0, DATA[:1000])) == BlobWritten(BLOB, 1000)
    assert files.perform(WriteBlob(BLOB, 1000, DATA[1000:])) == BlobWritten(BLOB, 3000)
    assert inventory_of(tmp_path / "blobs") == {BLOB: (3000, False)}
    assert files.perform(SealBlob(BLOB, 3000)) == BlobSealed(BLOB, True)
    assert inventory_of(tmp_path / "blobs") == {BLOB: (3000, True)}
    assert files.perform(ReadBlob(BLOB, 990, 20)) == BlobRead(BLOB, DATA[990:1010])
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "blobs" / BLOB.hex()).stat().st_mode) == 0o600
    assert files.perform(DropBlob(BLOB)) is None
    assert inventory_of(tmp_path / "blobs") == {}


def test_wrong_bytes_never_get_the_name(files: BlobFiles, tmp_path: Path) -> None:
    files.perform(WriteBlob(BLOB, 0, b"X" + DATA[1:]))
    assert files.perform(SealBlob(BLOB, 3000)) == BlobSealed(BLOB, False)
    assert files.perform(ReadBlob(BLOB, 0, 1)) == BlobRead(BLOB, None)
    files.perform(WriteBlob(BLOB, 0, DATA))
    assert files.perform(SealBlob(BLOB, 2999)) == BlobSealed(BLOB, False)
    assert inventory_of(tmp_path / "blobs") == {BLOB: (3000, False)}


def test_what_a_crash_left_beyond_the_known_end_is_cut(files: BlobFiles) -> None:
    files.perform(WriteBlob(BLOB, 0, DATA[:1000] + b"torn"))
    assert files.perform(WriteBlob(BLOB, 1000, DATA[1000:])) == BlobWritten(BLOB, 3000)
    assert files.perform(SealBlob(BLOB, 3000)) == BlobSealed(BLOB, True)


def test_a_link_in_place_of_a_part_is_not_followed(files: BlobFiles, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "blobs" / f"{BLOB.hex()}.part").symlink_to(victim)
    assert isinstance(files.perform(WriteBlob(BLOB, 4, b"x")), BlobFailed)
    assert files.perform(WriteBlob(BLOB, 0, DATA)) == BlobWritten(BLOB, 3000)
    assert victim.read_bytes() == b"mine"


def test_strange_files_are_no_blobs(tmp_path: Path) -> None:
    for name in ("notes", "ab", f"{'0' * 64}.tmp"):
        (tmp_path / name).write_bytes(b"x")
    assert inventory_of(tmp_path) == {}


def test_without_a_place_there_are_no_blobs() -> None:
    nowhere = BlobFiles(None, lambda _: None)
    assert isinstance(nowhere.perform(WriteBlob(BlobId(BLOB), 0, b"x")), BlobFailed)


async def test_things_are_done_in_their_order(tmp_path: Path) -> None:
    told: list[BlobInput] = []
    files = BlobFiles(make_directory(tmp_path / "blobs"), told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.run)
        for at in range(0, 3000, 500):
            files.put(WriteBlob(BLOB, at, DATA[at : at + 500]))
        files.put(SealBlob(BLOB, 3000))
        files.put(DropBlob(BLOB))
        files.put(ReadBlob(BLOB, 0, 1))
        while len(told) < 8:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert told[:6] == [BlobWritten(BLOB, at) for at in range(500, 3001, 500)]
    assert told[6:] == [BlobSealed(BLOB, True), BlobRead(BLOB, None)]


def test_a_link_in_place_of_the_directory_is_refused_and_what_it_names_stays(
    tmp_path: Path,
) -> None:
    """It once made whatever it pointed to private, /tmp among it."""
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError, match="symbolic link"):
        make_directory(tmp_path / "blobs")
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755
