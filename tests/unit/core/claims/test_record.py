"""What facts add up to: owner, state, attempts, results, cancels."""

from dataclasses import replace
from typing import Any

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import AttemptKind, Evidence, ProgressState
from mesh.core.claims.record import Record, derive, history, token_key, token_text
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, BOOT, CAT, DAN, Scribe, ranked
from tests.unit.core.claims.test_allocation import VECTORS

SPEC = ANN.spec()
TASK = SPEC.fact.task
LOW, MID, TOP = ranked(TASK)
LOW_CLAIM, TOP_CLAIM = LOW.claim(SPEC), TOP.claim(SPEC)


def record_of(*facts: Verified[Any], evidence: tuple[Evidence, ...] = ()) -> Record:
    return derive(TaskFacts(TASK, facts), {proof.id: proof for proof in evidence})


def owner_of(record: Record) -> Verified[Any] | None:
    return record.owner.fact if record.owner else None


def test_a_submitted_task_is_claimable() -> None:
    record = record_of(SPEC)
    assert record.state is TaskState.SUBMITTED
    assert record.claimable
    assert (record.epoch, record.starts, record.owner, record.claims) == (0, 0, None, ())


def test_without_its_spec_nothing_counts() -> None:
    record = record_of(LOW_CLAIM, LOW.result(LOW_CLAIM), ANN.cancel(SPEC))
    assert record.spec is None
    assert (record.state, record.owner, record.winner) == (TaskState.SUBMITTED, None, None)
    assert not record.claimable
    assert [view.valid for view in record.claims] == [False]


def test_the_greatest_rank_owns() -> None:
    record = record_of(SPEC, TOP_CLAIM, LOW_CLAIM)
    assert owner_of(record) == TOP_CLAIM
    assert [view.fact for view in record.claims] == [LOW_CLAIM, TOP_CLAIM]
    assert record.state is TaskState.WORKING
    assert not record.claimable


def test_the_nonce_decides_between_claims_of_one_node() -> None:
    second = LOW.claim(SPEC, nonce=1)
    assert owner_of(record_of(SPEC, second, LOW_CLAIM)) == second


def test_a_greater_epoch_outranks_any_rank() -> None:
    end = TOP.release(TOP_CLAIM)
    second = LOW.claim(SPEC, after=TOP_CLAIM, because=end.id)
    record = record_of(SPEC, TOP_CLAIM, end, second)
    assert owner_of(record) == second
    assert record.epoch == 2


# ---- reasons


@pytest.mark.parametrize("end", [LOW.release(LOW_CLAIM), LOW.attempt(LOW_CLAIM)])
def test_the_owners_own_word_ends_its_claim(end: Verified[Any]) -> None:
    ended = record_of(SPEC, LOW_CLAIM, end)
    assert ended.state is TaskState.SUBMITTED
    assert ended.claimable
    assert ended.owner is not None
    assert ended.owner.ended_by == end.id
    second = MID.claim(SPEC, after=LOW_CLAIM, because=end.id)
    assert owner_of(record_of(SPEC, LOW_CLAIM, end, second)) == second


@pytest.mark.parametrize(
    "end",
    [
        MID.release(LOW_CLAIM),
        MID.attempt(LOW_CLAIM),
        LOW.progress(LOW_CLAIM, ProgressState.SUSPENDED),
        LOW.result(LOW_CLAIM),
        LOW.cancel(SPEC),
        LOW.release(LOW.claim(SPEC, nonce=1)),
        LOW.attempt(LOW.claim(SPEC, nonce=1)),
        TOP.release(TOP_CLAIM),
        TOP.attempt(TOP_CLAIM),
        SPEC,
        TOP_CLAIM,
    ],
    ids=lambda end: f"{type(end.fact).__name__}",
)
def test_nothing_else_does(end: Verified[Any]) -> None:
    second = MID.claim(SPEC, after=LOW_CLAIM, because=end.id)
    record = record_of(SPEC, LOW_CLAIM, TOP_CLAIM, end, second)
    assert [view.valid for view in record.claims] == [True, True, False]
    assert owner_of(record) == TOP_CLAIM


