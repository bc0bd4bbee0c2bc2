"""Who may use a state directory, its key, and its boot numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.core.effects import Row
from mesh.core.errors import LocalError
from mesh.storage.state_directory import LOG_FILE, StateDirectory, next_boot_counter, reserve_boot


def refusal(path: Path) -> LocalError:
    with pytest.raises(LocalError) as refused:
        StateDirectory(path).key()
    assert refused.value.hint
    return refused.value


def test_it_is_made_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with StateDirectory(tmp_path / "deep" / "state") as directory:
            directory.key()
            log, _ = directory.open_log()
            log.append([Row("a", b"", b"")])
            modes = {each.name: each.stat().st_mode & 0o777 for each in directory.path.iterdir()}
            assert directory.path.stat().st_mode & 0o777 == 0o700
            log.close()
    finally:
        os.umask(before)
    assert modes.keys() >= {"key", "lock", LOG_FILE, LOG_FILE + "-wal"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o750, 0o777])
def test_a_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(mode)
    refused = refusal(path)
    assert refused.name == "state_too_open"
    assert refused.hint == f"chmod 0700 {path}"


def test_a_link_a_file_and_a_missing_permission_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "link").name == "state_directory_is_link"
    assert refusal(tmp_path / "file").name == "state_directory_not_usable"
    assert refusal(Path("/proc/no/such")).name == "state_directory_not_usable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_foreign_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    os.chown(path, 12_345, -1)
    assert refusal(path).name == "state_foreign_owner"


def test_the_key_is_made_once(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "state") as directory:
        key = directory.key()
        assert len(key) == 32
        assert directory.key() == key
    with StateDirectory(tmp_path / "state") as directory:
        assert directory.key() == key
    with StateDirectory(tmp_path / "other") as directory:
        assert directory.key() != key


def test_half_a_draft_of_a_key_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with StateDirectory(path) as directory:
        (path / "key.new").write_bytes(b"half")
        assert len(directory.key()) == 32
        assert not (path / "key.new").exists()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with StateDirectory(tmp_path / "state") as directory:
        directory.key()
        (directory.path / "key").chmod(mode)
        with pytest.raises(LocalError) as refused:
            directory.key()
    assert refused.value.name == "state_too_open"
    assert refused.value.hint == f"chmod 0600 {directory.path / 'key'}"


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    with StateDirectory(tmp_path / "state") as directory:
        directory.key()
        (directory.path / "key").write_bytes(content)
        with pytest.raises(LocalError) as refused:
            directory.key()
    assert refused.value.name == "key_damaged"


def test_a_linked_key_is_refused(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "state") as directory:
        (tmp_path / "elsewhere").write_bytes(bytes(32))
        (directory.path / "key").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(LocalError):
            directory.key()


def test_a_log_without_its_key_gets_no_new_one(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "state") as directory:
        directory.key()
        directory.open_log()[0].close()
        (directory.path / "key").unlink()
        with pytest.raises(LocalError) as refused:
            directory.key()
    assert refused.value.name == "key_missing"


def test_a_second_holder_learns_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with StateDirectory(path):
        refused = refusal(path)
        assert refused.name == "data_directory_in_use"
        assert str(os.getpid()) in refused.message
    StateDirectory(path).close()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    program = (
        "import sys, pathlib; from mesh.storage.state_directory import StateDirectory;"
        "held = StateDirectory(pathlib.Path(sys.argv[1])); print('held', flush=True);"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        refused = refusal(path)
        assert refused.message.endswith(f"process {holder.pid}")
        holder.kill()
        holder.wait()
    StateDirectory(path).close()


def test_boot_counters_rise(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        with StateDirectory(tmp_path / "state") as directory:
            log, rows = directory.open_log()
            assert reserve_boot(log, rows) == expected
            assert rows["boot"] == {b"": expected.to_bytes(8, "big")}
            log.close()


def test_every_key_of_the_kind_counts() -> None:
    rows = {"boot": {b"a": (9).to_bytes(8, "big"), b"": (4).to_bytes(8, "big")}}
    assert next_boot_counter(rows, 0) == 10
    assert next_boot_counter({}, 0) == 1
    assert next_boot_counter(rows, 3) == 13, "each damaged row may have been a start"


def test_a_damaged_boot_row_does_not_bring_a_number_back(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "state") as directory:
        log, rows = directory.open_log()
        newest = max(reserve_boot(log, rows) for _ in range(0x0101))
        log.close()
        path = directory.path / LOG_FILE
        content = bytearray(path.read_bytes())
        at = content.index(b"boot" + newest.to_bytes(8, "big"))
        content[at + 11] ^= 1
        path.write_bytes(content)
        log, rows = directory.open_log()
        assert log.quarantined_count == 1
        assert int.from_bytes(rows["boot"][b""], "big") >= newest
        assert log.restore()["boot"] == rows["boot"]
        log.close()


def test_key_and_log_set_aside_leave_room_for_a_new_node(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    keys = []
    for number in (1, 2):
        with StateDirectory(folder) as state:
            keys.append(state.key())
            log, _ = state.open_log()
            log.close()
            kept = state.set_aside()
        assert kept == folder / f"former-{number}"
        assert (kept / "key").read_bytes() == keys[-1]
        assert kept.stat().st_mode & 0o777 == 0o700
    with StateDirectory(folder) as state:
        assert state.key() not in keys


def test_an_emptied_log_is_a_lost_one(tmp_path: Path) -> None:
    """Such as a file system may leave it after a power cut."""
    data = tmp_path / "data"
    with StateDirectory(data) as state:
        assert not state.has_lost_log
        state.key()
        state.open_log()[0].close()
        assert not state.has_lost_log
    (data / "log.sqlite").write_bytes(b"")
    with StateDirectory(data) as state:
        assert state.has_lost_log
        (data / "log.sqlite-wal").write_bytes(b"x")  # there the rows may be
        assert not state.has_lost_log
