"""The options of `mesh up`."""

import io
import sys
from pathlib import Path

import pytest

from mesh.cli import main
from mesh.daemon.options import UpOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[UpOptions]:
    """What the daemon was asked for."""
    options: list[UpOptions] = []

    def run(given: UpOptions) -> int:
        options.append(given)
        return 0

    monkeypatch.setattr("mesh.daemon.main.run", run)
    monkeypatch.delenv("MESH_TICKET", raising=False)
    return options


def test_nothing_is_asked_for_by_default(asked: list[UpOptions]) -> None:
    assert main.run(["up"]) == 0
    assert asked == [UpOptions()]


def test_every_option_arrives(asked: list[UpOptions]) -> None:
    words = (
        "up --join mesh1:x --seed a:1 --seed dns+b:2 --mesh ff --open --i-know --no-admin "
        "--name n --bind 1.2.3.4:5 --advertise 6.7.8.9:5 --advertise [::1]:5 --tag a=b --tag c=d "
        "--data /d --socket /s --group agents --instance 2 --profile wan --json"
    )
    assert main.run(words.split()) == 0
    assert asked == [
        UpOptions(
            join="mesh1:x",
            seeds=("a:1", "dns+b:2"),
            mesh="ff",
            open=True,
            insist=True,
            no_admin=True,
            name="n",
            bind="1.2.3.4:5",
            advertise=("6.7.8.9:5", "[::1]:5"),
            tags=(("a", "b"), ("c", "d")),
            data="/d",
            socket="/s",
            group="agents",
            instance=2,
            profile="wan",
            json=True,
        )
    ]


def test_ticket_need_not_stand_on_the_command_line(
    asked: list[UpOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ticket"
    path.write_text("mesh1:file\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"mesh1:stdin\n")))
    monkeypatch.setenv("MESH_TICKET", " mesh1:environment\n")
    for arguments in (["--join", f"@{path}"], ["--join", "-"], []):
        assert main.run(["up", *arguments]) == 0
    assert [each.join for each in asked] == ["mesh1:file", "mesh1:stdin", "mesh1:environment"]


def test_empty_ticket_is_refused(asked: list[UpOptions], tmp_path: Path) -> None:
    (tmp_path / "ticket").write_text("\n")
    assert main.run(["up", "--join", f"@{tmp_path}/ticket"]) == 2
    assert main.run(["up", "--join", f"@{tmp_path}/none"]) == 2
    assert not asked


def test_profiles_are_those_of_the_core(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["up", "--profile", "none"]) == 2
    assert "'local', 'lan', 'fast', 'wan'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("--mesh abc --seed a:1", 2, "is no mesh id"),
        (f"--mesh {'ab' * 32}", 2, "nothing says where its members are"),
        ("--open --seed 127.0.0.1:1", 2, "chosen when a mesh is founded"),
        ("--join mesh1:cut", 2, "cut off"),
        ("--seed nowhere", 2, "host and port"),
        ("--bind name:1", 2, "not a numeric address"),
        ("--advertise name:1", 2, "not a numeric address"),
        ("--retention 0", 2, "retention_s"),
        (f"--name {'x' * 65}", 2, "cannot be a name"),
        ("--open --bind 0.0.0.0:0", 2, "--i-know"),
        (f"--socket /{'x' * 200}", 2, "shorter"),
        ("--group nobody-has-it", 2, "there is no group"),
        ("--bind 192.0.2.1:1", 1, "no address of this machine"),
    ],
)
def test_wrong_use_is_told_from_what_this_machine_refuses(
    arguments: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [
        "--data",
        str(tmp_path / "d"),
        "--socket",
        str(tmp_path / "s"),
        "--bind",
        "127.0.0.1:0",
    ]
    assert main.run(["up", *place, *arguments.split()]) == code
    said = capsys.readouterr().err
    assert says in said
    assert "\n  hint: " in said


def test_blobs_that_cannot_be_kept_are_an_error_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "d"
    data.mkdir(mode=0o700)
    (data / "blobs").touch()
    assert main.run(["up", "--data", str(data), "--bind", "127.0.0.1:0"]) == 1
    assert "move away what is in the way" in capsys.readouterr().err
