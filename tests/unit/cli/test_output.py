"""What commands print."""

import io
import json
import sys
from argparse import Namespace

import pytest

from mesh.cli.output import Output, cells, cut, escape, say, words


class Terminal(io.StringIO):
    """Where a person reads."""

    def isatty(self) -> bool:
        return True


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("grün 漢字", "grün 漢字"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("abc\u202efed", "abc\\u202efed"),
        ("\u2028", "\\u2028"),
        ("\udc80", "\\udc80"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_width_is_counted_in_cells() -> None:
    assert [cells(text) for text in ("ab", "ü", "u\u0308", "漢字")] == [2, 1, 1, 4]


@pytest.mark.parametrize(
    ("width", "shown"),
    [(4, "ab漢"), (3, "ab…"), (2, "a…"), (1, "…"), (0, "")],
)
def test_text_is_cut_to_a_width(width: int, shown: str) -> None:
    assert cut("ab漢", width) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (["a", "b"], "a, b"),
        ({"alive": 3, "dead": 0}, "alive 3, dead 0"),
        ("\x07", "\\x07"),
        ({"\x07": ["\x07"]}, "\\x07 \\x07"),
    ],
)
def test_value_is_one_line_for_people(value: object, shown: str) -> None:
    assert words(value) == shown


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Namespace()).table(("A", "LONG"), [("漢字", 1), ("b", None)])
    assert capsys.readouterr().out == "A     LONG\n漢字  1\nb     -\n"


def test_table_without_rows_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Namespace()).table(("A", "B"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_sections_are_indented(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Namespace()).sections({"id": 1, "name": "n", "mesh": {"x": 1, "long": 2}, "empty": {}})
    assert capsys.readouterr().out == ("id     1\nname   n\nmesh\n  x     1\n  long  2\nempty  -\n")


def test_sentences_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Namespace()).sections({"warnings": ["one, two", "three"], "tags": ["a", "b"]})
    assert capsys.readouterr().out == "warnings  one, two\n          three\ntags      a, b\n"


def test_document_is_one_line_with_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Namespace(json=True)).document({"name": "\x9b\x1b"})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"v": 1, "name": "\x9b\x1b"}


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    Output(Namespace()).table(("STATUS",), [("alive",), ("alive\x1b",)])
    assert "\x1b[32malive\x1b[0m" in terminal.getvalue()
    assert "alive\\x1b" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    Output(Namespace()).table(("STATUS",), [("alive",)])
    assert "\x1b" not in terminal.getvalue()


def test_a_dumb_terminal_is_sent_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    Output(Namespace()).table(("STATUS",), [("alive",)])
    assert terminal.getvalue() == "STATUS\nalive\n"


def test_output_of_a_task_cannot_drive_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    Output(Namespace()).bytes(b"one\n\ttwo\x1b[31m\xff")
    assert terminal.getvalue() == "one\n        two\\x1b[31m\ufffd\n"


def test_talk_that_nobody_can_hear_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    say("anything")
