"""How long what is finished is kept: over restarts, and whatever the wall clock shows."""

from dataclasses import replace

from mesh.core.claims.retention import OVER_ROW, Retention
from mesh.core.identity import TaskId
from mesh.core.instants import NEVER, Instant, Now, WallTime
from mesh.core.params import ClaimParams

KEPT_S, CALM_S, SETTLE_S = 1000.0, 50.0, 5.0
PARAMS = replace(
    ClaimParams(), retention_s=KEPT_S, retention_calm_s=CALM_S, forget_settle_s=SETTLE_S
)
WALL = 1_000_000.0
TASKS = [TaskId(bytes([number]) * 28) for number in range(4)]


def at(instant: float, wall: float | None = None) -> Now:
    return Now(Instant(instant), WallTime(WALL + instant if wall is None else wall))


class Disk:
    """What a node has written of its finished tasks, over all its boots."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def boot(self, now: Now, *over: TaskId) -> Retention:
        """Start again; `over` is what its facts say is finished."""
        made = Retention(PARAMS)
        made.restore({OVER_ROW: self.rows})
        for row in made.start(now, lambda task: task in over):
            del self.rows[row.key]
        return made

    def note(self, kept: Retention, now: Now, task: TaskId) -> None:
        row = kept.note(now, task)
        if row is not None:
            assert row.value is not None
            self.rows[row.key] = row.value


def ripe(kept: Retention, now: Now) -> list[TaskId]:
    return list(kept.ripe(now, 100))


def test_in_one_boot_nothing_but_its_own_clock_counts() -> None:
    disk = Disk()
    kept = disk.boot(at(0.0))
    disk.note(kept, at(10.0), TASKS[0])
    disk.note(kept, at(20.0), TASKS[1])
    assert kept.note(at(30.0), TASKS[0]) is None
    assert kept.next_due(at(30.0)) == 10.0 + KEPT_S
    assert ripe(kept, at(1009.0, wall=9e9)) == [], "somebody has set the wall clock"
    assert ripe(kept, at(1010.0, wall=0.0)) == [TASKS[0]]
    assert ripe(kept, at(1020.0)) == TASKS[:2]
    assert list(kept.ripe(at(1020.0), 1)) == TASKS[:1]


def test_its_age_goes_on_counting_when_the_node_starts_again() -> None:
    disk = Disk()
    first = disk.boot(at(0.0))
    for number, when in ((1, 10.0), (0, 400.0)):
        disk.note(first, at(when), TASKS[number])
    again = disk.boot(at(900.0), *TASKS)
    for task in TASKS[:2]:
        assert again.note(at(900.0), task) is None, "it is on disk"
    assert again.next_due(at(900.0)) == 10.0 + KEPT_S, "the oldest first, in whatever order"
    assert ripe(again, at(1009.0)) == []
    assert ripe(again, at(1010.0)) == [TASKS[1]]
    assert ripe(again, at(1400.0)) == [TASKS[1], TASKS[0]]


def test_after_a_start_the_wall_clock_is_not_believed_for_a_while() -> None:
    disk = Disk()
    disk.note(disk.boot(at(0.0)), at(10.0), TASKS[0])
    again = disk.boot(at(100.0, wall=9e9), TASKS[0])
    assert ripe(again, at(100.0 + CALM_S - 1, wall=9e9)) == []
    assert again.next_due(at(101.0, wall=9e9)) == 100.0 + CALM_S
    assert ripe(again, at(100.0 + CALM_S)) == [], "by then it had been put right"
    assert ripe(again, at(100.0 + CALM_S, wall=9e9)) == TASKS[:1]


def test_a_clock_that_is_behind_makes_nothing_younger_than_it_was_seen() -> None:
    disk = Disk()
    disk.note(disk.boot(at(0.0)), at(10.0), TASKS[0])
    again = disk.boot(at(100.0, wall=0.0), TASKS[0])
    assert ripe(again, at(99.0 + KEPT_S, wall=999.0)) == []
    assert ripe(again, at(100.0 + KEPT_S, wall=1000.0)) == TASKS[:1]


def test_too_many_go_early_and_what_is_gone_leaves_the_disk() -> None:
    disk = Disk()
    kept = disk.boot(at(0.0))
    kept.params = replace(PARAMS, finished_max=1)
    for task in TASKS[:3]:
        disk.note(kept, at(1.0), task)
    assert ripe(kept, at(1.0 + SETTLE_S)) == TASKS[:2]
    row = kept.forget(TASKS[0])
    assert row is not None
    assert row.value is None
    assert TASKS[0] not in kept
    assert kept.forget(TASKS[0]) is None
    again = disk.boot(at(50.0), TASKS[1])
    assert list(disk.rows) == [TASKS[1]], "what is not over, or not here, is not remembered"
    assert len(again) == 1


def test_damaged_rows_say_nothing() -> None:
    disk = Disk()
    disk.rows = {TASKS[0]: b"7"}
    kept = disk.boot(at(0.0), TASKS[0])
    assert len(kept) == 0
    assert kept.next_due(at(0.0)) == NEVER
