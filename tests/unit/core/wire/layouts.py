"""Values made from a declared layout: the smallest, the largest, and any."""

from typing import Any

from hypothesis import strategies as st

from mesh.core.claims.exchange_facts import EXCHANGE_CONTEXTS
from mesh.core.claims.facts import CLAIM_CONTEXTS
from mesh.core.claims.forgotten import FORGET_CONTEXTS
from mesh.core.membership.facts import MEMBERSHIP_CONTEXTS
from mesh.core.trust.exchange import (
    Introduction,
    JoinAnswer,
    JoinGrant,
    JoinHello,
    JoinRefusal,
    JoinRequest,
)
from mesh.core.trust.records import TRUST_CONTEXTS
from mesh.core.trust.tickets import Entry, Ticket
from mesh.core.wire.codec import Binary, Flag, Group, Kind, Layout, Many, Maybe, Record, Text, Uint
from mesh.core.wire.envelope import BATCH_LAYOUT, SIGNED_FACT_LAYOUT, Contexts

CONTEXTS: Contexts = (
    TRUST_CONTEXTS | MEMBERSHIP_CONTEXTS | CLAIM_CONTEXTS | FORGET_CONTEXTS | EXCHANGE_CONTEXTS
)
EXCHANGED: tuple[type[Record], ...] = (
    Introduction,
    JoinAnswer,
    JoinGrant,
    JoinHello,
    JoinRefusal,
    JoinRequest,
    Ticket,
    Entry,
)
RECORDS: tuple[type[Record], ...] = (*CONTEXTS.values(), *EXCHANGED)
LAYOUTS: dict[str, Layout] = {
    **{record.__name__: record.LAYOUT for record in RECORDS},
    "SignedFact": SIGNED_FACT_LAYOUT,
    "batch": BATCH_LAYOUT,
}


def extreme(kind: Kind, *, large: bool) -> Any:  # noqa: ANN401  whatever the layout says
    """Return the smallest or the largest value of a kind."""
    match kind:
        case Uint(bits):
            return (1 << bits) - 1 if large else 0
        case Flag():
            return large
        case Binary(low, high):
            return bytes((low if high is None else high) if large else low)
        case Text(high, low):
            return "t" * (high if large else low)
        case Maybe(inner):
            return extreme(inner, large=True) if large else None
        case Many(inner, high):
            return (extreme(inner, large=True),) * high if large else ()
        case Group(inner):
            return extremes(inner, large=large)
        case _:
            raise AssertionError(kind)


def extremes(layout: Layout, *, large: bool) -> tuple[Any, ...]:
    """Return the smallest or the largest values of a layout."""
    return tuple(extreme(kind, large=large) for kind in layout)


def depth(layout: Layout) -> int:
    """Return how deep arrays are nested; the outermost has depth 1."""
    return 1 + max((_inner_depth(kind) for kind in layout), default=0)


def _inner_depth(kind: Kind) -> int:
    match kind:
        case Group(inner):
            return depth(inner)
        case Many(inner, _):
            return depth((inner,))
        case Maybe(inner):
            return _inner_depth(inner)
        case _:
            return 0


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a kind."""
    match kind:
        case Uint(bits):
            return st.integers(0, (1 << bits) - 1)
        case Flag():
            return st.booleans()
        case Binary(low, high):
            return st.binary(min_size=low, max_size=low if high is None else min(high, low + 40))
        case Text(high, low):
            letters = st.characters(exclude_categories=("Cc", "Cs"))
            # At most four bytes a character, so that no text is longer than its bound.
            return st.text(letters, min_size=low, max_size=min(high // 4, 20))
        case Maybe(inner):
            return st.none() | values(inner)
        case Many(inner, high):
            return st.lists(values(inner), max_size=min(high, 3)).map(tuple)
        case Group(inner):
            return st.tuples(*map(values, inner))
        case _:
            raise AssertionError(kind)
