"""Ways round a broken path between two nodes that do not observe each other.

Edges are watched, so a broken one is noticed and its vouchers are known. Everybody else is pinged
now and then, and as soon as something that wants an answer stays unanswered. While such a check
has no answer, observers of the peer are asked whether they reach it: one that vouches passes on
what is sent. So they are for an edge that rests because its other end has refuted: nobody is
accused then, and nobody vouches unasked. The other side answers the way it was reached. Whatever
is heard directly, both ways, ends the detour; one that nobody uses ends by itself, and one in use
is checked again.
"""

from mesh.core.identity import NodeId
from mesh.core.instants import Instant, Now, later
from mesh.core.membership.edges import Edges
from mesh.core.membership.ground import MOMENT_S, Ground
from mesh.core.membership.member import Detour, Member
from mesh.core.membership.messages import Ask, Vouch
from mesh.core.membership.probe import Phase, Probe

ASKED_AT_ONCE = 2
OFTEN_ENOUGH = 0.5
"""The least share of the turns in which somebody is pinged who is no edge."""


class Detours:
    """The checks of members that are no edges, and what to do when one fails."""

    def __init__(self, ground: Ground, edges: Edges) -> None:
        self._ground = ground
        self._edges = edges

    def probe_somebody(self, now: Now) -> None:
        """Ping whoever was not heard longest and is no edge: coverage, and a round trip to know.

        Where nearly everybody is an edge, every second time is enough.
        """
        table, rng = self._ground.table, self._ground.parts.rng
        strangers = len(table.here) - len(self._edges.members)
        if strangers <= 0 or rng.random() >= max(strangers / len(table.here), OFTEN_ENOUGH):
            return
        idle = [member for member in table if member.is_here and member.probe is None]
        if idle:
            self._edges.begin(now, min(idle, key=lambda member: (member.evidence_at, rng.random())))

    def next_at(self, now: Now) -> Instant:
        """Return when to ping somebody next."""
        return self._ground.spread(now, self._ground.params.random_probe_s)

    def doubt(self, instant: Instant, member: Member) -> None:
        """Something sent to a member stays unanswered: check it, soon but not within this call."""
        if member.is_here and member.probe is None:
            member.probe = Probe(is_check=True)
            self._ground.agenda.set(member.edge_key, later(instant, MOMENT_S))

    def tend(self, now: Now, member: Member, probe: Probe) -> Phase | None:
        """The timer of a check came up; FAILED is for the caller when a verdict hangs on it."""
        detour = member.detour
        if probe.phase is Phase.HELD:
            if detour is None and probe.is_sweep:
                self._edges.begin(now, member)
                self._ask(member)
                return None
            if detour is None or not detour.is_used:
                self._end(member)
                return None
            detour.is_used = detour.is_vouched = False
            self._edges.begin(now, member)
        elif self._edges.fire(now, member) is Phase.FAILED:
            is_vouched = detour is not None and detour.is_vouched
            if member.verdict is not None or (probe.is_sweep and not is_vouched):
                return Phase.FAILED
            if is_vouched:
                self._hold(now, member, probe)
            else:
                self._look_again_later(now, member, probe)
            return None
        self._ask(member)
        return probe.phase

    def handle_vouch(self, peer: NodeId, remark: Vouch) -> None:
        """Somebody reaches a member whose check is under way."""
        member = self._ground.table.get(remark.subject)
        if member is None or not self._wants_a_way(member):
            return
        is_observer = peer in self._ground.table.observers(member)
        if is_observer and member.is_here and remark.boot >= member.standing[0]:
            member.detour = Detour(peer, is_vouched=True)

    def relayed(self, now: Now, member: Member, via: NodeId) -> None:
        """A member reached us through somebody else: answer it the same way."""
        if member.probe is not None and not self._wants_a_way(member):
            return  # an edge that is under suspicion has vouchers
        silent_s = now.instant - member.evidence_at
        if not member.is_here or silent_s <= self._ground.params.probe_rto_high_s:
            return
        member.detour = Detour(via, is_vouched=True)
        if member.probe is None:
            member.probe = Probe(is_check=True)
            self._hold(now, member, member.probe)

    def via(self, member: Member) -> NodeId | None:
        """Return who passes on what is sent to a member, and note that it is used."""
        detour = member.detour
        if detour is None or not self._is_fit(detour.via):
            return None
        detour.is_used = True
        return detour.via

    def find(self, member: Member) -> None:
        """An edge rests: ask who reaches its other end."""
        if self._wants_a_way(member):
            self._ask(member)

    def _wants_a_way(self, member: Member) -> bool:
        probe = member.probe
        if probe is None:
            return False
        return probe.is_check or (probe.phase is Phase.HELD and member.suspicion is None)

    def _look_again_later(self, now: Now, member: Member, probe: Probe) -> None:
        """Its observers have the time for a vote; whoever is silent still is doubted from here.

        They may have given it up each alone, while a cut ran between them, and say nothing more.
        """
        params = self._ground.params
        probe.phase, probe.is_sweep, member.detour = Phase.HELD, True, None
        due = self._ground.spread(now, params.edge_quiet_s + params.refutation_window_s)
        self._ground.agenda.set(member.edge_key, due)

    def _hold(self, now: Now, member: Member, probe: Probe) -> None:
        probe.phase, probe.is_sweep = Phase.HELD, False
        due = self._ground.spread(now, self._ground.params.edge_hold_s)
        self._ground.agenda.set(member.edge_key, due)

    def _end(self, member: Member) -> None:
        member.probe = member.detour = None
        self._ground.agenda.cancel(member.edge_key)

    def _ask(self, member: Member) -> None:
        if member.verdict is not None:
            return  # others could not reach it either
        fit = [node for node in self._ground.table.others(member) if self._is_fit(node)]
        for node in self._ground.parts.rng.sample(fit, min(ASKED_AT_ONCE, len(fit))):
            self._ground.send(node, Ask(member.id, *member.standing))

    def _is_fit(self, node: NodeId) -> bool:
        """Whether somebody may pass things on: here, and not in doubt itself."""
        member = self._ground.table.get(node)
        return (
            member is not None
            and member.is_here
            and member.suspicion is None
            and member.detour is None
        )
