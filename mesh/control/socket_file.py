"""The socket file of a node: private to its user, and never taken from a node that lives.

A lock file beside it is held for as long as the node runs, so of two nodes that start at the same
moment one finds the other. The lock ends with its process, however that ends; a socket file does
not, so one without an owner is replaced.
"""

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from mesh.control.access import peer_credentials
from mesh.core.errors import LocalError

BACKLOG = 64
PATH_BYTES_MAX = 107
PRIVATE_DIRECTORY = 0o700
GROUP_DIRECTORY = 0o750
GROUP_SOCKET = 0o660
PRIVATE_UMASK = 0o177
UNKNOWN_PROCESS = 0


class SocketFile:
    """A listening Unix socket with its file and its lock."""

    def __init__(self, path: str, group: int | None = None) -> None:
        self.path = Path(path)
        self._group = group
        self._lock: int | None = None
        self._identity: tuple[int, int] | None = None

    def open(self) -> socket.socket:
        """Return the listening socket; raises LocalError when that cannot be."""
        if len(os.fsencode(self.path)) > PATH_BYTES_MAX:
            raise LocalError(
                "socket_path_too_long",
                f"{self.path} has more than {PATH_BYTES_MAX} bytes",
                "choose a shorter one with --socket",
            )
        try:
            self._make_directory()
            self._take_lock()
            self._clear_stale()
            return self._listen()
        except OSError as wrong:
            self.close()
            raise LocalError(
                "socket_not_usable",
                f"{self.path}: {wrong.strerror or wrong}",
                "choose a place you may write to with --socket",
            ) from wrong
        except LocalError:
            self.close()
            raise

    def close(self) -> None:
        """Remove the file, if it is still this node's, and let go of the lock."""
        if self._identity is not None and self._identity == _identity(self.path):
            self.path.unlink(missing_ok=True)
        self._identity = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_directory(self) -> None:
        folder = self.path.parent
        if folder.is_dir():
            _check_directory(folder)
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE_DIRECTORY)
        self._share(folder, GROUP_DIRECTORY)

    def _share(self, path: Path, mode: int) -> None:
        """Let the group use a directory or socket, if there is one."""
        if self._group is None:
            return
        try:
            if path.stat().st_gid != self._group:  # a service manager may forbid to ask for it
                os.chown(path, -1, self._group)
        except PermissionError:
            raise LocalError(
                "not_of_the_group",
                f"this user may not give {path} to group {self._group}, being no member of it",
                "name a group of this user with --group, or add the user to it",
            ) from None
        path.chmod(mode)

    def _take_lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(f"{self.path}.lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use() from None

    def _clear_stale(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise LocalError(
                "socket_path_taken",
                f"{self.path} is there and is no socket",
                "move it away, or choose another place with --socket",
            )
        if _owner(self.path) is not None:
            raise self._in_use()
        self.path.unlink()

    def _in_use(self) -> LocalError:
        owner = _owner(self.path)
        who = f"process {owner}" if owner else "another process"
        return LocalError(
            "already_running",
            f"{self.path} belongs to {who}, which is alive",
            "use that node, stop it with `mesh leave`, or start another one with --instance N",
        )

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(PRIVATE_UMASK)
        try:
            sock.bind(str(self.path))
            self._share(self.path, GROUP_SOCKET)
            sock.listen(BACKLOG)
        except (OSError, LocalError):
            sock.close()
            raise
        finally:
            os.umask(before)
        sock.setblocking(False)
        self._identity = _identity(self.path)
        return sock


def _check_directory(folder: Path) -> None:
    """Raise LocalError if somebody else decides what stands in a directory."""
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise LocalError(
            "socket_directory_is_link",
            f"{folder} is a symbolic link",
            "give the directory that it points to, with --socket",
        )
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise LocalError(
            "socket_directory_open",
            f"anybody may replace files in {folder}",
            f"chmod o-w {folder}, or choose another place with --socket",
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise LocalError(
            "socket_directory_foreign",
            f"{folder} belongs to user {status.st_uid}, who may replace what is in it",
            "choose a directory of this user with --socket",
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _owner(path: Path) -> int | None:
    """Return the process that listens on a socket file, or None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
            return peer_credentials(probe).pid
        except BlockingIOError:
            return UNKNOWN_PROCESS  # its queue is full, so somebody listens
        except OSError as wrong:
            if wrong.errno in {errno.ECONNREFUSED, errno.ENOENT}:
                return None
            raise
