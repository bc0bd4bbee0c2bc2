"""Claimable tasks by kind: sorted, split into blocks, safe to walk while it changes."""

import random
from itertools import islice

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


def times_of(backlog: Backlog, *kinds: str) -> list[int]:
    return [int.from_bytes(task, "big") for task in backlog.walk(kinds)]


def test_oldest_first_then_by_id() -> None:
    backlog = backlog_of(3, 1, 2)
    assert times_of(backlog, "build") == [1, 2, 3]
    tied = Backlog()
    for name in (b"b", b"a"):
        tied.add("build", (5, TaskId(name * 28)))
    assert list(tied.walk(("build",))) == [b"a" * 28, b"b" * 28]


def test_kinds_are_merged_and_named_once() -> None:
    backlog = backlog_of(1, 4)
    backlog.add("test", key(2))
    backlog.add("lint", key(3))
    assert times_of(backlog, "build", "test", "build") == [1, 2, 4]
    assert times_of(backlog, "none") == times_of(backlog) == []
    assert len(backlog) == 4


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


def test_a_walk_goes_on_while_keys_come_and_go() -> None:
    backlog = backlog_of(*range(0, 4 * BLOCK_KEYS_MAX, 2))
    walk = backlog.walk(("build",))
    seen = [int.from_bytes(task, "big") for task in islice(walk, 10)]
    gone = range(20, 3 * BLOCK_KEYS_MAX, 2)
    for time in gone:
        backlog.remove("build", key(time))
    backlog.add("build", key(10**6))
    backlog.add("build", key(1))
    seen += [int.from_bytes(task, "big") for task in walk]
    assert seen == sorted(set(seen)), "in order, none twice"
    stayed = set(range(0, 4 * BLOCK_KEYS_MAX, 2)) - set(gone)
    assert stayed <= set(seen)
    assert 10**6 in seen


def test_a_walk_finds_what_comes_behind_it_in_its_block() -> None:
    backlog = backlog_of(1, 2)
    walk = backlog.walk(("build",))
    first = next(walk)
    backlog.add("build", key(3))
    assert [first, *walk] == [key(time)[1] for time in (1, 2, 3)]


def test_a_walk_ends_when_all_has_gone() -> None:
    backlog = backlog_of(1, 2)
    walk = backlog.walk(("build",))
    next(walk)
    for time in (1, 2):
        backlog.remove("build", key(time))
    assert len(list(walk)) <= 1
