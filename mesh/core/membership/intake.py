"""Which membership facts are kept: the same ones everywhere, in whatever order they came.

Of a node's presences the greatest (boot, incarnation) is kept; a verdict as long as it names
that one; a goodbye until a greater boot. A fact that comes before the presence it needs is kept
aside (bounded), for gossip offers nothing twice.
"""

from typing import Any

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, NodeId
from mesh.core.instants import NEVER, Now
from mesh.core.membership.court import Court
from mesh.core.membership.edges import Edges
from mesh.core.membership.facts import Accusation, Leave, Presence, Twin, Verdict
from mesh.core.membership.ground import Ground
from mesh.core.membership.lifecycle import Lifecycle
from mesh.core.membership.member import Member, Standing
from mesh.core.membership.own_record import OwnRecord
from mesh.core.membership.probe import Phase
from mesh.core.membership.shelf import Shelf
from mesh.core.membership.suspicion import accusers_needed
from mesh.core.membership.twins import Twins
from mesh.core.membership.verdicts import (
    accusers_of,
    broken,
    check_accusations,
    check_verdict,
    is_stronger,
)
from mesh.core.wire.envelope import Verified


class Intake:
    """The judge of membership facts that gossip brings."""

    def __init__(
        self, ground: Ground, edges: Edges, lifecycle: Lifecycle, court: Court, own: OwnRecord
    ) -> None:
        self._ground = ground
        self._edges = edges
        self._lifecycle = lifecycle
        self._court = court
        self._own = own
        self._me = ground.table.self_id
        self._early_verdicts = Shelf(ground.params.members_max)
        self.twins = Twins(ground)
        self._early_leaves: dict[NodeId, Verified[Leave]] = {}

    @property
    def early_count(self) -> int:
        """How many facts wait for a presence."""
        return len(self._early_verdicts) + len(self._early_leaves)

    def accept(self, now: Now, verified: Verified[Any]) -> bool:
        """Return whether to keep and spread a fact; raises RemoteError when it breaks a rule."""
        fact = verified.fact
        if isinstance(fact, Verdict):
            return self._accept_verdict(now, verified)
        if isinstance(fact, Accusation):
            return False  # accusations go to the observers only, by message
        if isinstance(fact, Twin):
            return self.twins.accept(verified, self._boot_of(verified.author))
        if not isinstance(fact, Presence | Leave):
            raise RemoteError(Refusal.UNKNOWN_CONTEXT, fact.CONTEXT)
        if verified.author == self._me:
            return self._own.met(verified)
        if isinstance(fact, Leave):
            return self._accept_leave(now, verified)
        return self._accept_presence(now, verified)

    def _boot_of(self, node: NodeId) -> Boot | None:
        if node == self._me:
            return self._own.fact.boot if self._own.presence is not None else None
        member = self._ground.table.get(node)
        return None if member is None else member.standing[0]

    # -- presence

    def _accept_presence(self, now: Now, verified: Verified[Presence]) -> bool:
        table, fact = self._ground.table, verified.fact
        if not fact.addresses:
            raise broken("a presence without an address")
        member = table.get(verified.author)
        standing = (fact.boot, fact.incarnation)
        if member is None:
            if table.is_forgotten(verified.author, standing):
                return False
            member = Member(verified.author, verified, now.instant)
            table.add(member)
            self.twins.outlive(member.id, fact.boot)
            self._take_early(now, member)
            return True
        if standing < member.standing or (
            standing == member.standing and verified.id <= member.presence.id
        ):
            return False
        self._ground.drop(member.presence)
        if standing > member.standing:
            self._renew(now, member, verified)
        else:
            member.presence = verified
        return True

    def _renew(self, now: Now, member: Member, verified: Verified[Presence]) -> None:
        """A member says that it is here under a greater boot or incarnation."""
        was_here, boot = member.is_here, member.standing[0]
        self._ground.drop(member.verdict)
        member.presence, member.contradicted_at = verified, NEVER
        if verified.fact.boot > boot:
            self.twins.outlive(member.id, verified.fact.boot)
            member.boot_since = now.instant
            member.forget_contact()
        elif member.is_down or self._court.accuses(member) or self._is_out_of_reach(now, member):
            member.add_refutation(now.instant, self._ground.params.edge_hold_s)
        leave = member.leave
        if leave is not None and leave.fact.boot < verified.fact.boot:
            self._ground.drop(leave)
            member.leave = None
        if member.leave is None:
            self._lifecycle.revive(now, member)
        if was_here:
            self._edges.look_again(now, member)
        self._take_verdicts(now, member)

    def _is_out_of_reach(self, now: Now, member: Member) -> bool:
        """Whether it speaks, and I have not reached it for long: the path is broken."""
        params = self._ground.params
        silent_s = now.instant - member.evidence_at
        long_s = params.echo_fresh_factor * params.edge_quiet_s
        return member.id in self._edges.members and long_s < silent_s < float("inf")

    def _take_early(self, now: Now, member: Member) -> None:
        leave = self._early_leaves.pop(member.id, None)
        if leave is not None and not self._apply_leave(now, member, leave):
            self._ground.drop(leave)
        self._take_verdicts(now, member)

    def _take_verdicts(self, now: Now, member: Member) -> None:
        for verdict in self._early_verdicts.take_until(member.id, member.standing):
            if self._ground.is_held(verdict):  # else its author takes part no more
                self._place(now, member, verdict)

    # -- goodbye

    def _accept_leave(self, now: Now, verified: Verified[Leave]) -> bool:
        subject = verified.author
        member = self._ground.table.get(subject)
        if member is not None:
            return self._apply_leave(now, member, verified)
        standing = (verified.fact.boot, verified.fact.incarnation)
        if self._ground.table.is_forgotten(subject, standing):
            return False
        known = self._early_leaves.get(subject)
        if known is not None and not _is_later(verified, known):
            return False
        if known is None and len(self._early_leaves) >= self._ground.params.members_max:
            raise RemoteError(Refusal.OVER_CAP, "too many goodbyes of nodes unknown here")
        self._ground.drop(known)
        self._early_leaves[subject] = verified
        self._drop_verdicts(verified)
        return True

    def _apply_leave(self, now: Now, member: Member, leave: Verified[Leave]) -> bool:
        known = member.leave
        if leave.fact.boot < member.standing[0] or (known and not _is_later(leave, known)):
            return False
        self._ground.drop(known)
        self._drop_verdicts(leave)
        if known is None:
            self._lifecycle.go_left(now, member, leave)
        member.leave = leave
        return True

    def _drop_verdicts(self, leave: Verified[Leave]) -> None:
        for verdict in self._early_verdicts.take_boots(leave.author, leave.fact.boot):
            self._ground.drop(verdict)

    # -- verdict

    def _accept_verdict(self, now: Now, verified: Verified[Verdict]) -> bool:
        fact, table = verified.fact, self._ground.table
        check_verdict(fact)
        named = (fact.boot, fact.incarnation)
        member = table.get(fact.subject)
        if fact.local:
            # Somebody's own conclusion is nobody else's business, unless a claim cites it.
            mine = member is not None and member.verdict == verified
            return mine and verified.author == self._me
        if fact.subject == self._me:
            check_accusations(self._ground.parts.author.verifier, fact)
            self._own.sentenced(now, named)
            return False
        if table.is_forgotten(fact.subject, named) or self._is_over(fact.subject, named):
            return False
        is_early = member is None or named > member.standing
        rival = self._early_verdicts.get(fact.subject, named)
        if member is not None and self._ground.is_held(member.verdict) and not is_early:
            rival = member.verdict
        if rival is not None and not is_stronger(verified, rival):
            return False
        check_accusations(self._ground.parts.author.verifier, fact)
        if member is None or is_early:
            self._early_verdicts.put(verified)
            self._ground.drop(rival)
        else:
            self._place(now, member, verified)
        return True

    def _is_over(self, subject: NodeId, named: Standing) -> bool:
        """Whether a verdict names what a newer presence or a goodbye has ended."""
        member = self._ground.table.get(subject)
        left = self._early_leaves.get(subject) if member is None else member.leave
        if left is not None and named[0] <= left.fact.boot:
            return True
        return member is not None and named < member.standing

    def _place(self, now: Now, member: Member, verdict: Verified[Verdict]) -> None:
        """Put a verdict that is to be kept where it belongs, and believe it or test it."""
        ground = self._ground
        named = (verdict.fact.boot, verdict.fact.incarnation)
        if self._is_over(member.id, named):
            ground.drop(verdict)
            return
        ground.drop(member.verdict)
        if member.is_down:
            self._lifecycle.go_down(now, member, verdict, local=False)
            return
        member.verdict = verdict
        member.contradict(now.instant)
        observers = ground.table.observers(member)
        agreeing = sum(node in observers for node in accusers_of(verdict.fact))
        silent = member.probe is not None and member.probe.phase is Phase.FAILED
        if silent or agreeing >= accusers_needed(len(observers)):
            self._lifecycle.go_down(now, member, verdict, local=False)
        else:
            self._edges.rally(now, member)


def _is_later(leave: Verified[Leave], than: Verified[Leave]) -> bool:
    """Whether of two goodbyes of one node the first is kept by everybody."""
    first, second = leave.fact, than.fact
    return (first.boot, first.incarnation, leave.id) > (second.boot, second.incarnation, than.id)
