"""A node that holds a certificate: all its parts, and the facts they hand to each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.core.blobs.blobs import Blobs
from mesh.core.bucket import Buckets
from mesh.core.claims.copying import keepers_of, named_blob
from mesh.core.claims.desk import Desk
from mesh.core.claims.dominance import (
    counts,
    dominating_ids,
    is_backed,
    missing_ids,
    owner_ids,
)
from mesh.core.claims.exchange_facts import EXCHANGE_CONTEXTS
from mesh.core.claims.facts import CLAIM_CONTEXTS, Claim, Evidence, TaskFact
from mesh.core.claims.forgotten import FORGET_CONTEXTS
from mesh.core.claims.table import Table
from mesh.core.effects import Effect
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.evidence import EVIDENCE_CONTEXTS, check_evidence, evidence_of
from mesh.core.gossip.gossip import Family, Gossip, PushNumber
from mesh.core.gossip.intake import FORGED
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import ToldFacts
from mesh.core.gossip.vocabulary import Doubt
from mesh.core.identity import Address, BlobId, Boot, FactId, NodeId, PublicKey, TaskId, node_id
from mesh.core.instants import Instant, Now, later
from mesh.core.links.links import Opened
from mesh.core.links.session import LinkEnd
from mesh.core.membership.facts import MEMBERSHIP_CONTEXTS, Presence
from mesh.core.membership.membership import Ended, Membership
from mesh.core.membership.messages import Ack, Ping
from mesh.core.membership.suspicion import accusers_needed
from mesh.core.node.backlog import Backlog
from mesh.core.node.blame import GOSSIP_KINDS, Blame
from mesh.core.node.bulk import Bulk
from mesh.core.node.messages import PathAnswer, PathAsk, Relay, Relayed
from mesh.core.node.removals import Removals
from mesh.core.node.transport import PROBE_KINDS, Transport
from mesh.core.outbox import Outbox
from mesh.core.params import Params
from mesh.core.snapshot import Status
from mesh.core.trust.records import TRUST_CONTEXTS
from mesh.core.trust.sheets import SheetExchange
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Author, Contexts, SignedFact, Verified, Verifier

PATH_KINDS = (PathAsk.KIND, PathAnswer.KIND)
BLOB_KINDS = range(60, 70)
SHEET_KINDS = range(70, 80)
MEMBER_CONTEXTS: Contexts = TRUST_CONTEXTS | MEMBERSHIP_CONTEXTS
TASK_CONTEXTS: Contexts = CLAIM_CONTEXTS | EXCHANGE_CONTEXTS | FORGET_CONTEXTS | EVIDENCE_CONTEXTS


@dataclass(slots=True)
class Participant:
    """The parts of a member, wired together; implements what they ask of each other."""

    params: Params
    boot: Boot
    outbox: Outbox
    verifier: Verifier
    author: Author
    trust: Trust
    table: Table
    counters: dict[str, int]
    gossip: Gossip = field(init=False)
    membership: Membership = field(init=False)
    desk: Desk = field(init=False)
    transport: Transport = field(init=False)
    bulk: Bulk = field(init=False)
    blobs: Blobs = field(init=False)
    removals: Removals = field(init=False)
    sheets: SheetExchange = field(init=False)
    backlog: Backlog = field(init=False)
    blame: Blame = field(init=False)
    advertised: Instant = Instant(float("-inf"))
    kinds: tuple[str, ...] = ()
    """The kinds for which this node last advertised waiting agents."""
    known_alive: tuple[NodeId, ...] = ()
    alarm: str = ""
    """What people have to know of this node's key."""
    met: Instant | None = None
    """When the first sealed datagram of another node came in."""
    _said: Buckets[NodeId] = field(init=False)
    """How many membership facts of each author have been taken lately."""

    def __post_init__(self) -> None:
        limits, members_max = self.params.gossip, self.params.membership.members_max
        self._said = Buckets(limits.author_facts_s, limits.author_facts_burst, members_max)
        self.blame = Blame(self.params.links, self._count)
        self.backlog = Backlog(self.params.links, self.verifier, self._take_up, self._count)

    # ---- what gossip asks (Receiver)

    def contexts(self, family: Family) -> Contexts:
        """Return which facts belong to a family."""
        return MEMBER_CONTEXTS if family is Family.MEMBERS else TASK_CONTEXTS

    def check_author(self, key: PublicKey) -> None:
        """Raise RemoteError unless this key may say anything at all: cheap, before verification."""
        if not self.trust.may_speak(key):
            raise RemoteError(Refusal.NOT_ADMITTED, key.hex()[:16])

    def accept(self, now: Now, family: Family, verified: Verified[Any], relay: NodeId) -> bool:
        """Whether a fact is kept; it has changed what it had to change."""
        fact = verified.fact
        if verified.signed.context in TRUST_CONTEXTS:
            kept = self._accept_trust(now, verified)
            if family is Family.MEMBERS:
                return kept
        if not self.removals.counts(family, verified, is_new=True):
            raise RemoteError(Refusal.NOT_ADMITTED, verified.author.hex())
        if isinstance(fact, TaskFact):
            return self._accept_task(now, verified, relay)
        if family is Family.TASKS:
            return self._accept_evidence(now, verified)
        if not self._said.has(now.instant, verified.author):
            raise RemoteError(Refusal.OVER_CAP, f"membership facts of {verified.author.hex()[:16]}")
        if isinstance(fact, Presence):
            self.transport.links.check(fact.link_key)
        kept = self.membership.accept(now, verified)
        if kept:
            # Old facts of somebody, posted again by another, must not use up what is its own.
            self._said.take(now.instant, verified.author, 1)
            if isinstance(fact, Presence):
                self.learn(now, verified)
        return kept

    def _accept_trust(self, now: Now, verified: Verified[Any]) -> bool:
        kept = self.trust.accept(verified)
        for promoted in self.trust.take_promoted():
            self.gossip.publish(now, Family.MEMBERS, [promoted])
        return kept

    def _accept_task(self, now: Now, verified: Verified[TaskFact], relay: NodeId) -> bool:
        self.table.check(verified)
        is_forgotten = verified.fact.task in self.table.forgotten
        if not is_forgotten and not self.removals.has_ground(verified):
            raise RemoteError(Refusal.FORGOTTEN, "a word about what went with a removed node")
        try:
            changed = self.table.add(verified)
        except RemoteError as refused:
            if refused.refusal is Refusal.FORGOTTEN:
                self.desk.garbage.remind(now, verified.fact.task, relay)
            raise
        if self.gossip.is_reconciling:
            self.desk.handle_reconciled(now, verified.fact.task)
        elif isinstance(verified.fact, Claim):
            self.desk.handle_bid(now, verified.fact.task)
        self.desk.handle_fact(now, verified, relay)
        self.desk.handle_changed(now, changed)
        # It may have been needless, or the last that was awaited before all of it could go.
        return self.table.holds(verified)

    def _accept_evidence(self, now: Now, verified: Verified[Any]) -> bool:
        if verified.signed.context in FORGET_CONTEXTS:
            kept = self.desk.garbage.accept(now, verified)
            self.desk.handle_changed(now, ())
            return kept
        check_evidence(verified, self.verifier, self.trust.is_known)
        self.desk.handle_changed(now, self.table.add_evidence(evidence_of(verified)))
        return True

    def doubt(self, now: Now, verified: Verified[Any], peer: NodeId) -> Doubt:
        """Return what speaks against a pushed fact; who pushed a beaten one is told by what."""
        ids = dominating_ids(self.table, verified)
        if ids:
            self.gossip.tell(now, peer, Family.TASKS, ids)
            return Doubt.BEATEN
        return Doubt.NONE if counts(self.table, verified) else Doubt.UNPROVEN

    def is_backed(self, verified: Verified[Any]) -> bool:
        """Whether a pushed fact counts here from what is held alone."""
        return is_backed(self.table, verified)

    def missing_ids(self, verified: Verified[Any]) -> list[FactId]:
        """Return what to ask for when a fact is not backed."""
        return missing_ids(self.table, verified)

    def lacking(self, verified: Verified[Any]) -> dict[BlobId, bool]:
        """Return the blob without which a pushed fact is no copy here, and whether it is coming."""
        return self.blobs.lacking(named_blob(verified.fact))

    def keepers(self, verified: Verified[Any]) -> Sequence[NodeId]:
        """Return who fetches at once what a fact of this node names."""
        return keepers_of(self.table, verified, self.membership.alive(), self.params.claims)

    def followed_by(self, verified: Verified[Any]) -> list[FactId]:
        """Return who owns a task by now that was submitted some time ago."""
        return owner_ids(self.table, verified)

    def handle_acknowledged(self, now: Now, push: PushNumber, peer: NodeId, durable: bool) -> None:
        """A peer holds what was pushed."""
        self.desk.handle_acknowledged(now, push, peer, durable)

    def handle_objected(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        """A peer knows of something greater than what was pushed."""
        self.desk.handle_objected(now, push, peer)

    def learn(self, now: Now, presence: Verified[Presence]) -> None:
        """Be able to seal to the author of a presence."""
        if presence.author == self.author.id:
            return
        fact, links = presence.fact, self.transport.links
        if links.replaces_living(now.instant, presence.author, fact.boot):
            # Should whoever ran in the former boot still be there, this is the last that it hears.
            items = Item(Form.SINGLE, presence.signed.encode()).encode()
            told = (ToldFacts.KIND, bytes((Family.MEMBERS,)) + items)
            self.outbox.effects += self.transport.send_last(now.instant, presence.author, told)
        end = LinkEnd(presence.author, fact.boot, fact.link_key)
        links.learn(end, Address(*fact.addresses[0]), now.instant)

    # ---- what comes in

    def receive_datagram(self, now: Now, data: bytes, source: Address) -> list[Effect]:
        """Handle foreign bytes; never raises because of them."""
        try:
            if self.transport.is_greeting(data):
                return self._greeted(now, data, source)
            return self._receive_sealed(now, data, source)
        except RemoteError as error:
            self.refuse(error)
            return []

    def refuse(self, error: RemoteError) -> None:
        """Count a refusal."""
        name = f"refused_{error.refusal}"
        self.counters[name] = self.counters.get(name, 0) + 1

    def _greeted(self, now: Now, data: bytes, source: Address) -> list[Effect]:
        facts, answer = self.transport.open_greeting_untrusted(now, data, source)
        for signed in facts:
            why = [] if signed.context in TRUST_CONTEXTS else self._why_removed(signed.author)
            if why and answer is not None:
                return [self.transport.answer(source, why)]
        self.take_facts(now, facts)
        if answer is None:
            return []
        newer = self._later_presence(facts)
        return [answer] if newer is None else [self.transport.answer(source, [newer])]

    def _later_presence(self, greeting: Sequence[SignedFact]) -> bytes | None:
        """Return what whoever greets has said of itself in a later boot than it knows of.

        Either its disk is old and it has to rise above this, or its key lives twice.
        """
        for signed in greeting:
            if signed.context == Presence.CONTEXT:
                known = self.membership.presence(node_id(signed.author))
                boot = Presence.decode_untrusted(signed.payload).boot
                if known is not None and known.fact.boot > boot:
                    return known.signed.encode()
        return None

    def _why_removed(self, key: PublicKey) -> list[bytes]:
        """Return what proves to somebody who knows the genesis that its key was taken back."""
        for revocation in self.trust.revocations_of(key):
            records = (*self.trust.proof_of_admin(revocation.signed.author), revocation)
            return [record.signed.encode() for record in records]
        return []

    def take_facts(self, now: Now, facts: Sequence[SignedFact]) -> None:
        """Take over trust and membership facts that came outside gossip; raises RemoteError."""
        for signed in facts:
            if self.gossip.holds(Family.MEMBERS, signed.id):
                continue
            if signed.context not in TRUST_CONTEXTS:
                self.check_author(signed.author)
            verified = self.verifier.open_untrusted(signed, MEMBER_CONTEXTS)
            if self.accept(now, Family.MEMBERS, verified, verified.author):
                self.gossip.publish(now, Family.MEMBERS, [verified])

    def _receive_sealed(self, now: Now, data: bytes, source: Address) -> list[Effect]:
        opened = self.transport.open_untrusted(now, data, source)
        if self.met is None:
            self.met = now.instant
        self.membership.handle_evidence(now, opened.peer, opened.echo_age_s)
        return self._receive_frames(now, opened)

    def _receive_frames(self, now: Now, opened: Opened) -> list[Effect]:
        effects: list[Effect] = []
        for kind, body in opened.frames:
            effects += self.receive_message(now, opened.peer, kind, body)
        return effects

    def _receive_relayed(self, now: Now, via: NodeId, data: bytes) -> list[Effect]:
        opened = self.transport.open_untrusted(now, data, None)
        self.membership.handle_relayed(now, opened.peer, via)
        return self._receive_frames(now, opened)

    def receive_message(self, now: Now, peer: NodeId, kind: int, body: bytes) -> list[Effect]:
        """Handle one message of an authenticated peer, now or when it is its turn."""
        if self.backlog.must_wait(peer, kind):
            self.backlog.put(now, peer, kind, body)
            return []
        return self._take_up(now, peer, kind, body)

    def _take_up(self, now: Now, peer: NodeId, kind: int, body: bytes) -> list[Effect]:
        """Handle one message; what is wrong with it is counted and blamed."""
        if self.blame.is_muted(now.instant, peer, kind):
            return []
        try:
            return self._route(now, peer, kind, body)
        except RemoteError as error:
            self.refuse(error)
            if error.refusal in FORGED:
                self.blame.strike(now.instant, peer)
            return []

    def _count(self, name: str) -> None:
        self.transport.count(name)

    def _route(self, now: Now, peer: NodeId, kind: int, body: bytes) -> list[Effect]:
        if kind in PROBE_KINDS:
            probe = (Ping if kind == Ping.KIND else Ack).decode_untrusted(body)
            self.gossip.handle_digests(now, peer, probe.digest_members, probe.digest_tasks)
            self.membership.handle_probe(now, peer, probe)
        elif kind in GOSSIP_KINDS:
            self.gossip.handle_message(now, peer, kind, body)
        elif kind in BLOB_KINDS:
            self.blobs.handle_message(now, peer, kind, body)
        elif kind in SHEET_KINDS:
            self.sheets.handle_message(now.instant, peer, kind, body)
        elif kind == Relay.KIND:
            return self.transport.pass_on(now, peer, Relay.decode_untrusted(body))
        elif kind in PATH_KINDS:
            return self.transport.handle_path(now, peer, kind, body)
        elif kind == Relayed.KIND:
            return self._receive_relayed(now, peer, Relayed.decode_untrusted(body).datagram)
        else:
            self.membership.handle_message(now, peer, kind, body)
        return []

    # ---- what claims ask (Liveness)

    def alive(self) -> tuple[NodeId, ...]:
        """Return the peers that are here, without this node."""
        return self.membership.alive()

    def status(self, node: NodeId) -> Status | None:
        """Return what is believed of a node."""
        return self.membership.status(node)

    def majority(self) -> int:
        """Return how many of a node's observers would be a majority if all members were here."""
        limits = self.params.membership
        observers_max = max(2 * limits.rings, limits.all_observe_max - 1)
        return accusers_needed(min(self.trust.member_count() - 1, observers_max))

    def missing(self) -> bool:
        """Whether some member is expected back: neither alive, nor dead, nor gone for good."""
        return self.membership.missing()

    def ended(self, node: NodeId, boot: Boot) -> Ended | None:
        """Return what proves that this boot of a node is over."""
        return self.removals.ended(node) or self.membership.ended(node, boot)

    def name(self, node: NodeId) -> str:
        """Return a node's name, or the start of its id."""
        presence = self.membership.presence(node)
        return node.hex()[:8] if presence is None else presence.fact.name

    def tags(self, node: NodeId) -> tuple[tuple[str, str], ...]:
        """Return the tags of a node, as it says itself."""
        presence = self.membership.presence(node)
        return () if presence is None else presence.fact.tags

    def own_presence(self) -> tuple[Verified[Any], Evidence]:
        """Return what proves this node's tags, and what it says to the claim table."""
        presence = self.membership.presence(self.author.id)
        assert presence is not None
        return presence, evidence_of(presence)

    def nodes_for(self, kind: str) -> tuple[NodeId, ...]:
        """Return who waits for tasks of a kind, this node included when it does."""
        nodes = [
            peer
            for peer in self.membership.alive()
            if (presence := self.membership.presence(peer)) and kind in presence.fact.kinds
        ]
        if kind in self.desk.waiting_kinds():
            nodes.append(self.author.id)
        return tuple(nodes)

    # ---- time

    def settle(self, now: Now) -> None:
        """Carry what changed during one input from part to part."""
        if self.removals.version != self.trust.version:
            self._judge_again(now)
        for event in self.membership.take_events():
            self.outbox.notify(
                "member",
                {
                    "node": event.peer.hex(),
                    "name": event.name,
                    "old": None if event.old is None else str(event.old),
                    "new": str(event.new),
                },
            )
        for node in self.membership.take_forgotten():
            self._forget(node)
        alive = self.membership.alive()
        if alive is not self.known_alive and alive != self.known_alive:
            before = dict.fromkeys(self.known_alive)
            self.known_alive = alive
            self.gossip.set_peers(alive)
            if any(peer not in before for peer in alive):
                self.blobs.handle_arrivals(now)
            for peer in alive:
                if peer not in before and self.membership.is_edge(peer):
                    self.gossip.start_sync(now, peer)
            self.desk.handle_members_changed(now)
        kept = self.blobs.take_kept()
        if kept:
            self.desk.handle_kept(now, kept)
        stored = self.blobs.take_stored()
        if stored:
            self.desk.handle_changed(now, [task for tasks in stored.values() for task in tasks])
            self.gossip.handle_stored(now, stored)
        self.blobs.settle(now)
        self._advertise(now)

    def _forget(self, node: NodeId) -> None:
        """Keep nothing of a link to a node that is no member any more."""
        self.blame.forget(node)
        self.backlog.forget(node)
        for effect in self.bulk.forget(node):
            self.outbox.put(effect)

    def _judge_again(self, now: Now) -> None:
        """Ranks have changed: somebody may take part no more, or have another say."""
        if self.removals.apply(now):
            self.desk.garbage.recheck(now)
            self.desk.handle_members_changed(now)
        self._judge_more(now)

    def _judge_more(self, now: Now) -> None:
        """Judge some of what is held; what is still wanted when all is judged is asked for."""
        self.desk.handle_changed(now, self.removals.judge(now))
        if not self.removals.is_judging:
            self.sheets.want(now.instant)
            peer = self.sheets.take_completed()
            if peer is not None:
                # It holds what could not be taken here before.
                self.gossip.start_sync(now, peer)

    def _advertise(self, now: Now) -> None:
        kinds = self.desk.waiting_kinds()
        pause_s = self.params.claims.advertise_s
        if kinds != self.kinds and now.instant >= later(self.advertised, pause_s):
            self.advertised, self.kinds = now.instant, kinds
            self._set_kinds(now, kinds)

    def _set_kinds(self, now: Now, kinds: tuple[str, ...]) -> None:
        """Advertise these kinds, or as many of them as the presence has room for."""
        try:
            self.membership.set_kinds(now, kinds)
        except LocalError:
            self.transport.count("kinds_not_advertised", len(kinds) - len(kinds) // 2)
            self._set_kinds(now, kinds[: len(kinds) // 2])

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Let every part whose time has come act."""
        instant = now.instant
        if self.removals.next_deadline() <= instant:
            self._judge_more(now)
        if self.sheets.next_deadline() <= instant:
            self.sheets.handle_timeout(instant)
        if self.backlog.next_deadline() <= instant:
            self.backlog.serve(now)
        for part in (self.membership, self.gossip, self.desk, self.blobs):
            if part.next_deadline() <= instant:
                part.handle_timeout(now)
        return self.bulk.handle_timeout(instant) if self.bulk.next_deadline() <= instant else []

    def next_deadline(self) -> Instant:
        """Return when the earliest part wants to act."""
        deadline = min(
            self.membership.next_deadline(),
            self.gossip.next_deadline(),
            self.desk.next_deadline(),
            self.blobs.next_deadline(),
            self.backlog.next_deadline(),
            self.bulk.next_deadline(),
            self.removals.next_deadline(),
            self.sheets.next_deadline(),
        )
        if self.desk.waiting_kinds() != self.kinds:
            return min(deadline, later(self.advertised, self.params.claims.advertise_s))
        return deadline

    def tasks(self) -> tuple[TaskId, ...]:
        """Return every task known here."""
        return tuple(self.table.tasks())
