"""The state directory: where one node keeps its key and its log, for itself alone.

Whoever can write here is the node, and whoever can read here can be it: the directory is 0700,
belongs to the user who runs the node, and is no symbolic link. One process at a time holds it.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from mesh.core.effects import Row
from mesh.core.errors import LocalError
from mesh.storage.log import Log, LogError, Rows

KEY_BYTES = 32
KEY_FILE = "key"
KEY_DRAFT = "key.new"
LOCK_FILE = "lock"
LOG_FILE = "log.sqlite"
FORMER_MAX = 1000
BOOT_KIND = "boot"
BOOT_KEY = b""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class StateDirectory:
    """A locked state directory, until it is closed or the process ends in whatever way."""

    def __init__(self, path: Path) -> None:
        """Make or check the directory and lock it; raises LocalError with what to do."""
        self.path = path
        self._descriptor = _open_directory(path)
        try:
            self._lock = _lock(path, self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def has_lost_log(self) -> bool:
        """Whether a node was here whose log is gone, or empty; its key says so."""
        if not (self.path / KEY_FILE).exists():
            return False
        files = (self.path / LOG_FILE, self.path / f"{LOG_FILE}-wal")
        return not any(path.exists() and path.stat().st_size for path in files)

    def key(self) -> bytes:
        """Return the node's secret key of 32 bytes, made at the first start."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(KEY_DRAFT, dir_fd=self._descriptor)
        try:
            return _read_key(self.path / KEY_FILE, self._descriptor)
        except FileNotFoundError:
            pass
        if (self.path / LOG_FILE).exists():
            raise LocalError(
                "key_missing",
                f"{self.path} holds the log of a node, but its key is gone",
                f"put {KEY_FILE} back, or move the directory away to start as a new node",
            )
        return self._make_key()

    def _make_key(self) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        # Written under another name first: a crash never leaves half a key behind.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            draft = os.open(KEY_DRAFT, flags, 0o600, dir_fd=self._descriptor)
            with open(draft, "wb") as file:  # noqa: PTH123  a descriptor, no path
                os.fchmod(draft, 0o600)
                file.write(key)
                file.flush()
                os.fsync(draft)
            at = self._descriptor
            os.link(KEY_DRAFT, KEY_FILE, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            os.unlink(KEY_DRAFT, dir_fd=at)
            os.fsync(at)
        except OSError as error:
            raise _not_usable(self.path, error) from error
        return key

    def open_log(self) -> tuple[Log, Rows]:
        """Return the log and what it holds; raises LocalError.

        If rows were damaged, the boot counter has been raised past what they may have said.
        """
        log = Log(self.path / LOG_FILE)
        try:
            rows = log.restore()
            if log.quarantined_count:
                reserve_boot(log, rows)
        except LogError as error:
            log.close()
            raise LocalError(
                "log_not_writable", f"{log.path}: {error}", "free space on its disk, then start"
            ) from error
        except LocalError:
            log.close()
            raise
        return log, rows

    def set_aside(self) -> Path:
        """Move key and log into a folder beside them, for the next start to be a new node's."""
        at = self._descriptor
        numbers = (number for number in range(1, FORMER_MAX) if not self._former(number).exists())
        kept = self._former(next(numbers))
        try:
            os.mkdir(kept.name, 0o700, dir_fd=at)
            for name in sorted(entry.name for entry in self.path.iterdir()):
                if name == KEY_FILE or name.startswith(LOG_FILE):
                    os.rename(name, f"{kept.name}/{name}", src_dir_fd=at, dst_dir_fd=at)
            os.fsync(at)
        except OSError as error:
            raise _not_usable(self.path, error) from error
        return kept

    def _former(self, number: int) -> Path:
        return self.path / f"former-{number}"

    def close(self) -> None:
        """Let another process have the directory."""
        os.close(self._lock)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def inspect_state(path: Path) -> None:
    """Raise LocalError if a node would refuse to start on this directory; changes nothing."""
    descriptor = _open_directory(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            _read_key(path / KEY_FILE, descriptor)
    finally:
        os.close(descriptor)


def next_boot_counter(rows: Rows, quarantined: int) -> int:
    """Return a number greater than that of any earlier start that the log can have known.

    Each damaged row may have been the newest boot row, so each counts as one start.
    """
    values = rows.get(BOOT_KIND, {}).values()
    greatest = max((int.from_bytes(value, "big") for value in values), default=0)
    return greatest + 1 + quarantined


def reserve_boot(log: Log, rows: Rows) -> int:
    """Return the next boot counter, on disk and in `rows` by then; raises LogError."""
    counter = next_boot_counter(rows, log.quarantined_count)
    value = counter.to_bytes(8, "big")
    log.append([Row(BOOT_KIND, BOOT_KEY, value)])
    rows.setdefault(BOOT_KIND, {})[BOOT_KEY] = value
    return counter


def _not_usable(path: Path, error: OSError) -> LocalError:
    return LocalError(
        "state_directory_not_usable",
        f"{path}: {error.strerror or error}",
        "choose a directory that this user can write, with --data",
    )


def _open_directory(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR} and path.is_symlink():
            raise LocalError(
                "state_directory_is_link",
                f"{path} is a symbolic link",
                "give the directory that it points to",
            ) from error
        raise _not_usable(path, error) from error
    try:
        _check_private(path, os.fstat(descriptor), 0o700)
    except LocalError:
        os.close(descriptor)
        raise
    return descriptor


def _check_private(path: Path, status: os.stat_result, mode: int) -> None:
    if status.st_uid != os.geteuid():
        raise LocalError(
            "state_foreign_owner",
            f"{path} belongs to user {status.st_uid}, this is user {os.geteuid()}",
            f"run mesh as its owner, or: chown {os.geteuid()} {path}",
        )
    if status.st_mode & _OTHERS:
        raise LocalError(
            "state_too_open",
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod {mode:04o} {path}",
        )


def _read_key(path: Path, directory: int) -> bytes:
    try:
        descriptor = os.open(KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _not_usable(path, error) from error
    try:
        status = os.fstat(descriptor)
        _check_private(path, status, 0o600)
        key = os.read(descriptor, KEY_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise LocalError(
            "key_damaged",
            f"{path} is no file of {KEY_BYTES} bytes",
            "put the key back from a backup, or move the directory away to start as a new node",
        )
    return key


def _lock(path: Path, directory: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    try:
        descriptor = os.open(LOCK_FILE, flags, 0o600, dir_fd=directory)
    except OSError as error:
        raise _not_usable(path / LOCK_FILE, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise _not_usable(path / LOCK_FILE, error) from error
        raise LocalError(
            "data_directory_in_use",
            f"{path} is in use by process {owner or 'unknown'}",
            "stop that node, or give this one a data directory of its own with --data",
        ) from error
    return descriptor
