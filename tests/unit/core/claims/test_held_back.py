"""Facts that wait: counted per author, found by what they lack."""

import pytest

from mesh.core.claims.held_back import HeldBack
from mesh.core.errors import Refusal, RemoteError
from tests.unit.core.claims.scribe import ANN, BOB

SPEC = ANN.spec()
CLAIM = BOB.claim(SPEC)
SECOND = BOB.claim(SPEC, nonce=1)


def test_a_full_author_is_refused_and_another_is_not() -> None:
    held = HeldBack(1)
    held.check_room(BOB.id)
    held.hold(CLAIM, [SPEC.id])
    with pytest.raises(RemoteError) as refused:
        held.check_room(BOB.id)
    assert refused.value.refusal is Refusal.OVER_CAP
    held.check_room(ANN.id)


def test_release_makes_room_again() -> None:
    held = HeldBack(2)
    held.hold(CLAIM, [SPEC.id])
    held.hold(SECOND, [SPEC.id, CLAIM.id])
    assert held.waiters(SPEC.id) == (CLAIM, SECOND)
    held.release(SECOND)
    held.check_room(BOB.id)
    assert held.waiters(SPEC.id) == (CLAIM,)
    assert held.waiters(CLAIM.id) == ()
    held.release(CLAIM)
    assert len(held) == 0
    assert held.waiters(SPEC.id) == ()


def test_what_lacks_only_the_reasons_of_its_epoch_is_not_counted() -> None:
    held = HeldBack(1)
    for claim in (CLAIM, SECOND):
        held.hold(claim, [ANN.spec(2).id])
    held.check_room(BOB.id)
    assert held.all() == (CLAIM, SECOND)
    held.release(CLAIM)
    assert held.waiters(ANN.spec(2).id) == (SECOND,)


def test_an_id_that_is_cited_twice_is_one_to_wait_for() -> None:
    held = HeldBack(1)
    held.hold(CLAIM, [SPEC.id, SPEC.id])
    held.release(CLAIM)
    assert held.waiters(SPEC.id) == ()
