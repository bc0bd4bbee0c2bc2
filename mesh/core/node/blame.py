"""Whom not to listen to: an honest relay checks what it passes on, so forgeries are its own."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.core.identity import NodeId
from mesh.core.instants import Instant, later
from mesh.core.membership.messages import Accuse
from mesh.core.params import LinkParams

GOSSIP_KINDS = range(20, 50)
MUTED_KINDS = (*GOSSIP_KINDS, Accuse.KIND)
"""What is not listened to from a peer that has passed on forgeries."""


@dataclass(slots=True)
class Strikes:
    """What a link peer did wrong lately."""

    count: int = 0
    muted_until: Instant = Instant(0.0)


@dataclass(slots=True)
class Blame:
    """The strikes of every link peer."""

    params: LinkParams
    count: Callable[[str], None]
    _strikes: dict[NodeId, Strikes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._strikes)

    def is_muted(self, instant: Instant, peer: NodeId, kind: int) -> bool:
        """Whether a message of this kind is not to be looked at."""
        strikes = self._strikes.get(peer)
        return strikes is not None and instant < strikes.muted_until and kind in MUTED_KINDS

    def strike(self, instant: Instant, peer: NodeId) -> None:
        """A peer has passed on an invalid signature."""
        strikes = self._strikes.setdefault(peer, Strikes())
        strikes.count += 1
        if strikes.count >= self.params.strikes_max:
            strikes.count = 0
            strikes.muted_until = later(instant, self.params.mute_s)
            self.count("muted")

    def forget(self, peer: NodeId) -> None:
        """Somebody is no member any more."""
        self._strikes.pop(peer, None)
