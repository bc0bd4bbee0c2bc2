"""How foreign facts come in: known ids first, then the author, the signature, the rules."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.holdings import Holdings
from mesh.core.gossip.items import Form, Item, decode_item_untrusted
from mesh.core.gossip.post import Post
from mesh.core.gossip.vocabulary import Family, Receiver
from mesh.core.identity import FactId, NodeId
from mesh.core.instants import Now
from mesh.core.wire.envelope import SignedFact, Verified, Verifier

PASSING = frozenset(
    {
        Refusal.NOT_ADMITTED,
        Refusal.OVER_CAP,
        Refusal.CLOCK,
        Refusal.EXPIRED,
        Refusal.FORGOTTEN,
    }
)
"""Refusals by `accept` that may turn out otherwise later, or have to be heard each time (whoever
brings what is forgotten must not take it for known): their facts are not remembered."""
FORGED = (Refusal.BAD_SIGNATURE, Refusal.BAD_KEY)
"""Refusals for which the relay is to blame."""
LASTING_ON_OPENING = frozenset({Refusal.UNKNOWN_CONTEXT, Refusal.NOT_CANONICAL})
"""Refusals on opening that the signed payload itself is to blame for.

A bad signature or path is not among them: an id covers neither, so whoever forges one would
keep the true fact out.
"""


def _is_lasting(refusal: Refusal, *, opened: bool) -> bool:
    """Whether a fact that was refused once will be refused for ever."""
    return refusal not in PASSING if opened else refusal in LASTING_ON_OPENING


class Arrival(NamedTuple):
    """A foreign fact on its way in; `encoded` is its single form, where it came so."""

    family: Family
    signed: SignedFact
    encoded: bytes | None
    relay: NodeId


class Accepted(NamedTuple):
    """A fact that is now held, with the bytes of its single form."""

    family: Family
    verified: Verified[Any]
    encoded: bytes
    relay: NodeId


@dataclass(slots=True)
class Taken:
    """What became of the facts of one message."""

    accepted: list[Accepted] = field(default_factory=list)
    ids: list[FactId] = field(default_factory=list)
    """All that could be decoded, whatever became of it."""
    error: RemoteError | None = None


class Intake:
    """The only way by which a foreign fact becomes a held one.

    A fact whose author is a stranger is parked (bounded) and judged again once a membership fact
    was accepted: a certificate and what its owner says may arrive in either order.
    """

    def __init__(
        self, judges: tuple[Verifier, Receiver], holdings: Holdings, post: Post, parked_max: int
    ) -> None:
        self._verifier, self._receiver = judges
        self._holdings = holdings
        self._post = post
        self._parked: dict[tuple[Family, FactId], Arrival] = {}
        self._parked_max = parked_max

    def take(self, now: Now, family: Family, items: tuple[Item, ...], relay: NodeId) -> Taken:
        """Judge the facts of a message, each on its own, and hold those that are accepted.

        Nobody honest passes on a forgery: what comes behind one is not looked at.
        """
        taken = Taken()
        for item in items:
            try:
                facts = decode_item_untrusted(item, self._verifier.mesh)
            except RemoteError as wrong:
                taken.error = taken.error or wrong
                continue
            encoded = item.data if item.form is Form.SINGLE else None
            for signed in facts:
                taken.ids.append(signed.id)
                try:
                    self._judge(now, Arrival(family, signed, encoded, relay), taken)
                except RemoteError as wrong:
                    if wrong.refusal in FORGED:
                        taken.error = wrong
                        return taken
                    taken.error = taken.error or wrong
        if self._parked and taken.accepted and family is Family.MEMBERS:
            self._retry(now, taken)
        return taken

    def _judge(self, now: Now, arrival: Arrival, taken: Taken) -> None:
        """Hold the fact or not; raises RemoteError with the reason for a refusal."""
        family, signed, encoded, relay = arrival
        store = self._holdings[family]
        if store.knows(signed.id):
            self._post.count("duplicates")
            return
        opened = False
        try:
            self._receiver.check_author(signed.author)
            contexts = self._receiver.contexts(family)
            verified = self._verifier.open_untrusted(signed, contexts)
            opened = True
            keep = self._receiver.accept(now, family, verified, relay)
        except RemoteError as wrong:
            self._post.count("refused")
            if wrong.refusal is Refusal.NOT_ADMITTED:
                self._park(arrival)
            elif _is_lasting(wrong.refusal, opened=opened):
                store.remember(signed.id)
            raise
        if not keep:
            self._post.count("not_needed")
            store.remember(signed.id)
            return
        encoded = encoded or signed.encode()
        self._holdings.hold_foreign(family, verified, encoded)
        taken.accepted.append(Accepted(family, verified, encoded, relay))

    def _park(self, arrival: Arrival) -> None:
        self._parked[arrival.family, arrival.signed.id] = arrival
        if len(self._parked) > self._parked_max:
            del self._parked[next(iter(self._parked))]
            self._post.count("parked_dropped")

    def _retry(self, now: Now, taken: Taken) -> None:
        """Judge parked facts again whose authors are admitted by now."""
        for key, arrival in list(self._parked.items()):
            try:
                self._receiver.check_author(arrival.signed.author)
            except RemoteError:
                continue
            del self._parked[key]
            try:
                self._judge(now, arrival, taken)
            except RemoteError:
                self._post.count("parked_refused")  # its relay was told when it came
