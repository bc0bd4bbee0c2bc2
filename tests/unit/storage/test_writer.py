"""Group commit: what shares a transaction, and what is said when."""

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mesh.core.effects import Commit, CommitNumber, Row
from mesh.core.inputs import CommitDone, CommitFailed
from mesh.storage.log import Failure, Log, LogError
from mesh.storage.writer import CLOSED, QUEUE_FULL, Outcome, Writer, WriterBounds

PATIENCE_S = 10


class SlowLog(Log):
    """Lets one transaction through at a time, and fails when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.groups: list[list[bytes]] = []
        self.error: Exception | None = None

    def append(self, rows: Sequence[Row]) -> None:
        self.entered.release()
        assert self.gate.acquire(timeout=PATIENCE_S)
        self.groups.append([row.key for row in rows])
        if self.error is not None:
            raised, self.error = self.error, None
            raise raised
        super().append(rows)

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE_S)


class Harness:
    def __init__(self, path: Path, bounds: WriterBounds | None = None) -> None:
        self.log = SlowLog(path)
        self.woken: queue.Queue[None] = queue.Queue()
        self.writer = Writer(self.log, lambda: self.woken.put(None), bounds)
        self.writer.start()

    def outcomes(self, wakes: int = 1) -> list[Outcome]:
        for _ in range(wakes):
            self.woken.get(timeout=PATIENCE_S)
        return self.writer.take_outcomes()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "log")
    yield made
    made.log.gate.release(100)
    made.writer.close()
    made.log.close()


def commit(number: int, size: int = 1) -> Commit:
    return Commit(CommitNumber(number), (Row("fact", b"%d" % number, bytes(size)),))


def done(number: int) -> CommitDone:
    return CommitDone(CommitNumber(number))


def test_what_gathers_during_a_commit_is_the_next_one(harness: Harness) -> None:
    harness.writer.put(commit(1))
    harness.log.wait_entered()
    for number in range(2, 6):
        harness.writer.put(commit(number))
    harness.log.gate.release(2)
    assert harness.outcomes(wakes=2) == [done(5)]
    assert harness.log.groups == [[b"1"], [b"2", b"3", b"4", b"5"]]
    assert harness.writer.counters()["log_groups"] == 2


def test_nothing_is_said_before_the_disk_has_it(harness: Harness) -> None:
    harness.writer.put(commit(1))
    harness.log.wait_entered()
    assert harness.writer.take_outcomes() == []
    harness.log.gate.release()
    assert harness.outcomes() == [done(1)]
    assert list(harness.log.restore()["fact"]) == [b"1"]


def test_failures_are_told_by_number_and_later_commits_succeed(harness: Harness) -> None:
    harness.writer.put(commit(1))
    harness.log.wait_entered()
    harness.log.gate.release()
    assert harness.outcomes() == [done(1)]
    harness.log.error = LogError(Failure.DISK_FULL, "no space")
    harness.writer.put(commit(2))
    harness.log.wait_entered()
    harness.writer.put(commit(3))
    harness.log.gate.release()
    harness.log.wait_entered()
    harness.log.gate.release()
    failed = CommitFailed(CommitNumber(2), "disk_full: no space")
    assert harness.outcomes(wakes=2) == [failed, done(3)]
    assert list(harness.log.restore()["fact"]) == [b"1", b"3"]


def test_a_group_that_fails_names_each_of_its_numbers(harness: Harness) -> None:
    harness.writer.put(commit(1))
    harness.log.wait_entered()
    harness.writer.put(commit(2))
    harness.writer.put(commit(3))
    harness.log.gate.release()
    harness.log.wait_entered()
    harness.log.error = LogError(Failure.IO_ERROR, "bad disk")
    harness.log.gate.release()
    found = harness.outcomes(wakes=2)
    assert [type(each) for each in found] == [CommitDone, CommitFailed, CommitFailed]
    assert [each.number for each in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("bounds", "size"),
    [(WriterBounds(commits_max=3), 1), (WriterBounds(bytes_max=300), 99)],
    ids=["commits", "bytes"],
)
def test_one_more_than_the_queue_holds_fails_at_once(
    tmp_path: Path, bounds: WriterBounds, size: int
) -> None:
    harness = Harness(tmp_path / "log", bounds)
    harness.writer.put(commit(1, size))
    harness.log.wait_entered()
    harness.writer.put(commit(2, size))
    harness.writer.put(commit(3, size))
    assert harness.writer.take_outcomes() == []
    harness.writer.put(commit(4, size))
    assert harness.outcomes() == [CommitFailed(CommitNumber(4), QUEUE_FULL)]
    harness.log.gate.release(2)
    assert harness.outcomes(wakes=2) == [done(3)]
    harness.log.wait_entered()
    harness.writer.put(commit(5, size))
    harness.log.wait_entered()
    harness.writer.put(commit(6, size))
    harness.writer.put(commit(7, size))
    assert harness.writer.take_outcomes() == [], "there is room again"
    harness.log.gate.release(2)
    assert harness.outcomes(wakes=2) == [done(7)]
    harness.writer.close()
    harness.log.close()


def test_closing_commits_what_is_queued(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "log")
    for number in range(1, 50):
        harness.writer.put(commit(number))
    harness.log.gate.release(50)
    harness.writer.close()
    assert harness.writer.take_outcomes() == [done(49)]
    harness.writer.put(commit(50))
    assert harness.writer.take_outcomes() == [CommitFailed(CommitNumber(50), CLOSED)]
    assert len(harness.log.restore()["fact"]) == 49
    harness.log.close()


def test_a_bug_in_the_thread_reaches_the_loop(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "log")
    harness.log.error = ZeroDivisionError("a bug")
    harness.writer.put(commit(1))
    harness.log.gate.release()
    with pytest.raises(RuntimeError, match="crashed"):
        harness.outcomes()
    harness.writer.close()
    harness.log.close()
