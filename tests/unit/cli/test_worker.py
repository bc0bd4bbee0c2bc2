"""The agent behind `mesh work`, with a scripted node, invented commands and an invented clock."""

import base64
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mesh.cli import worker
from mesh.cli.attachment import NODE_LOST_S
from mesh.cli.bidding import Bidding
from mesh.cli.running import error_of
from mesh.cli.worker import Worker, WorkOptions
from mesh.control.blobs import digest_of
from mesh.control.client import Refused
from mesh.core.blob_commands import BlobFetch, BlobGet, BlobPut
from mesh.core.commands import (
    AgentAttach,
    Command,
    Hello,
    TaskClaim,
    TaskComplete,
    TaskDecline,
    TaskFail,
    TaskProgress,
    TaskRelease,
    TaskResume,
    TaskStart,
)
from mesh.core.errors import LocalError
from mesh.daemon.runner import Ending, Finished
from tests.unit.control.fake_node import Answer, FakeNode, fake_node, refusing

COMMAND = ("cmd", "arg")


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Time leaps once nothing has happened on any socket for a moment."""
    return trio.testing.MockClock(autojump_threshold=0.02)


def done(_command: Command) -> dict[str, Any]:
    return {"task": "1-2-aa"}


def claims(*payloads: bytes) -> Answer:
    """Hand out so many claims, then let the agent wait."""
    left = list(enumerate(payloads, start=1))

    def answer(_command: TaskClaim) -> dict[str, Any] | None:
        return claim(*left.pop(0)) if left else None

    return answer


def one_claim(answer: dict[str, Any]) -> Answer:
    """Give one claim, then none."""
    left = [answer]
    return lambda _command: left.pop() if left else None


def claim(number: int, payload: bytes = b"") -> dict[str, Any]:
    return {
        "task": f"{number}-2-aa",
        "kind": "k",
        "payload": base64.b64encode(payload).decode(),
        "token": f"token-{number}",
        "handle": f"handle-{number}",
        "epoch": 1,
        "attempt": 1,
        "state": "owned",
    }


def script(**more: Answer) -> dict[type[Command], Answer]:
    answers: dict[type[Command], Answer] = {
        AgentAttach: done,
        TaskClaim: claims(b"payload"),
        TaskStart: done,
        TaskComplete: lambda _: {"task": "1-2-aa", "copies": 2},
        TaskFail: done,
        TaskRelease: done,
        TaskDecline: done,
        TaskResume: done,
    }
    kinds = {
        kind.__name__: kind for kind in (*answers, Hello, TaskProgress, BlobFetch, BlobGet, BlobPut)
    }
    return answers | {kinds[name]: answer for name, answer in more.items()}


def exited(code: int = 0, stdout: bytes = b"", stderr: bytes = b"") -> Finished:
    return Finished(Ending.EXITED, code, stdout, stderr)


@dataclass
class FakeRunner:
    """Runs nothing: commands end as they are told, or else run until they are cancelled."""

    results: list[Finished | LocalError] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)
    running: int = 0
    ends: trio.Event = field(default_factory=trio.Event)
    """Set: commands that run now end well."""

    async def run(
        self,
        argv: Sequence[str],
        input_bytes: bytes,
        environment: Mapping[str, str],
        cancel: trio.Event,
        hurry: trio.Event | None = None,
    ) -> Finished:
        assert hurry is not None
        assert tuple(argv) == COMMAND
        self.inputs.append(input_bytes)
        self.environments.append(environment)
        await trio.lowlevel.checkpoint()
        if self.results:
            result = self.results.pop(0)
            if isinstance(result, LocalError):
                raise result
            return result
        self.running += 1
        endings: list[Finished] = []
        async with trio.open_nursery() as nursery:
            for event, ending in ((cancel, Ending.CANCELED), (self.ends, Ending.EXITED)):
                nursery.start_soon(_first, nursery, event, Finished(ending, 0, b"", b""), endings)
        self.running -= 1
        return endings[0]


async def _first(
    nursery: trio.Nursery, event: trio.Event, finished: Finished, endings: list[Finished]
) -> None:
    await event.wait()
    endings.append(finished)
    nursery.cancel_scope.cancel()


@dataclass
class Bench:
    """A worker that works."""

    worker: Worker
    runner: FakeRunner
    said: list[str]
    ended: trio.Event = field(default_factory=trio.Event)
    refusal: Refused | None = None

    async def work(self) -> None:
        self.refusal = await self.worker.run()
        self.ended.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Look again and again, in invented time."""
        with trio.fail_after(100):
            while not holds():  # noqa: ASYNC110  many things may make it true
                await trio.sleep(0.05)


