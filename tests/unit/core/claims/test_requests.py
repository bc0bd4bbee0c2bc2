"""Idempotent requests: bounded, timed, and the same after a restart."""

import pytest

from mesh.core.claims.requests import Answer, Asker, Requests, fingerprint_of, request_key
from mesh.core.commands import TaskClaim, TaskSubmit
from mesh.core.effects import ClientId, Row
from mesh.core.errors import LocalError
from mesh.core.instants import Instant, Now, WallTime
from mesh.core.params import ClaimParams

COMMAND = TaskSubmit("build")


def now(seconds: float) -> Now:
    return Now(Instant(seconds), WallTime(1000.0 + seconds))


def asker(number: int = 1, key: bytes = b"k") -> Asker:
    return Asker(ClientId(number), 1, key)


def do(requests: Requests, key: bytes, seconds: float = 0.0) -> list[Row]:
    requests.begin(now(seconds), key, COMMAND)
    rows = list(requests.expect(key, Answer({"copies": 1})))
    return rows + requests.finish(now(seconds), key, Answer({"copies": 2}))[1]


def test_users_do_not_share_request_ids() -> None:
    assert request_key(1, "x") != request_key(2, "x")
    assert request_key(0, "x") == bytes(8) + b"x"


def test_patience_is_no_part_of_a_request() -> None:
    claim = TaskClaim(kinds=("a",), wait_s=1)
    assert fingerprint_of(claim) == fingerprint_of(TaskClaim(kinds=("a",), wait_s=2))
    assert fingerprint_of(claim) != fingerprint_of(TaskClaim(kinds=("b",), wait_s=1))
    assert fingerprint_of(claim) != fingerprint_of(COMMAND)


def test_the_second_asker_waits_for_the_first_ones_answer() -> None:
    requests = Requests(ClaimParams())
    requests.begin(now(0), b"k", COMMAND)
    assert requests.pending(asker(2), COMMAND)
    assert not requests.pending(asker(2, b"other"), COMMAND)
    assert requests.finish(now(0), b"k", Answer(1))[0] == [asker(2)]
    assert requests.answered(asker(3), COMMAND) == Answer(1)
    assert not requests.pending(asker(3), COMMAND)


def test_another_request_under_the_same_id_is_refused() -> None:
    requests = Requests(ClaimParams())
    requests.begin(now(0), b"k", COMMAND)
    with pytest.raises(LocalError, match="another request"):
        requests.pending(asker(), TaskSubmit("other"))
    requests.finish(now(0), b"k", Answer(1))
    with pytest.raises(LocalError, match="another request"):
        requests.answered(asker(), TaskSubmit("other"))


def test_answers_survive_a_restart_and_age_on() -> None:
    before = Requests(ClaimParams(request_keep_s=100.0))
    rows = {row.key: row.value for row in [*do(before, b"a", 0.0), *do(before, b"b", 50.0)]}
    after = Requests(ClaimParams(request_keep_s=100.0))
    after.restore({key: value for key, value in rows.items() if value is not None})
    # The machine's instants start anew; the wall says that 60 seconds have passed.
    assert after.start(Now(Instant(5.0), WallTime(1060.0))) == []
    assert after.answered(asker(key=b"a"), COMMAND) == Answer({"copies": 2})
    assert after.next_deadline() == 45.0
    assert after.drop_old(Instant(45.0)) == [Row("request", b"a", None)]
    assert after.answered(asker(key=b"b"), COMMAND) == Answer({"copies": 2})


def test_a_wall_clock_that_jumped_keeps_answers_no_longer_than_their_time() -> None:
    before = Requests(ClaimParams(request_keep_s=100.0))
    rows = {row.key: row.value for row in do(before, b"a") if row.value is not None}
    back = Requests(ClaimParams(request_keep_s=100.0))
    back.restore(rows)
    back.start(Now(Instant(0.0), WallTime(-9e9)))
    assert back.next_deadline() == 100.0
    forth = Requests(ClaimParams(request_keep_s=100.0))
    forth.restore(rows)
    assert forth.start(Now(Instant(0.0), WallTime(9e9))) == [Row("request", b"a", None)]


def test_beyond_the_bound_the_oldest_answer_goes() -> None:
    requests = Requests(ClaimParams(requests_max=16))
    for number in range(16):
        do(requests, bytes([number]))
    assert requests.answered(asker(key=b"\0"), COMMAND) is not None
    assert do(requests, b"new")[-1] == Row("request", b"\0", None)
    assert requests.answered(asker(key=b"\0"), COMMAND) is None
    assert requests.answered(asker(key=b"\1"), COMMAND) is not None
    assert len(requests) == 16


def test_an_unchanged_answer_is_not_written_twice() -> None:
    requests = Requests(ClaimParams())
    requests.begin(now(0), b"k", COMMAND)
    assert len(requests.expect(b"k", Answer(1))) == 1
    assert requests.finish(now(0), b"k", Answer(1)) == ([], [])


def test_a_request_without_effect_leaves_nothing() -> None:
    requests = Requests(ClaimParams())
    requests.begin(now(0), b"k", COMMAND)
    assert requests.forget(b"k") == ([], [])
    requests.begin(now(0), b"k", COMMAND)
    requests.expect(b"k", Answer(1))
    assert requests.forget(b"k")[1] == [Row("request", b"k", None)]
    assert len(requests) == 0


def test_errors_are_answers_too() -> None:
    error = LocalError("claim_lost", "gone", "stop")
    back = Answer.of_error(error).as_error()
    assert back is not None
    assert (back.name, back.message, back.hint) == ("claim_lost", "gone", "stop")
    assert Answer(None).as_error() is None


def test_without_a_request_id_nothing_is_kept() -> None:
    requests = Requests(ClaimParams())
    requests.begin(now(0), b"", COMMAND)
    assert requests.expect(b"", Answer(1)) == ()
    assert requests.finish(now(0), b"", Answer(1)) == ([], [])
    assert requests.replace(b"", Answer(1)) == ()
    assert len(requests) == 0


def test_a_damaged_row_is_counted_and_left_out() -> None:
    [row] = do(Requests(ClaimParams()), b"k")[:1]
    assert row.value is not None
    damaged = row.value.replace(fingerprint_of(COMMAND).hex().encode(), b"no hex")
    assert damaged != row.value
    requests = Requests(ClaimParams())
    requests.restore({b"a": damaged, b"b": b"{"})
    requests.start(now(0))
    assert (len(requests), requests.unreadable) == (0, 2)
