"""The socket file: private, replaced when stale, never taken from the living."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.control.socket_file import SocketFile
from mesh.core.errors import LocalError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "mesh" / "mesh.sock"


@pytest.fixture
def file(path: Path) -> Iterator[SocketFile]:
    made = SocketFile(str(path))
    yield made
    made.close()


def refusal(path: Path) -> LocalError:
    with pytest.raises(LocalError) as refused:
        SocketFile(str(path)).open()
    assert refused.value.hint
    return refused.value


def test_directory_and_socket_are_private_whatever_the_umask(path: Path, file: SocketFile) -> None:
    before = os.umask(0)
    try:
        with file.open():
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(Path(f"{path}.lock").stat().st_mode) == 0o600
            assert os.umask(0) == 0
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
def test_group_may_reach_the_socket(path: Path) -> None:
    file = SocketFile(str(path), group=4242)
    with file.open():
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (4242, 0o660)
        folder = path.parent.stat()
        assert (folder.st_gid, stat.S_IMODE(folder.st_mode)) == (4242, 0o750)
    file.close()


def test_nothing_is_left_but_the_lock_file(path: Path, file: SocketFile) -> None:
    file.open().close()
    file.close()
    assert [each.name for each in path.parent.iterdir()] == ["mesh.sock.lock"]


def test_stale_socket_is_replaced(path: Path, file: SocketFile) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with file.open(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_live_one_is_refused_and_its_process_named(path: Path, file: SocketFile) -> None:
    with file.open():
        error = refusal(path)
        assert error.name == "already_running"
        assert f"process {os.getpid()}" in error.message
        assert path.is_socket()


def test_live_one_is_found_without_its_lock(path: Path, file: SocketFile) -> None:
    with file.open():
        Path(f"{path}.lock").unlink()
        assert f"process {os.getpid()}" in refusal(path).message
        assert path.is_socket()


def test_live_one_is_found_without_its_file(path: Path, file: SocketFile) -> None:
    with file.open():
        path.unlink()
        assert "another process" in refusal(path).message


def test_live_one_too_busy_to_accept_is_live(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.setblocking(False)
        client.connect(str(path))
        assert refusal(path).name == "already_running"


def test_another_file_is_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    assert refusal(path).name == "socket_path_taken"
    assert path.read_text() == "precious"


def test_successor_s_socket_is_not_removed(path: Path, file: SocketFile) -> None:
    with file.open(), socket.socket(socket.AF_UNIX) as successor:
        path.unlink()
        successor.bind(str(path))
        file.close()
        assert path.is_socket()


def test_directory_that_anybody_may_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o777)
    assert refusal(path).name == "socket_directory_open"
    path.parent.chmod(0o1777)  # as /tmp: files belong to who made them
    file = SocketFile(str(path))
    file.open().close()
    file.close()


def test_a_linked_directory_is_refused(path: Path) -> None:
    (path.parent.parent / "real").mkdir(parents=True)
    path.parent.symlink_to(path.parent.parent / "real")
    assert refusal(path).name == "socket_directory_is_link"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give directories away")
def test_a_directory_of_another_user_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.chown(path.parent, 4242, -1)
    assert refusal(path).name == "socket_directory_foreign"


def test_path_is_as_long_as_the_kernel_takes(tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(tmp_path)) - 1
    file = SocketFile(str(tmp_path / ("s" * room)))
    file.open().close()
    file.close()
    assert refusal(tmp_path / ("s" * (room + 1))).name == "socket_path_too_long"


def test_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file" / "mesh.sock").name == "socket_not_usable"
