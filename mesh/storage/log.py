"""The durable log: an append-only SQLite table of rows, of which the newest per (kind, key) counts.

Appending to the end of one table costs the same however much it holds, and one transaction per
group is one fsync (`synchronous=FULL`: with less, a power cut takes acknowledged commits along).
What counts now is known in memory by row number alone; once at least half of the rows no longer
count, they are deleted, oldest first and a slice at a time, between commits. Oldest first matters:
at every moment what is left is the end of each key's history, so that a crash in the middle can
not bring back what a later row replaced or deleted. SQLite uses the space again.

SQLite does not see a flipped bit inside a value, so every row carries a checksum of its own.
Rows that fail it are set aside, counted and listed; the rest is served.
"""

import contextlib
import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mesh.core.effects import Row
from mesh.core.errors import LocalError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6D657368
CHECKSUM_BYTES = 8
COMPACT_SLACK_ROWS = 1024
"""Below this many rows too much, compaction is not worth its fsync."""
COMPACT_SLICE_ROWS = 2048
"""Deleted in one transaction: a few milliseconds that a commit may have to wait."""
INSERT_ROWS_MAX = 128
"""In one statement: five values each, well below what SQLite takes."""
QUARANTINE_LISTED_MAX = 1000
UNREADABLE_MAX = 1000
"""Row numbers stepped over because their page cannot be read; beyond it the file is given up."""
SECRET_KINDS = ("root_key",)
"""Rows whose values are overwritten when they are deleted, and do not wait for compaction."""
WAL_BYTES_KEPT = 16 * 1024 * 1024

_CREATE = """
create table log (
    number integer primary key,
    kind text not null,
    key blob not null,
    value blob,
    checksum blob not null
)
"""
_INSERT = "insert into log (number, kind, key, value, checksum) values "
_INSERTED = "(?, ?, ?, ?, ?)"
_SELECT = "select number, kind, key, value, checksum from log where number > ? order by number"


Rows = dict[str, dict[bytes, bytes]]
"""What a log holds: kind -> key -> newest value."""


class Failure(StrEnum):
    """Why a write did not happen."""

    DISK_FULL = "disk_full"
    IO_ERROR = "io_error"
    READ_ONLY = "read_only"
    DAMAGED = "damaged"
    OTHER = "other"


class LogError(Exception):
    """The disk refused a transaction: none of its rows are in the log, which stays usable.

    After an I/O error during the last write, the rows may still turn up after a crash: a failed
    commit was not acknowledged, that is all it promises.
    """

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that does not match its checksum, as far as it can still be read."""

    number: int
    kind: str
    key: bytes


def checksum(kind: str, key: bytes, value: bytes | None) -> bytes:
    """Return BLAKE2b-64 over the three with their lengths; no value is not an empty one."""
    name = kind.encode()
    head = struct.pack(">HI?", len(name), len(key), value is not None)
    digest = hashlib.blake2b(head + name + key, digest_size=CHECKSUM_BYTES)
    digest.update(value or b"")
    return digest.digest()


@dataclass(slots=True)
class _Index:
    """Which row number counts for each key, and which rows no longer count."""

    live: dict[str, dict[bytes, int]] = field(default_factory=dict)
    live_rows: int = 0
    dead: list[int] = field(default_factory=list)

    def note(self, number: int, kind: str, key: bytes, *, deletes: bool) -> None:
        numbers = self.live.setdefault(kind, {})
        replaced = numbers.pop(key, None)
        if replaced is not None:
            self.dead.append(replaced)
            self.live_rows -= 1
        if deletes:
            self.dead.append(number)
        else:
            numbers[key] = number
            self.live_rows += 1


def _write_error(error: sqlite3.Error) -> LogError:
    name = getattr(error, "sqlite_errorname", "") or ""
    by_prefix = {
        "SQLITE_FULL": Failure.DISK_FULL,
        "SQLITE_IOERR": Failure.IO_ERROR,
        "SQLITE_READONLY": Failure.READ_ONLY,
        "SQLITE_CANTOPEN": Failure.IO_ERROR,
        "SQLITE_CORRUPT": Failure.DAMAGED,
        "SQLITE_NOTADB": Failure.DAMAGED,
    }
    for prefix, failure in by_prefix.items():
        if name.startswith(prefix):
            return LogError(failure, f"{error} ({name})")
    return LogError(Failure.OTHER, f"{error} ({name})")


def _open_error(error: sqlite3.Error | OSError, path: Path) -> LocalError:
    """Return what to tell the person who starts the node."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LocalError(
            "data_directory_in_use",
            f"{path} is locked by another process",
            "stop the other node, or give this one a data directory of its own with --data",
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")):
        return _damaged(path, str(error))
    return LocalError(
        "log_not_writable",
        f"{path} cannot be opened: {error}",
        "check that the data directory is on a writable disk with free space",
    )


