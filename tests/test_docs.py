"""The pages of docs/reference say what the code does."""

import pathlib
import re

import pytest

from mesh.cli import reference
from mesh.cli.main import COMMANDS
from mesh.control.messages import describe
from mesh.control.topics import TOPICS
from mesh.core.claims.exchange_facts import EXCHANGE_CONTEXTS

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


def test_every_topic_that_a_node_speaks_of_is_told_of() -> None:
    said = {name.partition("/")[0] for name in EXCHANGE_CONTEXTS}
    spoken = {f"task.{name}" for name in said} | {"task.progress"}
    for path in sorted((pathlib.Path(reference.__file__).parents[1] / "core").rglob("*.py")):
        spoken |= set(re.findall(r'[nN]otify\(\s*"([a-z._]+)"', path.read_text()))
    assert sorted(spoken) == sorted(TOPICS)
    for name in TOPICS:
        assert f"| `{name}`" in PAGES["control-api.md"]


def test_every_command_and_option_says_what_it_does() -> None:
    for command in COMMANDS:
        assert f"## `mesh {command}`" in PAGES["cli.md"]
    bare = [line for line in PAGES["cli.md"].splitlines() if line.endswith("|  |")]
    assert not bare


def test_reference_is_written_where_it_is_told(tmp_path: pathlib.Path) -> None:
    assert reference.main([str(tmp_path)]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == PAGES
