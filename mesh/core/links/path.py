"""Where a peer is: it moves only once it has answered elsewhere, and is silent where it was.

Picture a letter with a new sender's address. It may be forged on the envelope, though the letter
is genuine: somebody caught it on its way and posted it elsewhere, faster than the mail. And a reply
to the old address still reaches whoever wrote it, so that the next letter quotes it proves nothing
about the new one. So in doubt a question goes to each address, with a token that stands in no other
letter; only who gets it there can send it back. Meanwhile everything goes to the old address as
before, with a copy to the new one: no more bytes than came from it, until it has answered. If the
old one answers the doubt is over. If only the new one does, the peer has moved (a NAT has chosen
another port, a laptop another network). And a peer that says it has not heard for long what is sent
to it is looked for at its addresses of before.

Source: RFC 9000, section 8 (address validation), section 9 (migration) and 9.3.3 (off-path packet
forwarding). WireGuard follows every authentic datagram instead.
"""

import hashlib
from dataclasses import dataclass, field

from mesh.core.identity import Address
from mesh.core.instants import Instant, later
from mesh.core.wire.frame import ECHO_STEP_S

CREDIT_BYTES_MAX = 65_536
QUESTION_BYTES = 48
"""A sealed datagram with one question."""
RIVALS_MAX = 4
"""Addresses that one doubt is about, beside the one in use."""
ASK_EVERY_S = 0.5
WAIT_S = 1.4
"""Who answers elsewhere has moved if three questions to the old address came to nothing."""
REST_S = 1.0
"""After the old address has answered, nothing else is looked at for so long."""
DEAF_S = 5.0
"""A peer that talks, but has heard nothing of what was sent to it for so long, may be elsewhere."""


@dataclass(slots=True)
class Rival:
    """Another address at which the peer may be."""

    credit: int
    """Bytes that may still be sent there."""
    is_known: bool
    """The peer said so, or has answered from there before: a question costs no credit."""
    answered: bool = False


@dataclass(slots=True)
class Doubt:
    """Why a peer may be elsewhere, and what was found out so far."""

    number: int
    rivals: dict[Address, Rival] = field(default_factory=dict)
    since: Instant | None = None
    """When the address in use was first asked."""
    asked: Instant | None = None


@dataclass(slots=True)
class Path:
    """The address of one peer, and those to which it may have moved."""

    advertised: Address
    """What the peer says of itself; used until it was heard from somewhere."""
    secret: bytes
    """Known to nobody else: makes tokens that the peer can not guess."""
    proved: Address | None = None
    former: Address | None = None
    """Where it was before it moved."""
    doubt: Doubt | None = None
    doubts: int = 0
    unheard: Instant | None = None
    """When the first thing was sent of which the peer has not said that it came."""
    _rests_until: Instant = Instant(float("-inf"))

    @property
    def address(self) -> Address:
        """Where the peer is, as far as that is proved."""
        return self.proved or self.advertised

    def advertise(self, address: Address) -> None:
        """The peer says that it is there."""
        self.advertised = address

    def receive(
        self, now: Instant, source: Address, size: int, heard_by_peer: Instant | None
    ) -> None:
        """An authentic datagram came from `source`.

        `heard_by_peer` is when the peer, by its echo, last heard something of this node.
        """
        heard = None if heard_by_peer is None else heard_by_peer + ECHO_STEP_S  # it is rounded
        if self.unheard is not None and heard is not None and heard >= self.unheard:
            self.unheard = None
        is_deaf = self.unheard is not None and now - self.unheard > DEAF_S
        if source == self.address:
            self.proved = source  # a doubt goes on: of the other direction this says nothing
        elif self.doubt is not None or now >= self._rests_until:
            rival = self._rival(source, is_known=False)
            rival.credit = min(rival.credit + size, CREDIT_BYTES_MAX)
        if is_deaf:
            for known in (self.advertised, self.former):
                if known is not None and known != self.address:
                    self._rival(known, is_known=True)

    def _rival(self, address: Address, *, is_known: bool) -> Rival:
        if self.doubt is None:
            self.doubts += 1
            self.doubt = Doubt(self.doubts)
        rivals = self.doubt.rivals
        if address not in rivals and len(rivals) >= RIVALS_MAX:
            spare = [other for other, rival in rivals.items() if not rival.answered]
            rivals.pop((spare or list(rivals))[0])
        rival = rivals.setdefault(address, Rival(0, is_known))
        rival.is_known = rival.is_known or is_known
        return rival

    def targets(self, now: Instant, size: int) -> list[Address]:
        """Return where a datagram of this size goes; a copy takes up credit of its address."""
        if self.unheard is None:
            self.unheard = now
        targets = [self.address]
        if self.doubt is not None:
            for address, rival in self.doubt.rivals.items():
                if rival.answered:
                    targets.append(address)
                elif rival.credit >= size:
                    rival.credit -= size
                    targets.append(address)
        return targets

    def questions(self, now: Instant) -> list[tuple[Address, bytes]]:
        """Return the tokens that are to be sent, and where to; none most of the time."""
        doubt = self.doubt
        if doubt is None or (doubt.asked is not None and now - doubt.asked < ASK_EVERY_S):
            return []
        doubt.asked = now
        if doubt.since is None:
            doubt.since = now
        asked = [self.address]
        for address, rival in doubt.rivals.items():
            if not (rival.is_known or rival.answered):
                if rival.credit < QUESTION_BYTES:
                    continue
                rival.credit -= QUESTION_BYTES
            asked.append(address)
        return [(address, self._token(doubt, address)) for address in asked]

    def handle_answer(self, now: Instant, token: bytes) -> bool:
        """The peer quotes a token; returns whether it has moved."""
        doubt = self.doubt
        if doubt is None or doubt.since is None:
            return False
        if token == self._token(doubt, self.address):
            self._settle(now, self.address)
            return False
        for address, rival in doubt.rivals.items():
            if token == self._token(doubt, address):
                rival.answered = True
                if address == self.advertised or now - doubt.since >= WAIT_S:
                    self.former = self.address
                    self._settle(now, address)
                    return True
                break
        return False

    def _settle(self, now: Instant, address: Address) -> None:
        self.proved, self.doubt, self.unheard = address, None, None
        self._rests_until = later(now, REST_S)

    def _token(self, doubt: Doubt, address: Address) -> bytes:
        text = f"{doubt.number} {address.port} {address.host}".encode()
        return hashlib.blake2b(text, digest_size=8, key=self.secret).digest()
