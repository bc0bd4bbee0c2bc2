"""The keys between two boots of two nodes: both sides compute them, no round trip is needed.

Each direction has its own ChaCha20-Poly1305 key and its own 8-byte index, by which the receiver
finds the session. The nonce is the sender's one counter for all peers of a boot, so an evicted and
re-derived session can not repeat one. Forward secrecy is per boot: link keys live in memory only,
and whoever steals one reads the traffic of that boot and no other.

Source: design of links in docs/protocol/wire.md; replay window after RFC 6479.
"""

from dataclasses import dataclass, field

from mesh.core.crypto.suite import LinkKey, Suite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, MeshId, NodeId

VERSION_SEALED = 1
HEADER_BYTES = 17
INDEX_BYTES = 8
LINK_LABEL = b"mesh/link/1"
STREAM_LABEL = b"mesh/stream/1"


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One side of a link as both sides know it."""

    id: NodeId
    boot: Boot
    link_key: bytes


@dataclass(frozen=True, slots=True)
class PairKeys:
    """What two link ends share, from one end's point of view."""

    send_key: bytes
    receive_key: bytes
    send_index: bytes
    receive_index: bytes


def pair_keys(suite: Suite, mesh: MeshId, key: LinkKey, own: LinkEnd, peer: LinkEnd) -> PairKeys:
    """Return the keys between two ends; raises RemoteError when the exchange gives nothing."""
    low, high = (own, peer) if own.id < peer.id else (peer, own)
    info = b"".join(
        (
            LINK_LABEL,
            low.id,
            high.id,
            low.boot.to_bytes(8, "big"),
            high.boot.to_bytes(8, "big"),
            low.link_key,
            high.link_key,
        )
    )
    made = suite.derive(suite.exchange(key, peer.link_key), mesh, info, 80)
    from_low, from_high = (made[:32], made[64:72]), (made[32:64], made[72:80])
    out, back = (from_low, from_high) if own is low else (from_high, from_low)
    return PairKeys(out[0], back[0], out[1], back[1])


def nonce_of(counter: int) -> bytes:
    """Return the 12-byte nonce of a counter."""
    return counter.to_bytes(12, "big")


@dataclass(slots=True)
class ReplayWindow:
    """Which counters of one sender have been seen: the greatest, and a bitmap below it."""

    size: int
    greatest: int = 0
    seen: int = 0
    _mask: int = field(init=False)

    def __post_init__(self) -> None:
        self._mask = (1 << self.size) - 1

    def admit(self, counter: int) -> bool:
        """Whether this counter is new; remembers it."""
        ahead = counter - self.greatest
        if ahead > 0:
            shifted = self.seen << ahead if ahead < self.size else 0
            self.seen = (shifted | 1) & self._mask
            self.greatest = counter
            return True
        if -ahead >= self.size:
            return False
        bit = 1 << -ahead
        if self.seen & bit:
            return False
        self.seen |= bit
        return True


@dataclass(slots=True)
class Session:
    """A link to one boot of one peer."""

    peer: LinkEnd
    keys: PairKeys
    window: ReplayWindow
    confirmed: bool = field(default=False)
    """Whether anything sealed has arrived: before that the peer may not know us."""


def seal_datagram(suite: Suite, session: Session, counter: int, plaintext: bytes) -> bytes:
    """Return the datagram for a plaintext."""
    header = bytes((VERSION_SEALED,)) + session.keys.send_index + counter.to_bytes(8, "big")
    return header + suite.seal(session.keys.send_key, nonce_of(counter), plaintext, header)


def unseal_datagram(suite: Suite, session: Session, data: bytes) -> bytes:
    """Return the plaintext; raises RemoteError when forged or replayed, with nothing changed."""
    counter = int.from_bytes(data[9:HEADER_BYTES], "big")
    plaintext = suite.unseal(
        session.keys.receive_key, nonce_of(counter), data[HEADER_BYTES:], data[:HEADER_BYTES]
    )
    if plaintext is None:
        raise RemoteError(Refusal.NOT_SEALED_FOR_US, "the tag does not fit")
    if not session.window.admit(counter):
        raise RemoteError(Refusal.REPLAYED, f"counter {counter}")
    session.confirmed = True
    return plaintext