def _damaged(path: Path, detail: str) -> LocalError:
    return LocalError(
        "log_damaged",
        f"{path} is damaged beyond single rows: {detail}",
        "move the data directory away and join the mesh again with a new ticket; "
        "what other nodes hold comes back by itself",
    )


class Log:
    """One open log; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create it; raises LocalError saying why not and what to do."""
        self.path = path
        self.quarantined: list[Quarantined] = []
        self.quarantined_count = 0
        self.compactions_failed = 0
        self._index: _Index | None = None
        self._last = 0
        self._rows = 0
        self._compact_above = 0
        self._doomed: list[int] = []
        try:
            _create_file(path)
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=0, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise _open_error(error, path) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise _open_error(error, path) from error
        except LocalError:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        # A damaged row may hold bytes that are no UTF-8: it must reach its checksum all the same.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        run("pragma locking_mode = exclusive")
        version = self._check_version()
        mode = run("pragma journal_mode = wal").fetchone()[0]
        assert mode == "wal", mode
        run("pragma synchronous = full")
        run("pragma cell_size_check = on")
        run(f"pragma journal_size_limit = {WAL_BYTES_KEPT}")
        # Write access is proven now rather than at the first commit.
        run("begin immediate")
        if version == 0:
            run(_CREATE)
            run(f"pragma application_id = {APPLICATION_ID}")
            run(f"pragma user_version = {SCHEMA_VERSION}")
        run("commit")

    def _check_version(self) -> int:
        run = self._connection.execute
        version: int = run("pragma user_version").fetchone()[0]
        application: int = run("pragma application_id").fetchone()[0]
        is_empty = run("select count(*) from sqlite_schema").fetchone()[0] == 0
        if application != (0 if is_empty else APPLICATION_ID):
            raise LocalError(
                "log_foreign",
                f"{self.path} is a database, but no log of a mesh node",
                "choose another data directory with --data",
            )
        if version != (0 if is_empty else SCHEMA_VERSION):
            raise LocalError(
                "log_version",
                f"{self.path} has schema {version}, this version of mesh knows {SCHEMA_VERSION}",
                "start the version of mesh that wrote it, or choose another data directory",
            )
        return version

    def restore(self) -> Rows:
        """Return kind -> key -> newest value, keys in the order in which those were written.

        Raises LocalError when the file is damaged beyond single rows.
        """
        index = _Index()
        restored: Rows = {}
        self.quarantined.clear()
        self.quarantined_count = self._rows = self._last = 0
        self._doomed.clear()
        for number, kind, key, value, stored in self._scan():
            self._rows += 1
            self._last = number
            if not _is_intact(kind, key, value, stored):
                self._set_aside(number, kind, key)
                index.dead.append(number)
                continue
            index.note(number, kind, key, deletes=value is None)
            values = restored.setdefault(kind, {})
            values.pop(key, None)
            if value is not None:
                values[key] = value
        self._index = index
        return restored

    def _scan(self) -> Iterator[tuple[int, Any, Any, Any, Any]]:
        """Give every row that can be read, stepping over those that can not."""
        number = unreadable = 0
        while True:
            try:
                for row in self._connection.execute(_SELECT, (number,)):
                    number = row[0]
                    yield row
            except sqlite3.DatabaseError as error:
                unreadable += 1
                number += 1
                if unreadable > UNREADABLE_MAX:
                    raise _damaged(self.path, str(error)) from error
                self._set_aside(number, "", b"")
            else:
                return

    def _set_aside(self, number: int, kind: object, key: object) -> None:
        self.quarantined_count += 1
        if len(self.quarantined) < QUARANTINE_LISTED_MAX:
            name = kind if isinstance(kind, str) else ""
            self.quarantined.append(
                Quarantined(number, name, key if isinstance(key, bytes) else b"")
            )

    def append(self, rows: Sequence[Row]) -> None:
        """Make rows durable in one transaction; raises LogError, then none of them is kept."""
        index = self._indexed()
        if not rows:
            return
        numbered = [
            (number, row.kind, row.key, row.value, checksum(row.kind, row.key, row.value))
            for number, row in enumerate(rows, self._last + 1)
        ]
        self._wipe([row for row in rows if row.value is None and row.kind in SECRET_KINDS])
        self._insert(numbered)
        self._last += len(rows)
        self._rows += len(rows)
        for number, kind, key, value, _ in numbered:
            index.note(number, kind, key, deletes=value is None)

    def _wipe(self, deleted: Sequence[Row]) -> None:
        """Let no byte of what is deleted stay in the file; raises LogError."""
        if not deleted:
            return
        run = self._connection.execute
        with _refusals():
            run("pragma secure_delete = on")
            for row in deleted:
                empty = checksum(row.kind, row.key, None)
                run(
                    "update log set value = null, checksum = ? where kind = ? and key = ?",
                    (empty, row.kind, row.key),
                )
            run("pragma wal_checkpoint(truncate)").fetchall()
            run("pragma secure_delete = off")

    def _insert(self, numbered: Sequence[tuple[int, str, bytes, bytes | None, bytes]]) -> None:
        """Insert rows in one transaction, in as few statements as can be.

        Each statement gives up the interpreter's lock and has to get it back from a busy loop:
        one that stands alone is its own transaction and does so once.
        """
        slices = [
            numbered[at : at + INSERT_ROWS_MAX] for at in range(0, len(numbered), INSERT_ROWS_MAX)
        ]
        with self._transaction() if len(slices) > 1 else _refusals():
            for rows in slices:
                values = [value for row in rows for value in row]
                self._connection.execute(_INSERT + ",".join([_INSERTED] * len(rows)), values)

    def compact(self) -> bool:
        """Delete one slice of rows that no longer count; returns whether more are waiting.

        Does nothing until half of the rows are such. A failure is counted and tried again later.
        """
        index = self._indexed()
        if not self._doomed:
            if self._rows <= max(self._compact_above, 2 * index.live_rows + COMPACT_SLACK_ROWS):
                return False
            self._doomed = sorted(index.dead, reverse=True)
            index.dead = []
        oldest = self._doomed[-COMPACT_SLICE_ROWS:]
        try:
            with self._transaction():
                self._connection.executemany(
                    "delete from log where number = ?", [(number,) for number in reversed(oldest)]
                )
        except LogError:
            self.compactions_failed += 1
            self._compact_above = self._rows + max(COMPACT_SLACK_ROWS, self._rows // 4)
            index.dead += self._doomed
            self._doomed = []
            return False
        del self._doomed[-COMPACT_SLICE_ROWS:]
        self._rows -= len(oldest)
        return bool(self._doomed)

    @property
    def rows(self) -> int:
        """Rows in the file, those that no longer count included."""
        self._indexed()
        return self._rows

    @property
    def live_rows(self) -> int:
        """Rows that count."""
        return self._indexed().live_rows

    def _indexed(self) -> _Index:
        if self._index is None:
            self.restore()
        assert self._index is not None
        return self._index

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("begin immediate")
            yield
            self._connection.execute("commit")
        except sqlite3.Error as error:
            # Some failures have rolled back already; then there is nothing to take back.
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("rollback")
            raise _write_error(error) from error

    def close(self) -> None:
        """Close the file; what was appended stays."""
        self._connection.close()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _write_error(error) from error


def _is_intact(kind: object, key: object, value: object, stored: object) -> bool:
    # A flipped bit may change a column's type: nothing is taken for granted here.
    if not isinstance(kind, str) or not isinstance(key, bytes):
        return False
    if value is not None and not isinstance(value, bytes):
        return False
    try:
        return checksum(kind, key, value) == stored
    except UnicodeEncodeError:
        return False


def _create_file(path: Path) -> None:
    """Make the file with its final permissions; SQLite gives its companions the same."""
    # An existing file is never opened here: closing it again would drop POSIX locks on it.
    if path.is_symlink():
        raise OSError(f"{path} is a symbolic link")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags, 0o600))
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
