"""The edges of this node: whom it observes, and the pings on them.

Edges are symmetric (who observes me is observed by me), and any proof of life counts for both
ends, so a healthy edge costs one ping and one answer per quiet period, sent by whoever's jittered
timer comes first.
"""

from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import NodeId
from mesh.core.instants import Instant, Now, later
from mesh.core.membership.ground import MOMENT_S, Ground
from mesh.core.membership.member import Member
from mesh.core.membership.messages import Ack, Ping, encode_beat
from mesh.core.membership.probe import SEQUENCES, LossMeter, Phase, Probe

RALLY_EXTRA_TRIES = 2
"""Asked by an accuser one tries harder: the vote hangs on it (model: 3 tries, then 5)."""
SENT_KEPT = 16


class Edges:
    """Every probe of this node."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._sequence = ground.parts.rng.randrange(SEQUENCES)
        self.members: dict[NodeId, Member] = {}
        self.loss = LossMeter()
        self.quiet_s = ground.params.edge_quiet_s
        """How long an edge may be without evidence."""

    @property
    def dead_count(self) -> int:
        """How many edges look dead, with nobody vouching for the other end."""
        return sum(
            member.probe is not None and member.probe.phase is Phase.FAILED
            for member in self.members.values()
        )

    def refresh(self, now: Now) -> list[Member]:
        """Follow a change of who is here; returns whom this node no longer observes."""
        table, agenda = self._ground.table, self._ground.agenda
        wanted = dict.fromkeys(table.rule.observers(table.self_id))
        gone = [member for node, member in self.members.items() if node not in wanted]
        for member in gone:
            del self.members[member.id]
            member.probe = member.detour = None
            agenda.cancel(member.edge_key)
        for node in wanted:
            fresh = table.get(node)
            if fresh is not None and node not in self.members:
                self.members[node] = fresh
                fresh.probe, fresh.detour = Probe(), None
                self.look_again(now, fresh)
        params = self._ground.params
        share = len(wanted) / (2 * params.rings)
        self.quiet_s = params.edge_quiet_s * min(max(share, params.few_edges_factor), 1.0)
        return gone

    def begin(self, now: Now, member: Member, extra_tries: int = 0) -> None:
        """Start a run of pings on an edge, or to check on somebody else."""
        if member.probe is None:
            member.probe = Probe(is_check=True)
        params = self._ground.params
        tries = min(self.loss.tries(params) + extra_tries, params.probe_tries_high)
        member.probe.begin(now.instant, tries, member.trip.timeout_s(params))
        self._try(now, member, member.probe)

    def rally(self, now: Now, member: Member) -> None:
        """Find out at once whether a member is there, unless that is being found out."""
        probe = member.probe
        if probe is None or probe.phase is Phase.QUIET or (probe.is_check and not probe.runs):
            self.begin(now, member, RALLY_EXTRA_TRIES)

    def restart(self, now: Now, member: Member) -> None:
        """Throw away what a probe has found out, and ask again soon."""
        if member.probe is not None:
            member.probe.rest()
            self._ground.agenda.set(member.edge_key, self._ground.soon(now))

    def look_again(self, now: Now, member: Member) -> None:
        """Probe anew; ask only, and accuse nobody, while what the peer said of itself counts."""
        if now.instant < member.trusted_until:
            self.hold(now, member)
            self.nudge(now, member)
        else:
            self.restart(now, member)

    def discard_runs(self, now: Now) -> None:
        """This node was not listening: no run under way says anything about its peer."""
        for member in self._ground.table:
            if member.probe is not None and member.probe.phase is Phase.ASKING:
                self.restart(now, member)

    def fire(self, now: Now, member: Member) -> Phase | None:
        """The timer of a probe came up; FAILED and HELD are for the caller to act upon."""
        probe = member.probe
        if probe is None:
            return None
        if probe.phase is Phase.QUIET:
            self.begin(now, member)
            self._begin_with(now)
            return probe.phase
        if probe.phase is Phase.HELD:
            self.nudge(now, member)
            self.watch_hold(now, member)
            return probe.phase
        if probe.tries_left > 0:
            self._try(now, member, probe)
            return probe.phase
        probe.phase = Phase.FAILED
        return probe.phase

    def _begin_with(self, now: Now) -> None:
        """Ask on the edges that are due soon as well: one wake-up here, and one for the answers."""
        agenda = self._ground.agenda
        until = later(now.instant, self._ground.params.edge_together * self.quiet_s)
        for other in self.members.values():
            probe = other.probe
            if (
                probe is not None
                and probe.phase is Phase.QUIET
                and agenda.due(other.edge_key) <= until
            ):
                self.begin(now, other)

    def fail(self, member: Member) -> bool:
        """The peer's machine says that nobody listens: no need to wait for more silence."""
        probe = member.probe
        if probe is None or probe.phase not in {Phase.QUIET, Phase.ASKING}:
            return False
        probe.phase = Phase.FAILED
        self._ground.agenda.cancel(member.edge_key)
        return True

    def hold(self, now: Now, member: Member) -> None:
        """Others reach the peer: keep asking, accuse nobody."""
        if member.probe is not None:
            member.probe.phase = Phase.HELD
            self.watch_hold(now, member)

    def watch_hold(self, now: Now, member: Member) -> None:
        """Look at a held edge again before its vouchers turn stale."""
        due = later(now.instant, self._ground.params.vouch_fresh_s / 2)
        self._ground.agenda.set(member.edge_key, due)

    def nudge(self, now: Now, member: Member) -> None:
        """Ping once, beside any run."""
        sequence = self._ping(member)
        if member.probe is None:
            member.asked = (sequence, now.instant)
            return
        member.probe.sent.append((sequence, now.instant))
        del member.probe.sent[:-SENT_KEPT]

    def rest(self, now: Now, member: Member, probe: Probe) -> None:
        """Two-way evidence: the edge is quiet for another period."""
        ground, lost = self._ground, probe.lost
        if lost is not None:
            self.loss.add(lost)
        member.detour = None
        if probe.is_check:
            member.probe = None
            ground.agenda.cancel(member.edge_key)
            return
        if probe.phase is not Phase.QUIET:
            probe.rest()
        elif member.trip.smoothed_s is None:
            return  # ask once all the same: without a round trip every later wait is long
        params = ground.params
        spread = 1 - params.edge_jitter + 2 * params.edge_jitter * ground.parts.rng.random()
        ground.agenda.set(member.edge_key, later(now.instant, self.quiet_s * spread))

    def answer(self, peer: NodeId, sequence: int) -> None:
        """Answer a ping."""
        self._send(peer, Ack.KIND, sequence)

    def take_ack(self, now: Now, member: Member, sequence: int) -> Instant | None:
        """Measure with an answer; returns when its ping left, None when none is known."""
        found = member.probe.place_of(sequence) if member.probe is not None else None
        if found is not None and member.probe is not None:
            place, left = found
            member.probe.answered = place
        elif member.asked is not None and member.asked[0] == sequence:
            left, member.asked = member.asked[1], None
        else:
            return None
        member.trip.add(now.instant - left)
        return left

    def _try(self, now: Now, member: Member, probe: Probe) -> None:
        due = probe.send(now.instant, self._ping(member), self._ground.params)
        self._ground.agenda.set(member.edge_key, max(due, later(now.instant, MOMENT_S)))

    def _ping(self, member: Member) -> int:
        self._sequence = (self._sequence + 1) % SEQUENCES
        self._send(member.id, Ping.KIND, self._sequence)
        return self._sequence

    def _send(self, peer: NodeId, kind: int, sequence: int) -> None:
        parts = self._ground.parts
        digest = parts.gossip.digest
        body = encode_beat(sequence, digest(Family.MEMBERS), digest(Family.TASKS))
        parts.outbox.send_raw(peer, kind, body)
