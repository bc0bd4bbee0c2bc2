"""Who is here: the one door to probing, voting and the facts about members."""

from collections.abc import Callable, Iterable
from typing import Any

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Address, Boot, NodeId
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.membership.agenda import (
    AGAIN,
    CUT,
    DECIDE,
    EDGE,
    GRACE,
    HEAL,
    PUBLISH,
    RANDOM,
    REDIAL,
    REFUTE,
    SWEEP,
    Agenda,
)
from mesh.core.membership.court import Court
from mesh.core.membership.detours import Detours
from mesh.core.membership.edges import Edges
from mesh.core.membership.facts import Presence, Twin, Verdict
from mesh.core.membership.ground import Ground, MembershipParts, OwnPresence
from mesh.core.membership.healing import Healing
from mesh.core.membership.hearing import Hearing
from mesh.core.membership.intake import Intake
from mesh.core.membership.lifecycle import Lifecycle
from mesh.core.membership.local_health import LocalHealth
from mesh.core.membership.member import Ended, Member
from mesh.core.membership.member_table import MemberEvent, MemberTable
from mesh.core.membership.messages import Ack, Ping
from mesh.core.membership.observers import RingObservers
from mesh.core.membership.own_record import OwnRecord
from mesh.core.membership.probe import Phase
from mesh.core.membership.sweep import Sweep
from mesh.core.membership.views import Views
from mesh.core.snapshot import MemberView, Status
from mesh.core.wire.envelope import Verified

__all__ = ["Ended", "MemberEvent", "Membership", "MembershipParts", "OwnPresence"]

SYNCED_AFTER_SUSPEND = 2


