"""Claimable tasks by kind: sorted, and split into blocks."""

import random

import pytest

from mesh.core.claims.backlog import BLOCK_KEYS_MAX, Backlog, Key
from mesh.core.identity import TaskId


def key(created_ms: int) -> Key:
    return (created_ms, TaskId(created_ms.to_bytes(28, "big")))


def backlog_of(*times: int, kind: str = "build") -> Backlog:
    backlog = Backlog()
    for time in times:
        backlog.add(kind, key(time))
    return backlog


def times_of(backlog: Backlog, kind: str) -> list[int]:
    return [created_ms for created_ms, _ in backlog.first(kind, 10**9)]


def test_oldest_first_then_by_id() -> None:
    backlog = backlog_of(3, 1, 2)
    assert times_of(backlog, "build") == [1, 2, 3]
    tied = Backlog()
    for name in (b"b", b"a"):
        tied.add("build", (5, TaskId(name * 28)))
    assert [task for _, task in tied.first("build", 9)] == [b"a" * 28, b"b" * 28]


def test_kinds_are_apart() -> None:
    backlog = backlog_of(1, 4)
    backlog.add("test", key(2))
    assert times_of(backlog, "build") == [1, 4]
    assert backlog.first("build", 1) == [key(1)]
    assert times_of(backlog, "none") == []
    assert len(backlog) == 3


def test_a_kind_without_tasks_is_forgotten() -> None:
    backlog = backlog_of(1)
    backlog.remove("build", key(1))
    assert len(backlog) == 0
    with pytest.raises(KeyError):
        backlog.remove("build", key(1))


def test_like_a_sorted_list_across_blocks() -> None:
    chance = random.Random(1)
    model: list[int] = []
    backlog = Backlog()
    times = chance.sample(range(10**6), 3 * BLOCK_KEYS_MAX)
    for time in times:
        backlog.add("build", key(time))
        model.append(time)
    for time in chance.sample(times, 2 * BLOCK_KEYS_MAX):
        backlog.remove("build", key(time))
        model.remove(time)
    assert times_of(backlog, "build") == sorted(model)


def test_blocks_stay_small() -> None:
    backlog = backlog_of(*range(5 * BLOCK_KEYS_MAX))
    blocks = backlog._queues["build"].blocks
    assert max(map(len, blocks)) <= BLOCK_KEYS_MAX
    assert len(blocks) > 4
