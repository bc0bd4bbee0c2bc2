"""Members as everybody else sees them: plain data for answers, agents and checkers."""

from mesh.core.instants import Now
from mesh.core.membership.ground import Ground
from mesh.core.membership.member import Member
from mesh.core.membership.own_record import OwnRecord
from mesh.core.membership.probe import Phase
from mesh.core.membership.twins import Twins
from mesh.core.snapshot import MemberView, Status


class Views:
    """What is shown of each member, and of this node; made anew only where something changed."""

    def __init__(self, ground: Ground, own: OwnRecord, twins: Twins) -> None:
        self._ground = ground
        self._own = own
        self._twins = twins

    def members(self, now: Now, status: Status, *, is_isolated: bool) -> tuple[MemberView, ...]:
        """Return everybody known, by id; the status given is that of this node."""
        views = [self._view(now, member) for member in self._ground.table]
        views.append(self._own_view(now, status, is_isolated=is_isolated))
        return tuple(sorted(views, key=lambda view: view.id))

    def _view(self, now: Now, member: Member) -> MemberView:
        fact, flags = member.presence.fact, []
        if member.probe is not None and member.probe.phase is Phase.HELD:
            flags.append("degraded")
        if self._twins.get(member.id) is not None:
            flags.append("cloned")
        penalty = member.penalty(now.instant, self._ground.params.flap_half_life_s)
        if penalty > self._ground.params.flap_penalty_high:
            flags.append("flapping")
        trip_s = member.trip.smoothed_s
        same = (fact, member.status, trip_s, tuple(flags))
        if member.view is not None and member.viewed == same:
            return member.view
        member.viewed = same
        member.view = MemberView(
            id=member.id,
            name=fact.name,
            address=fact.addresses[0],
            status=member.status,
            boot=fact.boot,
            incarnation=fact.incarnation,
            rtt_s=trip_s,
            tags=fact.tags,
            is_self=False,
            flags=tuple(flags),
        )
        return member.view

    def _own_view(self, now: Now, status: Status, *, is_isolated: bool) -> MemberView:
        fact, flags = self._own.fact, []
        if self._ground.health.is_degraded(now.instant, self._ground.params):
            flags.append("degraded")
        if is_isolated:
            flags.append("isolated")
        if self._twins.get(self._ground.table.self_id) is not None:
            flags.append("cloned")
        return MemberView(
            id=self._ground.table.self_id,
            name=fact.name,
            address=fact.addresses[0],
            status=status,
            boot=fact.boot,
            incarnation=fact.incarnation,
            rtt_s=None,
            tags=fact.tags,
            is_self=True,
            flags=tuple(flags),
        )
