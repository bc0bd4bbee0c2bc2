"""Doubting oneself first: was I late, did I sleep, am I the one who is cut off?

Lifeguard (Dadgar 2018) lets a slow node doubt itself by a score; here the doubt is measured: the
driver says how late it was and how long the host slept, and an edge that looks dead counts
against the node that looks.
"""

from dataclasses import dataclass

from mesh.core.instants import Instant, later
from mesh.core.params import MembershipParams


@dataclass(slots=True)
class LocalHealth:
    """What this node knows against itself."""

    lagged_at: Instant = Instant(float("-inf"))
    silent_until: Instant = Instant(float("-inf"))
    """After a suspend nobody is accused before this."""

    def note_lag(self, instant: Instant) -> bool:
        """Remember that the driver was late; False when this was noted already."""
        fresh = self.lagged_at != instant
        self.lagged_at = instant
        return fresh

    def note_suspend(self, instant: Instant, params: MembershipParams) -> None:
        """The host slept: listen for a refutation window before accusing anybody."""
        self.lagged_at = instant
        self.silent_until = later(instant, params.refutation_window_s)

    def may_accuse(self, instant: Instant) -> bool:
        """Whether silence may be blamed on others again."""
        return instant >= self.silent_until

    def is_degraded(self, instant: Instant, params: MembershipParams) -> bool:
        """Whether this node was late within the last few quiet periods."""
        return instant < self.lagged_at + params.echo_fresh_factor * params.edge_quiet_s


def looks_isolated(edges: int, dead_edges: int, lost: int) -> bool:
    """Whether more than half of my edges look dead, those concluded alone (`lost`) included."""
    return (dead_edges + lost) * 2 > edges + lost
