"""Every subcommand as a process, against a scripted node."""

import base64
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from mesh.core.commands import (
    Command,
    MemberList,
    MemberWait,
    NodeIdentity,
    NodeInfo,
    NodeLeave,
    NodeStatus,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskHistory,
    TaskList,
    TaskRelease,
    TaskShow,
    TaskStart,
    TaskSubmit,
    TaskWait,
)
from mesh.core.trust_commands import (
    RootExport,
    RootKeep,
    RootLock,
    TrustAdmins,
    TrustAdmit,
    TrustDemote,
    TrustDeny,
    TrustInvite,
    TrustInvites,
    TrustPending,
    TrustPromote,
    TrustRemove,
    TrustRotate,
    TrustUninvite,
)
from tests.unit.control.fake_node import Answer, FakeNode, fake_node, refusing

PATIENCE_S = 20
MEMBER = {
    "id": "aa11",
    "name": "amber",
    "address": "10.0.0.1:7946",
    "status": "alive",
    "incarnation": 0,
    "boot": 1,
    "rtt_ms": 0.31,
    "tags": {"zone": "a"},
    "is_self": True,
    "flags": [],
}
EVIL = MEMBER | {"id": "bb22", "name": "e\x1b[2Jvil", "status": "dead", "rtt_ms": None, "tags": {}}
TASK: dict[str, Any] = {
    "id": "1-2-aa",
    "kind": "build",
    "state": "working",
    "mode": "convergent",
    "owner": {"node": "aa11", "agent": "bot", "name": "amber"},
    "token": "t",
    "epoch": 1,
    "attempts": 0,
    "copies": 2,
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:00.000Z",
    "result": None,
    "superseded": [],
    "blocked_on": [],
    "starts": 1,
    "error": None,
}
RESULT = {"outcome": "completed", "output": base64.b64encode(b"out\xff\n").decode(), "digest": "d"}
DONE = TASK | {"state": "completed", "result": RESULT}
CLAIM = {
    "task": "1-2-aa",
    "kind": "build",
    "payload": "",
    "token": "t",
    "handle": "handle-1",
    "epoch": 1,
    "attempt": 1,
    "state": "owned",
}
FACT = {
    "kind": "claim",
    "id": "ff",
    "author": "aa11",
    "name": "amber",
    "signature_ok": True,
    "at": None,
    "token": "t",
    "because": None,
}
IDENTITY = {"id": "aa11", "fingerprint": "F", "public_key": "p", "mesh": {"id": "m"}}
TICKET = {
    "ticket": "ab12",
    "uses_left": 1,
    "admitted": ["aa11"],
    "expires_at": "2026-01-01T00:00:00Z",
    "state": "open",
}
APPLICANT = {
    "name": "amber",
    "id": "aa11",
    "fingerprint": "F",
    "public_key": "p",
    "since": "2026-01-01T00:00:00Z",
}
KEY = "-".join(["AAAAA"] * 13)
ADMINS = {
    "admins": [{"name": "amber", "id": "aa11", "fingerprint": "F"}],
    "removed": ["bb22"],
    "root": {"fingerprint": "R", "here": True},
}
HANDLED = {"task": "1-2-aa", "token": "t"}


def answering(result: dict[str, Any]) -> Answer:
    def answer(_command: Command) -> dict[str, Any]:
        return result

    return answer


SCRIPT: dict[type[Command], Answer] = {
    MemberList: answering({"members": [MEMBER, EVIL]}),
    MemberWait: answering({"alive": 3}),
    NodeStatus: answering({"node": {"id": "aa11"}, "mesh": {"name": "m"}}),
    NodeInfo: answering({"node": MEMBER}),
    NodeIdentity: answering(IDENTITY),
    NodeLeave: answering({"left": True}),
    TrustInvite: answering({"ticket": "mesh1:abc", "expires_at": "2026-01-01T00:00:00Z"}),
    TrustInvites: answering({"tickets": [TICKET]}),
    TrustUninvite: answering({"ticket": "ab12", "state": "expired"}),
    TrustPending: answering({"pending": [APPLICANT], "listening_s": 5.0}),
    TrustAdmit: answering({"admitted": "amber", "fingerprint": "F", "listening_s": 600.0}),
    TrustDeny: answering({"denied": "amber", "fingerprint": "F"}),
    TrustRemove: answering({"removed": "aa11", "fingerprint": "F", "standing": 0}),
    TrustAdmins: answering(ADMINS),
    TrustPromote: answering({"admin": "aa11", "fingerprint": "F"}),
    TrustDemote: answering({"demoted": "aa11", "fingerprint": "F"}),
    RootExport: answering({"root": KEY, "next": KEY, "fingerprint": "F"}),
    RootLock: answering({"locked": True, "fingerprint": "F"}),
    RootKeep: answering({"fingerprint": "F"}),
    TrustRotate: answering({"fingerprint": "F", "next": KEY}),
    TaskSubmit: answering({"task": "1-2-aa", "copies": 2}),
    TaskList: answering({"tasks": [TASK]}),
    TaskShow: answering({"task": TASK}),
    TaskHistory: answering({"facts": [FACT]}),
    TaskWait: answering({"task": DONE}),
    TaskClaim: answering(CLAIM),
    TaskStart: answering(HANDLED | {"started": True}),
    TaskComplete: answering(HANDLED | {"copies": 2}),
    TaskFail: answering({"task": "1-2-aa", "state": "submitted"}),
    TaskRelease: answering({"task": "1-2-aa", "released": True}),
    TaskCancel: answering({"task": "1-2-aa", "state": "canceled"}),
}

