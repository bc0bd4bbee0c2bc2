"""Blobs on disk: one file each, named by the hash of its content, in a directory of its own.

A blob grows under the name `<hash>.part`. When it is complete it is read again, and only what has
the right hash is made durable and given its name: so a file without `.part` is whole, whenever the
machine stopped. Everything is done by one worker thread, in the order in which it was asked for.
"""

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import trio

from mesh.core.effects import DropBlob, ReadBlob, SealBlob, Storage, WriteBlob
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId
from mesh.core.inputs import BlobFailed, BlobInput, BlobRead, BlobSealed, BlobWritten

PART = ".part"
DIGEST_BYTES = 32
HASHED_BYTES = 1 << 20
TOGETHER_MAX = 8
"""Done in one go of the thread: waking it costs more than a part does."""


def inventory_of(directory: Path) -> dict[BlobId, tuple[int, bool]]:
    """Return what is in the directory: bytes of each blob, and whether it is whole."""
    found: dict[BlobId, tuple[int, bool]] = {}
    for path in sorted(directory.glob("*")):
        name, whole = path.name.removesuffix(PART), not path.name.endswith(PART)
        try:
            blob = BlobId(bytes.fromhex(name))
        except ValueError:
            continue
        is_blob = len(blob) == DIGEST_BYTES and not path.is_symlink() and path.is_file()
        if is_blob and (whole or blob not in found):
            found[blob] = (path.stat().st_size, whole)
    return found


def make_directory(path: Path) -> Path:
    """Return the directory, made for its owner alone if it is not there; raises LocalError."""
    if path.is_symlink():
        raise LocalError(
            "state_directory_is_link",
            f"{path} is a symbolic link",
            "put a directory there; to keep blobs on another disk, mount it there",
        )
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
    except OSError as wrong:
        raise LocalError(
            "state_directory_not_usable",
            f"{path}: {wrong.strerror or wrong}",
            "blobs are kept there: move away what is in the way, or free space",
        ) from None
    return path


class BlobFiles:
    """The files of one node; `run` works off what was asked for."""

    def __init__(self, directory: Path | None, tell: Callable[[BlobInput], None]) -> None:
        self._directory = directory
        self._tell = tell
        self._waiting: deque[Storage] = deque()
        self._arrived = trio.Event()

    def put(self, effect: Storage) -> None:
        """Ask for something; the answer comes as an input."""
        self._waiting.append(effect)
        self._arrived.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            while self._waiting:
                count = min(len(self._waiting), TOGETHER_MAX)
                effects = [self._waiting.popleft() for _ in range(count)]
                for outcome in await trio.to_thread.run_sync(self._perform_all, effects):
                    self._tell(outcome)

    def _perform_all(self, effects: list[Storage]) -> list[BlobInput]:
        outcomes = [self.perform(effect) for effect in effects]
        return [outcome for outcome in outcomes if outcome is not None]

    def perform(self, effect: Storage) -> BlobInput | None:
        """Do one thing, in whatever thread; returns what the node is to be told."""
        if self._directory is None:
            return BlobFailed(effect.blob, "this node has no place for blobs")
        path = self._directory / effect.blob.hex()
        try:
            match effect:
                case WriteBlob(blob, offset, data):
                    return BlobWritten(blob, _write(path, offset, data))
                case SealBlob(blob, size):
                    return BlobSealed(blob, _seal(path, size))
                case ReadBlob(blob, offset, count):
                    return BlobRead(blob, _read(path, offset, count))
                case DropBlob():
                    _drop(path)
                    return None
        except OSError as error:
            if isinstance(effect, ReadBlob):
                return BlobRead(effect.blob, None)
            return BlobFailed(effect.blob, str(error.strerror))


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART)


def _write(path: Path, offset: int, data: bytes) -> int:
    part = _part(path)
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    if offset == 0:
        part.unlink(missing_ok=True)
        flags |= os.O_CREAT | os.O_EXCL
    descriptor = os.open(part, flags, 0o600)
    try:
        # What a crash left beyond this point was never told to the node.
        os.ftruncate(descriptor, offset)
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], offset + written)
    finally:
        os.close(descriptor)
    return offset + len(data)


def _seal(path: Path, size: int) -> bool:
    part, digest = _part(path), hashlib.blake2b(digest_size=DIGEST_BYTES)
    with part.open("rb") as file:
        while chunk := file.read(HASHED_BYTES):
            digest.update(chunk)
        if digest.hexdigest() != path.name or file.tell() != size:
            return False
        os.fsync(file.fileno())
    part.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


def _read(path: Path, offset: int, count: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, count, offset)
    finally:
        os.close(descriptor)


def _drop(path: Path) -> None:
    for each in (path, _part(path)):
        with contextlib.suppress(FileNotFoundError):
            each.unlink()
