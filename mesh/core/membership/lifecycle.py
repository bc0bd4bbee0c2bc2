"""How a member goes down, dies, leaves, comes back and is forgotten.

alive <-> suspect -> down -> dead -> forgotten        left -> forgotten
  ^__________________|________|________________________|    by newer presence of its own
"""

from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Now, later
from mesh.core.membership.agenda import AGAIN, DECIDE, GRACE, PUBLISH, timer_key
from mesh.core.membership.facts import Leave, Verdict
from mesh.core.membership.ground import Ground
from mesh.core.membership.member import Member
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Verified


class Lifecycle:
    """Moves members between statuses and keeps gossip free of what is over."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.lost: dict[NodeId, None] = {}
        """Who is down by a conclusion of this node alone."""
        self.forgotten: list[NodeId] = []
        """Who is in the table no more, until somebody has cleaned up after them."""

    def go_down(self, now: Now, member: Member, verdict: Verified[Verdict], *, local: bool) -> None:
        """Believe that a member has failed; a majority's word replaces one's own."""
        ground = self._ground
        if member.verdict != verdict:
            ground.drop(member.verdict)
        member.verdict, member.local = verdict, local
        if local:
            self.lost[member.id] = None
        else:
            self.lost.pop(member.id, None)
            self.clear_suspicion(member)
        if member.is_down:
            return
        member.askers.clear()
        self.end_check(member)
        ground.table.set_status(member, Status.DOWN, now.instant)
        self._await_death(member)

    def revive(self, now: Now, member: Member) -> None:
        """Believe that a member is here; whoever was down for long has flapped."""
        ground = self._ground
        params = ground.params
        if member.is_down and now.instant > member.since + 2 * params.refutation_window_s:
            member.add_flap(now.instant, params.flap_half_life_s)
        ground.drop(member.verdict)
        member.verdict, member.local = None, False
        self.lost.pop(member.id, None)
        self.end_check(member)
        self.clear_suspicion(member)
        for kind in (GRACE, PUBLISH):
            ground.agenda.cancel(timer_key(kind, member.id))
        ground.table.set_status(member, Status.ALIVE, now.instant)

    def acquit(self, now: Now, member: Member) -> None:
        """The verdict on a member counts no more: it is here, until somebody finds otherwise."""
        if member.is_down:
            member.since = now.instant  # it has not flapped
            self.revive(now, member)
        else:
            member.verdict = None

    def go_left(self, now: Now, member: Member, leave: Verified[Leave]) -> None:
        """It said goodbye."""
        ground = self._ground
        self.revive(now, member)
        member.leave = leave
        ground.table.set_status(member, Status.LEFT, now.instant)
        due = later(now.instant, ground.params.forget_dead_s)
        ground.agenda.set(timer_key(GRACE, member.id), due)

    def age(self, now: Now, member: Member) -> None:
        """The grace is over: the down are dead, the dead and those who left are forgotten."""
        if member.status is Status.DOWN:
            self._ground.table.set_status(member, Status.DEAD, now.instant)
            due = later(now.instant, self._ground.params.forget_dead_s)
            self._ground.agenda.set(timer_key(GRACE, member.id), due)
        else:
            assert not member.is_here
            self._forget(member)

    def expel(self, member: Member) -> None:
        """It may not take part any more: nothing of it is kept, however it stood."""
        member.probe = member.detour = None
        self._ground.agenda.cancel(timer_key(GRACE, member.id))
        self._forget(member)

    def postpone(self, member: Member, seconds: float) -> None:
        """For this long nobody here was listening: the grace of a member goes on later."""
        if member.status is Status.DOWN:
            member.since = later(member.since, seconds)
            self._await_death(member)

    def clear_suspicion(self, member: Member) -> None:
        """Nobody is accused any more."""
        if member.suspicion is None:
            return
        member.suspicion = None
        member.contradicted_at = NEVER
        for kind in (AGAIN, DECIDE):
            self._ground.agenda.cancel(timer_key(kind, member.id))

    def end_check(self, member: Member) -> None:
        """Nothing is left to be found out by a check."""
        if member.probe is not None and member.probe.is_check:
            member.probe = member.detour = None
            self._ground.agenda.cancel(member.edge_key)

    def _await_death(self, member: Member) -> None:
        due = later(member.since, self._ground.params.orphan_grace_s)
        self._ground.agenda.set(timer_key(GRACE, member.id), due)

    def _forget(self, member: Member) -> None:
        ground = self._ground
        for fact in (member.presence, member.verdict, member.leave):
            ground.drop(fact)
        self.lost.pop(member.id, None)
        self.clear_suspicion(member)
        ground.agenda.cancel(timer_key(PUBLISH, member.id))
        ground.agenda.cancel(member.edge_key)
        ground.table.remove(member)
        self.forgotten.append(member.id)
