"""Finding a command, and what its exit code says."""

import os
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from mesh.cli import exit_codes, main
from mesh.cli.completion import bash_script, walk
from mesh.cli.examples import ENDINGS
from mesh.control.client import NodeUnreachable, Refused

MESH = Path(main.__file__).parents[1]


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


def test_every_name_with_an_exit_code_is_one_that_somebody_says() -> None:
    code = "\n".join(path.read_text() for path in sorted(MESH.rglob("*.py")))
    told = set(re.findall(r'"([a-z_]+)"', code))
    named = [name for names in exit_codes._ERRORS.values() for name in names.split()]
    assert len(named) == len(set(named))
    assert [name for name in named if name not in told] == []


def test_what_is_wrong_with_a_request_is_wrong_use() -> None:
    code = "\n".join(path.read_text() for path in sorted(MESH.rglob("*.py")))
    told = set(re.findall(r'"((?:bad_[a-z_]+)|(?:too_many_(?:parents|capabilities)))",', code))
    assert told
    wrong = {name for name in told if exit_codes.code_of_error(name) != exit_codes.USAGE}
    assert wrong == set()


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
        ["rekey", "--instance", "x"],
        ["work", "--kind", "k", "--jobs", "1025", "--", "true"],
        ["work", "--kind", "k", "--", "/etc/passwd"],
        ["task", "progress", "handle-1", "--percent", "nan"],
        ["task", "progress", "handle-1", "--percent", "101"],
        ["task", "handoff", "accept", "ID", "--nonsense"],
    ],
)
def test_wrong_use_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == exit_codes.USAGE
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("mesh")
    assert said[1].startswith("hint: ")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["membres"], "mesh members"), (["task", "submti"], "mesh task submit")],
)
def test_a_slip_in_a_command_is_answered_with_what_was_meant(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == exit_codes.USAGE
    assert f"did you mean `{meant}`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["members", "more"], "mesh members"),
        (["task", "show", "ID", "--wait"], "mesh task show"),
        (["task", "handoff", "accept", "ID", "more"], "mesh task handoff accept"),
    ],
)
def test_what_a_command_does_not_take_is_told_with_its_own_help(
    arguments: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == exit_codes.USAGE
    said = capsys.readouterr().err
    assert said == f"mesh: {command} does not take {arguments[-1]}\nhint: see `{command} --help`\n"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == exit_codes.OK
    assert capsys.readouterr().out.startswith("mesh ")


def test_an_interrupted_loop_of_tasks_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, BaseExceptionGroup("tasks", [KeyboardInterrupt()]))
    assert main.run(["status"]) == exit_codes.INTERRUPTED
    failing(monkeypatch, BaseExceptionGroup("tasks", [KeyboardInterrupt(), ValueError()]))
    with pytest.raises(BaseExceptionGroup):
        main.run(["status"])


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


# --- help


COMMANDS = {path.partition(" ")[2]: below for path, _, below in walk("mesh", main.build_parser())}


def test_help_of_every_command_ends_with_codes_and_examples() -> None:
    assert sorted(ENDINGS) == sorted(path for path, below in COMMANDS.items() if path and not below)


@pytest.mark.parametrize("command", ENDINGS)
def test_examples_are_of_their_command_and_can_be_typed(command: str) -> None:
    parser = main.build_parser(command.split()[:1])
    for example in ENDINGS[command].examples:
        typed = re.sub(r"^(?:\w+=\$\(|eval \"\$\()(.*?)\)\"?$", r"\1", example)
        words = shlex.split(re.split(r" [|>] ", typed)[0])
        assert words[: 1 + len(command.split())] == ["mesh", *command.split()]
        assert callable(parser.parse_args(words[1:]).run)


def test_help_says_what_is_printed_and_which_codes(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["task", "claim", "--help"])
    said = capsys.readouterr().out
    assert "prints: names and values, with the handle" in said
    assert "  6    not within the time" in said
    assert "examples:\n  handle=$(mesh task claim ID -q)\n" in said


# --- completion


def completed(*words: str) -> list[str]:
    script = bash_script(main.build_parser())
    ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mesh; echo "${COMPREPLY[*]}"'
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}", "bash", *words], stdout=subprocess.PIPE, check=True
    )  # fmt: skip
    return done.stdout.decode().split()


def test_bash_completes_commands_options_and_choices() -> None:
    assert completed("mesh", "membe") == ["members"]
    assert completed("mesh", "task", "hando") == ["handoff"]
    assert completed("mesh", "task", "handoff", "--json", "a") == ["accept"]
    assert completed("mesh", "task", "submit", "x", "--allocation", "") == [
        *("pull", "offered", "auction")
    ]
    assert completed("mesh", "task", "verify", "ref") == ["refuse"]
    assert "--every" in completed("mesh", "top", "--")
    assert completed("mesh", "work", "--kind", "k", "--", "l") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", shell]) == 0
    assert "mesh task handoff" in capsys.readouterr().out


# --- streams that are not as usual


def ended(redirected: str, *words: str) -> tuple[int, str]:
    """Return how a command ends whose streams were redirected by a shell, and its talk."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "mesh", *words],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    return done.returncode, done.stderr.decode()


def test_closed_standard_streams_are_no_traceback(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no.sock")
    assert ended("<&-", "task", "submit", "build", "-", "--socket", nowhere) == (
        2,
        "mesh: standard input is closed\nhint: give the text itself, or @FILE\n",
    )
    assert ended(">&-", "sim", "--list") == (0, "")
    assert ended("2>&-", "status", "--socket", nowhere) == (3, "")


def test_a_terminal_of_few_letters_sees_the_others_spelled_out(tmp_path: Path) -> None:
    code, said = ended("", "status", "--socket", str(tmp_path / "\N{FOX FACE}"))
    assert code == 3
    assert "\\U0001f98a" in said
