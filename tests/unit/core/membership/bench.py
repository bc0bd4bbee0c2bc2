"""One membership alone on a table: its peers are keys, its messages and facts lie open."""

import random
from dataclasses import replace
from typing import Any, TypeVar, cast

from mesh.core.crypto.suite import SIGNATURE_BYTES
from mesh.core.gossip.gossip import Gossip
from mesh.core.identity import Address, Boot, Incarnation, NodeId
from mesh.core.instants import Now
from mesh.core.membership.court import open_accusation_untrusted
from mesh.core.membership.facts import Accusation, Leave, Presence, Verdict
from mesh.core.membership.ground import MembershipParts, OwnPresence
from mesh.core.membership.membership import Membership
from mesh.core.membership.messages import Accuse, Ack, Ask, Ping, Vouch, Withdraw
from mesh.core.outbox import Outbox
from mesh.core.params import params_for
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Author, Verified
from mesh.core.wire.frame import Message
from tests.unit.core.membership.playground import MESH, FakeGossip, at, make_author

Said = TypeVar("Said", bound=Message)
BOOT = Boot(1 << 28)
NEXT_BOOT = Boot(2 << 28)
MESSAGES: dict[int, type[Message]] = {
    kind.KIND: kind for kind in (Ping, Ack, Accuse, Vouch, Withdraw, Ask)
}


def presence_of(author: Author, boot: int = BOOT, incarnation: int = 0) -> Verified[Presence]:
    fact = Presence(
        Boot(boot),
        Incarnation(incarnation),
        (Address("10.0.0.2", 7946),),
        b"l" * 32,
        1,
        "peer",
        (),
        (),
    )
    return author.sign([fact])[0]


def leave_of(author: Author, boot: int = BOOT, incarnation: int = 0) -> Verified[Leave]:
    return author.sign([Leave(Boot(boot), Incarnation(incarnation))])[0]


def verdict_of(
    accusers: list[Author],
    subject: NodeId,
    incarnation: int = 0,
    *,
    boot: Boot = BOOT,
    observers: int | None = None,
    local: bool = False,
) -> Verified[Verdict]:
    """A verdict by the first of its accusers."""
    accusation = Accusation(subject, boot, Incarnation(incarnation))
    proofs = []
    for accuser in accusers:
        [signed] = accuser.sign([accusation])
        proofs.append((bytes(accuser.public_key), signed.signed.signature))
    count = 2 * len(accusers) - 1 if observers is None else observers
    fact = Verdict(subject, boot, Incarnation(incarnation), count, local, tuple(proofs))
    return accusers[0].sign([fact])[0]


def forged(verdict: Verified[Verdict]) -> Verified[Verdict]:
    """The same verdict with its last accusation not signed by its accuser."""
    *honest, (key, _) = verdict.fact.accusations
    proofs = (*honest, (key, b"\0" * SIGNATURE_BYTES))
    return make_author("liar").sign([replace(verdict.fact, accusations=proofs)])[0]


class Bench:
    """A membership that has started, and the keys of its peers."""

    def __init__(self, *names: str, **changed: float) -> None:
        started = changed.pop("started", 1.0)
        self.author, self.gossip, self.outbox = make_author("me"), FakeGossip(), Outbox()
        params = replace(params_for("lan").membership, **changed)  # type: ignore[arg-type]  # ints fit
        self.params = params
        self.instant = 0.0
        self.membership = Membership(
            MembershipParts(
                self.author,
                cast("Gossip", self.gossip),
                params,
                random.Random(1),
                self.outbox,
                BOOT,
                OwnPresence("me", (Address("10.0.0.1", 7946),), b"l" * 32),
            )
        )
        self.peers: dict[str, Author] = {}
        if started:
            self.membership.start(self.now)
        for name in names:
            self.meet(name)

    @property
    def now(self) -> Now:
        return at(self.instant)

    def id(self, name: str) -> NodeId:
        return self.author.id if name == "me" else self.author_of(name).id

    def author_of(self, name: str) -> Author:
        return self.peers.setdefault(name, make_author(name))

    def take(self, verified: Verified[Any]) -> bool:
        """Hand a fact in as gossip does."""
        keep = self.membership.accept(self.now, verified)
        if keep:
            self.gossip.hold(verified)
        return keep

    def meet(self, name: str, boot: int = BOOT, incarnation: int = 0) -> bool:
        return self.take(presence_of(self.author_of(name), boot, incarnation))

    def status(self, name: str) -> Status | None:
        return self.membership.status(self.id(name))

    def receive(self, name: str, message: Message) -> None:
        """A peer says something; its datagram has no echo."""
        peer = self.id(name)
        self.membership.handle_evidence(self.now, peer, None)
        self.membership.handle_message(self.now, peer, message.KIND, message.encode())

    def accuse(self, accuser: str, subject: str, incarnation: int = 0) -> None:
        fact = Accusation(self.id(subject), BOOT, Incarnation(incarnation))
        [signed] = self.author_of(accuser).sign([fact])
        self.receive(accuser, Accuse(signed.signed.encode()))

    def vouch(self, voucher: str, subject: str) -> None:
        self.receive(voucher, Vouch(self.id(subject), BOOT, Incarnation(0)))

    def reach(self, name: str, echo_age_s: float = 0.0) -> None:
        self.membership.handle_evidence(self.now, self.id(name), echo_age_s)

    def said(self, kind: type[Said]) -> list[tuple[NodeId, Said]]:
        """Remove and return the messages of one kind that were sent."""
        found: list[tuple[NodeId, Said]] = []
        for peer, bodies in self.outbox.messages.items():
            found += [(peer, kind.decode_untrusted(body)) for k, body in bodies if k == kind.KIND]
            bodies[:] = [(k, body) for k, body in bodies if k != kind.KIND]
        return found

    def accused(self) -> list[tuple[NodeId, Accusation]]:
        """Remove and return (to whom, what) of the accusations that were sent."""
        return [
            (
                peer,
                Accusation.decode_untrusted(
                    open_accusation_untrusted(message, self.author.id, MESH).payload
                ),
            )
            for peer, message in self.said(Accuse)
        ]

    def run(self, seconds: float, answering: tuple[str, ...] = ()) -> None:
        """Let time pass; the named peers answer each ping at once."""
        until = self.instant + seconds
        self._answer(answering)
        while (due := self.membership.next_deadline()) <= until:
            self.instant = max(due, self.instant)
            self.membership.handle_timeout(self.now)
            assert self.membership.next_deadline() > self.instant
            self._answer(answering)
        self.instant = until

    def _answer(self, answering: tuple[str, ...]) -> None:
        ids = {self.id(name): name for name in answering}
        for peer, ping in self.said(Ping):
            if peer in ids:
                self.receive(ids[peer], Ack(ping.sequence, 0, 0))
