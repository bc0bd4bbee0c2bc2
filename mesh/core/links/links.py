"""All links of a node: who can be sealed to, and whose datagram just came in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.core.crypto.suite import LinkKey, Suite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Address, Boot, MeshId, NodeId
from mesh.core.instants import Instant
from mesh.core.links.path import Path
from mesh.core.links.session import (
    HEADER_BYTES,
    VERSION_SEALED,
    LinkEnd,
    PairKeys,
    ReplayWindow,
    Session,
    pair_keys,
    seal_datagram,
    unseal_datagram,
)
from mesh.core.params import LinkParams
from mesh.core.wire.frame import (
    FRAME_HEADER_BYTES,
    PLAINTEXT_BYTES_MAX,
    decode_echo,
    decode_frames_untrusted,
    encode_echo,
    encode_frame,
)

LONG_AGO = Instant(float("-inf"))
LIVING_S = 10.0
"""A boot heard so lately may still run when a greater one shows up."""
NEW_S = 10.0
"""For so long a peer that was never heard may know nothing of us, nor we of it: greet at once."""


class Opened(NamedTuple):
    """An authenticated datagram: from whom, how recently it heard us, what it says."""

    peer: NodeId
    echo_age_s: float | None
    frames: list[tuple[int, bytes]]


@dataclass(slots=True)
class Route:
    """Where a peer is and when it was last heard."""

    session: Session
    path: Path
    known: Instant
    """When this presence came in."""
    heard: Instant | None = None
    greeted: Instant | None = None
    asked: Instant | None = None
    """When something that wants an answer was sent first since it was heard last."""


@dataclass(slots=True)
class Links:
    """Sessions by peer and by index; one send counter for all of them."""

    suite: Suite
    mesh: MeshId
    own: LinkEnd
    key: LinkKey
    params: LinkParams
    counter: int = 0
    routes: dict[NodeId, Route] = field(default_factory=dict)
    _by_index: dict[bytes, NodeId] = field(default_factory=dict)

    def check(self, link_key: bytes) -> None:
        """Raise RemoteError(BAD_KEY) unless this end can share a secret with that key."""
        self.suite.exchange(self.key, link_key)

    def learn(self, peer: LinkEnd, address: Address, now: Instant = LONG_AGO) -> None:
        """Know a peer's presence; raises RemoteError when its link key is no key."""
        route = self.routes.get(peer.id)
        if route is not None and route.session.peer == peer:
            route.path.advertise(address)
            return
        keys = pair_keys(self.suite, self.mesh, self.key, self.own, peer)
        session = Session(peer, keys, ReplayWindow(self.params.replay_window))
        if route is not None:
            self._by_index.pop(route.session.keys.receive_index, None)
        self.routes[peer.id] = Route(session, Path(address, self.key), now)
        self._by_index[keys.receive_index] = peer.id

    def replaces_living(self, now: Instant, peer: NodeId, boot: Boot) -> bool:
        """Whether this boot takes the place of a lesser one that was heard just now."""
        route = self.routes.get(peer)
        if route is None or route.heard is None or route.session.peer.boot >= boot:
            return False
        return now - route.heard < LIVING_S

    def forget(self, peer: NodeId) -> None:
        """Stop talking to a peer."""
        route = self.routes.pop(peer, None)
        if route is not None:
            self._by_index.pop(route.session.keys.receive_index, None)

    def address(self, peer: NodeId) -> Address | None:
        """Return where a peer is: where it has answered from, else where it says to be."""
        route = self.routes.get(peer)
        return None if route is None else route.path.address

    def peer_by_index(self, index: bytes) -> NodeId | None:
        """Return whose link an index belongs to."""
        return self._by_index.get(index)

    def keys(self, peer: NodeId) -> PairKeys | None:
        """Return the keys of the link to a peer."""
        route = self.routes.get(peer)
        return None if route is None else route.session.keys

    def seal(
        self,
        now: Instant,
        peer: NodeId,
        messages: Sequence[tuple[int, bytes]],
        plaintext_bytes_max: int = PLAINTEXT_BYTES_MAX,
    ) -> list[bytes]:
        """Return the datagrams that carry these messages in order."""
        route = self.routes[peer]
        echo = bytes((encode_echo(None if route.heard is None else now - route.heard),))
        datagrams, plaintext = [], echo
        for kind, body in messages:
            if len(plaintext) + FRAME_HEADER_BYTES + len(body) > plaintext_bytes_max:
                datagrams.append(self._seal(route.session, plaintext))
                plaintext = echo
            plaintext += encode_frame(kind, body)
        datagrams.append(self._seal(route.session, plaintext))
        return datagrams

    def _seal(self, session: Session, plaintext: bytes) -> bytes:
        self.counter += 1
        return seal_datagram(self.suite, session, self.counter, plaintext)

    def open_untrusted(self, now: Instant, data: bytes, source: Address | None) -> Opened:
        """Return what a sealed datagram says; raises RemoteError with nothing changed.

        `source` is None for a datagram that another member relayed.
        """
        if len(data) <= HEADER_BYTES or data[0] != VERSION_SEALED:
            raise RemoteError(Refusal.MALFORMED, "not a sealed datagram")
        peer = self._by_index.get(data[1:9])
        if peer is None:
            raise RemoteError(Refusal.UNKNOWN_SENDER, "no such link")
        route = self.routes[peer]
        plaintext = unseal_datagram(self.suite, route.session, data)
        if not plaintext:
            raise RemoteError(Refusal.MALFORMED, "an empty plaintext")
        frames = decode_frames_untrusted(plaintext)
        echo_age_s = decode_echo(plaintext[0])
        if source is not None:
            route.heard, route.asked = now, None
            heard_by_peer = None if echo_age_s is None else Instant(now - echo_age_s)
            route.path.receive(now, source, len(data), heard_by_peer)
        return Opened(peer, echo_age_s, frames)

    def ask(self, now: Instant, peer: NodeId) -> float:
        """Note that something that wants an answer leaves; returns for how long none came."""
        route = self.routes[peer]
        if route.asked is None:
            route.asked = now
        return now - route.asked

    def should_greet(self, now: Instant, peer: NodeId, silent_s: float) -> bool:
        """Whether a HELLO should go along: the peer may not know us yet, or does not answer."""
        route = self.routes[peer]
        is_new = route.heard is None and now - route.known < NEW_S
        if not is_new:
            if route.asked is None or now - route.asked < self.params.hello_interval_s:
                return False
            if route.heard is not None and now - route.heard < silent_s:
                return False
        last = route.greeted
        if last is not None and now - last < self.params.hello_interval_s:
            return False
        route.greeted = now
        return True
