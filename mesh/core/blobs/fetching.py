"""Fetching a blob from a peer: a few parts at a time, from where the disk has come to.

The receiver drives: it asks for a window of parts, and for half of it more as often as that half
is on its disk. So a slow disk, a slow network and a busy peer all slow the transfer down, and
nothing piles up.
When a peer falls silent or lacks the blob, the next one is asked for what is still missing; a
broken connection or a restart costs what was under way and no more. Only the hash of the whole
says whether the bytes are right. A peer that has sent all of them is not asked again when they
were wrong; if they came from several, or from before a restart, the next one sends all, so that
nobody is blamed for the bytes of another.

Only the oldest few are on their way at once. One that nobody has does not keep its place among
them: it rests, and so long that of all that rest no more are asked for in `retry_s` than may be on
their way. When somebody comes, who may have them, all are asked for again.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from mesh.core.blobs.messages import PART_BYTES_MAX, BlobAsk
from mesh.core.identity import BlobId, NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import BlobParams


@dataclass(slots=True)
class Fetch:
    """One blob on its way here."""

    blob: BlobId
    preferred: tuple[NodeId, ...]
    """Who should have it: its author."""
    size: int
    source: NodeId | None = None
    received: int = 0
    """Bytes that came, whether or not they are on disk."""
    asked: int = 0
    begun: int = 0
    """From where on the source of now sends; only from 0 on are all bytes its own."""
    gained: bool = False
    """Something came since all were last asked in turn: they are worth asking again at once."""
    is_single: bool = False
    """Bytes of several sources were wrong together: whoever is asked next sends all of them."""
    due: Instant = Instant(0.0)
    """When to ask somebody else, unless something comes before."""
    tried: dict[NodeId, None] = field(default_factory=dict)
    liars: dict[NodeId, None] = field(default_factory=dict)


@dataclass(slots=True)
class Fetching:
    """All of them, and whom to ask."""

    params: BlobParams
    alive: Callable[[], tuple[NodeId, ...]]
    ask: Callable[[NodeId, BlobAsk], None]
    fetches: dict[BlobId, Fetch] = field(default_factory=dict)
    _queue: "OrderedDict[BlobId, Fetch]" = field(default_factory=OrderedDict)
    """Those that are on their way or to be begun."""
    _resting: "OrderedDict[BlobId, Fetch]" = field(default_factory=OrderedDict)
    """The others, by when their rest ends."""
    _rest_end: Instant = Instant(0.0)

    def begin(self, blob: BlobId, size: int, preferred: tuple[NodeId, ...]) -> None:
        """Want a blob; asked for at the end of the turn, if few are under way."""
        known = self.fetches.get(blob)
        if known is None:
            self.fetches[blob] = self._queue[blob] = Fetch(blob, preferred, size)
        elif not set(preferred) <= set(known.preferred):
            known.preferred = tuple(dict.fromkeys((*preferred, *known.preferred)))

    def end(self, blob: BlobId) -> None:
        """A blob is here, or wanted no more."""
        self.fetches.pop(blob, None)
        self._queue.pop(blob, None)
        self._resting.pop(blob, None)

    def under_way(self) -> tuple[Fetch, ...]:
        """Return the oldest fetches, as many as are served at once."""
        return tuple(islice(self._queue.values(), self.params.fetches_max))

    def rest(self, now: Instant, fetch: Fetch) -> None:
        """Nothing can be done for a blob at present: others get its place."""
        pause_s = self.params.retry_s
        turn = later(self._rest_end, pause_s / self.params.fetches_max)
        self._rest_end = fetch.due = max(later(now, pause_s), turn)
        self._queue.pop(fetch.blob, None)
        self._resting[fetch.blob] = fetch
        self._resting.move_to_end(fetch.blob)
        fetch.source = None
        fetch.tried.clear()

    def wake(self, now: Instant, *, everything: bool = False) -> None:
        """Let those stand at the end of the queue whose rest is over, or all."""
        while self._resting:
            blob, fetch = next(iter(self._resting.items()))
            if fetch.due > now and not everything:
                return
            del self._resting[blob]
            fetch.due = now
            self._queue[blob] = fetch
        if everything:
            self._rest_end = now

    def handle_silence(self, now: Instant, fetch: Fetch, have: int) -> None:
        """Nothing has come for a while: ask the next peer from where the disk has come to."""
        if fetch.received > have:
            # Our own disk is what is slow.
            fetch.due = later(now, self.params.patience_s)
            return
        fetch.source = self._next_source(fetch)
        if fetch.source is None and fetch.gained:
            fetch.gained = False
            fetch.tried.clear()
            fetch.source = self._next_source(fetch)
        if fetch.source is None:
            self.rest(now, fetch)
            return
        fetch.tried[fetch.source] = None
        fetch.begun = 0 if fetch.is_single else have
        fetch.received = fetch.asked = fetch.begun
        self.go_on(now, fetch, fetch.begun)

    def _next_source(self, fetch: Fetch) -> NodeId | None:
        here = self.alive()
        first = [peer for peer in fetch.preferred if peer in here]
        for peer in (*first, *here):
            if peer not in fetch.tried and peer not in fetch.liars:
                return peer
        return None

    def go_on(self, now: Instant, fetch: Fetch, have: int) -> None:
        """Ask for as much as the window has room for, once that is half of it, or the rest."""
        fetch.due = later(now, self.params.patience_s)
        window = self.params.window_parts * PART_BYTES_MAX
        high = min(fetch.size, have + window)
        is_due = high == fetch.size or high - fetch.asked >= window // 2
        if fetch.source is not None and fetch.asked < high and is_due:
            self.ask(fetch.source, BlobAsk(fetch.blob, fetch.asked, high - fetch.asked))
            fetch.asked = high

    def handle_lacking(self, now: Instant, peer: NodeId, blob: BlobId) -> None:
        """A peer does not have it: ask another one at once."""
        fetch = self.fetches.get(blob)
        if fetch is not None and fetch.source == peer:
            fetch.due = now

    def handle_cut(self, now: Instant, peer: NodeId) -> None:
        """The connection to a peer broke: what it was sending is asked for again at once.

        A peer that had sent nothing yet is given its time, or one that is gone would be called
        without end.
        """
        for fetch in self.under_way():
            if fetch.source == peer and fetch.received > fetch.begun:
                fetch.source, fetch.due = None, now

    def handle_wrong(self, now: Instant, blob: BlobId) -> None:
        """The bytes were not what their name says: whoever has sent them all is not asked again."""
        fetch = self.fetches.get(blob)
        if fetch is None:
            return
        if fetch.source is not None and fetch.begun == 0:
            fetch.liars[fetch.source] = None
        else:
            fetch.is_single = True
        fetch.received = fetch.asked = 0
        fetch.due = now

    def takes(self, peer: NodeId, blob: BlobId, offset: int, count: int) -> Fetch | None:
        """Return the fetch for which just these bytes are awaited from this peer."""
        fetch = self.fetches.get(blob)
        if fetch is None or fetch.source != peer or fetch.received != offset:
            return None
        return fetch if offset + count <= fetch.asked else None

    def next_wake(self) -> Instant:
        """Return when the first rest is over."""
        for fetch in self._resting.values():
            return fetch.due
        return NEVER
