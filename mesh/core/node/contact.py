"""Finding the others: remembered peers at start, seeds with back-off, again whenever alone."""

from dataclasses import dataclass
from itertools import islice

from mesh.core.effects import Effect, ResolveSeeds
from mesh.core.identity import Address
from mesh.core.instants import Instant, Now, later
from mesh.core.node.participant import Participant
from mesh.core.rng import Rng

REMEMBERED_MAX = 256
GREETED_AT_ONCE = 64


@dataclass(slots=True)
class Contact:
    """Greets addresses until somebody answers."""

    participant: Participant
    rng: Rng
    seeds: tuple[str, ...]
    own: tuple[Address, ...]
    extra: tuple[Address, ...] = ()
    """Addresses from a ticket: used like seeds."""
    wait_s: float = 0.0
    due: Instant = Instant(float("inf"))

    def start(self, now: Now) -> list[Effect]:
        """Greet whom this node remembers, and its seeds."""
        remembered = [
            address
            for view in self.participant.membership.members(now)
            if not view.is_self and (address := self.participant.transport.links.address(view.id))
        ]
        if len(remembered) > GREETED_AT_ONCE:
            remembered = self.rng.sample(remembered[:REMEMBERED_MAX], GREETED_AT_ONCE)
        return [*self._greet(remembered), *self._try(now)]

    def _greet(self, addresses: list[Address]) -> list[Effect]:
        distinct = islice(dict.fromkeys(addresses), REMEMBERED_MAX)
        return [self.participant.transport.hello(a) for a in distinct if a not in self.own]

    def _try(self, now: Now) -> list[Effect]:
        params = self.participant.params.links
        self.wait_s = min(max(self.wait_s * 1.5, params.seed_retry_s), params.seed_retry_high_s)
        self.due = later(now.instant, self.wait_s * self.rng.uniform(0.75, 1.25))
        effects = self._greet(list(self.extra))
        return [*effects, ResolveSeeds(self.seeds)] if self.seeds else effects

    def lonely(self) -> bool:
        """Whether nobody is here, or most of the others look dead."""
        return not self.participant.known_alive or self.participant.membership.isolated

    def handle_resolved(self, addresses: tuple[Address, ...]) -> list[Effect]:
        """Greet what the seeds stand for now."""
        return self._greet(list(addresses))

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Try the seeds again while alone; rest otherwise, looking again later."""
        if now.instant < self.due:
            return []
        if self.lonely():
            return self._try(now)
        self.wait_s = 0.0
        self.due = later(now.instant, self.participant.params.links.seed_retry_high_s)
        return []