class Membership:
    """What this node believes of all others, and its part in what they believe."""

    def __init__(self, parts: MembershipParts) -> None:
        params = parts.params
        rule = parts.observers or RingObservers(params.rings, params.all_observe_max)
        self._table = MemberTable(parts.author.id, params.members_max, rule)
        self._agenda = Agenda()
        self._health = LocalHealth()
        self._parts = parts
        self._params = params
        self._ground = Ground(parts, self._table, self._agenda, self._health)
        self._edges = Edges(self._ground)
        self._lifecycle = Lifecycle(self._ground)
        self._sweep = Sweep(self._ground, self._edges)
        self._court = Court(self._ground, self._edges, self._lifecycle, self._sweep)
        self._healing = Healing(self._ground, self._edges, self._lifecycle)
        self._detours = Detours(self._ground, self._edges)
        self._own = OwnRecord(self._ground)
        self._intake = Intake(self._ground, self._edges, self._lifecycle, self._court, self._own)
        self._hearing = Hearing(self._ground, self._edges, self._court, self._detours, self._own)
        self._views = Views(self._ground, self._own, self._intake.twins)
        self._events: list[MemberEvent] = []
        self._echo_fresh_s = params.echo_fresh_factor * params.edge_quiet_s

    # -- what happens

    def start(self, now: Now) -> None:
        """Publish the own presence and begin to watch; raises LocalError when it is too large."""
        self._own.start(now)
        self._intake.twins.outlive(self._table.self_id, self._parts.boot)
        self._settle(now)

    def accept(self, now: Now, verified: Verified[Any]) -> bool:
        """Judge a membership fact that gossip brought; True keeps and spreads it."""
        keep = self._intake.accept(now, verified)
        self._settle(now)
        return keep

    def handle_message(self, now: Now, peer: NodeId, kind: int, body: bytes) -> None:
        """Take a message from an authenticated peer; raises RemoteError."""
        if kind == Ping.KIND:
            self.handle_probe(now, peer, Ping.decode_untrusted(body))
        elif kind == Ack.KIND:
            self.handle_probe(now, peer, Ack.decode_untrusted(body))
        else:
            self._hearing.handle(now, self._author_of(peer), kind, body)
            self._settle(now)

    def handle_probe(self, now: Now, peer: NodeId, probe: Ping | Ack) -> None:
        """Take a ping or the answer to one; raises RemoteError."""
        member = self._author_of(peer)
        if type(probe) is Ping:
            self._edges.answer(peer, probe.sequence)
        else:
            heard_us_at = self._edges.take_ack(now, member, probe.sequence)
            if heard_us_at is not None:
                self._witness(now, member, heard_us_at)
        if member.is_down:
            self._healing.notice(now, member)
        self._settle(now)

    def handle_evidence(self, now: Now, peer: NodeId, echo_age_s: float | None) -> None:
        """An authenticated datagram came in; its echo says how long ago the peer heard me."""
        member = self._table.get(peer)
        if member is None:
            return
        member.heard_at = now.instant
        if member.is_down:
            self._healing.heard(now, member)
        if echo_age_s is not None and echo_age_s <= self._echo_fresh_s:
            self._witness(now, member, Instant(now.instant - echo_age_s))
            if self._table.is_stale:
                self._settle(now)

    def handle_refused(self, now: Now, peer: NodeId) -> None:
        """The peer's machine says that nobody listens at its address."""
        member = self._table.get(peer)
        if member is None or not member.is_here:
            return
        if now.instant - member.reached_at > self._params.probe_rto_high_s and self._edges.fail(
            member
        ):
            self._failed(now, member)
            self._settle(now)

    def handle_lag(self, now: Now, lag_s: float) -> None:
        """This node was late by so much: what it seemed not to hear may be in its sockets."""
        if lag_s >= self._params.loop_lag_s and self._health.note_lag(now.instant):
            self._edges.discard_runs(now)
            self._postpone(now, lag_s)

    def handle_suspend(self, now: Now, gap_s: float) -> None:
        """The host slept: announce, compare, listen, and only then accuse."""
        self._health.note_suspend(now.instant, self._params)
        for member in self._table:
            self._court.withdraw(now, member)
            self._edges.restart(now, member)
        self._sweep.stop()
        self._postpone(now, gap_s)
        self._own.announce(now)
        here = self._table.here
        for peer in self._parts.rng.sample(here, min(len(here), SYNCED_AFTER_SUSPEND)):
            self._parts.gossip.start_sync(now, peer)
        self._settle(now)

    def leave(self, now: Now) -> None:
        """Say goodbye; pings are still answered, nobody is accused any more."""
        self._own.leave(now)
        self._health.silent_until = NEVER
        for member in self._table:
            self._court.withdraw(now, member)
        self._settle(now)

    def remove(self, now: Now, peer: NodeId) -> None:
        """Forget a member at once: it may not take part any more."""
        member = self._table.get(peer)
        if member is not None:
            self._intake.twins.forget(peer)
            self._lifecycle.expel(member)
            self._settle(now)

    def withdraw(self, now: Now, gone: Iterable[Verified[Any]]) -> None:
        """Some facts count no more, as little as their authors: nobody is down because of them.

        Whoever is could not refute what nobody can tell it, and would be down here for ever.
        """
        for verified in gone:
            subject = verified.fact.subject if isinstance(verified.fact, Verdict) else None
            member = None if subject is None else self._table.get(subject)
            if member is not None and member.verdict == verified:
                self._lifecycle.acquit(now, member)
        self._settle(now)

    def set_kinds(self, now: Now, kinds: tuple[str, ...]) -> None:
        """Say for which task kinds agents wait here; raises LocalError, and nothing changed."""
        self._own.set_kinds(now, kinds)

    def add_address(self, now: Now, address: Address) -> None:
        """Say that this node is also reached there; raises LocalError, and nothing changed."""
        self._own.add_address(now, address)

    def handle_timeout(self, now: Now) -> None:
        """Do what is due; early and late calls are harmless."""
        late_s = now.instant - self._agenda.next_instant()
        if late_s >= self._params.loop_lag_s:
            self.handle_lag(now, late_s)
        self._settle(now)
        while (key := self._agenda.take_due(now.instant)) is not None:
            self._fire(now, key)
            self._settle(now)

    def next_deadline(self) -> Instant:
        """Return when something may be due next."""
        return self._agenda.next_instant()

    # -- what is believed

    @property
    def isolated(self) -> bool:
        """Whether more than half of my edges look dead."""
        return self._court.is_isolated

    @property
    def former_boot(self) -> Boot:
        """The greatest boot in which this node has signed what was restored, 0 without any."""
        return self._own.former_boot

    @property
    def rival_boot(self) -> Boot | None:
        """A boot that somebody else signed with this node's key, at or above our own."""
        return self._own.rival_boot

    @property
    def rival_presence(self) -> Verified[Presence] | None:
        """Where whoever else has this node's key says that it is."""
        return self._own.rival_presence

    @property
    def own_twin(self) -> Verified[Twin] | None:
        """What was said with this node's key of its living twice."""
        return self._intake.twins.get(self._table.self_id)

    @property
    def own_presence(self) -> Verified[Presence] | None:
        """What this node said of itself last; None before the start."""
        return self._own.presence

    def members(self, now: Now) -> tuple[MemberView, ...]:
        """Return everybody known, this node included, by id."""
        status = self.status(self._table.self_id)
        assert status is not None
        return self._views.members(now, status, is_isolated=self.isolated)

    def status(self, peer: NodeId) -> Status | None:
        """Return what is believed of a node; None for unknown ones."""
        if peer == self._table.self_id:
            return Status.ALIVE if self._own.left is None else Status.LEFT
        member = self._table.get(peer)
        return None if member is None else member.status

    def alive(self) -> tuple[NodeId, ...]:
        """Return alive and suspect peers, without this node, sorted."""
        return self._table.alive()

    def missing(self) -> bool:
        """Whether a member is down, or suspected to be, and expected back."""
        awaited = (Status.DOWN, Status.SUSPECT)
        return any(member.status in awaited for member in self._table)

    def is_edge(self, peer: NodeId) -> bool:
        """Whether this node observes a peer, and it this node."""
        return peer in self._edges.members

    def presence(self, peer: NodeId) -> Verified[Presence] | None:
        """Return what a node said of itself last."""
        if peer == self._table.self_id:
            return self._own.presence
        member = self._table.get(peer)
        return None if member is None else member.presence

    def address(self, peer: NodeId) -> Address | None:
        """Return the first address in a node's presence."""
        known = self.presence(peer)
        return known.fact.addresses[0] if known is not None and known.fact.addresses else None

    def relay_for(self, peer: NodeId) -> NodeId | None:
        """Return who reached a peer just now where the direct path is broken."""
        member = self._table.get(peer)
        if member is None or not member.is_here:
            return None
        vouchers = [] if member.suspicion is None else member.suspicion.vouchers_by_freshness()
        for voucher in vouchers:
            between = self._table.get(voucher)
            if between is not None and between.is_here and between.suspicion is None:
                return voucher
        return None if member.detour is None else self._detours.via(member)

    def doubt(self, instant: Instant, peer: NodeId) -> None:
        """Something sent to a peer that wants an answer has not got one."""
        member = self._table.get(peer)
        if member is not None:
            self._detours.doubt(instant, member)

    def handle_relayed(self, now: Now, peer: NodeId, via: NodeId) -> None:
        """An authenticated datagram of a peer came through somebody else."""
        member = self._table.get(peer)
        if member is not None:
            self._detours.relayed(now, member, via)

    def ended(self, subject: NodeId, boot: Boot) -> Ended | None:
        """Return why a boot of a node is over, as far as is known."""
        member = self._table.get(subject)
        return None if member is None else member.ended(boot)

    def take_events(self) -> list[MemberEvent]:
        """Remove and return the changes of the cuts that are complete."""
        events = self._events
        if events:
            self._events = []
        return events

    def take_forgotten(self) -> list[NodeId]:
        """Remove and return who is no member any more, however it stood with them."""
        forgotten = self._lifecycle.forgotten
        if forgotten:
            self._lifecycle.forgotten = []
        return forgotten

    def echo_age_s(self, now: Now, peer: NodeId) -> float | None:
        """Return how long ago this peer was heard; None for never."""
        member = self._table.get(peer)
        if member is None:
            return None
        age = now.instant - member.heard_at
        return age if age < float("inf") else None

    def table_sizes(self) -> tuple[tuple[str, int, int], ...]:
        """Return (name, entries, cap) of each bounded table."""
        cap = self._params.members_max
        early = self._intake.early_count
        return (("members", len(self._table) + 1, cap), ("members_early", early, 2 * cap))

    # -- inner steps

    def _author_of(self, peer: NodeId) -> Member:
        member = self._table.get(peer)
        if member is None:
            raise RemoteError(Refusal.UNKNOWN_SENDER, "no presence of this peer is known")
        return member

    def _witness(self, now: Now, member: Member, heard_us_at: Instant) -> None:
        """There is two-way evidence: the peer heard me then, and I heard it now."""
        probe = member.probe
        if probe is not None:
            if not probe.believes(heard_us_at):
                return
            self._edges.rest(now, member, probe)
        if member.refutations:
            member.forget_refutations()
        member.evidence_at = now.instant
        member.reached_at = max(member.reached_at, heard_us_at)
        if member.suspicion is not None or member.askers or member.local:
            self._court.reached(now, member, heard_us_at)
        if member.verdict is not None and member.is_here:
            self._healing.warn(now, member)
        if self._own.is_accused:
            self._own.reached(member.id, heard_us_at)

    def _fire(self, now: Now, key: bytes) -> None:
        if len(key) == 1:
            self._fire_own(now, key)
            return
        kind, member = key[:1], self._table.get(NodeId(key[1:]))
        if member is None:
            return
        if kind == EDGE:
            self._fire_edge(now, member)
        elif kind == AGAIN:
            self._court.repeat(now, member)
        elif kind == DECIDE:
            self._court.decide(now, member)
        elif kind == GRACE:
            self._lifecycle.age(now, member)
        else:
            assert kind == PUBLISH
            self._court.publish(now, member)

    def _fire_own(self, now: Now, key: bytes) -> None:
        if key == RANDOM:
            self._detours.probe_somebody(now)
            self._wake_for_others(now)
        elif key == REDIAL:
            dialled = self._healing.redial(now)
            if dialled is not None and dialled.local:
                self._court.ask_around(now, dialled)
            self._wake_for_others(now)
        elif key == HEAL:
            self._healing.dial(now)
        elif key == SWEEP:
            self._sweep.turn(now)
        elif key == REFUTE:
            self._own.announce(now)
        else:
            assert key == CUT
            self._events.extend(self._table.cut())

    def _fire_edge(self, now: Now, member: Member) -> None:
        probe = member.probe
        if probe is not None and probe.is_check:
            phase = self._detours.tend(now, member, probe)
        else:
            phase = self._edges.fire(now, member)
        if phase is Phase.FAILED:
            self._failed(now, member)
        elif phase is Phase.HELD:
            self._court.tend_hold(now, member)
            self._detours.find(member)

    def _failed(self, now: Now, member: Member) -> None:
        """My own probe found nobody: believe the verdict that waits for this, or accuse."""
        verdict = member.verdict
        if member.is_down:
            return  # nothing new: above all, a conclusion of my own is still no majority's word
        if not self._health.may_accuse(now.instant):
            self._edges.restart(now, member)
        elif verdict is not None:
            self._lifecycle.go_down(now, member, verdict, local=False)
        else:
            self._court.accuse(now, member)

    def _postpone(self, now: Now, seconds: float) -> None:
        """Push all clocks that count against somebody."""
        for member in self._table:
            self._lifecycle.postpone(member, seconds)
            if member.suspicion is not None:
                member.suspicion.postpone(seconds)
                self._court.decide(now, member)

    def _wake_for_others(self, now: Now) -> None:
        """Wake for those who are no edges, and for those who are down, where there are any."""
        strangers = len(self._table.here) - len(self._edges.members)
        self._keep_armed(RANDOM, strangers, lambda: self._detours.next_at(now))
        self._keep_armed(REDIAL, len(self._table.down), lambda: self._healing.redial_at(now))

    def _keep_armed(self, key: bytes, needed: int, due: Callable[[], Instant]) -> None:
        if not needed:
            self._agenda.cancel(key)
        elif self._agenda.due(key) == NEVER:
            self._agenda.set(key, due())

    def _settle(self, now: Now) -> None:
        """Follow up on a change of who is here."""
        if self._table.is_stale:
            self._table.is_stale = False
            for gone in self._edges.refresh(now):
                self._court.withdraw(now, gone)
                if gone.verdict is not None and gone.is_here:
                    self._edges.rally(now, gone)  # the edge was to test it; now a check does
            self._parts.gossip.set_peers(self.alive())
            self._wake_for_others(now)
        if self._table.has_changes and self._agenda.due(CUT) == NEVER:
            self._agenda.set(CUT, later(now.instant, self._params.cut_s))
