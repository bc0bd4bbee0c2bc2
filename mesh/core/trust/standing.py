"""What of a key's words goes on counting after the key itself does not: sheets of ids, on pages.

Nobody can tell from a signature when it was made, so whoever takes a key back says which of its
facts go on counting. Their ids, sorted, fill *sheets* of 64. Signed pages name each sheet by its
first id and its hash, and each page names the next one: so the first page pins every id, whatever
the key signs afterwards, and it does not matter in which order anything arrives. A sheet is not
signed. Whoever holds the same facts writes it for itself, others ask for it (`sheets`).
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.core.identity import FactId
from mesh.core.trust.records import (
    PAGE_SHEETS_MAX,
    SHEET_DIGEST_BYTES,
    STANDING_ID_BYTES,
    StandingPage,
)
from mesh.core.wire.envelope import Author, Verified

BEHIND_ALL = b"\xff" * (STANDING_ID_BYTES + 1)
SHEET_IDS_MAX = 64
"""A sheet fits one datagram."""
SHEET_BYTES_MAX = SHEET_IDS_MAX * STANDING_ID_BYTES
PAGES_PER_LIST_MAX = 128
FACTS_PER_LIST_MAX = PAGES_PER_LIST_MAX * PAGE_SHEETS_MAX * SHEET_IDS_MAX
"""196,608: more than the tables hold of one author who is honest."""

Sheets = Mapping[bytes, bytes]
"""The sheets that are known, by their digests."""


def sheet_digest(sheet: bytes) -> bytes:
    """Return by what a page names a sheet."""
    return hashlib.blake2b(b"mesh-sheet-v1\0" + sheet, digest_size=SHEET_DIGEST_BYTES).digest()


def is_sheet(data: bytes) -> bool:
    """Whether bytes can be a sheet at all."""
    return 0 < len(data) <= SHEET_BYTES_MAX and len(data) % STANDING_ID_BYTES == 0


def _stands_on(sheet: bytes, cut: bytes) -> bool:
    at = sheet.find(cut)
    while at % STANDING_ID_BYTES and at >= 0:
        at = sheet.find(cut, at + 1)
    return at >= 0


@dataclass(frozen=True, slots=True)
class Standing:
    """One list whose pages are all here; where each sheet begins, and what it is called."""

    firsts: tuple[bytes, ...] = ()
    digests: tuple[bytes, ...] = ()
    sheets: Sheets = field(default_factory=dict, compare=False, repr=False)

    def lists(self, id_: FactId) -> bool | None:
        """Whether a fact is listed; None while the sheet on which it would stand is missing."""
        cut = id_[:STANDING_ID_BYTES]
        at = bisect_right(self.firsts, cut) - 1
        if at < 0:
            return False
        sheet = self.sheets.get(self.digests[at])
        return None if sheet is None else _stands_on(sheet, cut)

    def missing(self) -> list[bytes]:
        """Return the digests of the sheets that are not known."""
        return [digest for digest in self.digests if digest not in self.sheets]

    def _bounds(self, place: int) -> tuple[bytes, bytes]:
        end = self.firsts[place + 1] if place + 1 < len(self.firsts) else BEHIND_ALL
        return self.firsts[place], end

    def written_from(self, cuts: Sequence[bytes]) -> list[bytes]:
        """Return the missing sheets that these ids, cut and sorted, fill exactly."""
        found = []
        for place, digest in enumerate(self.digests):
            if digest in self.sheets:
                continue
            low, high = (bisect_left(cuts, first) for first in self._bounds(place))
            sheet = b"".join(cuts[low:high])
            if sheet_digest(sheet) == digest:
                found.append(sheet)
        return found


AnyStanding = Standing | None
"""None while a page is missing."""


def is_listed(standing: AnyStanding, id_: FactId) -> bool:
    """Whether a held fact goes on counting: while it is not known, it does."""
    return standing is None or standing.lists(id_) is not False


def is_known_listed(standing: AnyStanding, id_: FactId) -> bool:
    """Whether a new fact counts: while it is not known, it does not."""
    return standing is not None and standing.lists(id_) is True


def read_pages(
    first: FactId | None, pages: Mapping[FactId, Verified[StandingPage]], sheets: Sheets
) -> AnyStanding:
    """Return what is listed on the pages from this one on; longer chains end at the bound."""
    entries: list[tuple[bytes, bytes]] = []
    for _ in range(PAGES_PER_LIST_MAX):
        if first is None:
            break
        page = pages.get(first)
        if page is None:
            return None
        entries += page.fact.sheets
        first = page.fact.next
    return Standing(tuple(one for one, _ in entries), tuple(one for _, one in entries), sheets)


def cut_and_sort(ids: Iterable[FactId]) -> list[bytes]:
    """Return what lists keep of ids."""
    return sorted(dict.fromkeys(id_[:STANDING_ID_BYTES] for id_ in ids))


def write_list(author: Author, ids: Iterable[FactId]) -> tuple[list[Verified[Any]], list[bytes]]:
    """Return signed pages that list these facts, the first one first, and the sheets."""
    cuts = cut_and_sort(ids)
    assert len(cuts) <= FACTS_PER_LIST_MAX
    starts = range(0, len(cuts), SHEET_IDS_MAX)
    sheets = [b"".join(cuts[start : start + SHEET_IDS_MAX]) for start in starts]
    entries = [(sheet[:STANDING_ID_BYTES], sheet_digest(sheet)) for sheet in sheets]
    pages: list[Verified[Any]] = []
    for start in reversed(range(0, len(entries), PAGE_SHEETS_MAX)):
        following = pages[-1].id if pages else None
        # One signature each: a record of trust is signed alone.
        page = StandingPage(following, tuple(entries[start : start + PAGE_SHEETS_MAX]))
        pages += author.sign([page])
    return pages[::-1], sheets