Done = subprocess.CompletedProcess[bytes]


async def mesh(path: str, *arguments: str, stdin: bytes = b"") -> Done:
    with trio.fail_after(PATIENCE_S):
        return await trio.run_process(
            [sys.executable, "-m", "mesh", *arguments],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "MESH_SOCKET": path},
        )


async def succeed(node: FakeNode, *arguments: str, stdin: bytes = b"") -> str:
    done = await mesh(node.path, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


CASES: list[tuple[str, Command, dict[str, Any]]] = [
    ("members", MemberList(), {"members": [MEMBER, EVIL]}),
    (
        "members --status a.* --tag zone=a|b",
        MemberList("a.*", {"zone": "a|b"}),
        {"members": [MEMBER, EVIL]},
    ),
    ("wait --members 3 --timeout 0", MemberWait(3, 0.0), {"alive": 3}),
    ("status", NodeStatus(), {"node": {"id": "aa11"}, "mesh": {"name": "m"}}),
    ("info", NodeInfo(), {"node": MEMBER}),
    ("info amber", NodeInfo("amber"), {"node": MEMBER}),
    ("id", NodeIdentity(), IDENTITY),
    ("leave", NodeLeave(), {"left": True}),
    (
        "invite --uses 2 --ttl 1h",
        TrustInvite(2, 3600.0),
        {"ticket": "mesh1:abc", "expires_at": "2026-01-01T00:00:00Z"},
    ),
    ("invite list", TrustInvites(), {"tickets": [TICKET]}),
    ("invite revoke ab12", TrustUninvite("ab12"), {"ticket": "ab12", "state": "expired"}),
    ("pending", TrustPending(), {"pending": [APPLICANT], "listening_s": 5.0}),
    (
        "admit amber --listen 10m",
        TrustAdmit("amber", 600.0),
        {"admitted": "amber", "fingerprint": "F", "listening_s": 600.0},
    ),
    ("deny amber", TrustDeny("amber"), {"denied": "amber", "fingerprint": "F"}),
    (
        f"remove amber --discard --note stolen --root {KEY}",
        TrustRemove("amber", True, "stolen", KEY),
        {"removed": "aa11", "fingerprint": "F", "standing": 0},
    ),
    ("admin list", TrustAdmins(), ADMINS),
    ("admin add amber", TrustPromote("amber"), {"admin": "aa11", "fingerprint": "F"}),
    (
        "admin remove amber --note old",
        TrustDemote("amber", "old"),
        {"demoted": "aa11", "fingerprint": "F"},
    ),
    ("root export", RootExport(), {"root": KEY, "next": KEY, "fingerprint": "F"}),
    (f"root lock {KEY}/{KEY}", RootLock(KEY, KEY), {"locked": True, "fingerprint": "F"}),
    (f"root restore {KEY}", RootKeep(KEY), {"fingerprint": "F"}),
    (f"root rotate {KEY}", TrustRotate(KEY), {"fingerprint": "F", "next": KEY}),
    ("task submit build eA", TaskSubmit("build", "ZUE="), {"task": "1-2-aa", "copies": 2}),
    (
        "task submit build --copies 3 --retries 0 --backoff 500ms --orphan-grace 1m --note n",
        TaskSubmit("build", "", None, 3, 1, 0.5, 60.0, "n"),
        {"task": "1-2-aa", "copies": 2},
    ),
    (
        (
            "task submit build --priority 7 --queue-ttl 1m --run-limit 2m --after 1-2-aa 1-2-bb"
            " --on-parent-failure run --limit db=2 --dedupe nightly=1h --requires gpu"
            " --requires os=x --prefers zone=a --allocation auction --bid-window 3s"
        ),
        TaskSubmit(
            "build",
            priority=7,
            queue_ttl_s=60.0,
            run_limit_s=120.0,
            after=("1-2-aa", "1-2-bb"),
            on_parent_failure="run",
            limit=("db", 2),
            dedupe="nightly",
            dedupe_window_s=3600.0,
            requires={"gpu": "", "os": "x"},
            prefers={"zone": "a"},
            allocation="auction",
            bid_window_s=3.0,
        ),
        {"task": "1-2-aa", "copies": 2},
    ),
    ("task submit build --wait --timeout 5", TaskWait("1-2-aa", 5.0), {"task": DONE}),
    ("task list", TaskList(), {"tasks": [TASK]}),
    ("task submit k --request-id r", TaskSubmit("k", "", "r"), {"task": "1-2-aa", "copies": 2}),
    (
        "task list --kind k --state working --limit 3",
        TaskList("k", "working", 3),
        {"tasks": [TASK]},
    ),
    ("task show 1-2-aa", TaskShow("1-2-aa"), {"task": TASK}),
    ("task history 1-2-aa", TaskHistory("1-2-aa"), {"facts": [FACT]}),
    ("task wait 1-2-aa --timeout 7", TaskWait("1-2-aa", 7.0), {"task": DONE}),
    ("task claim 1-2-aa", TaskClaim("1-2-aa", detached=True), CLAIM),
    (
        "task claim --kind a --kind b --timeout 5 --agent bot --request-id r",
        TaskClaim(None, ("a", "b"), 5.0, detached=True, agent="bot", request_id="r"),
        CLAIM,
    ),
    ("task claim --kind a --wait", TaskClaim(None, ("a",), 86_400.0, detached=True), CLAIM),
    ("task start handle-1", TaskStart("handle-1"), HANDLED | {"started": True}),
    ("task complete handle-1 ok", TaskComplete("handle-1", "b2s="), HANDLED | {"copies": 2}),
    (
        "task fail handle-1 broken",
        TaskFail("handle-1", "broken"),
        {"task": "1-2-aa", "state": "submitted"},
    ),
    ("task release handle-1", TaskRelease("handle-1"), {"task": "1-2-aa", "released": True}),
    ("task cancel 1-2-aa", TaskCancel("1-2-aa"), {"task": "1-2-aa", "state": "canceled"}),
]


@pytest.mark.parametrize(("line", "command", "answer"), CASES, ids=[line for line, _, _ in CASES])
async def test_command_asks_and_prints_one_json_document(
    line: str, command: Command, answer: dict[str, Any], tmp_path: Path
) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        printed = await succeed(node, *line.split(), "--json")
        assert json.loads(printed) == {"v": 1, **answer}
        assert printed.count("\n") == 1
        assert node.received[-1].command == command


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("members -q", "aa11\nbb22\n"),
        ("id -q", "aa11\n"),
        ("invite -q", "mesh1:abc\n"),
        ("invite revoke ab12", "ab12 lets nobody in any more\n"),
        ("pending -q", "aa11\n"),
        ("admit amber", "admitted amber  F\nstrangers get an answer for 600 s\n"),
        ("admin add amber", "aa11 is an admin  F\n"),
        ("root export", f"root key now   {KEY}\nroot key next  {KEY}\n"),
        (f"root rotate {KEY}", f"the root is now F\nroot key next  {KEY}\n"),
        (f"root lock {KEY}/{KEY}", "the key of root F is no longer on this node\n"),
        ("task submit build -q", "1-2-aa\n"),
        ("task list -q", "1-2-aa\n"),
        ("task claim 1-2-aa -q", "handle-1\n"),
    ],
)
async def test_quiet_is_for_scripts(line: str, printed: str, tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        assert await succeed(node, *line.split()) == printed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("members", ["NAME", "amber *", "zone=a", "0.3 ms", "e\\x1b[2Jvil", "dead"]),
        ("wait", ["3 alive"]),
        ("status", ["node", "aa11"]),
        ("info", ["amber", "zone a"]),
        ("id", ["fingerprint", "mesh"]),
        ("leave", ["left"]),
        ("task list", ["STATE", "bot on amber", "d ago"]),
        ("task show 1-2-aa", ["bot on amber", "convergent", "d ago"]),
        ("task history 1-2-aa", ["FACT", "claim", "amber", "token t"]),
        ("task claim 1-2-aa", ["handle-1", "owned"]),
        ("task complete handle-1", ["copies"]),
    ],
)
async def test_people_get_tables_and_lines(line: str, expected: list[str], tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        printed = await succeed(node, *line.split())
        for text in expected:
            assert text in printed
        assert "\x1b" not in printed


async def test_invite_talks_on_stderr_and_prints_the_ticket(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        done = await mesh(node.path, "invite")
        assert done.stdout == b"mesh1:abc\n"
        assert b"mesh up --join" in done.stderr


async def test_payload_comes_from_stdin_and_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"\x00\xff")
    async with fake_node(tmp_path, SCRIPT) as node:
        await succeed(node, "task", "submit", "build", "-", stdin=b"piped\n")
        await succeed(node, "task", "complete", "handle-1", f"@{tmp_path}/payload")
        assert node.asked(TaskSubmit)[0].payload == base64.b64encode(b"piped\n").decode()
        assert node.asked(TaskComplete)[0].output == "AP8="


async def test_waited_for_output_is_printed_as_it_is(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        done = await mesh(node.path, "task", "submit", "build", "--wait")
        assert (done.returncode, done.stdout) == (0, b"out\xff\n")
        assert b"submitted 1-2-aa" in done.stderr


@pytest.mark.parametrize(("state", "code"), [("failed", 1), ("canceled", 8)])
async def test_waited_for_task_that_went_wrong_is_an_exit_code(
    state: str, code: int, tmp_path: Path
) -> None:
    ended = TASK | {"state": state, "error": "no\x1b"}
    async with fake_node(tmp_path, {TaskWait: answering({"task": ended})}) as node:
        done = await mesh(node.path, "task", "wait", "1-2-aa")
        assert (done.returncode, done.stdout) == (code, b"")
        assert state.encode() in done.stderr
        assert b"no\\x1b" in done.stderr


@pytest.mark.parametrize(
    ("name", "code"),
    [("not_found", 4), ("permission", 5), ("timed_out", 6), ("claim_lost", 7), ("busy", 1)],
)
async def test_refusal_is_an_exit_code_and_a_hint(name: str, code: int, tmp_path: Path) -> None:
    async with fake_node(tmp_path, {TaskShow: refusing(name, "what", "what next")}) as node:
        done = await mesh(node.path, "task", "show", "x", "--json")
        assert (done.returncode, done.stdout) == (code, b"")
        assert done.stderr == b"mesh: what\nhint: what next\n"


async def test_no_node_is_three_and_says_how_to_start_one(tmp_path: Path) -> None:
    done = await mesh(str(tmp_path / "mesh.sock"), "members")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"start it with `mesh up`" in done.stderr


async def test_socket_option_is_stronger_than_the_environment(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        done = await mesh("/nowhere", "members", "--socket", node.path, "-q")
        assert done.stdout == b"aa11\nbb22\n"


@pytest.mark.parametrize("line", ["task claim", "task claim 1-2-aa --kind k", "rpc hello ["])
async def test_wrong_use_is_two(line: str, tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        done = await mesh(node.path, *line.split())
        assert done.returncode == 2
        assert b"hint: " in done.stderr
        assert not node.received


async def test_wait_bears_with_a_node_that_is_joining(tmp_path: Path) -> None:
    asked = 0

    def wait(_command: MemberWait) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"alive": 1} if asked > 2 else refusing("not_joined")(_command)

    async with fake_node(tmp_path, {MemberWait: wait}) as node:
        assert await succeed(node, "wait") == "1 alive\n"


async def test_wait_bears_with_a_node_that_is_starting(tmp_path: Path) -> None:
    done: list[Done] = []

    async def wait() -> None:
        done.append(await mesh(str(tmp_path / "mesh.sock"), "wait"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.3)
        async with fake_node(tmp_path, SCRIPT) as node:
            await node.until(lambda: bool(node.received))
            while not done:  # noqa: ASYNC110  a process ends, not a task
                await trio.sleep(0.01)
    assert done[0].stdout == b"3 alive\n"


async def test_wait_gives_up(tmp_path: Path) -> None:
    done = await mesh(str(tmp_path / "mesh.sock"), "wait", "--timeout", "0.2")
    assert done.returncode == 3
    async with fake_node(tmp_path, {MemberWait: refusing("not_joined")}) as node:
        done = await mesh(node.path, "wait", "--timeout", "0.2")
        assert done.returncode == 6


async def test_rpc_is_the_raw_socket(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node:
        printed = await succeed(node, "rpc", "task.show", '{"task":"x"}')
        assert json.loads(printed) == {"task": TASK}
        await succeed(node, "rpc", "task.show", "-", stdin=b'{"task":"y"}')
        assert [each.task for each in node.asked(TaskShow)] == ["x", "y"]
        assert json.loads(await succeed(node, "rpc", "hello")) == {"version": "test", "api": 1}
        assert (await mesh(node.path, "rpc", "no.method")).returncode == 2
        assert (await mesh(node.path, "rpc", "hello", "[1]")).returncode == 2


def is_watched(node: FakeNode) -> bool:
    return any(each.topics for each in node.server._clients.values())


async def tell_once_watched(node: FakeNode, topic: str, body: dict[str, Any]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not is_watched(node):  # noqa: ASYNC110  `watch` never reaches the node
            await trio.sleep(0.01)
    node.server.notify(topic, body)


async def test_events_are_printed_as_they_happen(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node, trio.open_nursery() as nursery:
        body = {"name": "e\x1bvil", "new": "dead"}
        nursery.start_soon(tell_once_watched, node, "member", body)
        printed = await succeed(node, "events", "--count", "1")
        assert printed.endswith("member        name e\\x1bvil, new dead\n")
        nursery.start_soon(tell_once_watched, node, "member", body)
        line = json.loads(
            await succeed(node, "events", "--jsonl", "--topic", "member", "--count", "1")
        )
        assert line.pop("at").endswith("Z")
        assert line == {"v": 1, "topic": "member", **body}


async def test_watched_members_go_on_with_changes(tmp_path: Path) -> None:
    async with fake_node(tmp_path, SCRIPT) as node, trio.open_nursery() as nursery:
        arguments = [sys.executable, "-m", "mesh", "members", "--watch", "--socket", node.path]
        process = await nursery.start(
            partial(trio.run_process, arguments, stdout=subprocess.PIPE, check=False)
        )
        body = {"node": "bb22", "name": "birch", "old": "alive", "new": "down"}
        await node.until(lambda: bool(node.received))
        await tell_once_watched(node, "member", body)
        printed = b""
        with trio.fail_after(PATIENCE_S):
            while b"birch: alive -> down\n" not in printed:
                printed += await process.stdout.receive_some()
        assert printed.startswith(b"NAME")
        process.terminate()


@pytest.mark.parametrize(
    ("option", "listed", "changed"),
    [
        ("--jsonl", {"v": 1, "member": MEMBER}, {"v": 1, "topic": "member", "node": "aa11"}),
        ("-q", "aa11", "aa11"),
    ],
)
async def test_watched_members_come_as_lines(
    option: str, listed: object, changed: object, tmp_path: Path
) -> None:
    script: dict[type[Command], Answer] = {MemberList: answering({"members": [MEMBER]})}
    async with fake_node(tmp_path, script) as node, trio.open_nursery() as nursery:
        arguments = [sys.executable, "-m", "mesh", "members", "--watch", "--socket", node.path]
        process = await nursery.start(
            partial(trio.run_process, [*arguments, option], stdout=subprocess.PIPE, check=False)
        )
        await tell_once_watched(node, "member", {"node": "aa11"})
        printed = b""
        with trio.fail_after(PATIENCE_S):
            while printed.count(b"\n") < 2:
                printed += await process.stdout.receive_some()
        process.terminate()
        lines = printed.decode().splitlines()
        assert (lines if option == "-q" else list(map(json.loads, lines))) == [listed, changed]


async def test_reader_that_has_enough_is_no_traceback(tmp_path: Path) -> None:
    many = {"members": [MEMBER] * 5000}
    async with fake_node(tmp_path, {MemberList: answering(many)}) as node:
        script = f'"{sys.executable}" -m mesh members --socket "{node.path}" | head -1'
        done = await trio.run_process(
            ["sh", "-c", script], capture_stdout=True, capture_stderr=True
        )
        assert done.stdout.startswith(b"NAME")
        assert done.stderr == b""


async def test_a_list_that_is_cut_short_and_copies_that_lack_are_told(tmp_path: Path) -> None:
    script = SCRIPT | {TaskSubmit: lambda _: {"task": "1-2-aa", "copies": 1}}
    async with fake_node(tmp_path, script) as node:
        cut = await mesh(node.path, "task", "list", "--limit", "1")
        assert b"the oldest 1; there may be more: give --limit N" in cut.stderr
        assert not (await mesh(node.path, "task", "list", "--limit", "2")).stderr
        assert not (await mesh(node.path, "task", "list", "--limit", "1", "--json")).stderr
        lacking = await mesh(node.path, "task", "submit", "k", "--copies", "3", "-q")
        assert (lacking.stdout, lacking.returncode) == (b"1-2-aa\n", 0)
        assert b"durable on 1 nodes" in lacking.stderr
        assert not (await mesh(node.path, "task", "submit", "k", "-q")).stderr
