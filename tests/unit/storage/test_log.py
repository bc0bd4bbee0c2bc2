"""The durable log against crashes, damage, full disks and its own compaction."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.core.effects import Row
from mesh.core.errors import LocalError
from mesh.storage import log as log_module
from mesh.storage.log import INSERT_ROWS_MAX, Failure, Log, LogError, checksum


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    opened = Log(path)
    yield opened
    opened.close()


def reopened(path: Path) -> dict[str, dict[bytes, bytes]]:
    again = Log(path)
    try:
        return again.restore()
    finally:
        again.close()


def fact(number: int, value: bytes | None = b"v") -> Row:
    return Row("fact", number.to_bytes(4, "big"), value)


def test_a_new_log_is_empty_and_private(log: Log, path: Path) -> None:
    assert log.restore() == {}
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_newest_row_of_a_key_counts_and_none_deletes(log: Log, path: Path) -> None:
    log.append([Row("a", b"1", b"old"), Row("a", b"2", b""), Row("b", b"1", b"other kind")])
    log.append([Row("a", b"1", b"new"), Row("b", b"1", None), Row("a", b"3", b"3")])
    log.close()
    found = reopened(path)
    assert {kind: rows for kind, rows in found.items() if rows} == {
        "a": {b"2": b"", b"1": b"new", b"3": b"3"}
    }
    assert list(found["a"]) == [b"2", b"1", b"3"], "in the order in which they were written"


def test_no_value_and_an_empty_one_differ() -> None:
    assert checksum("a", b"k", None) != checksum("a", b"k", b"")
    assert checksum("a", b"bc", b"d") != checksum("ab", b"c", b"d")
    assert checksum("a", b"bc", b"d") != checksum("a", b"b", b"cd")


def test_it_is_a_wal_with_full_synchronisation(log: Log) -> None:
    log.append([fact(1)])
    run = log._connection.execute
    assert run("pragma journal_mode").fetchone() == ("wal",)
    assert run("pragma synchronous").fetchone() == (2,)


def test_a_rewritten_key_does_not_make_the_file_grow(log: Log, path: Path) -> None:
    value = bytes(200)
    sizes = []
    for round_number in range(6):
        for _ in range(4):
            log.append([fact(key, value) for key in range(1000)])
            while log.compact():
                pass
        assert log.live_rows == 1000
        assert log.rows <= 2 * 1000 + log_module.COMPACT_SLACK_ROWS
        log._connection.execute("pragma wal_checkpoint(truncate)")
        sizes.append((round_number, path.stat().st_size))
    assert sizes[-1][1] <= sizes[1][1] * 1.2, sizes
    assert len(reopened_after(log, path)["fact"]) == 1000


def reopened_after(log: Log, path: Path) -> dict[str, dict[bytes, bytes]]:
    log.close()
    return reopened(path)


def test_compaction_waits_until_half_of_the_rows_are_dead(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "COMPACT_SLACK_ROWS", 0)
    log.append([fact(1), fact(2)])
    log.append([fact(1), fact(2)])
    log.compact()
    assert log.rows == 4, "doubled, and not more"
    log.append([fact(1)])
    log.compact()
    assert (log.rows, log.live_rows) == (2, 2)


@pytest.mark.parametrize("slices", range(12))
def test_a_crash_between_slices_brings_nothing_back(
    path: Path, monkeypatch: pytest.MonkeyPatch, slices: int
) -> None:
    monkeypatch.setattr(log_module, "COMPACT_SLACK_ROWS", 0)
    monkeypatch.setattr(log_module, "COMPACT_SLICE_ROWS", 1)
    log = Log(path)
    # Deleted long ago, replaced often, deleted and written again.
    for value in (b"1", b"2", None):
        log.append([fact(1, value), fact(2, b"x" + (value or b"")), fact(3, value)])
    log.append([fact(3, b"back")])
    expected = {kind: dict(rows) for kind, rows in log.restore().items()}
    for _ in range(slices):
        log.compact()
    log.close()
    assert reopened(path) == expected


Ops = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(st.none(), st.binary(max_size=3)), st.booleans()),
    max_size=40,
)


@given(ops=Ops)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_history_with_compaction_equals_a_dictionary(
    ops: list[tuple[int, bytes | None, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "COMPACT_SLACK_ROWS", 0)
    monkeypatch.setattr(log_module, "COMPACT_SLICE_ROWS", 2)
    model: dict[bytes, bytes] = {}
    with tempfile.TemporaryDirectory() as directory:
        log = Log(Path(directory) / "log.sqlite")
        for number, value, compacts in ops:
            row = fact(number, value)
            log.append([row])
            model.pop(row.key, None)
            if value is not None:
                model[row.key] = value
            if compacts:
                log.compact()
        assert list(log.restore().get("fact", {}).items()) == list(model.items())
        assert log.live_rows == len(model)
        log.close()


def test_a_flipped_bit_sets_one_row_aside(path: Path) -> None:
    log = Log(path)
    log.append([Row("fact", b"one", b"value-of-one"), Row("fact", b"two", b"value-of-two")])
    log.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"value-of-one")] ^= 0x10
    path.write_bytes(content)
    again = Log(path)
    assert again.restore() == {"fact": {b"two": b"value-of-two"}}
    assert again.quarantined_count == 1
    assert again.quarantined == [log_module.Quarantined(1, "fact", b"one")]
    again.append([Row("fact", b"one", b"healed")])
    assert again.restore()["fact"][b"one"] == b"healed"
    again.close()


def test_damage_anywhere_is_a_quarantine_or_a_clear_error(path: Path, tmp_path: Path) -> None:
    log = Log(path)
    rows = [fact(number, bytes([number]) * 60) for number in range(150)]
    log.append(rows)
    log.close()
    healthy = path.read_bytes()
    written = {row.key: row.value for row in rows}
    rng = random.Random(7)
    refused = quarantined = 0
    for trial in range(150):
        content = bytearray(healthy)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged = tmp_path / f"{trial}.sqlite"
        damaged.write_bytes(content)
        try:
            again = Log(damaged)
        except LocalError:
            refused += 1
            continue
        with contextlib.closing(again):
            try:
                found = again.restore().get("fact", {})
            except LocalError:
                refused += 1
                continue
            assert found.items() <= written.items(), "what is served is what was written"
            quarantined += again.quarantined_count > 0
    assert quarantined > 50
    assert refused < 50


def test_a_newer_schema_is_refused(path: Path) -> None:
    Log(path).close()
    change = sqlite3.connect(path)
    change.execute("pragma user_version = 2")
    change.close()
    with pytest.raises(LocalError) as refused:
        Log(path)
    assert refused.value.name == "log_version"


def test_a_foreign_database_and_a_foreign_file_are_refused(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("create table t (a)")
    foreign.close()
    with pytest.raises(LocalError) as refused:
        Log(path)
    assert refused.value.name == "log_foreign"
    path.write_bytes(b"no database at all" * 300)
    with pytest.raises(LocalError) as refused:
        Log(path)
    assert refused.value.name == "log_damaged"


def test_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError) as refused:
        Log(path)
    assert refused.value.name == "log_not_writable"


def test_another_process_finds_it_in_use(log: Log, path: Path) -> None:
    log.append([fact(1)])
    program = """
        import sys, pathlib
        from mesh.core.errors import LocalError
        from mesh.storage.log import Log
        try:
            Log(pathlib.Path(sys.argv[1]))
        except LocalError as error:
            print(error.name, end="")
    """
    assert run_child(program, path) == b"data_directory_in_use"


def run_child(program: str, *arguments: object) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_a_full_database_is_a_typed_error_and_not_the_end(log: Log, path: Path) -> None:
    log.append([fact(1)])
    run = log._connection.execute
    pages = run("pragma page_count").fetchone()[0]
    run(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(LogError) as full:
        log.append([fact(2, b"small"), fact(3, bytes(100_000))])
    assert full.value.failure is Failure.DISK_FULL
    log.append([fact(4)])
    run("pragma max_page_count = 100000")
    log.append([fact(5)])
    log.close()
    assert [key[-1] for key in reopened(path)["fact"]] == [1, 4, 5], "all of a commit or nothing"


def test_a_disk_that_refuses_writes_and_recovers(path: Path) -> None:
    # A limit on the size of files stands for the full disk: write() fails in the middle.
    program = """
        import pathlib, resource, sys
        from mesh.core.effects import Row
        from mesh.storage.log import Log, LogError
        log = Log(pathlib.Path(sys.argv[1]))
        log.append([Row("fact", b"before", bytes(1000))])
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        failed = []
        for number in range(20):
            try:
                log.append([Row("fact", b"%d" % number, bytes(40_000))])
            except LogError as error:
                failed.append((number, error.failure.value))
        assert failed, "the limit was never reached"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        log.append([Row("fact", b"after", b"here")])
        print(failed[0][1], *[number for number, _ in failed])
    """
    failure, *failed = run_child(program, path).decode().split()
    assert failure in {"disk_full", "io_error"}
    expected = [str(number).encode() for number in range(20) if str(number) not in failed]
    assert list(reopened(path)["fact"]) == [b"before", *expected, b"after"]


@pytest.mark.parametrize("before", [1, INSERT_ROWS_MAX])
def test_a_transaction_that_stops_half_way_is_taken_back(log: Log, before: int) -> None:
    log._connection.execute(
        "create temp trigger refuse before insert on main.log when new.key = x'00000002' "
        "begin select raise(abort, 'refused'); end"
    )
    with pytest.raises(LogError) as refused:
        log.append([*(fact(100 + number) for number in range(before)), fact(2)])
    assert refused.value.failure is Failure.OTHER
    log.append([fact(3)])
    assert list(log.restore()["fact"]) == [fact(3).key]


def test_kill_9_loses_nothing_acknowledged(path: Path) -> None:
    program = """
        import os, pathlib, sys
        from mesh.core.effects import Row
        from mesh.storage import log as log_module
        from mesh.storage.log import Log
        log_module.COMPACT_SLACK_ROWS, log_module.COMPACT_SLICE_ROWS = 20, 5
        log = Log(pathlib.Path(sys.argv[1]))
        number = 0
        while True:
            number += 1
            value = number.to_bytes(8, "big")
            log.append([Row("count", b"n", value), Row("fact", value, bytes(100))])
            os.write(1, value)
            log.compact()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        acknowledged = child.stdout.read(8 * 300)
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.read()
    child.wait()
    last = int.from_bytes(acknowledged[-8:], "big")
    found = reopened(path)
    assert int.from_bytes(found["count"][b"n"], "big") in {last, last + 1}
    assert list(found["fact"])[:last] == [n.to_bytes(8, "big") for n in range(1, last + 1)]


def test_a_failed_compaction_is_counted_and_tried_later(
    log: Log, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "COMPACT_SLACK_ROWS", 0)
    log.append([fact(1)])
    for _ in range(4):
        log.append([fact(1)])
    log._connection.execute("pragma query_only = on")
    assert not log.compact()
    assert log.compactions_failed == 1
    assert not log.compact()
    assert log.compactions_failed == 1, "not again before the log has grown"
    log._connection.execute("pragma query_only = off")
    for _ in range(4):
        log.append([fact(1)])
    log.compact()
    assert log.rows == 1
    assert reopened_after(log, path) == {"fact": {fact(1).key: b"v"}}


def test_a_deleted_secret_leaves_no_byte_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    secret, other = b"S" * 16 + b"root key", b"O" * 16 + b"other"
    log = Log(path)
    log.append([Row("root_key", b"", secret), Row("fact", b"k", other)])
    log.append([Row("root_key", b"", secret)])
    log.append([Row("root_key", b"", None)])
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert secret not in kept
    assert other in kept
    log.close()
    with_rest = Log(path)
    assert with_rest.restore() == {"fact": {b"k": other}, "root_key": {}}
    assert with_rest.quarantined_count == 0
    with_rest.close()