@pytest.mark.parametrize(
    ("proof", "valid"),
    [
        (LOW.gone(), True),
        (LOW.gone(ended_boot=BOOT + 1), True),
        (LOW.gone(ended_boot=BOOT - 1), False),
        (MID.gone(), False),
    ],
)
def test_evidence_ends_the_boots_it_names(proof: Evidence, valid: bool) -> None:
    second = TOP.claim(SPEC, after=LOW_CLAIM, because=proof.id)
    facts = (SPEC, LOW_CLAIM, second)
    assert not record_of(*facts).claims[1].valid, "without the evidence it waits"
    assert record_of(*facts, evidence=(proof,)).claims[1].valid is valid


def test_evidence_that_nobody_cites_changes_nothing() -> None:
    facts = (SPEC, LOW_CLAIM)
    assert record_of(*facts, evidence=(LOW.gone(),)) == record_of(*facts)


def test_a_release_stands_whatever_is_said_later() -> None:
    end = LOW.release(LOW_CLAIM, number=2)
    later = LOW.progress(LOW_CLAIM, ProgressState.RUNNING, number=3)
    record = record_of(SPEC, LOW_CLAIM, end, later)
    assert record.owner is not None
    assert record.owner.ended_by == end.id
    assert record.owner.progress == later


def test_epochs_cannot_be_skipped() -> None:
    end = LOW.release(LOW_CLAIM)
    second = LOW.claim(SPEC, after=LOW_CLAIM, because=end.id)
    jump = LOW.write(replace(second.fact, epoch=3, rank=claim_rank(TASK, 3, LOW.id)))
    stay = LOW.write(replace(second.fact, epoch=2, supersedes=second.id))
    record = record_of(SPEC, LOW_CLAIM, end, second, jump, stay)
    assert {view.fact.id for view in record.claims if view.valid} == {LOW_CLAIM.id, second.id}


def test_a_chain_waits_for_its_missing_link() -> None:
    end = LOW.release(LOW_CLAIM)
    second = MID.claim(SPEC, after=LOW_CLAIM, because=end.id)
    end_2 = MID.release(second)
    third = LOW.claim(SPEC, after=second, because=end_2.id)
    assert owner_of(record_of(SPEC, LOW_CLAIM, end, end_2, third)) == LOW_CLAIM
    assert owner_of(record_of(SPEC, LOW_CLAIM, end, second, end_2, third)) == third


def test_a_claim_on_an_invalid_claim_is_invalid() -> None:
    fake = MID.claim(SPEC, after=LOW_CLAIM, because=SPEC.id)
    end = MID.release(fake)
    on_top = MID.claim(SPEC, after=fake, because=end.id)
    record = record_of(SPEC, LOW_CLAIM, fake, end, on_top)
    assert [view.valid for view in record.claims] == [True, False, False]


def test_a_claim_on_a_spec_that_is_not_held_waits() -> None:
    other = LOW.write(replace(LOW_CLAIM.fact, spec=FactId(b"s" * 32)))
    assert not record_of(SPEC, other).claims[0].valid


# ---- attempts


def test_starts_are_counted_on_outranked_claims_too() -> None:
    record = record_of(
        SPEC,
        LOW_CLAIM,
        TOP_CLAIM,
        LOW.progress(LOW_CLAIM),
        LOW.progress(LOW_CLAIM, number=2),
        TOP.progress(TOP_CLAIM),
    )
    assert (record.starts, record.attempts_used) == (2, 2)


