"""The table: filing facts in any order, bounds, indexes."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from mesh.core.claims.facts import Evidence, ProgressState
from mesh.core.claims.table import Table
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import TaskId
from mesh.core.params import ClaimParams
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, BOOT, CAT, DAN, MESH, ranked, table_of

SPEC = ANN.spec()
TASK = SPEC.fact.task
CLAIM = BOB.claim(SPEC)
END = BOB.release(CLAIM)
PROOF = BOB.gone()
SECOND = CAT.claim(SPEC, after=CLAIM, because=PROOF.id)


def state_of(table: Table, task: TaskId = TASK) -> TaskState:
    record = table.record(task)
    assert record is not None
    return record.state


def contents(table: Table) -> object:
    return dict(table._counts), len(table._held_back), table.sizes(), list(table.tasks())


def over_cap(table: Table, fact: Verified[Any] | Evidence) -> None:
    before = contents(table)
    put = table.add_evidence if isinstance(fact, Evidence) else table.add
    with pytest.raises(RemoteError) as refused:
        put(fact)  # type: ignore[arg-type]  # chosen by the same type just above
    assert refused.value.refusal is Refusal.OVER_CAP
    assert contents(table) == before, "a refusal changes nothing"


# ---- filing


def test_check_refuses_what_can_never_count() -> None:
    with pytest.raises(RemoteError) as refused:
        table_of().check(BOB.write(SPEC.fact))
    assert refused.value.refusal is Refusal.AUTHOR_MISMATCH


def test_an_unknown_task_has_no_record() -> None:
    table = table_of()
    assert table.record(TASK) is None
    assert table.facts_of(TASK) == ()


def test_adding_says_what_may_have_changed_once() -> None:
    table = table_of()
    assert table.add(SPEC) == (TASK,)
    assert table.add(SPEC) == ()
    assert table.add(CLAIM) == (TASK,)
    assert state_of(table) is TaskState.WORKING


def test_a_record_is_kept_until_something_arrives() -> None:
    table = table_of(SPEC, ANN.spec(2))
    record = table.record(TASK)
    table.add(ANN.spec(3))
    table.add_evidence(PROOF)
    assert table.record(TASK) is record
    table.add(CLAIM)
    assert table.record(TASK) is not record


def test_facts_count_as_soon_as_what_they_cite_arrives() -> None:
    facts = (SPEC, CLAIM, END, BOB.result(CLAIM), SECOND, ANN.cancel(SPEC))
    whole = table_of(*facts)
    whole.add_evidence(PROOF)
    for order in permutations((*facts[:2], *facts[3:5])):
        table = table_of(*order, END, ANN.cancel(SPEC))
        table.add_evidence(PROOF)
        assert table.record(TASK) == whole.record(TASK)
        assert table.facts_of(TASK) == whole.facts_of(TASK)
        assert len(table._held_back) == 0


def test_evidence_wakes_the_claims_that_cite_it() -> None:
    table = table_of(SPEC, CLAIM, SECOND)
    before = table.record(TASK)
    assert before is not None
    assert before.owner is not None
    assert before.owner.fact == CLAIM
    assert table.evidence(PROOF.id) is None
    assert table.add_evidence(CAT.gone()) == ()
    assert table.add_evidence(PROOF) == (TASK,)
    assert table.add_evidence(PROOF) == ()
    assert table.evidence(PROOF.id) == PROOF
    after = table.record(TASK)
    assert after is not None
    assert after.owner is not None
    assert after.owner.fact == SECOND


def test_evidence_is_no_claim_to_supersede() -> None:
    fact = replace(SECOND.fact, supersedes=PROOF.id, because=CLAIM.id)
    table = table_of(SPEC, CLAIM, CAT.write(fact))
    assert table.add_evidence(PROOF) == ()
    assert len(table._held_back) == 1


def test_evidence_first_is_as_good() -> None:
    table = table_of()
    assert table.add_evidence(PROOF) == ()
    for fact in (SECOND, CLAIM, SPEC):
        table.add(fact)
    record = table.record(TASK)
    assert record is not None
    assert record.epoch == 2


def test_one_proof_can_end_claims_of_many_tasks() -> None:
    table = table_of()
    specs = [ANN.spec(number) for number in range(1, 4)]
    for spec in specs:
        first = BOB.claim(spec)
        for fact in (spec, first, CAT.claim(spec, after=first, because=PROOF.id)):
            table.add(fact)
    assert table.add_evidence(PROOF) == tuple(spec.fact.task for spec in specs)


def test_a_citation_across_tasks_never_counts() -> None:
    other = ANN.spec(2)
    stray = BOB.write(BOB.release(CLAIM).fact.__class__(other.fact.task, CLAIM.id, BOOT, 1, 4, b""))
    table = table_of(other, stray, SPEC, CLAIM)
    assert state_of(table) is TaskState.WORKING
    assert len(table._held_back) == 1


def test_tasks_stand_in_order_of_first_sight() -> None:
    specs = [ANN.spec(number) for number in (3, 1, 2)]
    table = table_of(*specs)
    assert list(table.tasks()) == [spec.fact.task for spec in specs]


def test_history_is_the_same_everywhere() -> None:
    facts = (SPEC, CLAIM, BOB.progress(CLAIM), END)
    assert table_of(*facts).facts_of(TASK) == table_of(*facts[::-1]).facts_of(TASK) == facts


def test_a_new_admins_cancel_counts_from_then_on() -> None:
    admins: dict[bytes, None] = {}
    table = Table(MESH, ClaimParams(), lambda node: node in admins)
    for fact in (SPEC, DAN.cancel(SPEC), ANN.spec(2)):
        table.add(fact)
    assert state_of(table) is TaskState.SUBMITTED
    assert table.with_cancels() == (TASK,)
    assert table.recheck(table.with_cancels()) == []
    admins[DAN.id] = None
    assert table.recheck(table.with_cancels()) == [TASK]
    assert state_of(table) is TaskState.CANCELED


# ---- bounds


def test_one_task_too_many() -> None:
    table = table_of(*(ANN.spec(number) for number in range(16)), tasks_max=16)
    over_cap(table, ANN.spec(16))
    over_cap(table, BOB.claim(ANN.spec(17)))
    table.add(BOB.claim(ANN.spec(3)))
    assert table.sizes()[0] == ("tasks", 16, 16)


def test_one_waiting_fact_too_many() -> None:
    specs = [ANN.spec(number) for number in range(4)]
    waiting = [BOB.claim(spec) for spec in specs]
    table = table_of(*waiting[:3], held_back_max=3)
    over_cap(table, waiting[3])
    table.add(CAT.claim(specs[3]))
    table.add(specs[0])
    assert table.add(waiting[3]) == (specs[3].fact.task,)
    over_cap(table, BOB.claim(specs[1], nonce=1))


def test_what_was_held_once_comes_back_in_any_order() -> None:
    specs = [ANN.spec(number) for number in range(4)]
    table = table_of(held_back_max=1)
    for fact in (*map(BOB.claim, specs), *specs):
        table.restore(fact)
    assert len(table._held_back) == 0
    assert all(state_of(table, spec.fact.task) is TaskState.WORKING for spec in specs)


def test_one_fact_of_an_author_too_many() -> None:
    table = table_of(*(ANN.spec(number) for number in range(100)), facts_per_author_max=100)
    over_cap(table, ANN.spec(100))
    table.add(BOB.claim(ANN.spec(3)))


def test_one_fact_about_a_task_too_many() -> None:
    said = [BOB.progress(CLAIM, ProgressState.RUNNING, number) for number in range(8)]
    table = table_of(SPEC, CLAIM, *said[:7], task_facts_per_author_max=8)
    over_cap(table, said[7])
    table.add(CAT.claim(SPEC))


def test_one_claim_in_an_epoch_too_many() -> None:
    claims = [BOB.claim(SPEC, nonce=nonce) for nonce in range(3)]
    table = table_of(SPEC, *claims[:2], claims_per_epoch_max=2)
    over_cap(table, claims[2])
    table.add(CAT.claim(SPEC))
    end = BOB.release(claims[1])
    table.add(end)
    table.add(BOB.claim(SPEC, after=claims[1], because=end.id))


def test_evidence_beyond_the_cap_only_for_a_claim_that_waits() -> None:
    table = table_of(SPEC, CLAIM, tasks_max=16)
    for mark in range(16):
        table.add_evidence(DAN.gone(mark=bytes([mark])))
    over_cap(table, PROOF)
    table.add(SECOND)
    assert table.add_evidence(PROOF) == (TASK,)


def test_evidence_of_one_id_cannot_change() -> None:
    table = table_of()
    table.add_evidence(PROOF)
    with pytest.raises(AssertionError):
        table.add_evidence(Evidence(PROOF.id, CAT.id, BOOT, local=False, kind="left"))


# ---- indexes


def test_the_index_follows_a_task_through_its_life() -> None:
    def indexes() -> tuple[bool, bool]:
        return (
            TASK in table.owned_by(BOB.id),
            TASK in table.owned_by(CAT.id),
        )

    table = table_of(CLAIM)
    assert indexes() == (False, False)
    table.add(SPEC)
    assert indexes() == (True, False)
    table.add(END)
    assert indexes() == (False, False)
    second = CAT.claim(SPEC, after=CLAIM, because=END.id)
    table.add(second)
    assert indexes() == (False, True)
    table.add(CAT.result(second))
    assert indexes() == (False, False)


def test_ownership_moves_to_the_greater_claim() -> None:
    low, _, top = ranked(TASK)
    table = table_of(SPEC, low.claim(SPEC))
    assert list(table.owned_by(low.id)) == [TASK]
    table.add(top.claim(SPEC))
    assert list(table.owned_by(low.id)) == []
    assert list(table.owned_by(top.id)) == [TASK]


def test_a_task_knows_who_waits_for_it() -> None:
    other = ANN.spec(2)
    first, second = sorted(
        (ANN.spec(3, parents=(TASK,)), ANN.spec(3, parents=(other.fact.task,))),
        key=lambda spec: spec.id,
    )
    table = table_of(SPEC, other, second)
    assert table.children_of(second.fact.parents[0]) == (second.fact.task,)
    table.add(first)
    assert table.children_of(second.fact.parents[0]) == (), "another spec is effective now"
    assert table.children_of(first.fact.parents[0]) == (first.fact.task,)


def test_a_parent_named_twice_is_one() -> None:
    child = ANN.spec(2, parents=(TASK, TASK))
    table = table_of(SPEC, child)
    assert table.children_of(TASK) == (child.fact.task,)
    table.forget(child.fact.task)
    assert table.children_of(TASK) == ()


def test_owned_tasks_may_be_given_up_while_they_are_walked() -> None:
    specs = [ANN.spec(number) for number in range(1, 4)]
    claims = [BOB.claim(spec) for spec in specs]
    table = table_of(*specs, *claims)
    for task, claim in zip(table.owned_by(BOB.id), claims, strict=True):
        table.add(BOB.release(claim))
        record = table.record(task)
        assert record is not None
        assert record.claimable
    assert list(table.owned_by(BOB.id)) == []