@asynccontextmanager
async def working(
    folder: Path,
    *results: Finished | LocalError,
    jobs: int = 1,
    score: int | None = None,
    bidding: Bidding | None = None,
) -> AsyncIterator[Bench]:
    runner, said = FakeRunner(list(results)), list[str]()
    options = WorkOptions(str(folder / "mesh.sock"), ("k",), COMMAND, jobs, "bot", score)
    bench = Bench(Worker(options, runner, said.append, bidding), runner, said)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.work)
        yield bench
        nursery.cancel_scope.cancel()


def written(node: FakeNode) -> list[Any]:
    """Return what was said about claims, in order."""
    kinds = (TaskStart, TaskComplete, TaskDecline, TaskFail, TaskRelease, TaskResume)
    return [each.command for each in node.received if isinstance(each.command, kinds)]


async def test_task_is_claimed_started_run_and_completed(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with fake_node(tmp_path, script()) as node, working(tmp_path, exited(0, b"out")) as bench:
        await node.until(lambda: bool(node.asked(TaskComplete)))
        assert node.asked(AgentAttach) == [AgentAttach("bot", ("k",), 1)]
        wanted = node.asked(TaskClaim)[0]
        assert (wanted.kinds, wanted.agent, wanted.detached) == (("k",), "bot", False)
        start, complete = written(node)
        assert start == TaskStart("handle-1")
        assert (complete.handle, complete.output) == ("handle-1", "b3V0")
        assert complete.request_id
        assert bench.runner.inputs == [b"payload"]
        environment = dict(bench.runner.environments[0])
        assert environment.pop("MESH_CHECKPOINT")
        assert {name: environment[name] for name in environment if name.startswith("MESH_")} == {
            "MESH_TASK_ID": "1-2-aa",
            "MESH_TASK_KIND": "k",
            "MESH_TASK_TOKEN": "token-1",
            "MESH_TASK_HANDLE": "handle-1",
            "MESH_SOCKET": node.path,
        }
        assert "PATH" in environment
        await bench.until(lambda: bool(bench.said))
        assert bench.said[0].startswith("completed  k  1-2-aa")


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        (exited(75), TaskDecline("handle-1")),
        (exited(75, b"", b"looked\nno GPU\n"), TaskDecline("handle-1", "no GPU")),
        (exited(1, b"out", b"line\nlast words\n"), TaskFail("handle-1", "line\nlast words")),
        (exited(-9), TaskFail("handle-1", "ended by signal 9")),
        (exited(3), TaskFail("handle-1", "exit code 3")),
        (
            Finished(Ending.OUTPUT_TOO_LARGE, 0, b"", b""),
            TaskFail(
                "handle-1",
                "its output is too large: over 64 MiB, so write it elsewhere and say where",
            ),
        ),
        (LocalError("command_not_found", "no cmd", "x"), TaskDecline("handle-1", "no cmd")),
    ],
)
async def test_end_of_the_command_is_said(
    finished: Finished | LocalError,
    expected: TaskDecline | TaskFail,
    tmp_path: Path,
    clock: trio.testing.MockClock,
) -> None:
    del clock
    async with fake_node(tmp_path, script()) as node, working(tmp_path, finished) as bench:
        await bench.until(lambda: bool(bench.said))
        await node.until(lambda: len(written(node)) == 2)
        said = written(node)[1]
        assert type(said) is type(expected)
        for field_ in ("handle", "error", "reason"):
            assert getattr(said, field_, None) == getattr(expected, field_, None)


