"""The facts: their bytes decode to themselves and nothing longer gets through."""

import pytest

from mesh.core.errors import RemoteError
from mesh.core.identity import Address, Incarnation
from mesh.core.membership.facts import (
    ADDRESSES_MAX,
    KINDS_MAX,
    MEMBERSHIP_CONTEXTS,
    TAGS_MAX,
    Accusation,
    Leave,
    Presence,
)
from mesh.core.wire.envelope import Fact
from tests.unit.core.membership.bench import BOOT, verdict_of
from tests.unit.core.membership.playground import make_author

X = make_author("x").id
NONE = Incarnation(0)


def presence(addresses: int = 1, tags: int = 0, kinds: int = 0) -> Presence:
    return Presence(
        BOOT,
        NONE,
        tuple(Address("10.0.0.1", port) for port in range(addresses)),
        b"l" * 32,
        1,
        "name",
        tuple((f"t{i}", "v") for i in range(tags)),
        tuple(f"k{i}" for i in range(kinds)),
    )


@pytest.mark.parametrize(
    "fact",
    [
        presence(ADDRESSES_MAX, TAGS_MAX, KINDS_MAX),
        Accusation(X, BOOT, NONE),
        Leave(BOOT, NONE),
        verdict_of([make_author("a")], X).fact,
    ],
    ids=lambda fact: fact.CONTEXT,
)
def test_every_fact_decodes_to_itself(fact: Fact) -> None:
    assert MEMBERSHIP_CONTEXTS[fact.CONTEXT].decode_untrusted(fact.encode()) == fact


@pytest.mark.parametrize(
    "fact",
    [
        presence(addresses=ADDRESSES_MAX + 1),
        presence(tags=TAGS_MAX + 1),
        presence(kinds=KINDS_MAX + 1),
        verdict_of([make_author(f"o{i}") for i in range(10)], X, observers=17).fact,
    ],
    ids=["addresses", "tags", "kinds", "accusations"],
)
def test_one_too_many_is_refused(fact: Fact) -> None:
    with pytest.raises(RemoteError):
        type(fact).decode_untrusted(fact.encode())
