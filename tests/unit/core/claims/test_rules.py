"""What a single fact must satisfy, whatever else is known."""

from dataclasses import replace

import pytest

from mesh.core.claims.exchange_facts import Offer
from mesh.core.claims.facts import AttemptKind, ProgressState, TaskFact
from mesh.core.claims.rules import check_fact
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId
from tests.unit.core.claims.scribe import ANN, BOB, MESH, Scribe

SPEC = ANN.spec()
FIRST = BOB.claim(SPEC)
RELEASED = BOB.release(FIRST)
SECOND = ANN.claim(SPEC, after=FIRST, because=RELEASED.id)
SOME_ID = FactId(b"i" * 32)


def refusal_of(author: Scribe, fact: TaskFact) -> Refusal:
    with pytest.raises(RemoteError) as refused:
        check_fact(author.write(fact), MESH)
    return refused.value.refusal


def test_sound_facts_pass() -> None:
    for fact in (SPEC, FIRST, RELEASED, SECOND, BOB.result(FIRST), ANN.cancel(SPEC)):
        check_fact(fact, MESH)
    for state in ProgressState:
        check_fact(BOB.progress(FIRST, state), MESH)
    for kind in AttemptKind:
        check_fact(BOB.attempt(FIRST, kind), MESH)


def test_a_task_id_names_its_creator() -> None:
    assert refusal_of(BOB, SPEC.fact) is Refusal.AUTHOR_MISMATCH


def test_a_task_has_an_attempt() -> None:
    assert refusal_of(ANN, replace(SPEC.fact, max_attempts=0)) is Refusal.BROKEN_RULE


def test_nobody_picks_a_rank() -> None:
    greater = replace(FIRST.fact, rank=FIRST.fact.rank + 1)
    assert refusal_of(BOB, greater) is Refusal.BROKEN_RULE
    assert refusal_of(ANN, FIRST.fact) is Refusal.BROKEN_RULE, "another node's rank"
    assert refusal_of(ANN, replace(SECOND.fact, epoch=3)) is Refusal.BROKEN_RULE


@pytest.mark.parametrize(
    ("supersedes", "because"), [(SOME_ID, SOME_ID), (SOME_ID, None), (None, SOME_ID)]
)
def test_the_first_epoch_supersedes_nothing(
    supersedes: FactId | None, because: FactId | None
) -> None:
    fact = replace(FIRST.fact, supersedes=supersedes, because=because)
    assert refusal_of(BOB, fact) is Refusal.BROKEN_RULE


@pytest.mark.parametrize(
    ("supersedes", "because"), [(None, None), (SOME_ID, None), (None, SOME_ID)]
)
def test_later_epochs_supersede_for_a_reason(
    supersedes: FactId | None, because: FactId | None
) -> None:
    fact = replace(SECOND.fact, supersedes=supersedes, because=because)
    assert refusal_of(ANN, fact) is Refusal.BROKEN_RULE


def test_there_is_no_epoch_zero() -> None:
    assert refusal_of(BOB, replace(FIRST.fact, epoch=0)) is Refusal.BROKEN_RULE


@pytest.mark.parametrize("state", [0, max(ProgressState) + 1])
def test_unknown_progress_is_refused(state: int) -> None:
    assert refusal_of(BOB, BOB.progress(FIRST, state).fact) is Refusal.BROKEN_RULE


@pytest.mark.parametrize("kind", [0, max(AttemptKind) + 1])
def test_unknown_attempts_are_refused(kind: int) -> None:
    assert refusal_of(BOB, BOB.attempt(FIRST, kind).fact) is Refusal.BROKEN_RULE


@pytest.mark.parametrize(
    ("inline", "size"), [(b"", 0), (b"", 65_537), (b"", (1 << 40) - 1), (b"{}", 600)]
)
def test_what_is_left_in_a_blob_is_bounded_and_not_inline_as_well(inline: bytes, size: int) -> None:
    blob = (b"b" * 32, size)
    progress = BOB.progress(FIRST, ProgressState.RUNNING).fact
    said = replace(progress, checkpoint=inline, checkpoint_blob=blob)
    assert refusal_of(BOB, said) is Refusal.BROKEN_RULE
    offer = Offer(progress.task, progress.claim, progress.boot, 1, None, "", inline, blob)
    assert refusal_of(BOB, offer) is Refusal.BROKEN_RULE
    if not inline:
        check_fact(BOB.write(replace(said, checkpoint_blob=(b"b" * 32, 65_536))), MESH)
        check_fact(BOB.write(replace(offer, context_blob=(b"b" * 32, 1))), MESH)


def test_a_digest_is_the_outputs() -> None:
    wrong = replace(BOB.result(FIRST).fact, output=b"other")
    assert refusal_of(BOB, wrong) is Refusal.BROKEN_RULE
