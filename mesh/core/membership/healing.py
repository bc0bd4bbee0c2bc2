"""Coming back together: who is down is dialled for ever, and all at once when one of them is heard.

A conclusion that a node drew alone is shared with nobody, so nobody else can tell it that it was
wrong: whoever it gave up must be dialled by itself. One of them heard means that a partition has
healed, and the others are not left to the slow redial. Those against whom a verdict stands hear
of it from the first who knows it and is in contact; they refute once, and gossip does the rest.
"""

from mesh.core.gossip.vocabulary import Family
from mesh.core.instants import Instant, Now, later
from mesh.core.membership.agenda import HEAL
from mesh.core.membership.edges import Edges
from mesh.core.membership.ground import Ground
from mesh.core.membership.lifecycle import Lifecycle
from mesh.core.membership.member import LONG_AGO, Member
from mesh.core.membership.rounds import Round

DIALS_MAX = 256
"""Dialled because one was heard; whoever is beyond is left to the slow redial."""


class Healing:
    """Everything this node does about members that are down."""

    def __init__(self, ground: Ground, edges: Edges, lifecycle: Lifecycle) -> None:
        self._ground = ground
        self._edges = edges
        self._lifecycle = lifecycle
        self._round = Round(ground, HEAL)
        self._began = LONG_AGO
        self._turn_of_lost = False

    def redial(self, now: Now) -> Member | None:
        """Ping a random member that is down, and return it: healing must be noticed.

        Of most of them somebody hears who comes back, so all nodes together do that about once a
        turn for each. Of those whom this node alone gave up nobody else believes that there is
        anything to notice: while there are any it dials in every turn, every other time one of
        them.
        """
        table, rng = self._ground.table, self._ground.parts.rng
        down, here = list(table.down), len(table.here) + 1
        lost = list(self._lifecycle.lost)
        if not lost and rng.random() * here >= len(down):
            return None
        self._turn_of_lost = bool(lost) and not self._turn_of_lost
        member = table.get(rng.choice(lost if self._turn_of_lost else down))
        assert member is not None
        self._edges.nudge(now, member)
        return member

    def redial_at(self, now: Now) -> Instant:
        """Return when to redial next: sooner where there are few who do."""
        params = self._ground.params
        share = self._edges.quiet_s / params.edge_quiet_s
        return self._ground.spread(now, params.dead_redial_s * share)

    def heard(self, now: Now, member: Member) -> None:
        """A member that is down was heard: does it hear us, and who else is back?"""
        params = self._ground.params
        asked = member.asked
        if asked is None or now.instant >= later(asked[1], params.probe_rto_high_s):
            self._edges.nudge(now, member)
        if self._round.is_open or now.instant < later(self._began, params.probe_rto_high_s):
            return
        lost = [node for node in self._lifecycle.lost if node != member.id]
        if lost:
            self._began = now.instant
            self._round.start(now, lost, DIALS_MAX)

    def dial(self, now: Now) -> None:
        """Ping some of those who may be back as well."""
        for member in self._round.turn(now):
            if member.is_down:
                self._edges.nudge(now, member)

    def notice(self, now: Now, member: Member) -> None:
        """Tell a member that is held to be down, so that it can refute.

        Only pings and acks are answered so: a notice is never answered with a notice.
        """
        if self._tell(now, member):
            self._ground.parts.gossip.start_sync(now, member.id)

    def warn(self, now: Now, member: Member) -> None:
        """Tell a member that is here of a verdict that others have come to."""
        if member.id in self._edges.members:
            self._tell(now, member)

    def _tell(self, now: Now, member: Member) -> bool:
        verdict, ground = member.verdict, self._ground
        pause_s = ground.params.refutation_window_s
        if verdict is None or now.instant < later(member.noticed_at, pause_s):
            return False
        if not ground.is_held(verdict):
            return False
        member.noticed_at = now.instant
        ground.parts.gossip.tell(now, member.id, Family.MEMBERS, [verdict.id])
        return True
