"""README, the gate and what they promise agree."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GATE = ROOT / ".ci" / "run"
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]


def test_two_commands_are_all_the_set_up() -> None:
    assert len(COMMANDS) == 2
    main_job, tests = COMMANDS
    assert main_job.endswith("mesh demo")
    assert tests.endswith("pytest -n auto")


def test_the_gate_calls_exactly_the_test_command() -> None:
    assert COMMANDS[1] in GATE.read_text().splitlines()
    assert GATE.stat().st_mode & 0o111


def test_every_link_in_the_documents_leads_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        broken += [
            f"{page.relative_to(ROOT)}: {target}"
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
            if "://" not in target and not (page.parent / target).exists()
        ]
    assert not broken


def test_the_top_level_is_as_agreed() -> None:
    agreed = {"pyproject.toml", "README.md", "mesh", "tests", "deploy", "docs"}
    ignored = {"build", "dist"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - ignored <= agreed
