"""What the keeper understands; that it kills is seen in tests/shell/test_runner.py."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.daemon import keeper
from mesh.daemon.keeper import keep, kill_marked


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, _: calls.append(("group", group)))
    monkeypatch.setattr(os, "kill", lambda pid, _: calls.append(("process", pid)))
    return calls


def proc_with(tmp_path: Path, environments: dict[int, bytes]) -> Path:
    for pid, environment in environments.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "environ").write_bytes(environment)
    return tmp_path


def test_groups_that_are_still_there_at_a_sudden_end_are_killed(
    tmp_path: Path, killed: list[tuple[str, int]]
) -> None:
    keep(io.BytesIO(b"+11\n+12\n+13\n-12\n"), b"MARK=1", tmp_path)
    assert killed == [("group", 11), ("group", 13)]


def test_after_a_goodbye_nothing_is_killed(tmp_path: Path, killed: list[tuple[str, int]]) -> None:
    proc = proc_with(tmp_path, {7: b"MARK=1\0"})
    keep(io.BytesIO(b"+11\nbye\n"), b"MARK=1", proc)
    assert killed == []


def test_half_a_word_is_no_word(tmp_path: Path, killed: list[tuple[str, int]]) -> None:
    # A runner killed in the middle of a write: +1 is not +11, and group 0 would be our own.
    keep(io.BytesIO(b"nonsense\n+\n+12\n+1"), b"MARK=1", tmp_path)
    assert killed == [("group", 12)]


def test_the_mark_is_compared_whole(tmp_path: Path, killed: list[tuple[str, int]]) -> None:
    environments = {
        1: b"A=1\0MARK=1\0B=2\0",
        2: b"MARK=11\0",
        3: b"XMARK=1\0",
        4: b"",
        5: b"MARK=1",
    }
    assert kill_marked(b"MARK=1", proc_with(tmp_path, environments)) == 2
    assert sorted(killed) == [("process", 1), ("process", 5)]


def test_a_process_amid_a_change_of_program_is_looked_at_again(
    tmp_path: Path, killed: list[tuple[str, int]]
) -> None:
    proc = proc_with(tmp_path, {4: b"", 5: b""})
    (tmp_path / "4" / "exe").symlink_to("/bin/true")
    assert kill_marked(b"MARK=1", proc) == 1
    assert killed == []


def test_a_process_that_can_not_be_looked_into_is_left_alone(
    tmp_path: Path, killed: list[tuple[str, int]]
) -> None:
    (tmp_path / "9").mkdir()
    assert kill_marked(b"MARK=1", tmp_path) == 0
    assert killed == []


def test_the_script_needs_no_mesh() -> None:
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "importtime", keeper.__file__, "mark"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdin is not None
    started.stdin.write(b"+999999999\n")
    _, errors = started.communicate(b"bye\n")
    assert started.returncode == 0
    assert b"mesh" not in errors
    assert b"trio" not in errors
