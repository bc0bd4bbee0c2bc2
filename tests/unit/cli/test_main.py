"""Finding a command, and what its exit code says."""

import sys
from argparse import Namespace

import pytest

from mesh.cli import exit_codes, main
from mesh.control.client import NodeUnreachable, Refused


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(_options: Namespace) -> int:
        raise error

    monkeypatch.setattr("mesh.cli.node.show_status", run)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NodeUnreachable("/s", "no"), 3),
        (Refused("not_found", "m", "h"), 4),
        (Refused("permission", "m", "h"), 5),
        (Refused("timed_out", "m", "h"), 6),
        (Refused("no_task", "m", "h"), 6),
        (Refused("claim_lost", "m", "h"), 7),
        (Refused("already_owned", "m", "h"), 7),
        (Refused("already_finished", "m", "h"), 7),
        (Refused("canceled", "m", "h"), 8),
        (Refused("invalid_params", "m", "h"), 2),
        (Refused("anything_else", "m", "h"), 1),
        (OSError("disk"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    assert main.run(["status"]) == code


def test_error_and_hint_are_talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, Refused("not_found", "no task \x1b[31m", "see `mesh task list`"))
    main.run(["status"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "mesh: no task \\x1b[31m\nhint: see `mesh task list`\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["members", "--nonsense"],
        ["members", "--stat", "alive"],
        ["members", "--tag", "zone"],
        ["task"],
        ["task", "nonsense"],
        ["task", "show"],
        ["work", "--kind", "k"],
        ["work", "--", "true"],
        ["wait", "--timeout", "soon"],
        ["status", "--instance", "x"],
    ],
)
def test_wrong_use_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == exit_codes.USAGE
    assert "usage: mesh" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["task", "submit", "--help"]])
def test_help_is_fine(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == exit_codes.OK
    assert "usage: mesh" in capsys.readouterr().out


def test_only_the_chosen_command_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mesh.cli.up", "mesh.cli.tasks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    main.build_parser(["members"])
    assert "mesh.cli.up" not in sys.modules
    assert "mesh.cli.tasks" not in sys.modules


def test_program_of_work_keeps_its_own_options() -> None:
    parser = main.build_parser(["work"])
    options = parser.parse_args(["work", "--kind", "k", "--", "sh", "-c", "x", "--", "--kind"])
    assert options.program == ["sh", "-c", "x", "--", "--kind"]
    assert options.kind == ["k"]


def test_state_of_a_task_is_an_exit_code() -> None:
    codes = [exit_codes.code_of_state(state) for state in ("completed", "failed", "canceled")]
    assert codes == [0, 1, 8]


@pytest.mark.parametrize("arguments", [["--nodes", "3", "--json", "--keep"], []])
def test_demo_is_called_as_asked(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[int, bool, bool]] = []

    def run_demo(*, nodes: int, as_json: bool, keep: bool) -> int:
        called.append((nodes, as_json, keep))
        return 1

    monkeypatch.setattr("mesh.cli.demo.run_demo", run_demo)
    assert main.run(["demo", *arguments]) == 1
    assert called == [(3, True, True) if arguments else (5, False, False)]
