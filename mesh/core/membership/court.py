"""Accusing, vouching, judging: the observers' talk about one of them that is silent.

my probe fails -> Accuse to the subject and its other observers -> they probe at once
  reached by one:    Vouch to whoever accuses; two of them: my edge is broken, I withdraw
  reached by none:   they accuse too; a majority after the window is a verdict
  heard by myself:   Vouch to all, it was nothing
"""

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import MeshId, NodeId, node_id
from mesh.core.instants import Instant, Now, later
from mesh.core.membership.agenda import AGAIN, DECIDE, PUBLISH, timer_key
from mesh.core.membership.edges import RALLY_EXTRA_TRIES, Edges
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.membership.ground import Ground
from mesh.core.membership.lifecycle import Lifecycle
from mesh.core.membership.local_health import looks_isolated
from mesh.core.membership.member import Member
from mesh.core.membership.messages import Accuse, Ask, Vouch, Withdraw
from mesh.core.membership.suspicion import Outcome, Suspicion, accusers_needed
from mesh.core.membership.sweep import Sweep
from mesh.core.membership.verdicts import ACCUSATIONS_MAX, broken
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import SignedFact, decode_signed_fact_untrusted

EARLY_RESENDS = 4
VOUCHERS_ASKED = 2
ASKED_AROUND = 8
EARLY_ASK = 1
"""At this resend it is asked around first: by way of who reaches it, it hears of the vote."""
UNDECIDED_RESENDS = 3
"""After so many resends an ordinary vote is over."""
GO_BETWEENS_MAX = 4
"""Who reaches one node behind a cut most likely reaches the others: it is asked first."""
ASKERS_MAX = 32
"""Who waits to hear whether one member is reached; whoever asks beyond asks again."""


