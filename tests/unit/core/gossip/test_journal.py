"""Rows of facts: what is written can be read back, and nothing else can."""

import pytest

from mesh.core.effects import CommitNumber
from mesh.core.errors import RemoteError
from mesh.core.gossip.journal import Journal, decode_row_untrusted, row_key
from mesh.core.gossip.vocabulary import Family
from mesh.core.outbox import Outbox
from tests.unit.core.gossip.network import MESH, Note, Station, params_with

STATION = Station(1, params_with())
FACT = STATION.notes(b"a")[0].signed


def test_a_row_comes_back() -> None:
    outbox = Outbox()
    Journal(outbox).write(Family.TASKS, FACT.id, FACT.encode())
    (row,) = outbox.rows
    assert (row.kind, row.key) == ("fact", row_key(Family.TASKS, FACT.id))
    assert row.value is not None
    assert decode_row_untrusted(row.value, MESH) == (Family.TASKS, FACT)


@pytest.mark.parametrize("value", [b"", b"\2" + FACT.encode(), b"\0", FACT.encode()])
def test_a_spoilt_row_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_row_untrusted(value, MESH)


def test_own_facts_may_leave_once_their_commit_is_done() -> None:
    outbox = Outbox()
    journal = Journal(outbox)
    assert journal.settled
    journal.write_own(Family.TASKS, FACT)
    assert not journal.may_leave(Family.TASKS, FACT.id)
    assert journal.may_leave(Family.MEMBERS, FACT.id)
    journal.handle_committed(CommitNumber(outbox.next_commit - 1))
    assert not journal.may_leave(Family.TASKS, FACT.id)
    journal.handle_committed(outbox.next_commit)
    assert journal.may_leave(Family.TASKS, FACT.id)
    assert journal.settled


def test_drafts_wait_for_one_signature_and_their_commit() -> None:
    outbox = Outbox()
    journal = Journal(outbox)
    drafts = [STATION.author.draft(Note(text)).signed for text in (b"x", b"y", b"z")]
    for draft in drafts:
        journal.write_own(Family.TASKS, draft)
    assert (outbox.rows, outbox.rows_waiting, outbox.is_urgent) == ([], 3, True)
    assert journal.last == outbox.next_commit
    journal.sign_drafts(STATION.author)
    assert [row.key for row in outbox.rows] == [row_key(Family.TASKS, d.id) for d in drafts]
    assert outbox.rows_waiting == 3
    assert len({draft.signature for draft in drafts}) == 1
    assert not any(journal.may_leave(Family.TASKS, draft.id) for draft in drafts)
    journal.handle_committed(outbox.next_commit)
    assert all(journal.may_leave(Family.TASKS, draft.id) for draft in drafts)


def test_foreign_facts_are_patient_until_somebody_waits() -> None:
    outbox = Outbox()
    journal = Journal(outbox)
    journal.hurry()
    assert not outbox.is_urgent, "there is nothing to wait for"
    journal.write(Family.TASKS, FACT.id, FACT.encode())
    assert not outbox.is_urgent
    journal.hurry()
    assert outbox.is_urgent
