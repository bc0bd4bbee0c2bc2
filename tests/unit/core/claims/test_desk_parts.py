"""The small machines of the desk: deadlines, the board, those who wait, takeovers, texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core.claims.board import Board, OwnerSession
from mesh.core.claims.facts import AttemptKind
from mesh.core.claims.requests import Asker
from mesh.core.claims.takeover import Graces, free_at, jitter, retry_delay_s
from mesh.core.claims.texts import cut_text, entered_base64, entered_text
from mesh.core.claims.timers import TimerName, Timers
from mesh.core.claims.waiters import ClaimWaiter, TaskWaiter, Waiters
from mesh.core.commands import TaskClaim
from mesh.core.effects import ClientId
from mesh.core.errors import LocalError
from mesh.core.identity import Boot
from mesh.core.instants import NEVER, Instant
from mesh.core.params import ClaimParams
from tests.unit.core.claims.desk_world import Ended, World
from tests.unit.core.claims.scribe import ANN, BOB, table_of

TASK = ANN.spec(1).fact.task
OTHER = ANN.spec(2).fact.task


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 50)))))
def test_timers_are_a_dict_sorted_by_time(steps: list[tuple[int, int | None]]) -> None:
    timers, model = Timers(), dict[TimerName, Instant]()
    for subject, at in steps:
        name = ("x", subject)
        if at is None:
            timers.cancel(name)
            model.pop(name, None)
        else:
            timers.set(name, Instant(at))
            model[name] = Instant(at)
        assert timers.next_deadline() == min(model.values(), default=NEVER)
    due = []
    while (name_or_none := timers.take_due(Instant(25))) is not None:
        due.append(model.pop(name_or_none))
    assert due == sorted(due)
    assert all(at > 25 for at in model.values())
    assert len(timers) == len(model)


def test_a_deadline_that_moves_for_ever_takes_no_room() -> None:
    timers = Timers()
    for number in range(10_000):
        timers.set(("x", 0), Instant(number))
    assert len(timers._heap) < 100
    assert timers.next_deadline() == Instant(9_999)


def test_the_board_lists_each_task_once_in_order() -> None:
    board = Board()
    assert board.open("k", (7, OTHER), Instant(1.0))
    assert board.open("k", (9, TASK), Instant(2.0))
    assert not board.open("k", (7, OTHER), Instant(3.0))
    assert [place[:2] for place in board.candidates("k", 8)] == [(7, OTHER), (9, TASK)]
    assert board.candidates("k", 1) == [(7, OTHER, "k", 1.0)]
    assert board.open("k", (11, OTHER), Instant(3.0)), "it has moved"
    assert [place[:2] for place in board.candidates("k", 8)] == [(9, TASK), (11, OTHER)]
    assert board.open_since(OTHER) == 1.0
    board.close(OTHER)
    board.close(OTHER)
    assert board.open_since(OTHER) is None
    assert board.open_since(TASK) == 2.0
    board.close(TASK)
    assert board.candidates("k", 8) == []


def test_the_board_knows_on_whose_life_tasks_depend() -> None:
    board = Board()
    first, second = OwnerSession(ANN.id, Boot(1)), OwnerSession(ANN.id, Boot(2))
    board.watch(TASK, first)
    board.watch(OTHER, first)
    board.watch(TASK, second)
    assert board.owners() == [first, second]
    assert list(board.tasks_of(first)) == [OTHER]
    board.watch(OTHER, None)
    board.watch(OTHER, None)
    assert board.owners() == [second]


def test_a_rest_is_counted_from_the_first_sight() -> None:
    board = Board()
    first, second = ANN.claim(ANN.spec()).id, BOB.claim(ANN.spec()).id
    assert board.retry_at(TASK, first, Instant(5.0)) == 5.0
    assert board.retry_at(TASK, first, Instant(9.0)) == 5.0
    assert board.retry_at(TASK, second, Instant(9.0)) == 9.0


def test_waiters_are_found_every_way_and_leave_nothing_behind() -> None:
    waiters = Waiters(ClaimParams(waiters_max=16))
    asker = Asker(ClientId(1), 1)
    kind = ClaimWaiter(1, asker, TaskClaim(), "cli", None, ("a", "b"), Instant(1.0))
    by_id = ClaimWaiter(2, asker, TaskClaim(), "cli", TASK, (), Instant(1.0))
    end = TaskWaiter(3, Asker(ClientId(2), 1), TASK, Instant(1.0))
    for waiter in (kind, by_id, end):
        waiters.add(waiter)
    assert waiters.of_kind("b") == [kind]
    assert waiters.of_task(TASK) == [by_id, end]
    assert waiters.of_client(ClientId(1)) == [1, 2]
    assert list(waiters.kinds_of_client(ClientId(1))) == list(waiters.kinds()) == ["a", "b"]
    waiters.check_room(12)
    with pytest.raises(LocalError) as refused:
        waiters.check_room(13)
    assert refused.value.name == "busy"
    assert [waiters.take(number) for number in (1, 2, 3, 3)] == [kind, by_id, end, None]
    assert waiters == Waiters(ClaimParams(waiters_max=16))


@pytest.mark.parametrize(
    ("kind", "own_ms", "at"),
    [("left", 5000, 7.0), ("restarted", 5000, 17.0), ("verdict", None, 22.0), ("verdict", 0, 7.0)],
)
def test_graces_differ_by_how_a_node_ended(kind: str, own_ms: int | None, at: float) -> None:
    spec = ANN.spec().fact
    spec = type(spec)(**{field: getattr(spec, field) for field in spec.__match_args__})
    object.__setattr__(spec, "orphan_grace_ms", own_ms)
    proof = ANN.spec()
    ended = Ended(proof, ANN.id, Boot(1), False, kind, Instant(7.0))
    assert free_at(ended, spec, Graces(15.0, 10.0)) == at


def test_backoff_doubles_up_to_its_bound_with_the_same_jitter_everywhere() -> None:
    spec = ANN.write(type(ANN.spec().fact)(TASK, "k", b"", 0, 9, 1000, None, b""))
    claim = BOB.claim(spec)
    failed = table_of(spec, claim, BOB.progress(claim), BOB.attempt(claim)).record(TASK)
    assert failed is not None
    assert failed.owner is not None
    params = ClaimParams(backoff_high_s=5.0)
    delays = [retry_delay_s(failed.owner, spec.fact, used, params) for used in (1, 2, 3, 9, 99)]
    share = delays[0]
    assert 0.75 < share <= 1.0
    assert delays == pytest.approx([share, 2 * share, 4 * share, 5 * share, 5 * share])
    lost = BOB.attempt(claim, AttemptKind.LOST)
    record = table_of(spec, claim, BOB.progress(claim), lost).record(TASK)
    assert record is not None
    assert record.owner is not None
    assert retry_delay_s(record.owner, spec.fact, 1, params) == 0.0
    assert jitter(TASK, 1) != jitter(TASK, 2)


def test_texts_are_cut_between_characters() -> None:
    assert cut_text("\u00fc" * 3, 5, "error") == "\u00fc\u00fc".encode()
    assert entered_text("u\u0308", 2, "kind") == "\u00fc"
    with pytest.raises(LocalError, match="at most 1"):
        entered_text("\u00fc", 1, "kind")
    with pytest.raises(LocalError, match="0 bytes"):
        entered_text("", 1, "kind")


def test_base64_is_checked_and_bounded() -> None:
    assert entered_base64("YWI=", 2, "payload") == b"ab"
    for text in ("YWI", "Y WI=", "\u00fc"):
        with pytest.raises(LocalError) as refused:
            entered_base64(text, 9, "payload")
        assert refused.value.name == "bad_base64"
    with pytest.raises(LocalError, match="at most 1"):
        entered_base64("YWI=", 1, "payload")


def test_an_idle_desk_sets_no_alarm() -> None:
    world = World(1)
    place = world[0]
    assert place.desk.next_deadline() == 0.0, "the first call starts it"
    world.run(1.0)
    assert place.desk.next_deadline() == NEVER
