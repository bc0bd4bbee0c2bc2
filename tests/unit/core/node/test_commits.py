"""Commits: a failing disk delays what is done and never makes it less true."""

from mesh.core.effects import Commit, CommitNumber, Row
from mesh.core.instants import NEVER, Instant, later
from mesh.core.node.commits import COMPANY_S, RETRY_S, ROWS_AT_ONCE, Commits
from mesh.core.outbox import Outbox

ROWS = [Row("x", bytes([i]), b"") for i in range(4)]
NOW = Instant(5.0)


def test_no_rows_no_commit() -> None:
    assert Commits().take(Outbox()) == []


def test_done_is_said_up_to_the_number() -> None:
    commits, outbox = Commits(), Outbox()
    for row in ROWS[:2]:
        outbox.commit(row)
        commits.take(outbox)
    assert commits.handle_done(CommitNumber(2)) == 2
    assert commits.under_way == {}


def test_nothing_counts_as_done_before_failed_rows_are_on_disk() -> None:
    commits, outbox = Commits(), Outbox()
    for row in ROWS[:2]:
        outbox.commit(row)
        commits.take(outbox)
    commits.handle_failed(NOW, CommitNumber(1))
    assert commits.failing
    assert commits.handle_done(CommitNumber(2)) is None
    commits.handle_timeout(Instant(NOW + RETRY_S / 2), outbox)
    assert commits.take(outbox) == [], "not before the pause is over"
    commits.handle_timeout(Instant(NOW + RETRY_S), outbox)
    assert commits.take(outbox) == [Commit(CommitNumber(3), (ROWS[0],))]
    assert commits.handle_done(CommitNumber(3)) == 3
    assert not commits.failing


def test_rows_that_fail_again_are_kept_again_and_stay_before_newer_ones() -> None:
    commits, outbox = Commits(), Outbox()
    outbox.commit(ROWS[0])
    commits.take(outbox)
    commits.handle_failed(NOW, CommitNumber(1))
    outbox.commit(ROWS[1])
    commits.handle_timeout(Instant(NOW + RETRY_S), outbox)
    assert commits.take(outbox) == [Commit(CommitNumber(2), (ROWS[0], ROWS[1]))]
    commits.handle_failed(Instant(NOW + RETRY_S), CommitNumber(2))
    commits.handle_timeout(Instant(NOW + 2 * RETRY_S), outbox)
    assert commits.take(outbox) == [Commit(CommitNumber(3), (ROWS[0], ROWS[1]))]


def test_an_old_value_is_not_written_over_a_newer_one() -> None:
    commits, outbox = Commits(), Outbox()
    outbox.commit(Row("x", b"key", b"old"), Row("x", b"other", b"kept"))
    commits.take(outbox)
    outbox.commit(Row("x", b"key", b"new"))
    commits.take(outbox)
    commits.handle_failed(NOW, CommitNumber(1))
    commits.handle_timeout(Instant(NOW + RETRY_S), outbox)
    assert commits.take(outbox) == [Commit(CommitNumber(3), (Row("x", b"other", b"kept"),))]


def test_what_comes_while_a_commit_is_under_way_makes_the_next() -> None:
    commits, outbox = Commits(), Outbox()
    assert not commits.is_due(NOW, outbox)
    outbox.commit(ROWS[0])
    assert commits.is_due(NOW, outbox)
    commits.take(outbox)
    for row in ROWS[1:]:
        outbox.commit(row)
        assert not commits.is_due(NOW, outbox)
    commits.handle_done(CommitNumber(1))
    assert commits.is_due(NOW, outbox)
    assert commits.take(outbox) == [Commit(CommitNumber(2), tuple(ROWS[1:]))]


def test_very_many_rows_do_not_wait() -> None:
    commits, outbox = Commits(), Outbox()
    outbox.commit(ROWS[0])
    commits.take(outbox)
    outbox.commit(*(Row("x", b"", b"") for _ in range(ROWS_AT_ONCE - 1)))
    assert not commits.is_due(NOW, outbox)
    outbox.promise()
    assert commits.is_due(NOW, outbox)


def test_rows_that_nobody_waits_for_wait_for_company_a_moment() -> None:
    commits, outbox = Commits(), Outbox()
    outbox.keep(ROWS[0])
    assert not commits.is_due(NOW, outbox)
    deadline = later(NOW, COMPANY_S)
    assert commits.next_deadline() == deadline
    assert not commits.is_due(Instant(NOW + COMPANY_S / 2), outbox)
    assert commits.next_deadline() == deadline, "it does not move"
    assert commits.is_due(deadline, outbox)
    commits.take(outbox)
    assert commits.next_deadline() == NEVER


def test_company_comes_when_somebody_waits() -> None:
    commits, outbox = Commits(), Outbox()
    outbox.keep(ROWS[0])
    assert not commits.is_due(NOW, outbox)
    outbox.commit(ROWS[1])
    assert commits.is_due(NOW, outbox)
    assert commits.take(outbox) == [Commit(CommitNumber(1), (ROWS[0], ROWS[1]))]
    outbox.keep(ROWS[2])
    commits.handle_done(CommitNumber(1))
    assert not commits.is_due(NOW, outbox), "the hurry is over"


def test_failed_rows_are_tried_again_without_waiting_for_company() -> None:
    commits, outbox = Commits(), Outbox()
    outbox.keep(ROWS[0])
    commits.take(outbox)
    commits.handle_failed(NOW, CommitNumber(1))
    commits.handle_timeout(Instant(NOW + RETRY_S), outbox)
    assert commits.is_due(Instant(NOW + RETRY_S), outbox)
