"""Joins that another admin has to serve: this node carries the bytes, and can read none of them.

A ticket names who issued it, but only its hash travels in the open. So a member that does not know
a ticket asks the admins it sees, one after the other, and from the first that answers on it passes
everything on in both directions. A stream that was passed on is never passed on again.
"""

from dataclasses import dataclass, field

from mesh.core.effects import CloseStream, Effect, OpenStream, SendStream, StreamId
from mesh.core.errors import RemoteError
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.node.participant import Participant
from mesh.core.trust.exchange import FrameReader, Kind, encode_join_frame

RELAYED_JOIN_MARK = b"K"
RELAY_LIMIT_S = 20.0
DIAL_LIMIT_S = 3.0
RELAYED_BYTES_MAX = 128 * 1024


@dataclass(slots=True)
class JoinRelay:
    """One join on its way to an admin."""

    joiner: StreamId
    hello: bytes
    admins: list[NodeId]
    """Still to be asked."""
    ends: Instant
    due: Instant
    """When the admin that is asked now has taken too long."""
    onward: StreamId | None = None
    reader: FrameReader = field(default_factory=FrameReader)
    is_through: bool = False
    carried: int = 0


@dataclass(slots=True)
class JoinRelays:
    """All joins that this node passes on."""

    participant: Participant
    relays: dict[StreamId, JoinRelay] = field(default_factory=dict)
    """By the joiner's stream."""
    onward: dict[StreamId, JoinRelay] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.relays)

    def owns(self, stream: StreamId) -> bool:
        """Whether a stream is either end of a join that is passed on."""
        return stream in self.relays or stream in self.onward

    def _candidates(self) -> list[NodeId]:
        participant = self.participant
        alive = participant.membership.alive()
        return [node for node in alive if participant.trust.is_admin_id(node)]

    def has_candidates(self) -> bool:
        """Whether there is an admin to ask."""
        return bool(self._candidates())

    def begin(self, now: Now, joiner: StreamId, hello: bytes) -> list[Effect]:
        """Pass a hello on to the first admin."""
        ends = later(now.instant, RELAY_LIMIT_S)
        relay = JoinRelay(joiner, hello, self._candidates(), ends, ends)
        self.relays[joiner] = relay
        self.participant.transport.count("joins_relayed")
        return self._ask_next(now, relay)

    def _ask_next(self, now: Now, relay: JoinRelay) -> list[Effect]:
        effects = self._hang_up(relay)
        bulk = self.participant.bulk
        while relay.admins:
            address = self.participant.transport.links.address(relay.admins.pop(0))
            if address is not None:
                relay.onward = StreamId(next(bulk.ids))
                relay.reader = FrameReader()
                relay.due = later(now.instant, DIAL_LIMIT_S)
                self.onward[relay.onward] = relay
                return [*effects, OpenStream(relay.onward, address)]
        # Perhaps the admin that issued the ticket is away: the joiner had better come again.
        return effects + self._end(relay)

    def _hang_up(self, relay: JoinRelay) -> list[Effect]:
        if relay.onward is None:
            return []
        self.onward.pop(relay.onward, None)
        closed, relay.onward = relay.onward, None
        return [CloseStream(closed)]

    def _end(self, relay: JoinRelay) -> list[Effect]:
        self.relays.pop(relay.joiner, None)
        return [*self._hang_up(relay), CloseStream(relay.joiner)]

    def handle_opened(self, stream: StreamId) -> list[Effect]:
        """An admin is there: say the joiner's hello."""
        return [SendStream(stream, RELAYED_JOIN_MARK + self.onward[stream].hello)]

    def receive_untrusted(self, now: Now, stream: StreamId, data: bytes) -> list[Effect]:
        """Carry bytes from one end to the other."""
        relay = self.relays.get(stream) or self.onward[stream]
        relay.carried += len(data)
        if relay.carried > RELAYED_BYTES_MAX:
            return self._end(relay)
        if stream == relay.joiner:
            is_in_turn = relay.is_through and relay.onward is not None
            return [SendStream(relay.onward, data)] if is_in_turn and relay.onward else []
        if relay.is_through:
            return [SendStream(relay.joiner, data)]
        return self._hear_first(now, relay, data)

    def _hear_first(self, now: Now, relay: JoinRelay, data: bytes) -> list[Effect]:
        """See whether this admin knows the ticket: the only frame that is looked at."""
        try:
            frame = relay.reader.take(data)
        except RemoteError:
            return self._ask_next(now, relay)
        if frame is None:
            return []
        kind, body = frame
        if kind != Kind.ANSWER:
            last = encode_join_frame(Kind.TURNED_AWAY, body)
            if relay.admins or not self._is_everybody_here():
                return self._ask_next(now, relay)
            return [SendStream(relay.joiner, last), *self._end(relay)]
        relay.is_through, relay.due = True, relay.ends
        return [SendStream(relay.joiner, encode_join_frame(Kind.ANSWER, body))]

    def _is_everybody_here(self) -> bool:
        """Whether no admin is away that might have issued the ticket."""
        own = self.participant.author.public_key
        others = [admin for admin in self.participant.trust.admins() if admin.fact.key != own]
        return len(self._candidates()) == len(others)

    def handle_closed(self, stream: StreamId) -> list[Effect]:
        """One end is gone: so is the other, unless another admin is still to be asked."""
        relay = self.relays.get(stream) or self.onward.get(stream)
        if relay is None:
            return []
        if stream == relay.joiner or relay.is_through:
            return self._end(relay)
        relay.due = Instant(0.0)
        return []

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Ask the next admin where one takes too long."""
        effects: list[Effect] = []
        for relay in [relay for relay in self.relays.values() if relay.due <= now.instant]:
            is_over = relay.is_through or relay.ends <= now.instant
            effects += self._end(relay) if is_over else self._ask_next(now, relay)
        return effects

    def next_deadline(self) -> Instant:
        """Return when the next admin has taken too long."""
        if not self.relays:
            return NEVER
        return min(relay.due for relay in self.relays.values())
