"""What of a key's words goes on counting after the key itself does not: a chain of pages.

Nobody can tell from a signature when it was made, so whoever takes a key back says which of its
facts go on counting. The list may be long; it stands on pages, each naming the next by its id, so
the first id pins all of them and it does not matter in which order they arrive.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.core.identity import FactId
from mesh.core.trust.records import PAGE_IDS_MAX, STANDING_ID_BYTES, StandingPage
from mesh.core.wire.envelope import Author, Verified

PAGES_PER_LIST_MAX = 420
"""20,160 facts. Of whom more is held (`facts_per_author_max`), nothing can stand: `--discard`."""
FACTS_PER_LIST_MAX = PAGES_PER_LIST_MAX * PAGE_IDS_MAX

Standing = frozenset[bytes] | None
"""The listed facts by the first bytes of their ids; None while a page is missing."""


def is_listed(standing: Standing, id_: FactId) -> bool:
    """Whether a fact goes on counting; while a page is missing, everything held does."""
    return standing is None or id_[:STANDING_ID_BYTES] in standing


def read_pages(first: FactId | None, pages: Mapping[FactId, Verified[StandingPage]]) -> Standing:
    """Return what is listed on the pages from this one on; longer chains end at the bound."""
    listed: list[bytes] = []
    for _ in range(PAGES_PER_LIST_MAX):
        if first is None:
            break
        page = pages.get(first)
        if page is None:
            return None
        listed += page.fact.ids
        first = page.fact.next
    return frozenset(listed)


def write_pages(author: Author, ids: Iterable[FactId]) -> list[Verified[Any]]:
    """Return signed pages that list these facts, the first page first; none for no facts."""
    cut = sorted(id_[:STANDING_ID_BYTES] for id_ in ids)
    assert len(cut) <= FACTS_PER_LIST_MAX
    pages: list[Verified[Any]] = []
    for start in reversed(range(0, len(cut), PAGE_IDS_MAX)):
        following = pages[-1].id if pages else None
        # One signature each: a record of trust is signed alone.
        pages += author.sign([StandingPage(following, tuple(cut[start : start + PAGE_IDS_MAX]))])
    return pages[::-1]
