"""Looking beyond one's edges where a cut may run through the mesh.

Of an edge that is silent, and on which no majority comes about, other observers are out of reach
too. Waiting until new edges close over the far side would take one conclusion after the other, and
what nobody here observes would be believed in for as long as the cut lasts. So everybody who was
not heard since is asked for an answer, a few at a time; whoever gives none is asked for around,
and is concluded upon alone when nobody vouches. Nobody has to be believed for that.
"""

from mesh.core.instants import Instant, Now, later
from mesh.core.membership.agenda import SWEEP
from mesh.core.membership.edges import Edges
from mesh.core.membership.ground import Ground
from mesh.core.membership.member import LONG_AGO, Member
from mesh.core.membership.rounds import Round


class Sweep:
    """One look at everybody who is no edge; once per time in which conclusions ripen."""

    def __init__(self, ground: Ground, edges: Edges) -> None:
        self._ground = ground
        self._edges = edges
        self._round = Round(ground, SWEEP)
        self._began = LONG_AGO

    def begin(self, now: Now, since: Instant) -> None:
        """Look at everybody who was not heard after that instant, unless that was done lately."""
        ground = self._ground
        pause_s = ground.params.local_conclusion_s
        if self._round.is_open or now.instant < later(self._began, pause_s):
            return
        self._began = now.instant
        silent = [
            member.id
            for member in ground.table
            if member.is_here and _is_unwatched(member) and member.evidence_at < since
        ]
        self._round.start(now, silent, len(silent))

    def turn(self, now: Now) -> None:
        """Ask the next few."""
        for member in self._round.turn(now):
            if not member.is_here or not _is_unwatched(member) or member.suspicion is not None:
                continue
            if member.probe is None:
                self._edges.begin(now, member)
            assert member.probe is not None
            member.probe.is_sweep = True

    def stop(self) -> None:
        """This node was not listening: its doubts were about itself."""
        self._round.stop()


def _is_unwatched(member: Member) -> bool:
    """Whether a member is no edge; a check of it may be under way."""
    return member.probe is None or member.probe.is_check
