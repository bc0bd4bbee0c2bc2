"""What nodes say to each other about a task, and what of it counts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.core.claims.exchange_facts import EXCHANGE_CONTEXTS
from mesh.core.claims.record import Record, derive, history
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, CAT, DAN, Scribe

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "claims.json").read_text())
SPEC = ANN.spec()
CHECKED = ANN.spec(2, verify=1)
CLAIM = BOB.claim(SPEC)
OFFER = BOB.offer(CLAIM, CAT)


def record_of(*facts: Verified[Any], spec: Verified[Any] = SPEC) -> Record:
    held = TaskFacts(spec.fact.task, (spec, *facts))
    return derive(held, {}, lambda node: node == DAN.id)


def owner_of(record: Record) -> Verified[Any] | None:
    return record.owner.fact if record.owner else None


@pytest.mark.parametrize("vector", VECTORS["exchange"], ids=lambda vector: vector["context"])
def test_the_bytes_of_every_fact_are_pinned(vector: dict[str, str]) -> None:
    payload = bytes.fromhex(vector["payload"])
    fact = EXCHANGE_CONTEXTS[vector["context"]].decode_untrusted(payload)
    assert repr(fact) == vector["fact"]
    assert fact.encode() == payload


def test_every_fact_has_its_vector() -> None:
    assert {vector["context"] for vector in VECTORS["exchange"]} == EXCHANGE_CONTEXTS.keys()


# ---- hand-over


def test_an_offer_and_an_accept_alone_change_nobody() -> None:
    record = record_of(CLAIM, OFFER, CAT.accept(OFFER))
    assert owner_of(record) == CLAIM
    assert record.state is TaskState.WORKING
    assert not record.claimable


def test_the_claim_that_cites_the_accept_owns() -> None:
    accept = CAT.accept(OFFER)
    taken = CAT.claim(SPEC, after=CLAIM, because=accept.id)
    record = record_of(CLAIM, OFFER, accept, taken)
    assert owner_of(record) == taken
    assert owner_of(record_of(CLAIM, accept, taken)) == CLAIM, "without the offer it waits"


@pytest.mark.parametrize(
    ("offer", "taker", "agent"),
    [
        (OFFER, ANN, "agent"),
        (BOB.offer(CLAIM, agent="carol"), CAT, "agent"),
        (BOB.offer(CLAIM, withdrawn=True), CAT, "agent"),
        (CAT.offer(CLAIM), CAT, "agent"),
        (BOB.offer(BOB.claim(SPEC, nonce=1)), CAT, "agent"),
    ],
    ids=["of another node", "of another agent", "withdrawn", "a stranger's", "another claim's"],
)
def test_nobody_takes_what_was_not_offered_to_it(
    offer: Verified[Any], taker: Scribe, agent: str
) -> None:
    accept = taker.accept(offer, agent)
    taken = taker.claim(SPEC, after=CLAIM, because=accept.id)
    assert owner_of(record_of(CLAIM, offer, accept, taken)) == CLAIM


def test_an_accept_is_no_reason_for_somebody_elses_claim() -> None:
    anyone = BOB.offer(CLAIM)
    accept = CAT.accept(anyone)
    for thief in (ANN.claim(SPEC, after=CLAIM, because=accept.id),):
        assert owner_of(record_of(CLAIM, anyone, accept, thief)) == CLAIM
    other = CAT.claim(SPEC, after=CLAIM, because=accept.id, agent="other")
    assert owner_of(record_of(CLAIM, anyone, accept, other)) == CLAIM


def test_who_accepted_before_an_offer_was_withdrawn_keeps_the_task() -> None:
    accept = CAT.accept(OFFER)
    taken = CAT.claim(SPEC, after=CLAIM, because=accept.id)
    withdrawn = BOB.offer(CLAIM, number=6, withdrawn=True)
    record = record_of(CLAIM, OFFER, accept, taken, withdrawn)
    assert owner_of(record) == taken
    assert record.exchange.offer_on(CLAIM.id) is None


# ---- questions


def test_an_open_question_of_the_owner_is_seen_in_the_state() -> None:
    question = BOB.question(CLAIM)
    record = record_of(CLAIM, question)
    assert record.state is TaskState.INPUT_REQUIRED
    assert owner_of(record) == CLAIM
    assert record.is_worked_on
    for end in (CAT.answer(question), BOB.answer(question, timed_out=True)):
        assert record_of(CLAIM, question, end).state is TaskState.WORKING
    assert record_of(CLAIM, CAT.question(CLAIM)).state is TaskState.WORKING, "not its to ask"
    meddled = record_of(CLAIM, question, CAT.answer(question, timed_out=True))
    assert meddled.state is TaskState.INPUT_REQUIRED, "not its to give up"


def test_the_question_of_a_former_owner_keeps_nobody_waiting() -> None:
    question, end = BOB.question(CLAIM), BOB.release(CLAIM)
    second = CAT.claim(SPEC, after=CLAIM, because=end.id)
    record = record_of(CLAIM, question, end, second)
    assert record.state is TaskState.WORKING
    assert record.exchange.questions[0].is_open


# ---- reviews


def test_a_result_counts_once_another_node_has_accepted_it() -> None:
    claim = BOB.claim(CHECKED)
    result = BOB.result(claim)
    waiting = record_of(claim, result, BOB.review(result), spec=CHECKED)
    assert (waiting.state, waiting.winner) == (TaskState.INPUT_REQUIRED, None)
    assert waiting.in_review
    assert not waiting.is_worked_on
    accepted = record_of(claim, result, CAT.review(result), spec=CHECKED)
    assert (accepted.state, accepted.winner) == (TaskState.COMPLETED, result)
    both = record_of(claim, result, CAT.review(result), DAN.review(result, False), spec=CHECKED)
    assert both.state is TaskState.COMPLETED, "a refusal takes nothing back"


def test_two_acceptances_are_of_two_nodes() -> None:
    spec = ANN.spec(3, verify=2)
    claim = BOB.claim(spec)
    result = BOB.result(claim)
    twice = (CAT.review(result), CAT.review(result, agent="other"))
    assert record_of(claim, result, *twice, spec=spec).winner is None
    assert record_of(claim, result, *twice, DAN.review(result), spec=spec).winner == result


def test_a_refusal_ends_the_attempt_and_is_the_reason_of_the_next() -> None:
    claim = BOB.claim(CHECKED)
    result = BOB.result(claim)
    refusal = CAT.review(result, False)
    started = BOB.progress(claim)
    refused = record_of(claim, started, result, refusal, spec=CHECKED)
    assert refused.claimable
    assert refused.attempts_used == 1
    second = DAN.claim(CHECKED, after=claim, because=refusal.id)
    assert owner_of(record_of(claim, result, refusal, second, spec=CHECKED)) == second
    own = BOB.review(result, False)
    assert not record_of(claim, result, own, spec=CHECKED).claimable
    late = record_of(claim, result, refusal, second, DAN.review(result), spec=CHECKED)
    assert late.winner == result, "accepted by another all the same"


def test_nobody_refuses_what_wants_no_review() -> None:
    result = BOB.result(CLAIM)
    assert record_of(CLAIM, result, CAT.review(result, False)).state is TaskState.COMPLETED


# ---- releases


@pytest.mark.parametrize(("who", "counts"), [(ANN, True), (BOB, True), (CAT, False), (DAN, True)])
def test_a_release_is_by_submitter_owner_or_admin(who: Scribe, counts: bool) -> None:
    release = who.free(CLAIM)
    record = record_of(CLAIM, BOB.progress(CLAIM), release)
    assert record.claimable is counts
    assert record.attempts_used == (0 if counts else 1)
    second = CAT.claim(SPEC, after=CLAIM, because=release.id)
    assert owner_of(record_of(CLAIM, release, second)) == (second if counts else CLAIM)


# ---- checkpoints and history


def test_the_checkpoint_of_the_greatest_token_that_has_one_is_kept() -> None:
    kept = BOB.write(replace(BOB.progress(CLAIM, 2, 2).fact, checkpoint=b"46"))
    end = BOB.release(CLAIM)
    second = CAT.claim(SPEC, after=CLAIM, because=end.id)
    facts = (CLAIM, kept, BOB.progress(CLAIM, 2, 3), end, second, CAT.progress(second))
    assert record_of(*facts).checkpoint == kept
    newer = CAT.write(replace(CAT.progress(second, 2, 2).fact, checkpoint=b"50"))
    assert record_of(*facts, newer).checkpoint == newer


def test_the_history_tells_what_was_said_where_it_was_said() -> None:
    question, answer = BOB.question(CLAIM, number=2), CAT.answer(BOB.question(CLAIM, number=2))
    accept = CAT.accept(OFFER)
    taken = CAT.claim(SPEC, after=CLAIM, because=accept.id)
    stray = CAT.answer(BOB.write(replace(question.fact, claim=FactId(bytes(32)))))
    told = [SPEC, CLAIM, BOB.progress(CLAIM), question, answer, OFFER, accept, taken]
    held = TaskFacts(SPEC.fact.task, [*told[::-1], stray])
    assert list(history(held)) == [*told, stray]
