"""Disks: whole batches, in order, lost when the lights go out."""

import random

from mesh.core.effects import Commit, CommitNumber, Row
from mesh.core.inputs import CommitDone, CommitFailed
from mesh.sim.disk import SimDisk


def disk_of(written_unsaid: float = 0.5) -> SimDisk:
    return SimDisk(random.Random(1), lambda: 1.0, written_unsaid=written_unsaid)


def commit(number: int, *rows: Row) -> Commit:
    return Commit(CommitNumber(number), rows or (Row("r", bytes([number]), b"v"),))


def test_what_waits_during_a_write_shares_the_next_one() -> None:
    disk = disk_of()
    assert disk.begin(0.0, commit(1)) == 1.0
    assert disk.begin(0.2, commit(2)) == 2.0
    assert disk.begin(0.9, commit(3)) == 2.0
    assert disk.begin(1.5, commit(4)) == 3.0
    assert disk.begin(9.0, commit(5)) == 10.0


def test_the_newest_value_counts_and_none_deletes() -> None:
    disk = disk_of()
    rows = [Row("r", b"a", b"1"), Row("r", b"b", b"1"), Row("r", b"a", b"2"), Row("r", b"b", None)]
    for number, row in enumerate(rows):
        one = commit(number, row)
        disk.begin(0.0, one)
        assert disk.finish(one) == CommitDone(CommitNumber(number))
    assert disk.restored() == {"r": {b"a": b"2"}}


def test_a_full_or_failing_disk_keeps_nothing_and_says_so() -> None:
    disk = disk_of()
    one, two = commit(1), commit(2)
    disk.begin(0.0, one)
    disk.begin(0.0, two)
    disk.full = True
    assert isinstance(disk.finish(one), CommitFailed)
    disk.full, disk.fail = False, 1.0
    assert isinstance(disk.finish(two), CommitFailed)
    assert disk.restored() == {}
    disk.mend()
    three = commit(3)
    disk.begin(5.0, three)
    assert disk.finish(three) == CommitDone(CommitNumber(3))


def test_a_crash_keeps_a_prefix_of_what_was_under_way() -> None:
    kept = []
    for seed in range(50):
        disk = SimDisk(random.Random(seed), lambda: 1.0)
        for number in (1, 2):
            disk.begin(0.0, commit(number))
        disk.crash()
        kept.append(tuple(disk.restored().get("r", {})))
    assert set(kept) == {(), (b"\1",), (b"\1", b"\2")}


def test_a_torn_write_leaves_the_first_rows_of_a_batch() -> None:
    rows = tuple(Row("r", bytes([number]), b"v") for number in range(4))
    kept = []
    for seed in range(60):
        disk = SimDisk(random.Random(seed), lambda: 1.0, tears=True)
        disk.begin(0.0, commit(1, *rows))
        disk.crash()
        kept.append(tuple(disk.restored().get("r", {})))
    keys = tuple(row.key for row in rows)
    assert set(kept) == {keys[:number] for number in range(5)}


def test_a_careful_crash_loses_all_that_was_not_said() -> None:
    disk = disk_of(written_unsaid=0.0)
    one, two = commit(1), commit(2)
    disk.begin(0.0, one)
    disk.finish(one)
    disk.begin(2.0, two)
    disk.crash()
    assert disk.restored() == {"r": {b"\1": b"v"}}
    disk.destroy()
    assert disk.restored() == {}


def test_an_orderly_end_writes_everything() -> None:
    disk = disk_of()
    disk.begin(0.0, commit(1))
    disk.begin(0.0, commit(2))
    disk.flush()
    assert list(disk.restored()["r"]) == [b"\1", b"\2"]


def test_a_backup_takes_the_place_of_everything_and_is_durable() -> None:
    disk = disk_of()
    one, two = commit(1), commit(2)
    disk.begin(0.0, one)
    disk.finish(one)
    backup = disk.restored()
    disk.begin(2.0, two)
    disk.finish(two)
    told: list[Row] = []
    disk.written = told.extend
    disk.replace(backup)
    assert disk.restored() == backup == {"r": {b"\1": b"v"}}
    assert told == [Row("r", b"\1", b"v")]
