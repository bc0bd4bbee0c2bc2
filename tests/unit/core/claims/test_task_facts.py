"""The set of facts of one task."""

import pytest

from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId
from tests.unit.core.claims.scribe import ANN, BOB

SPEC = ANN.spec()
TASK = SPEC.fact.task
FIRST = BOB.claim(SPEC)
END = BOB.release(FIRST)


def test_equal_by_ids_whatever_the_order() -> None:
    facts = TaskFacts(TASK, [SPEC, FIRST, END])
    assert facts == TaskFacts(TASK, [END, SPEC, FIRST, SPEC])
    assert facts != TaskFacts(TASK, [SPEC, FIRST])
    assert facts != "facts"
    assert len(facts) == 3


def test_another_tasks_fact_does_not_belong() -> None:
    with pytest.raises(AssertionError):
        TaskFacts(TASK).add(ANN.spec(2))
    with pytest.raises(AssertionError):
        TaskFacts(TASK).join(TaskFacts(ANN.spec(2).fact.task))


def test_join_leaves_both_sides_alone() -> None:
    left, right = TaskFacts(TASK, [SPEC]), TaskFacts(TASK, [FIRST])
    assert left.join(right) == TaskFacts(TASK, [SPEC, FIRST])
    assert (len(left), len(right)) == (1, 1)
    assert SPEC.id not in right
    assert "TaskFacts" in repr(left)


def test_missing_names_what_is_cited_and_not_held() -> None:
    proof = BOB.gone()
    second = ANN.claim(SPEC, after=FIRST, because=proof.id)
    empty = TaskFacts(TASK)
    assert empty.missing(SPEC, {}) == []
    assert empty.missing(second, {}) == [SPEC.id, FIRST.id, proof.id]
    assert empty.missing(second, {proof.id: proof}) == [SPEC.id, FIRST.id]
    assert empty.missing(END, {}) == [FIRST.id]
    assert empty.missing(ANN.cancel(SPEC), {}) == [SPEC.id]
    full = TaskFacts(TASK, [SPEC, FIRST, END])
    assert full.missing(second, {proof.id: proof}) == []
    assert full.missing(ANN.claim(SPEC, after=FIRST, because=END.id), {}) == []


def test_evidence_stands_for_a_reason_only() -> None:
    stray = FactId(b"i" * 32)
    proof = BOB.gone()
    claim = ANN.claim(SPEC, after=FIRST, because=stray)
    assert TaskFacts(TASK, [SPEC]).missing(claim, {proof.id: proof, FIRST.id: proof}) == [
        FIRST.id,
        stray,
    ]


def test_counts_per_author_and_epoch() -> None:
    facts = TaskFacts(TASK, [SPEC, FIRST, END, BOB.claim(SPEC, nonce=1), ANN.claim(SPEC)])
    assert (facts.count_of(BOB.id), facts.count_of(ANN.id)) == (3, 2)
    assert (facts.claims_of(BOB.id, 1), facts.claims_of(BOB.id, 2)) == (2, 0)
