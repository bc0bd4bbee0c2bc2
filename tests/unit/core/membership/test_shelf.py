"""Early verdicts: one per presence they wait for, bounded, gone with what ends them."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, Incarnation
from mesh.core.membership.shelf import Shelf
from tests.unit.core.membership.bench import BOOT, NEXT_BOOT, verdict_of
from tests.unit.core.membership.playground import make_author

VOTERS = [make_author(name) for name in "abc"]
X, Y = make_author("x").id, make_author("y").id


def test_what_a_presence_reaches_is_taken_and_the_rest_waits() -> None:
    shelf = Shelf(8)
    verdicts = [verdict_of(VOTERS, X, incarnation) for incarnation in (1, 3, 5)]
    for verdict in (*verdicts, verdict_of(VOTERS, Y, 1)):
        shelf.put(verdict)
    assert shelf.get(X, (BOOT, Incarnation(3))) is verdicts[1]
    assert shelf.take_until(X, (BOOT, Incarnation(3))) == verdicts[:2]
    assert shelf.take_until(X, (BOOT, Incarnation(3))) == []
    assert shelf.take_boots(X, Boot(BOOT - 1)) == []
    assert shelf.take_boots(X, NEXT_BOOT) == verdicts[2:]
    assert len(shelf) == 1


def test_a_full_shelf_refuses_but_replaces() -> None:
    shelf = Shelf(2)
    shelf.put(verdict_of(VOTERS[:2], X, 1))
    shelf.put(verdict_of(VOTERS, X, 2))
    stronger = verdict_of(VOTERS, X, 1)
    shelf.put(stronger)
    assert shelf.get(X, (BOOT, Incarnation(1))) is stronger
    with pytest.raises(RemoteError) as refused:
        shelf.put(verdict_of(VOTERS, Y, 1))
    assert refused.value.refusal is Refusal.OVER_CAP
    assert len(shelf) == 2
