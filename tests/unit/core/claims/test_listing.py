"""Which tasks a client asks to see."""

import pytest

from mesh.core.claims.listing import Listing
from mesh.core.claims.record import Record
from mesh.core.commands import TaskList
from mesh.core.errors import LocalError
from tests.unit.core.claims.scribe import ANN, BOB, ranked, table_of

SPEC = ANN.spec(created_ms=5_000)


def record_of(*facts: object) -> Record:
    record = table_of(SPEC, *facts).record(SPEC.fact.task)  # type: ignore[arg-type]  # verified facts
    assert record is not None
    return record


def shows(wanted: TaskList, record: Record) -> bool:
    return Listing(wanted, 10_000, lambda node: "bob" if node == BOB.id else "").shows(record, None)


def test_owner_is_a_node_by_name_or_id_or_an_agent() -> None:
    owned = record_of(BOB.claim(SPEC))
    for owner in ("bob", BOB.id.hex()[:8], "agent"):
        assert shows(TaskList(owner=owner), owned)
    assert not shows(TaskList(owner="ann"), owned)
    assert not shows(TaskList(owner="bob"), record_of())


def test_since_counts_from_the_last_change() -> None:
    assert shows(TaskList(since_s=6), record_of())
    assert not shows(TaskList(since_s=4), record_of())


def test_duplicates_were_started_twice() -> None:
    low, high = ranked(SPEC.fact.task, 1, ANN, BOB)
    claims = [who.claim(SPEC) for who in (low, high)]
    starts = [who.progress(claim) for who, claim in zip((low, high), claims, strict=True)]
    assert shows(TaskList(duplicates=True), record_of(*claims, *starts))
    assert not shows(TaskList(duplicates=True), record_of(*claims, starts[0]))


def test_other_wishes() -> None:
    assert not shows(TaskList(kind="other"), record_of())
    assert not shows(TaskList(state="working"), record_of())
    assert not shows(TaskList(key="k"), record_of())
    with pytest.raises(LocalError):
        shows(TaskList(state="lost"), record_of())
