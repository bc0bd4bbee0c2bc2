"""Where a peer is: an address is used freely only once the peer has answered from there.

Picture a letter with a new sender's address. It may be forged on the envelope, though the letter
is genuine: somebody caught it on its way and posted it elsewhere. So whoever writes back to the
new address sends no more than came from there, until a letter arrives that quotes the reply. Then
the peer has moved (a NAT has chosen another port, a laptop another network); otherwise the old
address stands. The rule is that of QUIC's address validation (RFC 9000, section 8), with the echo
in every datagram as the proof.
"""

from dataclasses import dataclass

from mesh.core.identity import Address
from mesh.core.instants import Instant

CREDIT_BYTES_MAX = 65_536


@dataclass(slots=True)
class Path:
    """The address of one peer, and the one it may have moved to."""

    advertised: Address
    """What the peer says of itself; used until it was heard from somewhere."""
    proved: Address | None = None
    candidate: Address | None = None
    """Where its datagrams come from lately, not proved yet."""
    credit: int = 0
    """Bytes that may still be sent to the candidate."""
    tried: Instant | None = None
    """When something was sent to the candidate first."""

    @property
    def address(self) -> Address:
        """Where the peer is, as far as that is proved."""
        return self.proved or self.advertised

    def advertise(self, address: Address) -> None:
        """The peer says that it is there."""
        self.advertised = address

    def receive(self, source: Address, size: int, heard_by_peer: Instant | None) -> None:
        """An authentic datagram came from `source`.

        `heard_by_peer` is when the peer, by its echo, last heard something of this node.
        """
        if source == self.address:
            self.proved, self.candidate = source, None
            return
        if source != self.candidate:
            self.candidate, self.credit, self.tried = source, 0, None
        self.credit = min(self.credit + size, CREDIT_BYTES_MAX)
        if self.tried is not None and heard_by_peer is not None and heard_by_peer > self.tried:
            self.proved, self.candidate = source, None

    def target(self, now: Instant, size: int) -> Address:
        """Return where a datagram of this size goes; it takes up credit of the candidate."""
        if self.candidate is None or size > self.credit:
            return self.address
        self.credit -= size
        if self.tried is None:
            self.tried = now
        return self.candidate