class Court:
    """Every vote this node takes part in."""

    def __init__(self, ground: Ground, edges: Edges, lifecycle: Lifecycle, sweep: Sweep) -> None:
        self._ground = ground
        self._edges = edges
        self._lifecycle = lifecycle
        self._sweep = sweep
        self._me = ground.table.self_id
        self._go_betweens: dict[NodeId, None] = {}
        """Who vouched last for somebody whom I do not reach; the latest stands last."""

    @property
    def is_isolated(self) -> bool:
        """Whether more than half of my edges look dead: then it is me."""
        edges = self._edges
        return looks_isolated(len(edges.members), edges.dead_count, len(self._lifecycle.lost))

    # -- my own accusation

    def accuses(self, member: Member) -> bool:
        """Whether my accusation of a member stands."""
        return member.suspicion is not None and self._me in member.suspicion.accusers

    def accuse(self, now: Now, member: Member) -> None:
        """My probe failed: say so to those who may know better."""
        suspicion = self._suspicion(now, member)
        observers = self._ground.table.observers(member)
        if suspicion.outcome(now.instant, observers, self._ground.params) is Outcome.HOLD:
            self._hold(now, member)
            return
        accusation = Accusation(member.id, suspicion.boot, suspicion.incarnation)
        [signed] = self._ground.parts.author.sign([accusation])
        suspicion.own = signed.signed
        suspicion.add_accuser(self._me, suspicion.own)
        suspicion.resends = 0
        suspicion.alone = member.probe is None or member.probe.is_check
        if suspicion.alone:
            self._lifecycle.end_check(member)
        member.askers.clear()
        self._ground.table.set_status(member, Status.SUSPECT, now.instant)
        self.repeat(now, member)
        self.decide(now, member)

    def repeat(self, now: Now, member: Member) -> None:
        """Send my accusation (again), to all at first and later to those who have not answered."""
        suspicion = member.suspicion
        if suspicion is None or suspicion.own is None or self._me not in suspicion.accusers:
            return
        if suspicion.alone:
            self._repeat_alone(now, member)
            return
        others = self._ground.table.others(member)
        silent = [n for n in others if n not in suspicion.accusers and n not in suspicion.vouchers]
        if member.is_down and not silent:
            return
        message = Accuse(suspicion.own.encode())
        early = suspicion.resends <= EARLY_RESENDS
        for node in others if early else silent:
            self._ground.send(node, message)
        if not member.is_down:
            self._ground.send(member.id, message)
            if suspicion.resends > 0:
                self._edges.nudge(now, member)
        if suspicion.resends == EARLY_ASK or suspicion.resends >= UNDECIDED_RESENDS:
            self.ask_around(now, member)
        if suspicion.resends >= UNDECIDED_RESENDS:
            self._look_for_a_cut(now, suspicion)
        suspicion.resends += 1
        params = self._ground.params
        wait = params.accusation_resend_s * suspicion.resends if early else params.edge_quiet_s
        self._ground.agenda.set(timer_key(AGAIN, member.id), later(now.instant, wait))

    def _repeat_alone(self, now: Now, member: Member) -> None:
        """Ask it and others once more; who is down is left to the redial."""
        if member.is_down:
            return
        self._edges.nudge(now, member)
        self.ask_around(now, member)
        due = later(now.instant, self._ground.params.edge_quiet_s)
        self._ground.agenda.set(timer_key(AGAIN, member.id), due)

    def _look_for_a_cut(self, now: Now, suspicion: Suspicion) -> None:
        """Nobody objects, and still there is no majority: who else is out of reach?"""
        params = self._ground.params
        is_over = now.instant >= later(suspicion.started, params.refutation_window_s)
        if is_over and not suspicion.fresh_vouchers(now.instant, params):
            self._sweep.begin(now, suspicion.started)

    def ask_around(self, now: Now, member: Member) -> None:
        """Ask who reaches a member: that may be no observer, as on a bridge."""
        ground, suspicion = self._ground, member.suspicion
        if suspicion is None:
            return
        asked = suspicion.fresh_vouchers(now.instant, ground.params)[:VOUCHERS_ASKED]
        if not asked:
            asked = self._next_asked(member, suspicion)
        for node in asked:
            if node != member.id:
                ground.send(node, Ask(member.id, *member.standing))

    def _next_asked(self, member: Member, suspicion: Suspicion) -> list[NodeId]:
        """Return some who may reach a member, in time everybody whom I do not doubt myself."""
        table = self._ground.table
        told = frozenset() if suspicion.alone else table.observers(member)
        fit = [node for node in table.here if node not in told and table.is_alive(node)]
        fresh = [node for node in fit if node not in suspicion.asked]
        if not fresh:
            suspicion.asked.clear()
            fresh = fit
        first = [node for node in reversed(self._go_betweens) if node in fresh][:VOUCHERS_ASKED]
        others = [node for node in fresh if node not in first]
        count = min(len(others), ASKED_AROUND - len(first))
        chosen = [*first, *self._ground.parts.rng.sample(others, count)]
        suspicion.asked.update(dict.fromkeys(chosen))
        return chosen

    def decide(self, now: Now, member: Member) -> None:
        """See what the votes come to."""
        suspicion = member.suspicion
        if suspicion is None or self._me not in suspicion.accusers:
            return
        observers, params = self._ground.table.observers(member), self._ground.params
        outcome = suspicion.outcome(now.instant, observers, params)
        if suspicion.alone and suspicion.vouchers and not member.is_down:
            self.acquit(now, member)
        elif outcome is Outcome.HOLD:
            self._hold(now, member)
        elif outcome is Outcome.VERDICT and not self.is_isolated:
            self._sentence(now, member, observers, local=False)
        elif member.is_down:
            if outcome is Outcome.WAIT and member.local and suspicion.vouched_at > member.since:
                self._lifecycle.revive(now, member)
        elif outcome is Outcome.WAIT:
            due = suspicion.next_look(now.instant, params)
            self._ground.agenda.set(timer_key(DECIDE, member.id), due)
        else:
            self._sentence(now, member, observers, local=True)

    def publish(self, now: Now, member: Member) -> None:
        """Spread my verdict, unless somebody else's came first."""
        verdict = member.verdict
        if verdict is None or member.local or verdict.author != self._me:
            return
        if not member.is_down or self._ground.is_held(verdict):
            return
        if self.is_isolated:  # meanwhile it looks as if it were me
            self._lifecycle.go_down(now, member, verdict, local=True)
        else:
            self._ground.parts.gossip.publish(now, Family.MEMBERS, [verdict])

    def tend_hold(self, now: Now, member: Member) -> None:
        """Keep a broken edge at rest for as long as others vouch, or its other end refutes.

        Whoever was trusted because it had refuted, and leaves a new accusation or a verdict
        without an answer for a whole window, is probed as if it had never spoken.
        """
        suspicion, params = member.suspicion, self._ground.params
        if now.instant < member.trusted_until:
            if now.instant >= later(member.contradicted_at, params.refutation_window_s):
                member.trusted_until = now.instant  # it was spoken against, and has not answered
                self._edges.begin(now, member, RALLY_EXTRA_TRIES)
            return
        vouchers = suspicion.fresh_vouchers(now.instant, params) if suspicion is not None else []
        if suspicion is None or not vouchers:
            self._lifecycle.clear_suspicion(member)
            self._edges.begin(now, member)
            return
        asked = vouchers[:VOUCHERS_ASKED]
        if now.instant >= later(suspicion.asked_all_at, params.edge_hold_s):
            suspicion.asked_all_at = now.instant
            asked = self._ground.table.others(member)
        for node in asked:
            self._ground.send(node, Ask(member.id, *member.standing))

    # -- what others say

    def judge_accusation(self, now: Now, peer: NodeId, signed: SignedFact) -> None:
        """A peer cannot reach somebody else: vouch, or find out and join in."""
        fact = Accusation.decode_untrusted(signed.payload)
        member = self._ground.table.get(fact.subject)
        if member is None or self._is_settled(now, peer, member, fact):
            return
        if self._reaches(now, member):
            self._ground.send(peer, Vouch(member.id, *member.standing))
            return
        observers = self._ground.table.observers(member)
        if peer not in observers or self._me not in observers:
            return
        if member.suspicion is None or peer not in member.suspicion.accusers:
            self._ground.parts.author.verifier.check(signed)
            self._join(now, peer, member, signed)
        if not member.is_down:
            member.askers[peer] = None
            self._edges.rally(now, member)
        self.decide(now, member)

    def handle_vouch(self, now: Now, peer: NodeId, remark: Vouch) -> None:
        """Somebody reaches whom I, or others, cannot reach; only observers have a vote."""
        member = self._ground.table.get(remark.subject)
        if member is None or member.suspicion is None or remark.boot < member.standing[0]:
            return
        if self._me in member.suspicion.accusers:
            self._note_go_between(peer)
        member.suspicion.add_voucher(peer, now.instant)
        self.decide(now, member)

    def handle_withdraw(self, peer: NodeId, remark: Withdraw) -> None:
        """An observer takes its accusation of somebody back."""
        member = self._ground.table.get(remark.subject)
        if member is None:
            return
        member.askers.pop(peer, None)
        suspicion = member.suspicion
        if suspicion is not None and suspicion.accusers.pop(peer, None) is not None:
            self._forget_if_empty(member, suspicion)

    def handle_ask(self, now: Now, peer: NodeId, remark: Ask) -> None:
        """Somebody whose own path is broken wants to know whether I reach a member."""
        member = self._ground.table.get(remark.subject)
        if member is None or not member.is_here:
            return
        if self._reaches(now, member):
            self._ground.send(peer, Vouch(member.id, *member.standing))
        elif len(member.askers) < ASKERS_MAX:
            member.askers[peer] = None
            self._edges.rally(now, member)

    # -- what I find out

    def reached(self, now: Now, member: Member, heard_us_at: Instant) -> None:
        """Two-way evidence of a member that somebody has doubts about."""
        if member.is_down:
            if member.local and heard_us_at > member.since:
                self._lifecycle.revive(now, member)
            return
        told, suspicion = dict(member.askers), member.suspicion
        member.askers.clear()
        if suspicion is not None:
            told.update(dict.fromkeys(suspicion.accusers))
            if self._me in suspicion.accusers and not suspicion.alone:
                told.update(dict.fromkeys(self._ground.table.others(member)))
        told.pop(self._me, None)
        for node in told:
            self._ground.send(node, Vouch(member.id, *member.standing))
        self.acquit(now, member)

    def acquit(self, now: Now, member: Member) -> None:
        """Nothing stands against a member any more."""
        self._lifecycle.clear_suspicion(member)
        if member.status is Status.SUSPECT:
            self._ground.table.set_status(member, Status.ALIVE, now.instant)

    def withdraw(self, now: Now, member: Member) -> None:
        """I no longer observe a member, or must not judge it now: my accusation goes."""
        suspicion = member.suspicion
        if member.is_down or suspicion is None:
            return
        if self._me in suspicion.accusers and not suspicion.alone:
            self._say_withdrawn(member)
        member.askers.clear()
        self.acquit(now, member)

    # -- inner steps

    def _note_go_between(self, peer: NodeId) -> None:
        self._go_betweens.pop(peer, None)
        self._go_betweens[peer] = None
        if len(self._go_betweens) > GO_BETWEENS_MAX:
            del self._go_betweens[next(iter(self._go_betweens))]

    def _suspicion(self, now: Now, member: Member) -> Suspicion:
        if member.suspicion is None:
            probe = member.probe
            is_check = probe is not None and probe.is_check
            started = probe.started if probe is not None and is_check else now.instant
            member.suspicion = Suspicion(*member.standing, started)
        return member.suspicion

    def _join(self, now: Now, peer: NodeId, member: Member, signed: SignedFact) -> None:
        """Count one more accuser, who may have missed my own accusation."""
        suspicion = self._suspicion(now, member)
        suspicion.add_accuser(peer, signed)
        member.contradict(now.instant)
        if suspicion.own is not None and self._me in suspicion.accusers:
            self._ground.send(peer, Accuse(suspicion.own.encode()))

    def _forget_if_empty(self, member: Member, suspicion: Suspicion) -> None:
        if not suspicion.accusers and not suspicion.vouchers:
            self._lifecycle.clear_suspicion(member)

    def _reaches(self, now: Now, member: Member) -> bool:
        fresh_s = 2 * member.trip.timeout_s(self._ground.params)
        return member.is_here and now.instant - member.reached_at <= fresh_s

    def _is_settled(self, now: Now, peer: NodeId, member: Member, fact: Accusation) -> bool:
        """Whether an accusation is beside the point; tell the accuser what it does not know."""
        named = (fact.boot, fact.incarnation)
        if named > member.standing:
            return True
        known = None
        if named < member.standing:
            known = member.presence.id
        elif member.leave is not None:
            known = member.leave.id
        elif member.is_down and not member.local and member.verdict is not None:
            known = member.verdict.id
        gossip = self._ground.parts.gossip
        if known is not None and gossip.holds(Family.MEMBERS, known):
            gossip.tell(now, peer, Family.MEMBERS, [known])
        return known is not None

    def _hold(self, now: Now, member: Member) -> None:
        suspicion = member.suspicion
        assert suspicion is not None
        if member.is_down:  # concluded alone, and now others say that they reach it
            self._lifecycle.revive(now, member)
            return
        if suspicion.accusers.pop(self._me, None) is not None:
            self._say_withdrawn(member)
        suspicion.asked_all_at = now.instant
        for kind in (AGAIN, DECIDE):
            self._ground.agenda.cancel(timer_key(kind, member.id))
        self._ground.table.set_status(member, Status.ALIVE, now.instant)
        self._edges.hold(now, member)

    def _say_withdrawn(self, member: Member) -> None:
        remark = Withdraw(member.id, *member.standing)
        for node in (member.id, *self._ground.table.others(member)):
            self._ground.send(node, remark)

    def _sentence(
        self, now: Now, member: Member, observers: frozenset[NodeId], *, local: bool
    ) -> None:
        known = member.verdict
        if known is not None and self._ground.is_held(known):
            # A majority's word is under test here, and this is the test.
            self._lifecycle.go_down(now, member, known, local=False)
            return
        suspicion = member.suspicion
        assert suspicion is not None
        accusers = suspicion.accusers_among(observers | {self._me} if local else observers)
        place = accusers.index(self._me) if self._me in accusers else len(accusers)
        count = ACCUSATIONS_MAX if local else accusers_needed(len(observers))
        proofs = tuple(suspicion.accusers[node] for node in accusers[:count])
        fact = Verdict(
            member.id, suspicion.boot, suspicion.incarnation, len(observers), local, proofs
        )
        [verdict] = self._ground.parts.author.sign([fact])
        self._lifecycle.go_down(now, member, verdict, local=local)
        if local:
            return
        if place == 0:
            self.publish(now, member)
        else:
            # One author is enough; the next one speaks only if the first stays silent.
            due = later(now.instant, place * self._ground.params.verdict_stagger_s)
            self._ground.agenda.set(timer_key(PUBLISH, member.id), due)


def open_accusation_untrusted(message: Accuse, peer: NodeId, mesh: MeshId) -> SignedFact:
    """Return the accusation that a peer sent of itself, not verified yet; raises RemoteError."""
    signed = decode_signed_fact_untrusted(message.signed, mesh)
    if node_id(signed.author) != peer:
        raise RemoteError(Refusal.AUTHOR_MISMATCH, "an accusation is sent by its author only")
    if signed.context != Accusation.CONTEXT or (signed.index, signed.count) != (0, 1):
        raise broken("an accusation is signed alone")
    return signed
