"""The subcommands of `mesh task` for those who work together on one, against a scripted node."""

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.core.commands import (
    Command,
    Decision,
    TaskAccept,
    TaskAnswer,
    TaskAsk,
    TaskAwaitAnswer,
    TaskCertificate,
    TaskDecline,
    TaskFence,
    TaskForceRelease,
    TaskList,
    TaskOffer,
    TaskProgress,
    TaskRefuse,
    TaskRelease,
    TaskReopen,
    TaskReview,
    TaskShow,
)
from tests.shell.test_cli_commands import answering, mesh, succeed
from tests.unit.control.fake_node import fake_node

T, H = "1-2-aa", "handle-1"
OPEN = {
    "question": "abcdef0123456789",
    "state": "open",
    "name": "amber",
    "text": "which?",
    "answers": [],
}
OVER = OPEN | {"state": "answered", "answers": [{"text": "main"}]}
CASES: tuple[tuple[str, Command], ...] = (
    (
        f"task progress {H} half --done 4 --total 9 --checkpoint 4",
        TaskProgress(H, "half", 4, 9, checkpoint="NA=="),
    ),
    (f"task progress {H} --percent 12.5", TaskProgress(H, percent=12.5)),
    (f"task decline {H} why", TaskDecline(H, "why")),
    (f"task release {H} --put-off 2h", TaskRelease(H, put_off_s=7200.0)),
    (f"task release {T} --force --reason stuck", TaskForceRelease(T, "stuck")),
    (f"task reopen {T}", TaskReopen(T)),
    (
        (
            f"task handoff offer {H} --to b --agent bob --goal g --done d --pending p "
            "--decision w y --caveat c"
        ),
        TaskOffer(H, "b", "bob", "g", ("d",), ("p",), (Decision("w", "y"),), ("c",)),
    ),
    (f'task handoff offer {H} --context {{"goal":"g"}}', TaskOffer(H, goal="g")),
    (f"task handoff withdraw {H}", TaskOffer(H, withdraw=True)),
    (f"task handoff accept {T} --agent bob", TaskAccept(T, "bob", detached=True)),
    (f"task handoff decline {T} busy", TaskRefuse(T, "cli", "busy")),
    (f"task ask {H} which? --limit 5m", TaskAsk(H, "which?", 300.0)),
    (f"task answer {T} main --question ab", TaskAnswer(T, "main", "ab")),
    (f"task verify accept {T} fine", TaskReview(T, True, reason="fine")),
    (f"task verify refuse {T}", TaskReview(T, False)),
    (f"fence certificate {T}", TaskCertificate(T)),
)
SCRIPT: dict[type[Command], Any] = {
    kind: answering({"task": T, "question": "abcdef", "certificate": "meshfence1:x"})
    for kind in dict.fromkeys(type(command) for _, command in CASES)
}


@pytest.mark.parametrize(("line", "command"), CASES, ids=[line for line, _ in CASES])
async def test_a_command_asks_for_what_it_says(line: str, command: Command, tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        printed = await succeed(node, *line.split(), "--json")
        assert json.loads(printed)["task"] == T
        assert node.received[-1].command == command


async def test_people_see_what_was_answered(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        assert "abcdef" in await succeed(node, "task", "ask", H, "which?")
        assert await succeed(node, "task", "ask", H, "which?", "-q") == "abcdef\n"
        assert T in await succeed(node, "task", "reopen", T)
        assert await succeed(node, "fence", "certificate", T) == "meshfence1:x\n"


@pytest.mark.parametrize(("told", "code", "printed"), [(OVER, 0, b"main\n"), (OPEN, 6, b"")])
async def test_an_answer_is_waited_for(
    told: dict[str, Any], code: int, printed: bytes, tmp_path: Path
) -> None:
    script = SCRIPT | {TaskAwaitAnswer: answering(told)}
    async with fake_node(tmp_path, script) as node:
        done = await mesh(node.path, "task", "ask", H, "which?", "--wait")
        assert (done.returncode, done.stdout) == (code, printed)


async def test_questions_are_listed(tmp_path: Path) -> None:
    task = {"id": T, "questions": [OPEN, OVER]}
    script: dict[type[Command], Any] = {
        TaskList: answering({"tasks": [task]}),
        TaskShow: answering({"task": task}),
    }
    async with fake_node(tmp_path, script) as node:
        assert "main" not in await succeed(node, "task", "questions")
        assert "main" in await succeed(node, "task", "questions", "--all")
        printed = json.loads(await succeed(node, "task", "questions", T, "--json"))
        assert [each["state"] for each in printed["questions"]] == ["open", "answered"]


@pytest.mark.parametrize(("fence", "code"), [("current", 0), ("stale", 7), ("unknown", 4)])
async def test_a_fence_is_an_exit_code(fence: str, code: int, tmp_path: Path) -> None:
    async with fake_node(tmp_path, {TaskFence: answering({"fence": fence})}) as node:
        done = await mesh(node.path, "fence", "check", T, "t")
        assert done.returncode == code
        assert fence.encode() in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        f"task release {H} --reason x",
        f"task handoff offer {H} --context [",
        f"task handoff offer {H} --context []",
        "fence verify --mesh ff x",
        "fence verify --mesh zz x",
    ],
)
async def test_wrong_use_is_two(line: str, tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        done = await mesh(node.path, *line.split())
        assert done.returncode == 2
        assert b"hint: " in done.stderr
        assert not node.received
