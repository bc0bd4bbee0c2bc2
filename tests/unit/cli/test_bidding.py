"""What a program says of a task, and what becomes of that as a bid."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mesh.cli.bidding import WAITING_MAX, Bidding, NoScore, score_of, task_line
from mesh.control.trio_client import TrioClient
from mesh.core.commands import AgentAttach, Command, TaskBid, TaskClaim
from mesh.core.errors import LocalError
from mesh.daemon.runner import Ending, Finished
from tests.unit.cli.test_worker import COMMAND, FakeRunner, clock, exited, working
from tests.unit.control.fake_node import Answer, FakeNode, fake_node, refusing

__all__ = ["clock"]


def auction(number: int = 1, payload: str = "aGk=") -> dict[str, Any]:
    return {
        "topic": "task.auction",
        "task": f"{number}-2-aa",
        "kind": "k",
        "payload": payload,
        "blob": None,
        "prefers": {"gpu": ""},
        "window_s": 1.0,
        "created_at": "2026-01-01T00:00:00Z",
    }


def taken(_command: Command) -> dict[str, Any]:
    return {"task": "1-2-aa", "score": 1}


def script(bid: Answer = taken) -> dict[type[Command], Answer]:
    return {AgentAttach: lambda _: {"agent": "bot"}, TaskClaim: lambda _: None, TaskBid: bid}


def bidding(folder: Path, *results: Finished | LocalError) -> tuple[Bidding, FakeRunner, list[str]]:
    runner, said = FakeRunner(list(results)), list[str]()
    return Bidding(COMMAND, str(folder / "mesh.sock"), runner, said.append), runner, said


async def tell(node: FakeNode, event: dict[str, Any]) -> None:
    await node.until(lambda: bool(node.asked(TaskClaim)))
    body = {name: value for name, value in event.items() if name != "topic"}
    node.server.notify("task.auction", body, node.received[0].client)


async def test_what_the_program_prints_is_bid(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    bids, runner, said = bidding(tmp_path, exited(0, b" 42\n"))
    async with fake_node(tmp_path, script()) as node, working(tmp_path, bidding=bids):
        await tell(node, auction())
        await node.until(lambda: bool(node.asked(TaskBid)))
        assert node.asked(TaskBid) == [TaskBid("1-2-aa", 42)]
        assert node.asked(TaskClaim)[0].by_task
        assert node.asked(TaskClaim)[0].score is None
    assert json.loads(runner.inputs[0])["text"] == "hi"
    assert runner.environments[0]["MESH_TASK_ID"] == "1-2-aa"
    assert "MESH_TASK_HANDLE" not in runner.environments[0]
    assert said == []


async def test_a_score_for_all_tasks_goes_with_the_claim(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    async with fake_node(tmp_path, script()) as node, working(tmp_path, score=7):
        await node.until(lambda: bool(node.asked(TaskClaim)))
        assert node.asked(TaskClaim)[0].score == 7
        assert not node.asked(TaskClaim)[0].by_task


async def test_failures_are_no_bid_and_said_once_until_one_goes_well(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    missing = LocalError("command_not_found", "cmd was not found", "")
    results: list[Finished | LocalError] = [
        missing,
        missing,
        exited(75),
        exited(0, b"1"),
        missing,
        exited(1, b"", b"a\nno db"),
    ]
    bids, runner, said = bidding(tmp_path, *results)
    async with fake_node(tmp_path, script()) as node, working(tmp_path, bidding=bids):
        for number in range(len(results)):
            await tell(node, auction(number))
            with trio.fail_after(100):
                while len(runner.results) >= len(results) - number:  # noqa: ASYNC110  nothing tells
                    await trio.sleep(0.05)
            await trio.sleep(0.05)
        assert len(said) == 3
        assert [bid.task for bid in node.asked(TaskBid)] == ["3-2-aa"]
    assert "cmd was not found" in said[0]
    assert said[0] == said[1]
    assert said[2] == "no bid: cmd: no db"


async def test_a_program_that_takes_too_long_is_stopped(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    bids, runner, said = bidding(tmp_path)
    async with fake_node(tmp_path, script()) as node, working(tmp_path, bidding=bids):
        for number in range(3):
            await tell(node, auction(number))
        with trio.fail_after(100):
            while not said:  # noqa: ASYNC110  nothing tells when it is said
                await trio.sleep(0.05)
        assert not node.asked(TaskBid)
    assert said == [
        "no bid: cmd: it took longer than 0.8 s, which is all that the bid window leaves"
    ]
    assert len(runner.inputs) == 3


async def test_a_bid_that_comes_too_late_disturbs_nobody(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    bids, _, said = bidding(tmp_path, exited(0, b"1"), exited(0, b"2"))
    answers = script(bid=refusing("not_found"))
    async with fake_node(tmp_path, answers) as node, working(tmp_path, bidding=bids):
        for number in range(2):
            await tell(node, auction(number))
        await node.until(lambda: len(node.asked(TaskBid)) == 2)
    assert said == []


async def test_more_auctions_than_can_be_looked_at_are_no_bid(tmp_path: Path) -> None:
    bids, _, said = bidding(tmp_path)
    for number in range(WAITING_MAX + 2):
        bids.hear(auction(number))
    assert said == [f"no bid: cmd: over {WAITING_MAX} auctions at a time"]


async def test_who_has_no_connection_waits_for_one(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    del clock
    bids, _, _ = bidding(tmp_path, exited(0, b"5"))
    async with fake_node(tmp_path, script()) as node, trio.open_nursery() as nursery:

        async def late() -> TrioClient:
            await trio.sleep(3)
            return await TrioClient.connect(nursery, node.path)

        nursery.start_soon(bids.run, late)
        bids.hear(auction())
        await node.until(lambda: bool(node.asked(TaskBid)))
        nursery.cancel_scope.cancel()


def test_text_that_is_none_and_what_else_a_program_is_told() -> None:
    line = task_line(auction(payload="/w=="))
    assert line.endswith(b"\n")
    told = json.loads(line)
    assert (told["text"], told["payload"], told["prefers"]) == (None, "/w==", {"gpu": ""})


@pytest.mark.parametrize(
    "said", [b"", b"-1", b"1.5", b"65536", b"1 2", b"9" * 5000, b"\xff", b"\xb2"]
)
def test_what_is_no_whole_number_is_no_score(said: bytes) -> None:
    with pytest.raises(NoScore, match="no score"):
        score_of(exited(0, said))


def test_a_program_that_was_stopped_has_said_nothing() -> None:
    with pytest.raises(NoScore, match="signal 9"):
        score_of(Finished(Ending.CANCELED, -9, b"7", b""))
    with pytest.raises(NoScore, match="too large"):
        score_of(Finished(Ending.OUTPUT_TOO_LARGE, -9, b"7", b""))
    assert score_of(exited(0, b"65535\n")) == 65_535
    assert score_of(exited(75)) is None
