"""Pushes: numbered, sent to every peer at once, sent again to those that do not acknowledge.

Up to some dozens of peers telling everybody directly is the fastest way and the cheapest; beyond
that rumours take over. A push is cut into parts of one datagram each, and a peer has it once it
acknowledged every part. What `push_tries` sends do not get across is left to reconciliation.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mesh.core.effects import CommitNumber
from mesh.core.gossip.items import ITEM_HEADER_BYTES, Item, make_items
from mesh.core.gossip.journal import Journal
from mesh.core.gossip.messages import (
    ACK_ENTRIES_MAX,
    NUMBER_BITS,
    PARTS_MAX,
    SECTION_BYTES_MAX,
    Push,
    PushAck,
    Section,
)
from mesh.core.gossip.post import Post, pack_bodies
from mesh.core.gossip.vocabulary import Family, PushNumber, Want
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import GossipParams
from mesh.core.rng import Rng
from mesh.core.wire.envelope import Verified
from mesh.core.wire.frame import BODY_BYTES_MAX

BACKOFF = 2.0
"""Each wait for acknowledgements is this much longer than the one before."""
RESEND_LOW_SHARE = 0.03
"""However fast receipts come, this share of `push_resend_s` is always waited."""
PATIENCE = 4.0
"""How many deviations beyond the mean are waited for an answer, as in RFC 6298."""
URGENT_PATIENCE = 1.0
"""The same for receipts: a claim waits for them, and has no time to lose a message twice."""


class Publication(NamedTuple):
    """One `publish`: what goes out under one number."""

    number: PushNumber
    family: Family
    facts: tuple[Verified[Any], ...]
    want: Want


class Acknowledged(NamedTuple):
    """A peer has all parts of a push."""

    number: PushNumber
    durable: bool


class _Flight:
    """A push that waits for acknowledgements; one bit per part and peer."""

    __slots__ = ("at", "facts", "family", "received", "sections", "sends", "unacknowledged", "want")

    def __init__(
        self, at: Instant, publication: Publication, sections: list[bytes], peers: Sequence[NodeId]
    ) -> None:
        self.at = at
        self.family = publication.family
        self.facts = publication.facts
        self.sections = sections
        self.want = publication.want
        self.unacknowledged = dict.fromkeys(peers, (1 << len(sections)) - 1)
        self.received: dict[NodeId, int] = {}
        """Who has parts that it said are no copy: they are not sent again, and may become one."""
        self.sends = 1

    def lacking(self, peer: NodeId) -> int:
        """Return the parts of which a peer has said nothing."""
        return self.unacknowledged[peer] & ~self.received.get(peer, 0)

    @property
    def durable(self) -> bool:
        """Whether only the disk of a peer counts."""
        return self.want is Want.DURABLE


def cut_into_sections(publication: Publication) -> list[bytes]:
    """Return the encoded parts of a push: each fits a datagram unless a single fact does not."""
    room = SECTION_BYTES_MAX
    parts: list[list[Item]] = []
    used = room
    for item in make_items(publication.facts, room):
        size = ITEM_HEADER_BYTES + len(item.data)
        if used + size > room:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += size
    assert len(parts) < PARTS_MAX
    number, want = publication.number, publication.want
    return [Section(number, i, want, tuple(part)).encode() for i, part in enumerate(parts)]


class Pusher:
    """The pushes of this node that are under way."""

    def __init__(self, params: GossipParams, rng: Rng, post: Post) -> None:
        self._params, self._post = params, post
        # A late acknowledgement from before a restart must not fit a push made after it.
        self._number = rng.randrange(1 << (NUMBER_BITS - 1))
        self._flights: dict[PushNumber, _Flight] = {}
        self._mean_s = self._deviation_s = params.push_resend_s / 5
        # Flights with equally many sends that want the same wait equally long, so each queue is
        # in order of time.
        self._due: dict[tuple[Want, int], deque[tuple[Instant, PushNumber]]] = {
            (want, sends): deque()
            for want in (Want.RECEIPT, Want.DURABLE)
            for sends in range(params.push_tries)
        }

    def mint(self) -> PushNumber:
        """Return the next number."""
        self._number += 1
        return PushNumber(self._number)

    def start(
        self, now: Instant, publications: Sequence[Publication], peers: Sequence[NodeId]
    ) -> None:
        """Send pushes to peers; those for one family share datagrams."""
        if not peers:
            return
        for family in Family:
            entries: list[bytes] = []
            for publication in publications:
                if publication.family is family:
                    sections = cut_into_sections(publication)
                    entries += sections
                    if publication.want is not Want.NOTHING:
                        self._await(now, publication, sections, peers)
            self._post.count("pushes", len(entries) * len(peers))
            for body in pack_bodies(bytes((family,)), entries, BODY_BYTES_MAX):
                for peer in peers:
                    self._post.send(peer, Push, body)

    def set_peers(self, peers: Mapping[NodeId, None]) -> None:
        """Forget about peers that are gone."""
        for number, flight in list(self._flights.items()):
            for peer in list(flight.unacknowledged):
                if peer not in peers:
                    del flight.unacknowledged[peer]
            if not flight.unacknowledged:
                del self._flights[number]

    def _resend_after_s(self, want: Want) -> float:
        """Return how long to wait for answers: as long as receipts mostly take, within bounds.

        The estimate of RFC 6298, except that receipts of pushes that were sent twice count from
        the first time: those left out would be the slow ones, and what is resent ever sooner would
        make the rest look ever faster.
        """
        high = self._params.push_resend_s
        patience = URGENT_PATIENCE if want is Want.RECEIPT else PATIENCE
        usual_s = self._mean_s + patience * self._deviation_s
        return min(high, max(high * RESEND_LOW_SHARE, usual_s))

    def _measure(self, sample_s: float) -> None:
        sample_s = min(sample_s, self._params.push_resend_s)
        self._deviation_s += (abs(sample_s - self._mean_s) - self._deviation_s) / 4
        self._mean_s += (sample_s - self._mean_s) / 8

    def handle_ack(self, now: Instant, peer: NodeId, ack: PushAck) -> list[Acknowledged]:
        """Note what a peer has; returns the pushes that it has completely by now."""
        complete = []
        for value, part in ack.entries:
            number = PushNumber(value)
            flight = self._flights.get(number)
            left = None if flight is None else flight.unacknowledged.get(peer)
            if flight is None or left is None:
                continue
            if flight.durable > ack.durable:
                if peer not in flight.received:
                    complete.append(Acknowledged(number, durable=False))
                flight.received[peer] = flight.received.get(peer, 0) | 1 << part
                continue
            left &= ~(1 << part)
            if left:
                flight.unacknowledged[peer] = left
                continue
            complete.append(Acknowledged(number, flight.durable))
            if not flight.durable:
                self._measure(now - flight.at)
            del flight.unacknowledged[peer]
            if not flight.unacknowledged:
                del self._flights[number]
        self._post.count("acks", len(complete))
        return complete

    def is_awaited(self, number: PushNumber, peer: NodeId) -> bool:
        """Whether a peer has still to acknowledge a push."""
        flight = self._flights.get(number)
        return flight is not None and peer in flight.unacknowledged

    def next_deadline(self) -> Instant:
        """Return when something has to be sent again, or is given up."""
        if not self._flights:
            return NEVER
        deadline = NEVER
        for queue in self._due.values():
            while queue and queue[0][1] not in self._flights:
                queue.popleft()
            if queue:
                deadline = min(deadline, queue[0][0])
        return deadline

    def overdue(self, now: Instant) -> Iterator[tuple[Publication, list[NodeId]]]:
        """Yield what is about to be sent again, and to whom."""
        for queue in self._due.values():
            for at, number in queue:
                if at > now:
                    break
                flight = self._flights.get(number)
                if flight is not None and flight.sends < self._params.push_tries:
                    sent = Publication(number, flight.family, flight.facts, flight.want)
                    yield sent, [p for p in flight.unacknowledged if flight.lacking(p)]

    def handle_timeout(self, now: Instant) -> None:
        """Send again what is due, to those who lack it."""
        resends: tuple[dict[NodeId, list[bytes]], ...] = ({}, {})
        for queue in self._due.values():
            while queue and (queue[0][0] <= now or queue[0][1] not in self._flights):
                number = queue.popleft()[1]
                flight = self._flights.get(number)
                if flight is not None:
                    self._resend(now, number, flight, resends[flight.family])
        for family in Family:
            for peer, entries in resends[family].items():
                self._post.count("resends", len(entries))
                for body in pack_bodies(bytes((family,)), entries, BODY_BYTES_MAX):
                    self._post.send(peer, Push, body)

    def _await(
        self,
        now: Instant,
        publication: Publication,
        sections: list[bytes],
        peers: Sequence[NodeId],
    ) -> None:
        number = publication.number
        self._flights[number] = _Flight(now, publication, sections, peers)
        wait_s = self._resend_after_s(publication.want)
        self._due[publication.want, 0].append((later(now, wait_s), number))
        if len(self._flights) > self._params.queue_items_max:
            del self._flights[next(iter(self._flights))]
            self._post.count("pushes_dropped")

    def _resend(
        self,
        now: Instant,
        number: PushNumber,
        flight: _Flight,
        resends: dict[NodeId, list[bytes]],
    ) -> None:
        if flight.sends >= self._params.push_tries:
            del self._flights[number]
            self._post.count("pushes_given_up")
            return
        for peer in flight.unacknowledged:
            left = flight.lacking(peer)
            lacking = [section for i, section in enumerate(flight.sections) if left >> i & 1]
            if lacking:
                resends.setdefault(peer, []).extend(lacking)
        wait_s = self._resend_after_s(flight.want) * BACKOFF**flight.sends
        if flight.durable and flight.sends == self._params.push_tries - 1:
            wait_s = max(wait_s, self._params.push_linger_s)
        self._due[flight.want, flight.sends].append((later(now, wait_s), number))
        flight.sends += 1


class Acknowledger:
    """What this node owes to those who push to it: receipts at once, durable ones when they are."""

    def __init__(self, journal: Journal, post: Post, waiting_max: int) -> None:
        self._journal, self._post = journal, post
        self._waiting_max = waiting_max
        self._waiting: dict[tuple[NodeId, int, int], CommitNumber] = {}

    def owe(self, peer: NodeId, sections: Sequence[Section]) -> None:
        """Acknowledge sections whose facts are all judged: now, or once they are on disk."""
        receipts = [(s.number, s.part) for s in sections if s.want is Want.RECEIPT]
        durable = [(s.number, s.part) for s in sections if s.want is Want.DURABLE]
        self._send(peer, receipts, durable=False)
        if self._journal.settled:
            self._send(peer, durable, durable=True)
            return
        if durable:
            self._journal.hurry()
        for number, part in durable:
            # A part that came again waits for the commit that it waits for already.
            self._waiting.setdefault((peer, number, part), self._journal.last)
        while len(self._waiting) > self._waiting_max:
            del self._waiting[next(iter(self._waiting))]
            self._post.count("acks_dropped")

    def decline(self, peer: NodeId, section: Section) -> None:
        """Say that the facts of a section are here, and that this is no copy of them."""
        self._send(peer, [(section.number, section.part)], durable=False)

    def handle_committed(self) -> None:
        """Send what waited for the commits that are done."""
        ready: dict[NodeId, list[tuple[int, int]]] = {}
        while self._waiting:
            key = next(iter(self._waiting))
            if self._waiting[key] > self._journal.done:
                break
            del self._waiting[key]
            peer, number, part = key
            ready.setdefault(peer, []).append((number, part))
        for peer, entries in ready.items():
            self._send(peer, entries, durable=True)

    def _send(self, peer: NodeId, entries: list[tuple[int, int]], *, durable: bool) -> None:
        for at in range(0, len(entries), ACK_ENTRIES_MAX):
            ack = PushAck(durable, tuple(entries[at : at + ACK_ENTRIES_MAX]))
            self._post.send(peer, PushAck, ack.encode())
