"""The pages of docs/reference say what the code does."""

import pathlib

import pytest

from mesh.cli import reference
from mesh.cli.main import COMMANDS
from mesh.control.messages import describe

FOLDER = pathlib.Path(__file__).parent.parent / "docs" / "reference"
PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_code_says(name: str) -> None:
    hint = "run: python -m mesh.cli.reference docs/reference"
    assert (FOLDER / name).read_text() == PAGES[name], hint


def test_every_method_says_what_it_does() -> None:
    for method in describe():
        assert f"### `{method.name}`" in PAGES["control-api.md"]
        assert method.summary.endswith("."), method.name


def test_every_command_and_option_says_what_it_does() -> None:
    for command in COMMANDS:
        assert f"## `mesh {command}`" in PAGES["cli.md"]
    bare = [line for line in PAGES["cli.md"].splitlines() if line.endswith("|  |")]
    assert not bare


def test_reference_is_written_where_it_is_told(tmp_path: pathlib.Path) -> None:
    assert reference.main([str(tmp_path)]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == PAGES
