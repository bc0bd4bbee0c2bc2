"""Durable receipts that are withheld until the bytes are here that the facts name."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.core.gossip.messages import Section
from mesh.core.gossip.post import Post
from mesh.core.gossip.vocabulary import Family, Want
from mesh.core.identity import BlobId, FactId, NodeId


class Withheld(NamedTuple):
    """One part of a push, and the facts in it."""

    peer: NodeId
    family: Family
    number: int
    part: int
    ids: tuple[FactId, ...]

    def section(self) -> Section:
        """Return what is acknowledged."""
        return Section(self.number, self.part, Want.DURABLE, ())


@dataclass(slots=True)
class Awaiting:
    """All of them; the oldest give way to new ones, and are pushed again."""

    most: int
    post: Post
    _all: "OrderedDict[Withheld, tuple[BlobId, ...]]" = field(default_factory=OrderedDict)
    _by_blob: dict[BlobId, dict[Withheld, None]] = field(default_factory=dict)

    def put(self, withheld: Withheld, blobs: Iterable[BlobId]) -> None:
        """Withhold a receipt until these are here; one that is withheld already stays so."""
        if withheld in self._all:
            return
        self._all[withheld] = tuple(blobs)
        for blob in self._all[withheld]:
            self._by_blob.setdefault(blob, {})[withheld] = None
        while len(self._all) > self.most:
            self._remove(next(iter(self._all)))
            self.post.count("acks_dropped")

    def take(self, blobs: Iterable[BlobId]) -> list[Withheld]:
        """Remove and return what waited for one of these, in the order in which it came."""
        found = [withheld for blob in blobs for withheld in tuple(self._by_blob.get(blob, ()))]
        taken = list(dict.fromkeys(found))
        for withheld in taken:
            self._remove(withheld)
        return taken

    def _remove(self, withheld: Withheld) -> None:
        for blob in self._all.pop(withheld):
            waiting = self._by_blob[blob]
            del waiting[withheld]
            if not waiting:
                del self._by_blob[blob]
