"""Wait before acting: a claim may start once everybody knows of it, or had time to object.

Two nodes that claim at the same moment each see only their own claim for as long as the network
takes. So a claimant holds still until every alive peer has acknowledged its claim (then nobody can
know of a greater one that the claimant does not hear of), or, when somebody stays silent, for a
window W. A window shorter than real propagation is worthless, so W is measured: the p99 of the
last pushes from the hand-over to the socket until the acknowledgement.

W is enough while most peers have acknowledged: whatever one message could not tell, another has
told. Who has heard of fewer than half of the others may be the one whose messages are lost, and
waits `SILENT_WINDOWS` times as long, in which they are sent again.

Silence is not all that a peer can answer. One whose own greater claim waits for its disk may not
tell it yet, and disks stand still for longer than any window: it objects, and is waited for up to
`settle_ceiling_s`.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mesh.core.effects import CommitNumber
from mesh.core.gossip.vocabulary import PushNumber
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import ClaimParams

SILENT_WINDOWS = 3
TRUSTED_SAMPLES = 100
"""Below so many samples their p99 says little: the first value remains the least."""


@dataclass(slots=True)
class Samples:
    """How long acknowledgements took, and the window that follows from it."""

    params: ClaimParams
    _recent: deque[float] = field(default_factory=deque)
    _sorted: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, delay_s: float) -> None:
        """Count one acknowledgement; beyond `settle_samples` the oldest goes."""
        self._recent.append(delay_s)
        insort(self._sorted, delay_s)
        if len(self._recent) > self.params.settle_samples:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]

    def window_s(self) -> float:
        """Return W: the p99 of the samples (nearest rank), within floor and ceiling."""
        params = self.params
        count = len(self._sorted)
        measured = self._sorted[-(-99 * count // 100) - 1] if count else 0.0
        low = params.settle_floor_s
        if count < TRUSTED_SAMPLES:
            low = max(low, params.settle_first_s)
        return min(max(low, measured), params.settle_ceiling_s)


@dataclass(slots=True)
class Settle:
    """One push of a claim under way: is it on disk, has it left, and who acknowledged it?"""

    push: PushNumber
    commit: CommitNumber
    acknowledged: dict[NodeId, None] = field(default_factory=dict)
    hold_s: float = 0.0
    """How long it rests in any case before the window opens: bids in an auction do."""
    handed_over: Instant | None = None
    window_s: float = 0.0
    objections: dict[NodeId, Instant] = field(default_factory=dict)
    """Who knows of a greater claim, and until when it is waited for their word or receipt."""

    def hand_over(self, at: Instant, window_s: float) -> None:
        """The push's own commit is done: it leaves the node now, and the window opens."""
        self.handed_over = at
        self.window_s = window_s

    def acknowledge(self, peer: NodeId, at: Instant) -> float | None:
        """Count a peer; returns how long it took, once per peer and only after the hand-over."""
        if self.handed_over is None or peer in self.acknowledged:
            return None
        self.acknowledged[peer] = None
        return at - self.handed_over

    def object(self, peer: NodeId, until: Instant) -> None:
        """Hear that a peer knows of a greater claim; to say so again prolongs nothing."""
        self.objections.setdefault(peer, until)

    def deadline(self, at: Instant) -> Instant:
        """Return the next moment at which the wait may be over, or the last if all have passed."""
        if self.handed_over is None:
            return NEVER
        opens = later(self.handed_over, self.hold_s)
        windows = [later(opens, count * self.window_s) for count in (0, 1, SILENT_WINDOWS)]
        ends = [*windows, *self.objections.values()]
        return min((end for end in ends if end > at), default=max(ends))

    def known_to(self, alive: Iterable[NodeId]) -> bool:
        """Whether every alive peer acknowledged; true when there is none."""
        return all(peer in self.acknowledged for peer in alive)

    def may_start(self, at: Instant, alive: Iterable[NodeId]) -> bool:
        """Whether the wait is over, as far as time and peers go."""
        if self.handed_over is None:
            return False
        peers = list(alive)
        silent = [peer for peer in peers if peer not in self.acknowledged]
        if any(self.objections.get(peer, at) > at for peer in silent):
            return False
        windows = 0 if not silent else 1 if 2 * len(silent) < len(peers) else SILENT_WINDOWS
        return at >= later(self.handed_over, self.hold_s + windows * self.window_s)

    def restart(self, at: Instant, window_s: float, fresh: Iterable[NodeId]) -> None:
        """Wait anew after the host slept: only peers heard since then still count."""
        heard = dict.fromkeys(fresh)
        self.acknowledged = {peer: None for peer in self.acknowledged if peer in heard}
        if self.handed_over is not None:
            self.hand_over(at, window_s)


@dataclass(slots=True)
class Copies:
    """A durable write under way: on how many disks is it, and is that enough?"""

    push: PushNumber
    wanted: int
    deadline: Instant
    has_bytes: bool = True
    """Whether this node holds what the write names: not so when it reopens a task of others."""
    committed: bool = False
    durable: dict[NodeId, None] = field(default_factory=dict)
    without: dict[NodeId, None] = field(default_factory=dict)
    """Who said that it has the fact alone, and is not fetching the bytes that this names."""

    def acknowledge(self, peer: NodeId, *, durable: bool) -> None:
        """A peer has said whether it is a copy."""
        if durable:
            self.durable[peer] = None
            self.without.pop(peer, None)
        elif peer not in self.durable:
            self.without[peer] = None

    @property
    def count(self) -> int:
        """How many nodes are known to hold it on disk."""
        return (self.committed and self.has_bytes) + len(self.durable)

    def is_over(self, at: Instant, alive: Sequence[NodeId]) -> bool:
        """Whether to answer: enough copies, nobody there to make another, or it took too long."""
        if not self.committed:
            return False
        able = 1 + sum(peer not in self.without for peer in alive)
        return self.count >= min(self.wanted, able) or at >= self.deadline
