"""Rumours: a new fact goes whole to a few peers, then its id to a few more, who pull it.

The first wave reaches nearly everybody in about log(N) ticks; announcing the id afterwards costs
8 bytes instead of another copy and finds those whom chance or loss left out (Leitao, "Epidemic
Broadcast Trees", 2007, without the trees). All of it fits a budget; what exceeds it waits, and
what exceeds the queue is dropped, oldest first: comparing digests repairs that.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mesh.core.bucket import Bucket
from mesh.core.gossip.holdings import Holdings
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import SHORT_BYTES, EagerFacts, Have, PulledFacts
from mesh.core.gossip.post import Post, pack_bodies
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import FactId, NodeId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import GossipParams
from mesh.core.rng import Rng
from mesh.core.wire.frame import BODY_BYTES_MAX

TASKS_SHARE = 0.4
"""Of the budget, reserved for application facts when both families wait."""
EAGER, BY_ID = 0, 1
"""Stages of a rumour: whole, then by id for some ticks."""


class Rumour(NamedTuple):
    """A fact on its way to others."""

    encoded: bytes
    relay: NodeId | None
    """Who told us: it needs no copy."""
    urgent: bool = False
    """It goes ahead of the others, and is never dropped for them."""


Stages = list[dict[FactId, Rumour]]


class Spreader:
    """The queue of rumours, by stage: 0 goes whole, 1..lazy_ticks go by id."""

    def __init__(self, params: GossipParams, rng: Rng, holdings: Holdings, post: Post) -> None:
        self._params, self._rng = params, rng
        self._holdings, self._post = holdings, post
        self._peers: Sequence[NodeId] = ()
        self._queues: tuple[Stages, Stages] = (
            [{} for _ in range(params.lazy_ticks + 1)],
            [{} for _ in range(params.lazy_ticks + 1)],
        )
        self._count = 0
        self._bucket = Bucket(params.spread_bytes_s, params.spread_burst_bytes)
        self._phase = rng.uniform(0, params.tick_s)
        self._due = NEVER
        self._is_behind = False
        """Whether facts wait to be sent whole for which there was no budget at the last tick."""

    def set_peers(self, peers: Sequence[NodeId]) -> None:
        """Say among whom to choose."""
        self._peers = peers

    def add(self, now: Instant, family: Family, id_: FactId, rumour: Rumour, stage: int) -> None:
        """Spread a held fact: whole from stage 0, by id alone from stage 1 on."""
        stages = self._queues[family]
        if any(id_ in waiting for waiting in stages):
            return
        if rumour.urgent:
            stages[stage] = {id_: rumour, **stages[stage]}
        else:
            stages[stage][id_] = rumour
        self._count += 1
        if self._count > self._params.queue_items_max:
            self._drop_oldest()
        if self._due == NEVER:
            self._due = self._next_tick(now)

    def cancel(self, family: Family, id_: FactId) -> None:
        """Stop spreading a fact that is no longer held."""
        for stage in self._queues[family]:
            if stage.pop(id_, None) is not None:
                self._count -= 1

    def note_known(self, family: Family, ids: Iterable[FactId]) -> None:
        """Others pass these facts on too: those for which there is no budget are only announced.

        After a thousand nodes have joined at once this is most of what waits here.
        """
        if not self._is_behind:
            return
        stages = self._queues[family]
        for id_ in ids:
            rumour = stages[EAGER].get(id_)
            if rumour is not None and not rumour.urgent:
                stages[BY_ID][id_] = stages[EAGER].pop(id_)

    def next_deadline(self) -> Instant:
        """Return the next tick, if it has anything to do."""
        return self._due if self._peers else NEVER

    def handle_timeout(self, now: Instant) -> None:
        """Do one tick if it is due."""
        if now < self._due or not self._peers:
            return
        members, tasks = (self._waits(family) for family in Family)
        budget = self._bucket.left(now)
        reserved = TASKS_SHARE * budget if members and tasks else 0
        spent = self._spend(Family.MEMBERS, budget - reserved)
        spent += self._spend(Family.TASKS, budget - spent)
        if reserved:
            spent += self._spend(Family.MEMBERS, budget - spent)
        if spent:
            self._bucket.take(now, spent)
        self._is_behind = any(stages[EAGER] for stages in self._queues)
        self._due = self._next_tick(now) if self._count else NEVER

    def handle_pull(self, now: Instant, peer: NodeId, family: Family, ids: Sequence[bytes]) -> None:
        """A peer asks for announced facts: send them, within the budget."""
        store = self._holdings[family]
        found = [id_ for cut in ids for id_ in store.find(cut)]
        items = []
        for verified in self._holdings.sendable(family, found):
            encoded = Item(Form.SINGLE, verified.signed.encode()).encode()
            if not self._bucket.take(now, len(encoded)):
                self._post.count("pulls_refused")
                break
            items.append(encoded)
        self._post.count("pulled", len(items))
        self._post.send_entries(peer, PulledFacts, bytes((family,)), items)

    def _next_tick(self, now: Instant) -> Instant:
        tick = self._params.tick_s
        due = self._phase + ((now - self._phase) // tick + 1) * tick
        return Instant(due) if due > now else later(now, tick)

    def _waits(self, family: Family) -> bool:
        return any(self._queues[family])

    def _drop_oldest(self) -> None:
        """Drop what is nearest to having been spread, of the family that has more waiting."""
        sizes = [sum(map(len, self._queues[family])) for family in Family]
        stages = self._queues[sizes.index(max(sizes))]
        oldest = next(stage for stage in reversed(stages) if stage)
        patient = (id_ for id_, rumour in oldest.items() if not rumour.urgent)
        del oldest[next(patient, next(iter(oldest)))]
        self._count -= 1
        self._post.count("spread_dropped")

    def _spend(self, family: Family, budget: float) -> float:
        """Move rumours on by one stage as far as the budget goes; returns the bytes spent."""
        stages = self._queues[family]
        told, spent = self._send_eager(family, budget)
        for stage in range(len(stages) - 1, EAGER, -1):
            spent += self._send_lazy(family, stage, budget - spent)
        stages[BY_ID].update(told)
        return spent

    def _choose(self, count: int) -> list[NodeId]:
        return self._rng.sample(self._peers, min(count, len(self._peers)))

    def _send_eager(self, family: Family, budget: float) -> tuple[dict[FactId, Rumour], float]:
        """Send new facts whole; returns those that were sent, and the bytes."""
        fresh = self._queues[family][EAGER]
        told: dict[FactId, Rumour] = {}
        if not fresh or budget <= 0:
            return told, 0
        targets, spent = self._choose(self._params.eager_peers), 0
        parcels: dict[NodeId, list[bytes]] = {peer: [] for peer in targets}
        while fresh and spent < budget:
            id_ = next(iter(fresh))
            told[id_] = rumour = fresh.pop(id_)
            item = Item(Form.SINGLE, rumour.encoded).encode()
            for peer, parcel in parcels.items():
                if peer != rumour.relay:
                    parcel.append(item)
                    spent += len(item)
        for peer, parcel in parcels.items():
            self._post.count("eager", len(parcel))
            self._post.send_entries(peer, EagerFacts, bytes((family,)), parcel)
        return told, spent

    def _send_lazy(self, family: Family, stage: int, budget: float) -> float:
        """Announce facts by id and move them to the next stage, or out after the last."""
        stages = self._queues[family]
        targets = self._choose(self._params.lazy_peers)
        room = max(0, int(budget // (SHORT_BYTES * len(targets))))
        ids = list(stages[stage])[:room]
        if not ids:
            return 0
        cuts = [id_[:SHORT_BYTES] for id_ in ids]
        for peer in targets:
            self._post.count("lazy", len(cuts))
            for body in pack_bodies(bytes((family,)), cuts, BODY_BYTES_MAX):
                self._post.send(peer, Have, body)
        for id_ in ids:
            rumour = stages[stage].pop(id_)
            if stage + 1 < len(stages):
                stages[stage + 1][id_] = rumour
            else:
                self._count -= 1
        return len(ids) * SHORT_BYTES * len(targets)