async def test_output_that_the_node_refuses_is_a_failure(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(TaskComplete=refusing("payload_too_large", "700 bytes", "give a reference"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path, exited(0, b"x" * 700)):
        await node.until(lambda: bool(node.asked(TaskFail)))
        assert node.asked(TaskFail)[0].error == "700 bytes; give a reference"


async def test_what_is_done_is_said_again_until_the_disk_of_the_node_takes_it(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    full = [refusing("not_durable", "no space", "free some")] * 3

    def complete(command: Command) -> Any:  # noqa: ANN401  as the scripted node answers
        return full.pop()(command) if full else {"task": "1-2-aa", "copies": 2}

    async with (
        fake_node(tmp_path, script(TaskComplete=complete)) as node,
        working(tmp_path, exited(0, b"x")) as bench,
    ):
        await bench.until(lambda: len(bench.said) == 2)
        assert len(node.asked(TaskComplete)) == 4
        assert len({each.request_id for each in node.asked(TaskComplete)}) == 1
    assert bench.said[0] == "task.complete: no space; free some"
    assert bench.said[1].startswith("completed")


async def test_a_full_disk_holds_nobody_up_who_is_to_end(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(TaskComplete=refusing("not_durable"), TaskDecline=refusing("not_durable"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path, exited(0, b"x")) as bench:
        await node.until(lambda: bool(node.asked(TaskComplete)))
        bench.worker.drain()
        with trio.fail_after(10 * NODE_LOST_S):
            await bench.ended.wait()


async def test_a_claim_on_which_nothing_can_be_done_is_not_kept(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(TaskStart=refusing("table_full", "no room"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path):
        await node.until(lambda: bool(node.asked(TaskDecline)))
        assert node.asked(TaskDecline)[0].reason == "no room"
    answers = script(TaskStart=refusing("claim_lost"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path):
        await node.until(lambda: len(node.asked(TaskClaim)) == 2)
        assert not node.asked(TaskDecline)


async def test_large_payload_and_output_travel_as_blobs(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    data, output = b"p" * 900, b"o" * 70_000
    blob = {"digest": digest_of(data), "size": len(data)}
    answers = script(
        TaskClaim=one_claim(claim(1) | {"blob": blob}),
        BlobFetch=lambda _: blob,
        BlobGet=lambda _: {"data": b64encode(data).decode(), "offset": 0, "size": len(data)},
        BlobPut=lambda put: {"stored": len(output) if put.data else 0, "complete": bool(put.data)},
    )
    async with (
        fake_node(tmp_path, answers) as node,
        working(tmp_path, exited(0, output)) as bench,
    ):
        await node.until(lambda: bool(node.asked(TaskComplete)))
        assert bench.runner.inputs == [data]
        assert node.asked(TaskComplete)[0].blob == digest_of(output)
        assert not node.asked(TaskComplete)[0].output


async def test_a_large_output_is_stored_again_after_a_refusal_or_a_broken_connection(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    output = b"o" * 70_000
    troubles = ["blob_disk", "blob_busy"]

    def put(command: BlobPut) -> dict[str, Any] | None:
        if troubles:
            refusing(troubles.pop())(command)
        return {"stored": len(output) if command.data else 0, "complete": bool(command.data)}

    async with working(tmp_path, exited(0, output)):
        async with fake_node(tmp_path, script(BlobPut=lambda _: None)) as node:
            await node.until(lambda: bool(node.asked(BlobPut)))
        async with fake_node(tmp_path, script(BlobPut=put)) as node:
            await node.until(lambda: bool(node.asked(TaskComplete)))
            assert node.asked(TaskComplete)[0].blob == digest_of(output)
    assert not troubles


async def test_a_large_checkpoint_comes_as_a_blob_and_goes_as_it_is_and_a_larger_one_is_told(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    old, new = b"o" * 900, b"n" * 20_000
    kept = {"digest": digest_of(old), "size": len(old), "data": ""}
    busy = [refusing("busy"), refusing("busy")]

    def told(said: TaskProgress) -> dict[str, Any]:
        if busy:
            busy.pop()(said)
        return {"published": True}

    answers = script(
        TaskClaim=one_claim(claim(1) | {"checkpoint": kept}),
        BlobFetch=lambda _: kept,
        BlobGet=lambda _: {"data": b64encode(old).decode(), "offset": 0, "size": len(old)},
        TaskProgress=told,
    )
    async with fake_node(tmp_path, answers) as node, working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        file = trio.Path(bench.runner.environments[0]["MESH_CHECKPOINT"])
        assert await file.read_bytes() == old
        await file.write_bytes(new)
        await bench.until(lambda: len(node.asked(TaskProgress)) == 3)
        for asked in node.asked(TaskProgress):
            assert asked.checkpoint == b64encode(new).decode()
        await file.write_bytes(b"x" * 65_537)
        await bench.until(lambda: bool(bench.said))
        assert bench.said[0].startswith("not kept")
        assert "keep it short" in bench.said[0]
        assert len(node.asked(TaskProgress)) == 3


async def test_a_checkpoint_that_nobody_has_any_more_is_done_without(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    kept = {"digest": "00" * 32, "size": 900, "data": ""}
    answers = script(
        TaskClaim=one_claim(claim(1) | {"checkpoint": kept}), BlobFetch=refusing("timed_out")
    )
    async with fake_node(tmp_path, answers), working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        file = trio.Path(bench.runner.environments[0]["MESH_CHECKPOINT"])
        assert not await file.exists()
        assert bench.said[0].startswith("anew")


async def test_claim_lost_before_the_start_runs_nothing(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(TaskStart=refusing("claim_lost"))
    async with fake_node(tmp_path, answers), working(tmp_path) as bench:
        await bench.until(lambda: bool(bench.said))
        assert bench.said[0].startswith("lost")
        assert not bench.runner.inputs


@pytest.mark.parametrize(("name", "said"), [("no_task", 0), ("table_full", 1)])
async def test_refused_claim_is_tried_again_and_told_once(
    name: str, said: int, tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    left = [refusing(name, "why")] * 3

    def answer(command: TaskClaim) -> dict[str, Any]:
        return left.pop()(command) if left else claim(1)

    async with fake_node(tmp_path, script(TaskClaim=answer)), working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        assert bench.said == ["no claim: why"] * said


async def test_lost_task_is_stopped_and_nothing_more_is_said_of_it(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with fake_node(tmp_path, script()) as node, working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        client = node.received[0].client
        node.server.notify("task.lost", {"token": "another"}, client)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert bench.runner.running == 1
        node.server.notify("task.lost", {"token": "token-1", "reason": "canceled"}, client)
        await bench.until(lambda: bool(bench.said))
        assert bench.said == ["stopped    k  1-2-aa  lost canceled"]
        assert written(node) == [TaskStart("handle-1")]
        await node.until(lambda: len(node.asked(TaskClaim)) == 2)


async def test_node_that_restarts_finds_its_claim_resumed(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with working(tmp_path) as bench:
        async with fake_node(tmp_path, script()):
            await bench.until(lambda: bench.runner.running == 1)
        await trio.sleep(NODE_LOST_S / 2)
        async with fake_node(tmp_path, script(TaskClaim=lambda _: None)) as node:
            await node.until(lambda: bool(node.asked(TaskResume)))
            assert bench.runner.running == 1
            bench.runner.ends.set()
            await node.until(lambda: bool(node.asked(TaskComplete)))
            assert [type(each) for each in written(node)] == [TaskResume, TaskComplete]
            assert node.asked(TaskComplete)[0].handle == "handle-1"


async def test_result_that_could_not_be_said_is_said_again_as_the_same_request(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with working(tmp_path, exited()) as bench:
        async with fake_node(tmp_path, script(TaskComplete=lambda _: None)) as node:
            await node.until(lambda: bool(node.asked(TaskComplete)))
            first = node.asked(TaskComplete)[0]
        async with fake_node(tmp_path, script(TaskClaim=lambda _: None)) as node:
            await node.until(lambda: bool(node.asked(TaskComplete)))
            assert node.asked(TaskComplete) == [first]
            await bench.until(lambda: bool(bench.said))


async def test_claim_that_is_over_after_a_restart_is_stopped(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with working(tmp_path) as bench:
        async with fake_node(tmp_path, script()):
            await bench.until(lambda: bench.runner.running == 1)
        answers = script(TaskResume=refusing("unknown_handle"), TaskClaim=lambda _: None)
        async with fake_node(tmp_path, answers) as node:
            await bench.until(lambda: bench.runner.running == 0)
            await bench.until(lambda: bool(bench.said))
            assert "lost unknown_handle" in bench.said[0]
            assert [type(each) for each in written(node)] == [TaskResume]


async def test_node_that_is_away_too_long_has_its_work_stopped_and_given_back(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with working(tmp_path) as bench:
        async with fake_node(tmp_path, script()):
            await bench.until(lambda: bench.runner.running == 1)
        gone_at = trio.current_time()
        await trio.sleep(NODE_LOST_S - 1.5)
        assert bench.runner.running == 1
        await bench.until(lambda: bench.runner.running == 0)
        assert trio.current_time() - gone_at <= NODE_LOST_S + 0.2
        async with fake_node(tmp_path, script(TaskClaim=lambda _: None)) as node:
            await node.until(lambda: bool(node.asked(TaskRelease)))
            assert node.asked(TaskRelease)[0].handle == "handle-1"


async def test_node_that_hangs_is_as_good_as_gone(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    hangs = False

    def hello(_command: Hello) -> dict[str, Any] | None:
        return None if hangs else {"version": "test"}

    async with fake_node(tmp_path, script(Hello=hello)) as node, working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        await trio.sleep(3 * NODE_LOST_S)
        assert bench.runner.running == 1
        hangs = True
        node.script = script(Hello=hello, AgentAttach=lambda _: None)
        hung_at = trio.current_time()
        await bench.until(lambda: bench.runner.running == 0)
        assert trio.current_time() - hung_at <= NODE_LOST_S + 0.2


async def test_jobs_run_at_the_same_time_and_no_more(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(TaskClaim=claims(b"a", b"b", b"c"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path, jobs=2) as bench:
        await bench.until(lambda: bench.runner.running == 2)
        assert node.asked(AgentAttach) == [AgentAttach("bot", ("k",), 2)]
        assert len(node.asked(TaskClaim)) == 2
        bench.runner.ends.set()
        await bench.until(lambda: len(bench.said) == 3)


async def test_idle_worker_ends_when_it_is_told(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(TaskClaim=lambda _: None)
    async with fake_node(tmp_path, answers) as node, working(tmp_path) as bench:
        await node.until(lambda: bool(node.asked(TaskClaim)))
        bench.worker.drain()
        await bench.ended.wait()
        assert bench.refusal is None


async def test_busy_worker_ends_its_work_first(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with fake_node(tmp_path, script()) as node, working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        bench.worker.drain()
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert bench.runner.running == 1
        bench.runner.ends.set()
        await bench.ended.wait()
        assert [type(each) for each in written(node)] == [TaskStart, TaskComplete]
        assert len(node.asked(TaskClaim)) == 1


async def test_worker_told_twice_stops_its_work_and_gives_it_back(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with fake_node(tmp_path, script()) as node, working(tmp_path) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        bench.worker.drain()
        bench.worker.drain()
        await bench.ended.wait()
        assert [type(each) for each in written(node)] == [TaskStart, TaskRelease]


async def test_claim_that_comes_while_draining_is_given_back(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    given = claims(b"")

    def first_only(command: TaskClaim) -> dict[str, Any] | None:
        return given(command)  # type: ignore[no-any-return]  # an Answer gives JSON

    answers = script(TaskClaim=first_only)
    async with fake_node(tmp_path, answers) as node, working(tmp_path, jobs=2) as bench:
        await bench.until(lambda: bench.runner.running == 1)
        await node.until(lambda: len(node.asked(TaskClaim)) == 2)
        waiting = next(
            each for each in reversed(node.received) if isinstance(each.command, TaskClaim)
        )
        bench.worker.drain()
        node.server.reply(waiting.client, waiting.request, claim(2))
        await node.until(lambda: bool(node.asked(TaskRelease)))
        assert node.asked(TaskRelease)[0].handle == "handle-2"
        assert bench.runner.inputs == [b""]
        bench.runner.ends.set()
        await bench.ended.wait()


async def test_draining_worker_does_not_wait_for_ever_for_its_node(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with working(tmp_path) as bench:
        async with fake_node(tmp_path, script()):
            await bench.until(lambda: bench.runner.running == 1)
            bench.worker.drain()
        bench.runner.ends.set()
        with trio.fail_after(10 * NODE_LOST_S):
            await bench.ended.wait()
        assert "did not come back" in bench.said[-1]


async def test_crashes_in_a_row_are_backed_off_until_one_goes_well(
    tmp_path: Path, clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del clock
    # However long a slow machine takes over it: each of them counts for a quick one.
    monkeypatch.setattr(worker, "CRASH_S", 1e9)
    monkeypatch.setattr(worker, "PAUSE_HIGH_S", 5.0)
    pauses = [0, 0, 1, 2, 4, 5, 5]
    ends = [exited(75), *[exited(1)] * (len(pauses) - 1), exited(0), exited(1)]
    hand_out, asked, enough = claims(*[b""] * len(ends)), list[float](), trio.Event()

    def answer(command: Command) -> Any:  # noqa: ANN401  as the scripted node answers
        asked.append(trio.current_time())
        if len(asked) > len(ends):
            enough.set()
        return hand_out(command)

    async with fake_node(tmp_path, script(TaskClaim=answer)), working(tmp_path, *ends):
        with trio.fail_after(10_000):
            await enough.wait()
    gaps = [later - before for before, later in pairwise(asked)]
    for gap, pause in zip(gaps, [*pauses, 0, 0], strict=False):
        assert pause <= gap < 2 * pause + 3


async def test_agent_that_is_refused_for_good_ends_the_worker(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(AgentAttach=refusing("permission", "no"))
    async with fake_node(tmp_path, answers), working(tmp_path) as bench:
        await bench.ended.wait()
        assert bench.refusal is not None
        assert bench.refusal.name == "permission"


async def test_agent_bears_with_a_node_that_is_joining(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    answers = script(AgentAttach=refusing("not_joined"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path, exited()):
        await node.until(lambda: len(node.asked(AgentAttach)) == 3)
        node.script = script()
        await node.until(lambda: bool(node.asked(TaskComplete)))


def test_error_is_the_end_of_what_was_said_in_at_most_600_bytes() -> None:
    assert error_of(exited(1, b"", b"\xff\n")) == "\ufffd"
    assert error_of(exited(1, b"", ("ä" * 400).encode())) == "ä" * 300
    assert error_of(exited(1, b"", b"a" + "ä".encode() * 300)) == "ä" * 300
