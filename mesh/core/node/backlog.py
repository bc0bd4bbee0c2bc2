"""What costs signatures waits its turn: a queue for each peer, and so many checks in one go.

Opening a datagram costs a few microseconds, checking a signature eighty. So whatever may hold
signatures of others is handled at once only as long as the turn has checks left; the rest waits,
each peer's by itself, while probes and answers pass. The queues are emptied in turns too, one
message of each peer after the other: who sends the most delays nobody but itself, and loses what
its queue has no room for.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.core.gossip.messages import EagerFacts, PulledFacts, Push, SyncFacts, ToldFacts
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.membership.messages import Accuse
from mesh.core.params import LinkParams
from mesh.core.wire.envelope import Verifier

COSTLY_KINDS = tuple(
    kind.KIND for kind in (Push, EagerFacts, ToldFacts, PulledFacts, SyncFacts, Accuse)
)
"""Messages that hold facts of anybody; of all others none costs a signature."""
PAUSE_S = 0.001
"""Between two turns in which a queue is emptied everything else has its chance."""
MESSAGE_BYTES = 64
"""What a message in a queue takes up beside its body."""


@dataclass(slots=True)
class Queue:
    """Messages of one peer, oldest first."""

    messages: deque[tuple[int, bytes]] = field(default_factory=deque)
    size: int = 0
    """In bytes."""


@dataclass(slots=True)
class Backlog:
    """Messages that wait until signatures may be checked again."""

    params: LinkParams
    verifier: Verifier
    handle: Callable[[Now, NodeId, int, bytes], object]
    """Takes a message whose turn it is."""
    count: Callable[[str], None]
    _queues: OrderedDict[NodeId, Queue] = field(default_factory=OrderedDict)
    """By peer, whose turn is next first; none is empty."""
    _begun: int = 0
    """How many checks there had been when the turn began."""
    _due: Instant = NEVER

    def begin_turn(self) -> None:
        """From now on so many more signatures may be checked."""
        self._begun = self.verifier.verifications

    @property
    def has_checks_left(self) -> bool:
        """Whether one more message may be looked at in this turn."""
        return self.verifier.verifications - self._begun < self.params.checks_per_turn

    def must_wait(self, peer: NodeId, kind: int) -> bool:
        """Whether a message has to be put into the queue of its peer."""
        return kind in COSTLY_KINDS and (peer in self._queues or not self.has_checks_left)

    def put(self, now: Now, peer: NodeId, kind: int, body: bytes) -> None:
        """Let a message wait; what finds no room is lost, and comes again by other ways."""
        queue = self._queues.get(peer) or Queue()
        size = len(body) + MESSAGE_BYTES
        if queue.size + size > self.params.waiting_bytes_max:
            self.count("backlog_dropped")
            return
        queue.messages.append((kind, body))
        queue.size += size
        self._queues[peer] = queue
        self.count("backlog_waited")
        if self._due == NEVER:
            self._due = later(now.instant, PAUSE_S)

    def serve(self, now: Now) -> None:
        """Handle what waits, a message of each peer in turn, while the turn has checks left."""
        while self._queues and self.has_checks_left:
            peer, queue = self._queues.popitem(last=False)
            kind, body = queue.messages.popleft()
            queue.size -= len(body) + MESSAGE_BYTES
            if queue.messages:
                self._queues[peer] = queue
            self.handle(now, peer, kind, body)
        self._due = later(now.instant, PAUSE_S) if self._queues else NEVER

    def forget(self, peer: NodeId) -> None:
        """Somebody is no member any more."""
        self._queues.pop(peer, None)

    def next_deadline(self) -> Instant:
        """Return when something is to be served."""
        return self._due

    def sizes(self) -> tuple[tuple[str, int, int], ...]:
        """Return (name, bytes, cap) of the longest queue."""
        longest = max((queue.size for queue in self._queues.values()), default=0)
        return (("backlog of one peer", longest, self.params.waiting_bytes_max),)
