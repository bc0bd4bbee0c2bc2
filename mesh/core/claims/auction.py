"""Auctions: the claim is the bid, and its rank carries the score.

Everybody who wants the task claims it, with the score in the sixteen bits above the lot that every
rank is. The greatest rank owns, as ever: so the winner is the same everywhere, ties are decided by
the lot, and bidding takes no message beyond the claims. What is special is only the wait: nobody
starts before the bid window and a guard for the last bid under way have passed since its own bid,
and nobody bids later than a window after it first saw the task open, or once the owner has begun.

When a winner dies, what ends its claim opens the next epoch, and that is an auction again.

An agent bids the same for all, or looks at each task first. The latter is asked for its bid when
the auction opens, or when its node comes upon the task for it, and stays away until it has said.
"""

from base64 import b64encode
from dataclasses import dataclass, field

from mesh.core.claims.allocation import score_of
from mesh.core.claims.capability import score as tags_met
from mesh.core.claims.exchange_views import blob_view, moment
from mesh.core.claims.facts import Allocation, Spec
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.record import Record
from mesh.core.claims.sessions import Bid, Session
from mesh.core.claims.waiters import ClaimWaiter
from mesh.core.effects import Json
from mesh.core.identity import NodeId, TaskId, task_text
from mesh.core.instants import Instant, Now, later
from mesh.core.params import ClaimParams
from mesh.core.snapshot import TaskState

SCORE_PER_TAG = 1000
"""What an agent bids that names no score: so much for each preferred tag of its node."""
GUARD_WINDOWS = 2
"""A bid that was made at the last moment has so many settle windows to arrive."""
ASK_AGAIN_S = 30.0
"""An agent that was asked for its bid and has said nothing is asked once more after so long."""
NO_BID = -1
MS = 1000


def is_auction(spec: Spec) -> bool:
    """Whether a task goes to who bids most."""
    return spec.allocation == Allocation.AUCTION


def bid_window_s(spec: Spec, params: ClaimParams) -> float:
    """Return how long bids are awaited."""
    return spec.bid_window_ms / MS if spec.bid_window_ms else params.bid_window_s


@dataclass(slots=True)
class Auctions:
    """Since when this node knows which auctions are open."""

    ledger: Ledger
    _seen: dict[TaskId, tuple[int, Instant]] = field(default_factory=dict)

    def see(self, now: Now, record: Record, epoch: int) -> None:
        """A task may be bid on in an epoch; agents that wait for its kind are told once."""
        known = self._seen.get(record.task)
        if known is not None and known[0] == epoch:
            return
        self._seen[record.task] = (epoch, now.instant)
        assert record.spec is not None
        self.ledger.parts.outbox.notify("task.auction", self._told(record))
        for agent in self.ledger.sessions.attached(record.spec.fact.kind):
            self._invite(now, record, agent)

    def hear(self, now: Now, task: TaskId) -> None:
        """A bid came as it was made: if it is the first, its auction is open here from now on.

        The task itself may have come in a roundabout way, and rest; its winner starts no earlier
        than a bid window from now.
        """
        record = self.ledger.known(task)
        if record.task in self._seen or record.owner is None or len(record.claims) != 1:
            return
        if record.spec is not None and is_auction(record.spec.fact):
            self.see(now, record, record.epoch)

    def _invite(self, now: Now, record: Record, agent: Session) -> None:
        """Ask an agent for its bid: what it has said of an earlier epoch is out of date."""
        agent.set_bid(record.task, Bid(now.instant, None))
        self.ledger.parts.outbox.notify("task.auction", self._told(record), agent.client)

    def _told(self, record: Record) -> dict[str, Json]:
        assert record.spec is not None
        spec = record.spec.fact
        return {
            "task": task_text(record.task),
            "kind": spec.kind,
            "payload": b64encode(spec.payload).decode(),
            "blob": blob_view(spec.blob),
            "prefers": dict(spec.prefers),
            "window_s": bid_window_s(spec, self.ledger.parts.params),
            "created_at": moment(spec.created_ms),
        }

    def asked(self, now: Now, waiter: ClaimWaiter, record: Record) -> int | None:
        """Return what a client asks to bid for a task, None: what tags are worth; or NO_BID."""
        command = waiter.command
        assert record.spec is not None
        if not command.by_task or waiter.task is not None or not is_auction(record.spec.fact):
            return command.score
        agent = self.ledger.sessions.session(waiter.asker.client)
        if agent is None:
            return NO_BID
        said = agent.bids.get(record.task)
        if said is None or (said.score is None and said.since + ASK_AGAIN_S <= now.instant):
            self._invite(now, record, agent)
            return NO_BID
        return NO_BID if said.score is None else said.score

    def forget(self, task: TaskId) -> None:
        """A task is over."""
        if self._seen.pop(task, None) is not None:
            for agent in self.ledger.sessions.agents():
                agent.bids.pop(task, None)

    def closes(self, now: Now, record: Record) -> Instant | None:
        """Return until when this node may outbid the owner; None: it may not.

        When an owner is replaced, others may see the task open before this node does. Then the
        first bid that is heard of opens it here too, if this node knew of the bids before.
        """
        owner = record.owner
        if record.spec is None or owner is None or not is_auction(record.spec.fact):
            return None
        seen = self._seen.get(record.task)
        is_open = record.state is TaskState.WORKING and not owner.started
        bids_max = self.ledger.parts.params.claims_per_epoch_max
        if not is_open or seen is None or self._bids(record) >= bids_max:
            return None
        if seen[0] + 1 == record.epoch:
            self.see(now, record, record.epoch)
            seen = (record.epoch, now.instant)
        if seen[0] != record.epoch:
            return None
        window_s = bid_window_s(record.spec.fact, self.ledger.parts.params)
        return later(seen[1], window_s)

    def _bids(self, record: Record) -> int:
        """Return how often this node has bid in this epoch: once for each agent that bids more."""
        me = self.ledger.self_id
        return sum(
            view.fact.author == me and view.fact.fact.epoch == record.epoch
            for view in record.claims
        )

    def bid(self, record: Record, asked: int | None) -> int:
        """Return what an agent of this node bids: what it asks for, or what the tags are worth."""
        assert record.spec is not None
        if asked is not None:
            return asked
        tags = self.ledger.parts.liveness.tags(self.ledger.self_id)
        return SCORE_PER_TAG * tags_met(tags, record.spec.fact.prefers)

    def hold_s(self, spec: Spec) -> float:
        """Return how long a bid rests before it may start: bids made meanwhile may be greater."""
        if not is_auction(spec):
            return 0.0
        guard_s = GUARD_WINDOWS * self.ledger.samples.window_s()
        return bid_window_s(spec, self.ledger.parts.params) + guard_s


def bids(record: Record) -> list[tuple[NodeId, str, int]]:
    """Return who has bid how much in the present epoch, the greatest first."""
    return [
        (view.fact.author, view.fact.fact.agent, score_of(view.fact.fact.rank))
        for view in reversed(record.claims)
        if view.valid and view.fact.fact.epoch == record.epoch
    ]