@pytest.mark.parametrize(
    ("end", "used"),
    [
        (None, 1),
        (LOW.attempt(LOW_CLAIM, AttemptKind.FAILED), 1),
        (LOW.attempt(LOW_CLAIM, AttemptKind.TIMED_OUT), 1),
        (LOW.attempt(LOW_CLAIM, AttemptKind.LOST), 1),
        (LOW.attempt(LOW_CLAIM, AttemptKind.DECLINED), 0),
        (LOW.release(LOW_CLAIM), 0),
        (MID.release(LOW_CLAIM), 1),
    ],
)
def test_what_costs_an_attempt(end: Verified[Any] | None, used: int) -> None:
    said = [LOW.progress(LOW_CLAIM), *([end] if end else [])]
    record = record_of(SPEC, LOW_CLAIM, *said)
    assert (record.starts, record.attempts_used) == (1, used)
    without_start = record_of(SPEC, LOW_CLAIM, *said[1:])
    assert (without_start.starts, without_start.attempts_used) == (0, 0)


def test_starts_of_invalid_claims_use_nothing_up() -> None:
    fake = MID.claim(SPEC, after=LOW_CLAIM, because=SPEC.id)
    record = record_of(SPEC, LOW_CLAIM, fake, MID.progress(fake))
    assert (record.starts, record.attempts_used) == (0, 0)


def test_the_last_attempt_fails_the_task_once_it_has_ended() -> None:
    once = ANN.spec(attempts=1)
    claim = LOW.claim(once)
    started = LOW.progress(claim)
    working = record_of(once, claim, started)
    assert working.state is TaskState.WORKING
    assert not working.attempts_left
    failed = record_of(once, claim, started, LOW.attempt(claim))
    assert failed.state is TaskState.FAILED
    assert not failed.claimable
    released = record_of(once, claim, started, LOW.release(claim))
    assert released.state is TaskState.SUBMITTED
    assert released.claimable


def test_an_unstarted_takeover_can_write_the_failure_down() -> None:
    # The last allowed attempt died with its node: whoever has the proof ends the task.
    once, proof = ANN.spec(attempts=1), LOW.gone()
    first = LOW.claim(once)
    second = MID.claim(once, after=first, because=proof.id)
    facts = (once, first, LOW.progress(first), second, MID.attempt(second, AttemptKind.LOST))
    assert record_of(*facts, evidence=(proof,)).state is TaskState.FAILED


# ---- what the claimant says


def test_the_greatest_boot_and_number_is_the_progress() -> None:
    old = LOW.progress(LOW_CLAIM, ProgressState.SUSPENDED, number=9, boot=1)
    new = LOW.progress(LOW_CLAIM, ProgressState.RUNNING, number=1, boot=2)
    foreign = TOP.progress(LOW_CLAIM, ProgressState.RUNNING, number=9, boot=9)
    assert record_of(SPEC, LOW_CLAIM, new, old, foreign).claims[0].progress == new


def test_equivocation_is_settled_by_the_least_id() -> None:
    results = sorted((LOW.result(LOW_CLAIM, bytes([i])) for i in range(4)), key=lambda v: v.id)
    attempts = sorted(
        (LOW.attempt(LOW_CLAIM, error=bytes([i])) for i in range(4)), key=lambda v: v.id
    )
    record = record_of(SPEC, LOW_CLAIM, *results, *attempts)
    assert record.winner == record.claims[0].result == results[0]
    assert record.superseded == tuple(results[:0:-1])
    assert record.claims[0].attempt == attempts[0]
    assert record.claims[0].ended_by == attempts[0].id


# ---- results


def test_a_result_completes_even_from_an_outranked_token() -> None:
    late = LOW.result(LOW_CLAIM)
    record = record_of(SPEC, LOW_CLAIM, TOP_CLAIM, late)
    assert (record.state, record.winner) == (TaskState.COMPLETED, late)
    assert owner_of(record) == TOP_CLAIM
    assert not record.claimable


def test_the_greatest_token_wins_and_the_other_result_is_kept() -> None:
    low, top = LOW.result(LOW_CLAIM), TOP.result(TOP_CLAIM)
    record = record_of(SPEC, LOW_CLAIM, TOP_CLAIM, top, low)
    assert (record.winner, record.superseded) == (top, (low,))


def test_results_of_others_and_of_invalid_claims_do_not_count() -> None:
    fake = MID.claim(SPEC, after=LOW_CLAIM, because=SPEC.id)
    record = record_of(SPEC, LOW_CLAIM, TOP.result(LOW_CLAIM), fake, MID.result(fake))
    assert (record.state, record.winner, record.superseded) == (TaskState.WORKING, None, ())


