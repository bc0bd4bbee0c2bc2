"""What this node says of itself: presence, refutation, goodbye.

(boot, incarnation) only ever rises, and each change of the presence takes a new incarnation. An
accusation is first answered to the accuser alone: if it then hears us, nobody else needs to know.
Only when that fails, or a verdict names us, the whole mesh is told of a new incarnation; and only
what we have really signed is worth refuting.
"""

from dataclasses import replace

from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import Address, Boot, FactId, Incarnation, NodeId
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.membership.agenda import REFUTE
from mesh.core.membership.facts import ADDRESSES_MAX, Leave, Presence
from mesh.core.membership.ground import MOMENT_S, Ground
from mesh.core.membership.member import Standing
from mesh.core.wire.envelope import Verified

PROTOCOL = 1
INCARNATION_BITS = 32
PRESENCE_BYTES_MAX = 700
"""Of this node's own: it has to fit one greeting, beside a certificate and an admin record."""


class OwnRecord:
    """This node as others see it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        own = ground.parts.own
        self.fact = Presence(
            ground.parts.boot,
            Incarnation(0),
            own.addresses,
            own.link_key,
            PROTOCOL,
            own.name,
            own.tags,
            (),
        )
        self.presence: Verified[Presence] | None = None
        self.left: Verified[Leave] | None = None
        self.rival_boot: Boot | None = None
        """A greater boot signed with this node's key: the key lives twice, or the disk is old."""
        self.rival_presence: Verified[Presence] | None = None
        self._former: dict[FactId, Verified[Presence] | Verified[Leave]] = {}
        self._accusers: dict[NodeId, Instant] = {}
        self._is_sentenced = False

    @property
    def standing(self) -> Standing:
        """The boot and incarnation signed last."""
        return self.fact.boot, self.fact.incarnation

    @property
    def former_boot(self) -> Boot:
        """The greatest boot of this node in what was restored; 0 without any, or once started."""
        return max((verified.fact.boot for verified in self._former.values()), default=Boot(0))

    def start(self, now: Now) -> None:
        """Say for the first time in this boot: I am here."""
        check_size(self.fact)
        self._publish(now)
        former, self._former = self._former, {}
        for verified in former.values():
            if not self.met(verified):
                self._ground.drop(verified)

    def announce(self, now: Now, fact: Presence | None = None) -> None:
        """Say it again under a new incarnation, changed or not; raises LocalError when too big."""
        if self.left is not None or self.presence is None:
            return
        risen = Incarnation(self.fact.incarnation + 1)
        assert risen < 1 << INCARNATION_BITS
        renewed = replace(fact or self.fact, incarnation=risen)
        check_size(renewed)
        self.fact = renewed
        self._accusers.clear()
        self._is_sentenced = False
        self._ground.agenda.cancel(REFUTE)
        self._publish(now)

    def set_kinds(self, now: Now, kinds: tuple[str, ...]) -> None:
        """Say for which task kinds agents wait here."""
        wanted = tuple(sorted(dict.fromkeys(kinds)))
        if wanted != self.fact.kinds:
            self._change(now, replace(self.fact, kinds=wanted))

    def add_address(self, now: Now, address: Address) -> None:
        """Say that this node is also there; the oldest added one goes beyond the bound."""
        known = self.fact.addresses
        if address not in known:
            kept = known[:1] + known[2:] if len(known) >= ADDRESSES_MAX else known
            self._change(now, replace(self.fact, addresses=(*kept, address)))

    def leave(self, now: Now) -> None:
        """Say goodbye: this boot is over."""
        if self.left is None:
            [self.left] = self._ground.parts.author.sign([Leave(*self.standing)])
            self._ground.agenda.cancel(REFUTE)
            self._ground.parts.gossip.publish(now, Family.MEMBERS, [self.left])

    def accused(self, now: Now, accuser: NodeId, standing: Standing) -> None:
        """An accusation of us was verified: refute it unless the accuser hears us first."""
        if standing != self.standing or self.presence is None:
            return
        self._accusers[accuser] = now.instant
        if self._ground.agenda.due(REFUTE) == NEVER:
            share = self._ground.parts.rng.uniform(0.4, 0.6)
            window = self._ground.params.refutation_window_s
            self._ground.agenda.set(REFUTE, later(now.instant, share * window))

    def reached(self, peer: NodeId, heard_us_at: Instant) -> None:
        """A peer heard us then: its older accusation needs no refutation."""
        accused_at = self._accusers.get(peer)
        if accused_at is not None and heard_us_at >= accused_at:
            self.forgiven(peer)

    def forgiven(self, peer: NodeId) -> None:
        """A peer takes its accusation back."""
        self._accusers.pop(peer, None)
        if not self._accusers and not self._is_sentenced:
            self._ground.agenda.cancel(REFUTE)

    @property
    def is_accused(self) -> bool:
        """Whether an accusation waits for its refutation."""
        return bool(self._accusers)

    def sentenced(self, now: Now, standing: Standing) -> None:
        """A verdict names us: refute it, jittered, for others may have to as well."""
        if standing != self.standing or self.presence is None or self.left is not None:
            return
        self._is_sentenced = True
        longest = MOMENT_S + self._ground.params.refutation_window_s / 4
        due = later(now.instant, self._ground.parts.rng.uniform(MOMENT_S, longest))
        self._ground.agenda.set(REFUTE, min(due, self._ground.agenda.due(REFUTE)))

    def met(self, verified: Verified[Presence] | Verified[Leave]) -> bool:
        """A fact signed with our key came in; whether to keep it."""
        standing = (verified.fact.boot, verified.fact.incarnation)
        if self.presence is None:
            self._former[verified.id] = verified
            return True
        if verified.fact.boot > self.fact.boot:
            self._note_rival(verified)
            return True
        if verified.fact.boot < self.fact.boot or self.left is not None:
            return False
        if isinstance(verified.fact, Leave):
            raise RemoteError(Refusal.BROKEN_RULE, "a goodbye of ours that we have not said")
        if standing > self.standing:
            # Our own key and our own boot: only a copy of us can have said it.
            self._note_rival(verified)
        return False

    def _note_rival(self, verified: Verified[Presence] | Verified[Leave]) -> None:
        self.rival_boot = max(verified.fact.boot, self.rival_boot or Boot(0))
        if isinstance(verified.fact, Presence):
            self.rival_presence = verified

    def _change(self, now: Now, fact: Presence) -> None:
        check_size(fact)
        if self.presence is None:
            self.fact = fact
        else:
            self.announce(now, fact)

    def _publish(self, now: Now) -> None:
        former = self.presence
        [self.presence] = self._ground.parts.author.sign([self.fact])
        self._ground.parts.gossip.publish(now, Family.MEMBERS, [self.presence])
        self._ground.drop(former)


def check_size(fact: Presence) -> None:
    """Raise LocalError unless everybody will accept this presence."""
    data = replace(fact, incarnation=Incarnation((1 << INCARNATION_BITS) - 1)).encode()
    try:
        Presence.decode_untrusted(data)
    except RemoteError as wrong:
        raise LocalError(
            "bad_presence",
            f"the presence of this node is not valid: {wrong.detail}",
            "use fewer and shorter addresses, tags and kinds, without control characters",
        ) from None
    if len(data) > PRESENCE_BYTES_MAX:
        raise LocalError(
            "presence_too_large",
            f"the presence of this node takes {len(data)} bytes",
            f"{PRESENCE_BYTES_MAX} are allowed: use fewer and shorter tags and kinds",
        )
