"""Who fetches at once what a fact names: everybody computes the same few."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.claims.copying import keepers, keepers_of, named_blob
from mesh.core.claims.facts import LEFT_BYTES_MAX, Blob, Progress, ProgressState, Result, Spec
from mesh.core.claims.forgotten import ForgetBoots
from mesh.core.claims.record import Record
from mesh.core.params import ClaimParams
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, BOOT, CAT, DAN, Scribe, ranked, table_of

PARAMS = ClaimParams()
BLOB: Blob = (b"b" * 32, 10_000)
ALL = tuple(scribe.id for scribe in (ANN, BOB, CAT, DAN))


def story() -> tuple[Record, Verified[Spec], Verified[Progress], Verified[Result]]:
    """Return a task of ANN's at which BOB has worked, with a blob in all that was said."""
    spec = ANN.spec(blob=BLOB)
    claim = BOB.claim(spec)
    started = int(ProgressState.STARTED)
    said = BOB.write(
        Progress(spec.fact.task, claim.id, BOOT, 1, started, b"", checkpoint_blob=BLOB)
    )
    result = BOB.write(Result(spec.fact.task, claim.id, b"", *BLOB))
    record = table_of(spec, claim, said).record(spec.fact.task)
    assert record is not None
    return record, spec, said, result


def test_what_a_durable_write_names_is_found_and_nothing_else() -> None:
    _, spec, said, result = story()
    assert named_blob(spec.fact) == named_blob(said.fact) == named_blob(result.fact) == BLOB
    assert named_blob(replace(spec.fact, blob=None)) is None
    assert named_blob(replace(said.fact, checkpoint_blob=None)) is None
    assert named_blob(replace(result.fact, size=None)) is None
    assert named_blob(ANN.cancel(spec).fact) is None


def test_a_payload_is_kept_by_those_who_would_claim_first() -> None:
    record, spec, _, _ = story()
    order = [scribe.id for scribe in ranked(record.task, 1, BOB, CAT, DAN)[::-1]]
    assert keepers(record, spec, ALL, PARAMS) == tuple(order[:2])


def test_what_an_owner_says_is_kept_by_the_submitter_and_who_would_claim_next() -> None:
    record, _, said, result = story()
    heir = ranked(record.task, 2, CAT, DAN)[-1].id
    for fact in (said, result):
        best = ranked(record.task, 2, ANN, CAT, DAN)[::-1]
        others = [scribe.id for scribe in best if scribe is not ANN]
        assert others[0] == heir
        assert keepers(record, fact, ALL, PARAMS) == (ANN.id, heir)
        assert keepers(record, fact, ALL[1:], PARAMS) == tuple(others), "the submitter is gone"


def test_the_large_and_the_unknown_are_fetched_when_they_are_needed() -> None:
    record, spec, _, result = story()
    for size, few in ((LEFT_BYTES_MAX, 2), (LEFT_BYTES_MAX + 1, 0)):
        large = ANN.spec(blob=(BLOB[0], size))
        assert len(keepers(record, large, ALL, PARAMS)) == few
    assert keepers(without_spec(record), result, ALL, PARAMS) == ()
    assert keepers(record, spec, (ANN.id,), PARAMS) == ()


def test_the_keepers_of_any_fact_in_a_push_can_be_asked_for() -> None:
    record, spec, said, _ = story()
    table = table_of(spec)
    assert keepers_of(table, spec, ALL, PARAMS) == keepers(record, spec, ALL, PARAMS) != ()
    cited = ANN.write(ForgetBoots(ANN.id, BOOT, ()))
    assert not hasattr(cited.fact, "task"), "like the membership facts that claims cite"
    assert keepers_of(table, cited, ALL, PARAMS) == ()
    assert keepers_of(table_of(), said, ALL, PARAMS) == (), "the task is unknown"


def without_spec(record: Record) -> Record:
    """Return what is known of a task whose spec has not come yet."""
    found = table_of(BOB.claim(ANN.spec(blob=BLOB))).record(record.task)
    assert found is not None
    assert found.spec is None
    return found


LETTERS = st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=12)


@given(letters=LETTERS, few=st.integers(1, 5))
def test_all_who_see_the_same_nodes_find_the_same_keepers(letters: list[str], few: int) -> None:
    record, spec, said, result = story()
    params = ClaimParams(copies_keepers=few)
    nodes = [Scribe(letter).id for letter in letters]
    for fact in (spec, said, result):
        found = keepers(record, fact, nodes, params)
        others = [node for node in nodes if node != fact.author]
        assert len(found) == len(dict.fromkeys(found)) == min(few, len(others))
        assert all(node in others for node in found)
        assert keepers(record, fact, nodes[::-1], params) == found
        for gone in others:
            left = keepers(record, fact, [node for node in nodes if node != gone], params)
            assert [node for node in found if node != gone] == [n for n in left if n in found]
