"""Spreading signed facts until every node holds the same ones."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mesh.core.effects import CommitNumber
from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.awaiting import Awaiting, Withheld
from mesh.core.gossip.holdings import holdings_of
from mesh.core.gossip.intake import Accepted, Intake, Taken
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import (
    SHORT_BYTES,
    EagerFacts,
    Facts,
    Have,
    Pull,
    PulledFacts,
    Push,
    PushAck,
    PushObjection,
    Section,
    SyncFacts,
    SyncIds,
    SyncRanges,
    SyncWant,
    ToldFacts,
)
from mesh.core.gossip.post import Post
from mesh.core.gossip.pulls import Pulls
from mesh.core.gossip.push import Acknowledger, Publication, Pusher
from mesh.core.gossip.reconcile import Reconciler
from mesh.core.gossip.spreader import BY_ID, EAGER, Rumour, Spreader
from mesh.core.gossip.vocabulary import Doubt, Family, GossipParts, PushNumber, Receiver, Want
from mesh.core.identity import BlobId, FactId, NodeId
from mesh.core.instants import Instant, Now
from mesh.core.outbox import BULK_BYTES_MAX
from mesh.core.wire.envelope import Verified
from mesh.core.wire.frame import BODY_BYTES_MAX

__all__ = ["Family", "Gossip", "GossipParts", "PushNumber", "Receiver", "Want"]

Handler = Callable[[Now, NodeId, bytes], None]


class _Unsent(NamedTuple):
    """Something that may leave the node once a commit is done."""

    commit: CommitNumber
    publication: Publication
    peer: NodeId | None
    """Told to this peer alone; None: spread."""


class Gossip:
    """The facts this node holds, and everything it does to make others hold them too."""

    def __init__(self, parts: GossipParts) -> None:
        params, rng = parts.params, parts.rng
        self._params, self._rng = params, rng
        self._receiver = parts.receiver
        self._author = parts.author
        self._self = parts.author.id
        self._peers: tuple[NodeId, ...] = ()
        self._unsent: deque[_Unsent] = deque()
        self.is_reconciling = False
        """Whether the facts that come in now are told by a peer that had more than this node."""
        self._post = Post(parts.outbox)
        holdings = holdings_of(parts.verifier.mesh, parts.outbox, params.seen_max)
        self._holdings = holdings
        judges = (parts.verifier, parts.receiver)
        self._intake = Intake(judges, holdings, self._post, params.parked_max)
        self._spreader = Spreader(params, rng, holdings, self._post)
        self._pulls = Pulls(params, holdings, self._post)
        self._pusher = Pusher(params, rng, self._post)
        self._acknowledger = Acknowledger(holdings.journal, self._post, params.queue_items_max)
        self._awaiting = Awaiting(params.queue_items_max, self._post)
        self._reconciler = Reconciler(params, holdings, self._post)
        self._handlers: dict[int, Handler] = {
            Push.KIND: self._handle_push,
            PushAck.KIND: self._handle_ack,
            PushObjection.KIND: self._handle_objection,
            EagerFacts.KIND: self._handle_facts,
            PulledFacts.KIND: self._handle_pulled,
            ToldFacts.KIND: self._handle_facts,
            Have.KIND: self._handle_have,
            Pull.KIND: self._handle_pull,
            SyncRanges.KIND: self._handle_ranges,
            SyncIds.KIND: self._handle_ids,
            SyncWant.KIND: self._handle_want,
            SyncFacts.KIND: self._handle_sync_facts,
        }

    # What is held

    def holds(self, family: Family, id_: FactId) -> bool:
        """Whether a fact is held."""
        return id_ in self._holdings[family]

    def get(self, family: Family, id_: FactId) -> Verified[Any] | None:
        """Return a held fact."""
        return self._holdings[family].get(id_)

    def facts(self, family: Family) -> Iterable[Verified[Any]]:
        """Return all held facts, in the order in which they came to be held."""
        return self._holdings[family].facts()

    def ids(self, family: Family) -> tuple[FactId, ...]:
        """Return the ids of all held facts, sorted."""
        return self._holdings[family].ids()

    def digest(self, family: Family) -> int:
        """Return 64 bits that are equal for equal sets of held facts."""
        return self._holdings[family].tree.fingerprint

    def restore(self, family: Family, verified: Verified[Any]) -> None:
        """Hold a fact from disk: neither committed nor spread."""
        self._holdings[family].hold(verified)
        verified.shed_payload()

    def drop(self, family: Family, id_: FactId) -> None:
        """Let go of a dominated fact, on disk too; it is not taken in again."""
        if self._holdings[family].release(id_):
            self._holdings.journal.erase(family, id_)
            self._spreader.cancel(family, id_)

    def forget_refused(self) -> None:
        """Take a second look at whatever was not kept, should it come again."""
        for store in self._holdings.stores:
            store.forget_remembered()

    def forget(self, family: Family, ids: Iterable[FactId]) -> bool:
        """Let go of facts that are over, on disk too, and of the memory that they ever were.

        False, with nothing changed, while one of them is still on its way to the disk.
        """
        held = [id_ for id_ in ids if self.holds(family, id_)]
        if not all(self._holdings.journal.may_leave(family, id_) for id_ in held):
            return False
        for id_ in held:
            self._holdings[family].discard(id_)
            self._holdings.journal.erase(family, id_)
            self._spreader.cancel(family, id_)
        return True

    # What is said

    def sign_drafts(self) -> None:
        """Sign the drafts among what was published: their commit is about to be handed over."""
        if self._holdings.journal.has_drafts:
            self._holdings.journal.sign_drafts(self._author)

    def publish(
        self,
        now: Now,
        family: Family,
        facts: Sequence[Verified[Any]],
        want: Want = Want.NOTHING,
    ) -> PushNumber:
        """Hold and commit facts now; they leave the node once their commit is done.

        Drafts are signed by `sign_drafts`, together, before their commit is handed over.

        With more peers than are pushed to, only a few are asked for the wanted answer.
        """
        assert facts
        held = []
        for verified in facts:
            self._holdings.hold_own(family, verified)
            # Of two drafts of one fact only the first is signed.
            held.append(self.get(family, verified.signed.id) or verified)
        number = self._pusher.mint()
        self._leave_later(now, Publication(number, family, tuple(held), want), None)
        return number

    def tell(self, now: Now, peer: NodeId, family: Family, ids: Sequence[FactId]) -> None:
        """Send held facts to one peer: at once, or as soon as they are on disk."""
        store, journal = self._holdings[family], self._holdings.journal
        facts = [verified for verified in map(store.get, ids) if verified is not None]
        written = [verified for verified in facts if journal.may_leave(family, verified.id)]
        if written:
            self._tell(peer, family, written)
        if len(written) < len(facts):
            held_back = [v for v in facts if not journal.may_leave(family, v.id)]
            nothing = Publication(self._pusher.mint(), family, tuple(held_back), Want.NOTHING)
            self._leave_later(now, nothing, peer)

    def set_peers(self, alive: Sequence[NodeId]) -> None:
        """Say who is there to be told."""
        peers = dict.fromkeys(peer for peer in alive if peer != self._self)
        self._peers = tuple(peers)
        self._spreader.set_peers(self._peers)
        self._pusher.set_peers(peers)

    def start_sync(self, now: Now, peer: NodeId) -> None:
        """Compare everything with a peer at once: after a join, or when a partition heals."""
        self._reconciler.start(now.instant, peer)

    # What happens

    def handle_message(self, now: Now, peer: NodeId, kind: int, body: bytes) -> None:
        """Take a message of gossip; raises RemoteError after what was good in it has counted."""
        handler = self._handlers.get(kind)
        if handler is None:
            raise RemoteError(Refusal.MALFORMED, f"gossip knows no message {kind}")
        if len(body) > BULK_BYTES_MAX:
            raise RemoteError(Refusal.TOO_LARGE, f"{len(body)} bytes of gossip")
        self._post.count("received_bytes", len(body))
        handler(now, peer, body)

    def handle_digests(self, now: Now, peer: NodeId, members: int, tasks: int) -> None:
        """Compare with a peer's digests, from each of its pings and acks."""
        self._reconciler.handle_digests(now.instant, peer, (members, tasks))

    def handle_committed(self, now: Now, number: CommitNumber) -> None:
        """Everything up to this commit is on disk: what waited for it leaves."""
        self._holdings.journal.handle_committed(number)
        self._acknowledger.handle_committed()
        self._let_go(now)

    def handle_timeout(self, now: Now) -> None:
        """Do what is due."""
        self._tell_what_followed(now)
        self._pusher.handle_timeout(now.instant)
        self._spreader.handle_timeout(now.instant)
        self._pulls.handle_timeout(now.instant)
        self._reconciler.handle_timeout(now.instant)

    def next_deadline(self) -> Instant:
        """Return when something is due next."""
        return min(
            self._pusher.next_deadline(),
            self._spreader.next_deadline(),
            self._pulls.next_deadline(),
            self._reconciler.next_deadline(),
        )

    def counters(self) -> dict[str, int]:
        """Return what happened so far."""
        return self._post.counters()

    # What waits for the disk

    def _leave_later(self, now: Now, publication: Publication, peer: NodeId | None) -> None:
        self._holdings.journal.hurry()
        self._unsent.append(_Unsent(self._holdings.journal.last, publication, peer))
        self._let_go(now)

    def _let_go(self, now: Now) -> None:
        """Send what is on disk."""
        done = self._holdings.journal.done
        ready: list[Publication] = []
        while self._unsent and self._unsent[0].commit <= done:
            _, publication, peer = self._unsent.popleft()
            if peer is None:
                ready.append(publication)
            else:
                self._tell(peer, publication.family, publication.facts)
        if ready:
            self._send(now, ready)
            for publication in ready:
                for verified in publication.facts:
                    verified.shed_payload()

    def _send(self, now: Now, publications: Sequence[Publication]) -> None:
        """Push task facts to everybody where that is few, and let everything else get about."""
        few = self._pushes_to_all()
        pushed = [p for p in publications if p.family is Family.TASKS and (few or p.want)]
        if few:
            self._pusher.start(now.instant, pushed, self._peers)
        else:
            self._push_to_some(now, pushed)
        for publication in publications:
            if publication.family is Family.MEMBERS or not few:
                self._spread_own(now, publication)

    def _push_to_some(self, now: Now, publications: Sequence[Publication]) -> None:
        """Ask a few for the wanted answers, and those that will have the bytes as well."""
        some = tuple(self._some_peers())
        by_targets: dict[tuple[NodeId, ...], list[Publication]] = {}
        for publication in publications:
            keepers = [p for v in publication.facts for p in self._receiver.keepers(v)]
            targets = tuple(dict.fromkeys((*some, *keepers)))
            by_targets.setdefault(targets, []).append(publication)
        for targets, alike in by_targets.items():
            self._pusher.start(now.instant, alike, targets)

    def _spread_own(self, now: Now, publication: Publication) -> None:
        family = publication.family
        for verified in publication.facts:
            if self.holds(family, verified.id):
                rumour = Rumour(verified.signed.encode(), None, verified.fact.URGENT)
                self._spreader.add(now.instant, family, verified.id, rumour, EAGER)

    def _tell(self, peer: NodeId, family: Family, facts: Sequence[Verified[Any]]) -> None:
        items = [Item(Form.SINGLE, verified.signed.encode()).encode() for verified in facts]
        self._post.count("told", len(items))
        self._post.send_entries(peer, ToldFacts, bytes((family,)), items)

    def _tell_what_followed(self, now: Now) -> None:
        """Tell those to whom a push is sent again what came of it, so that it looks not new."""
        for sent, peers in self._pusher.overdue(now.instant):
            ids = [id_ for fact in sent.facts for id_ in self._receiver.followed_by(fact)]
            for peer in peers if ids else ():
                self.tell(now, peer, sent.family, ids)

    def _pushes_to_all(self) -> bool:
        return len(self._peers) <= self._params.push_all_max

    def _some_peers(self) -> list[NodeId]:
        return self._rng.sample(self._peers, min(self._params.eager_peers, len(self._peers)))

    # What comes in

    def _forward(self, now: Now, accepted: Sequence[Accepted], stage: int) -> None:
        """Spread foreign facts further, unless their authors push them to everybody."""
        few = self._pushes_to_all()
        for family, verified, encoded, relay in accepted:
            self._pulls.handle_arrived(family, verified.signed.id)
            if few and family is Family.TASKS:
                continue
            if self.holds(family, verified.id):
                rumour = Rumour(encoded, relay, verified.fact.URGENT)
                self._spreader.add(now.instant, family, verified.id, rumour, stage)

    def _take_in(self, now: Now, family: Family, items: tuple[Item, ...], peer: NodeId) -> Taken:
        """Judge facts that are news to others as well, and spread what is kept."""
        taken = self._intake.take(now, family, items, peer)
        self._pass_on(now, family, taken)
        return taken

    def _pass_on(self, now: Now, family: Family, taken: Taken) -> None:
        self._spreader.note_known(family, taken.ids)
        self._forward(now, taken.accepted, EAGER)

    def _take_repairs(self, now: Now, message: Facts, peer: NodeId) -> Taken:
        """Judge facts that a peer had more of, as a comparison has shown."""
        self.is_reconciling = True
        try:
            taken = self._intake.take(now, message.family, message.items, peer)
        finally:
            self.is_reconciling = False
        self._reconciler.note_repaired(peer, len(taken.accepted))
        return taken

    def _handle_facts(self, now: Now, peer: NodeId, body: bytes) -> None:
        message = EagerFacts.decode_untrusted(body)
        _raise(self._take_in(now, message.family, message.items, peer))

    def _handle_pulled(self, now: Now, peer: NodeId, body: bytes) -> None:
        message = PulledFacts.decode_untrusted(body)
        if self._reconciler.runs(now.instant, peer):
            # A comparison only announces facts to whom they were sent whole in vain.
            taken = self._take_repairs(now, message, peer)
            self._pass_on(now, message.family, taken)
        else:
            taken = self._take_in(now, message.family, message.items, peer)
        came = [accepted.verified for accepted in taken.accepted]
        self._ask_for_the_base(now, message.family, came, peer)
        _raise(taken)

    def _handle_sync_facts(self, now: Now, peer: NodeId, body: bytes) -> None:
        message = SyncFacts.decode_untrusted(body)
        self._reconciler.touch(now.instant, peer)
        taken = self._take_repairs(now, message, peer)
        if len(body) <= BODY_BYTES_MAX:
            # A few facts may be news to others too; many are a join or a heal, where everybody
            # compares.
            self._forward(now, taken.accepted, BY_ID)
        _raise(taken)

    def _handle_push(self, now: Now, peer: NodeId, body: bytes) -> None:
        message = Push.decode_untrusted(body)
        error: RemoteError | None = None
        judged = []
        for section in message.sections:
            taken = self._take_in(now, message.family, section.items, peer)
            if taken.error is None and not self._objects(now, message.family, section, taken, peer):
                judged.append(section)
            error = error or taken.error
        self._acknowledger.owe(peer, judged)
        if error is not None:
            raise error

    def _objects(
        self, now: Now, family: Family, section: Section, taken: Taken, peer: NodeId
    ) -> bool:
        """Whether a receipt must be withheld: something pushed is beaten here, baseless, not held.

        What was refused for ever is known when it comes again, and is not here all the same.
        """
        if section.want is Want.NOTHING:
            return False
        held = self._all_held(family, taken.ids)
        if held is None:
            self._post.count("receipts_withheld")
            return True
        if section.want is Want.DURABLE:
            withheld = self._ask_for_the_base(now, family, held, peer) or self._lacks_bytes(
                Withheld(peer, family, section.number, section.part, tuple(taken.ids)), held
            )
            self._post.count("copies_withheld", withheld)
            return withheld
        doubt = max((self._receiver.doubt(now, v, peer) for v in held), default=Doubt.NONE)
        if doubt is Doubt.BEATEN:
            objection = PushObjection(section.number, section.part)
            self._post.send(peer, PushObjection, objection.encode())
        self._post.count("receipts_withheld", doubt is not Doubt.NONE)
        return doubt is not Doubt.NONE

    def _all_held(self, family: Family, ids: Sequence[FactId]) -> list[Verified[Any]] | None:
        """Return these facts, or None unless all are held."""
        found = [self.get(family, id_) for id_ in ids]
        held = [verified for verified in found if verified is not None]
        return held if len(held) == len(ids) else None

    def _ask_for_the_base(
        self, now: Now, family: Family, held: Sequence[Verified[Any]], peer: NodeId
    ) -> bool:
        """Whether facts mean nothing here by themselves; then the peer sends what they rest on.

        A push comes again, and is acknowledged as a copy once it counts here.
        """
        receiver = self._receiver
        baseless = [verified for verified in held if not receiver.is_backed(verified)]
        missing = [id_ for verified in baseless for id_ in receiver.missing_ids(verified)]
        if missing:
            cut = [id_[:SHORT_BYTES] for id_ in missing]
            self._pulls.want(now.instant, peer, family, cut)
        return bool(baseless)

    def _lacks_bytes(self, withheld: Withheld, held: Sequence[Verified[Any]]) -> bool:
        """Whether bytes that facts name are not here; the receipt follows as soon as they are.

        Who does not even fetch them says that it has the facts alone, and is not asked again.
        """
        lacking: dict[BlobId, bool] = {}
        for verified in held:
            lacking.update(self._receiver.lacking(verified))
        if lacking and all(lacking.values()):
            self._awaiting.put(withheld, lacking)
        elif lacking:
            self._acknowledger.decline(withheld.peer, withheld.section())
        return bool(lacking)

    def handle_stored(self, now: Now, blobs: Iterable[BlobId]) -> None:
        """These bytes are on disk: send the receipts that waited for nothing else."""
        for withheld in self._awaiting.take(blobs):
            held = self._all_held(withheld.family, withheld.ids)
            if held is None:
                continue
            baseless = self._ask_for_the_base(now, withheld.family, held, withheld.peer)
            if not baseless and not self._lacks_bytes(withheld, held):
                self._acknowledger.owe(withheld.peer, [withheld.section()])

    def _handle_ack(self, now: Now, peer: NodeId, body: bytes) -> None:
        ack = PushAck.decode_untrusted(body)
        for number, durable in self._pusher.handle_ack(now.instant, peer, ack):
            self._receiver.handle_acknowledged(now, number, peer, durable)

    def _handle_objection(self, now: Now, peer: NodeId, body: bytes) -> None:
        number = PushNumber(PushObjection.decode_untrusted(body).number)
        if self._pusher.is_awaited(number, peer):
            self._post.count("objections")
            self._receiver.handle_objected(now, number, peer)

    def _handle_have(self, now: Now, peer: NodeId, body: bytes) -> None:
        message = Have.decode_untrusted(body)
        self._pulls.want(now.instant, peer, message.family, message.ids)

    def _handle_pull(self, now: Now, peer: NodeId, body: bytes) -> None:
        message = Pull.decode_untrusted(body)
        self._spreader.handle_pull(now.instant, peer, message.family, message.ids)

    def _handle_ranges(self, now: Now, peer: NodeId, body: bytes) -> None:
        self._reconciler.handle_ranges(now.instant, peer, SyncRanges.decode_untrusted(body))

    def _handle_ids(self, now: Now, peer: NodeId, body: bytes) -> None:
        self._reconciler.handle_ids(now.instant, peer, SyncIds.decode_untrusted(body))

    def _handle_want(self, now: Now, peer: NodeId, body: bytes) -> None:
        self._reconciler.handle_want(now.instant, peer, SyncWant.decode_untrusted(body))


def _raise(taken: Taken) -> None:
    if taken.error is not None:
        raise taken.error