# ---- cancels


@pytest.mark.parametrize(
    ("who", "counts"), [(ANN, True), (BOB, True), (CAT, False), (DAN, True)], ids=str
)
def test_who_may_cancel(who: Scribe, counts: bool) -> None:
    facts = TaskFacts(TASK, [SPEC, BOB.claim(SPEC), who.cancel(SPEC)])
    record = derive(facts, {}, lambda node: node == DAN.id)
    assert record.canceled is counts
    assert record.state is (TaskState.CANCELED if counts else TaskState.WORKING)


def test_an_invalid_claim_gives_no_right_to_cancel() -> None:
    fake = CAT.claim(SPEC, after=LOW_CLAIM, because=SPEC.id)
    assert not record_of(SPEC, LOW_CLAIM, fake, CAT.cancel(SPEC)).canceled
    waiting = DAN.claim(SPEC, after=LOW_CLAIM, because=LOW.gone().id)
    facts = (SPEC, LOW_CLAIM, waiting, DAN.cancel(SPEC))
    assert not record_of(*facts).canceled
    assert record_of(*facts, evidence=(LOW.gone(),)).canceled


def test_a_cancel_cites_a_spec_of_the_task() -> None:
    for cited in (FactId(b"s" * 32), LOW_CLAIM.id):
        cancel = ANN.write(replace(ANN.cancel(SPEC).fact, spec=cited))
        assert not record_of(SPEC, LOW_CLAIM, cancel).canceled


def test_a_result_stands_against_a_cancel() -> None:
    record = record_of(SPEC, LOW_CLAIM, LOW.result(LOW_CLAIM), ANN.cancel(SPEC))
    assert record.canceled
    assert record.state is TaskState.COMPLETED


def test_a_canceled_task_is_not_claimable() -> None:
    assert not record_of(SPEC, ANN.cancel(SPEC)).claimable


# ---- several specs under one id


def test_the_least_id_is_effective_and_claims_on_the_other_stand() -> None:
    first, second = sorted((SPEC, ANN.spec(payload=b"other")), key=lambda spec: spec.id)
    for cited in (first, second):
        claim = LOW.claim(cited)
        alone = record_of(cited, claim)
        both = record_of(second, first, claim)
        assert both.spec == first
        assert owner_of(alone) == owner_of(both) == claim
        assert record_of(second, first, ANN.cancel(cited)).canceled


# ---- text


@pytest.mark.parametrize("vector", VECTORS["token"], ids=lambda v: v["name"])
def test_token_text_is_pinned(vector: dict[str, str | int]) -> None:
    claim = BOB.claim(ANN.spec(), nonce=int(str(vector["nonce"]), 16))
    assert claim.author.hex() == vector["node"]
    assert f"{claim.fact.rank:x}" == vector["rank"]
    assert claim.fact.epoch == vector["epoch"]
    assert token_text(claim) == vector["text"]


def test_token_text_sorts_like_tokens() -> None:
    claims = [who.claim(SPEC, nonce=n) for who in (LOW, MID, TOP) for n in (0, 2**63)]
    second = LOW.claim(SPEC, after=TOP_CLAIM, because=SPEC.id)
    claims = sorted([second, *claims], key=token_key)
    assert [token_text(claim) for claim in claims] == sorted(map(token_text, claims))
    assert claims[-1] == second


def test_history_tells_each_claim_with_what_cites_it() -> None:
    started, end = LOW.progress(LOW_CLAIM), LOW.release(LOW_CLAIM)
    tried, result = LOW.attempt(LOW_CLAIM), LOW.result(LOW_CLAIM)
    cancel = ANN.cancel(SPEC)
    stray = MID.progress(MID.claim(SPEC))
    story = (SPEC, LOW_CLAIM, started, end, tried, result, TOP_CLAIM, cancel, stray)
    assert history(TaskFacts(TASK, story[::-1])) == story
