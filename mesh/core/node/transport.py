"""Datagrams of a node: seals what its parts want to send, opens what comes in, greets strangers."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mesh.core.bucket import Bucket, Buckets
from mesh.core.effects import Effect, SendDatagram
from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.messages import Push
from mesh.core.identity import Address, NodeId
from mesh.core.instants import Instant, Now
from mesh.core.links.cookie import (
    COOKIE_BYTES,
    VERSION_COOKIE,
    VERSION_HELLO_WITH_COOKIE,
    Doorkeeper,
    Greeted,
    Welcome,
    decode_cookie_untrusted,
    encode_cookie,
)
from mesh.core.links.hello import ANSWER, ASK, VERSION_HELLO, decode_hello_untrusted, encode_hello
from mesh.core.links.links import Links, Opened
from mesh.core.membership.messages import Ack, Ping
from mesh.core.node.messages import (
    RELAYED_PLAINTEXT_BYTES_MAX,
    PathAnswer,
    PathAsk,
    Relay,
    Relayed,
)
from mesh.core.params import LinkParams
from mesh.core.wire.envelope import SignedFact
from mesh.core.wire.frame import FRAME_HEADER_BYTES, encode_frame

URGENT_KINDS = 20
"""Kinds below this are probes and their kin: they go first."""
PROBE_KINDS = (Ping.KIND, Ack.KIND)
"""Never relayed: they are there to find out about the direct path."""
ANSWERED_KINDS = (Ping.KIND, Push.KIND)
"""Whoever gets one of these says something at once."""
GREETINGS = tuple(
    bytes((version,)) for version in (VERSION_HELLO, VERSION_COOKIE, VERSION_HELLO_WITH_COOKIE)
)
DOUBT_S = 0.1
"""A peer that leaves a question unanswered for so long is checked when the next one is asked."""


class Routing(Protocol):
    """What the transport asks of membership."""

    def relay_for(self, peer: NodeId, /) -> NodeId | None:
        """Return who passes datagrams on to a peer that we can not reach."""
        ...

    def doubt(self, instant: Instant, peer: NodeId, /) -> None:
        """Something sent to a peer that wants an answer has not got one; sends nothing now."""
        ...


FAMILIES = ((3, "probe"), (20, "vote"), (22, "push"), (30, "rumour"), (50, "sync"), (60, "relay"))
"""Each with the first number of the next one."""


def family_of(kind: int) -> str:
    """Return what a message is about, in a word for people."""
    for high, family in FAMILIES:
        if kind < high:
            return family
    return "other"


@dataclass(slots=True)
class Transport:
    """Everything between the parts of a node and its UDP socket."""

    links: Links
    routing: Routing
    params: LinkParams
    own_facts: Callable[[], Sequence[bytes]]
    """Presence and certificate chain as they are now, encoded."""
    silent_s: float
    """A peer not heard for this long is greeted along with whatever is sent to it."""
    _counts: dict[str, int] = field(default_factory=dict)
    _by_kind: dict[int, int] = field(default_factory=dict)
    _bytes_by_kind: dict[int, int] = field(default_factory=dict)
    _sent: int = 0
    _sent_bytes: int = 0
    _received: int = 0
    _received_bytes: int = 0
    _door: Doorkeeper = field(init=False)
    _greeted: Greeted = field(init=False)
    _relays: Buckets[NodeId] = field(init=False)
    """What each peer may have relayed."""
    _relayed: Bucket = field(init=False)
    """What all of them together may."""

    def __post_init__(self) -> None:
        secret = hashlib.blake2b(b"mesh/cookie/1", digest_size=32, key=self.links.key).digest()
        self._door = Doorkeeper(secret, self.params)
        self._greeted = Greeted(self.params.sources_max)
        rate, share = self.params.relay_bytes_s, self.params.relay_bytes_s * self.params.relay_share
        self._relays = Buckets(share, share, self.params.sources_max)
        self._relayed = Bucket(rate, rate)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter shown in status."""
        self._counts[name] = self._counts.get(name, 0) + by

    @property
    def counters(self) -> dict[str, int]:
        """Every counter of the transport."""
        by_family: dict[str, int] = {}
        for kind, number in self._by_kind.items():
            name = f"sent_{family_of(kind)}"
            by_family[name] = by_family.get(name, 0) + number
            bytes_sent = by_family.get(f"{name}_bytes", 0) + self._bytes_by_kind[kind]
            by_family[f"{name}_bytes"] = bytes_sent
        return (
            self._counts
            | by_family
            | {
                "datagrams_sent": self._sent,
                "bytes_sent": self._sent_bytes,
                "datagrams_received": self._received,
                "bytes_received": self._received_bytes,
            }
        )

    def hello(self, target: Address, kind: int = ASK, cookie: bytes | None = None) -> Effect:
        """Return a greeting for an address."""
        self.count("hellos_sent")
        data = encode_hello(self.links.mesh, kind, self.own_facts())
        if cookie is not None:
            data = bytes((VERSION_HELLO_WITH_COOKIE,)) + cookie + data
        elif kind == ASK:
            self._greeted.note(target)
        return self._datagram(target, data)

    def send_last(self, now: Instant, peer: NodeId, message: tuple[int, bytes]) -> list[Effect]:
        """Return what says one thing over a link that is about to be replaced."""
        return self._carry(now, peer, *message)

    def answer(self, target: Address, facts: Sequence[bytes]) -> Effect:
        """Return the answer to a greeting that says something else than who this node is."""
        self.count("hellos_sent")
        return self._datagram(target, encode_hello(self.links.mesh, ANSWER, facts))

    def _datagram(self, target: Address, data: bytes) -> Effect:
        self._sent += 1
        self._sent_bytes += len(data)
        return SendDatagram(target, data)

    def is_greeting(self, data: bytes) -> bool:
        """Whether a datagram is a greeting, or has to do with one."""
        return data[:1] in GREETINGS

    def open_greeting_untrusted(
        self, now: Now, data: bytes, source: Address
    ) -> tuple[list[SignedFact], Effect | None]:
        """Return the facts of a greeting and the answer to send once they hold."""
        if data[0] == VERSION_COOKIE:
            return [], self._greet_again(data, source)
        cookie = None
        if data[0] == VERSION_HELLO_WITH_COOKIE:
            cookie, data = data[1 : 1 + COOKIE_BYTES], data[1 + COOKIE_BYTES :]
        kind, facts = decode_hello_untrusted(self.links.mesh, data)
        welcome = self._door.welcome(now.instant, source, cookie)
        if welcome is Welcome.TURNED_AWAY:
            raise RemoteError(Refusal.OVER_CAP, "greetings of one source")
        if welcome is Welcome.COOKIE_FIRST:
            if kind != ASK:
                raise RemoteError(Refusal.OVER_CAP, "greetings of all sources")
            self.count("cookies_sent")
            handed = encode_cookie(self.links.mesh, self._door.cookie(now.instant, source))
            return [], self._datagram(source, handed)
        return facts, self.hello(source, ANSWER) if kind == ASK else None

    def _greet_again(self, data: bytes, source: Address) -> Effect:
        cookie = decode_cookie_untrusted(self.links.mesh, data)
        if not self._greeted.take(source):
            raise RemoteError(Refusal.UNKNOWN_SENDER, "a cookie that nobody asked for")
        return self.hello(source, ASK, cookie)

    def open_untrusted(self, now: Now, data: bytes, source: Address | None) -> Opened:
        """Return what a sealed datagram says; raises RemoteError."""
        self._received += 1
        self._received_bytes += len(data)
        return self.links.open_untrusted(now.instant, data, source)

    def pass_on(self, now: Now, sender: NodeId, request: Relay) -> list[Effect]:
        """Forward a datagram for a peer, within the budget for others' traffic."""
        if request.target not in self.links.routes:
            raise RemoteError(Refusal.UNKNOWN_SENDER, "no route to the target of a relay")
        size = len(request.datagram)
        if not self._relays.take(now.instant, sender, size):
            raise RemoteError(Refusal.OVER_CAP, "bytes relayed for one peer")
        if not self._relayed.take(now.instant, size):
            raise RemoteError(Refusal.OVER_CAP, "relayed bytes")
        self.count("relayed")
        relayed = Relayed(request.datagram)
        return self._carry(now.instant, request.target, relayed.KIND, relayed.encode())

    def _carry(self, now: Instant, peer: NodeId, kind: int, body: bytes) -> list[Effect]:
        return self._send_directly(now, peer, [(kind, body)])

    def send(self, now: Now, messages: dict[NodeId, list[tuple[int, bytes]]]) -> list[Effect]:
        """Return the datagrams for everything the parts want to send; empties `messages`."""
        effects: list[Effect] = []
        for peer, waiting in messages.items():
            if peer not in self.links.routes:
                self.count("unroutable", len(waiting))
                continue
            for kind, body in waiting:
                self._by_kind[kind] = self._by_kind.get(kind, 0) + 1
                self._bytes_by_kind[kind] = self._bytes_by_kind.get(kind, 0) + len(body)
            if len(waiting) > 1:
                waiting.sort(key=lambda message: message[0] >= URGENT_KINDS)
            effects += self._send_to(now.instant, peer, waiting)
        messages.clear()
        return effects

    def _send_to(
        self, now: Instant, peer: NodeId, waiting: Sequence[tuple[int, bytes]]
    ) -> list[Effect]:
        for kind, _ in waiting:
            if kind in ANSWERED_KINDS:
                if self.links.ask(now, peer) >= DOUBT_S:
                    self.routing.doubt(now, peer)
                break
        relay = self.routing.relay_for(peer)
        if relay is None or relay not in self.links.routes:
            return self._send_directly(now, peer, waiting) + self._greetings(now, peer)
        probes = [message for message in waiting if message[0] in PROBE_KINDS]
        others = [message for message in waiting if message[0] not in PROBE_KINDS]
        effects = self._send_directly(now, peer, probes) if probes else []
        return effects + (self._send_through(now, relay, peer, others) if others else [])

    def _send_directly(
        self, now: Instant, peer: NodeId, waiting: Sequence[tuple[int, bytes]]
    ) -> list[Effect]:
        path = self.links.routes[peer].path
        effects = []
        for address, token in path.questions(now):
            self.count("paths_asked")
            question = (PathAsk.KIND, PathAsk(token).encode())
            [data] = self.links.seal(now, peer, [question])
            effects.append(self._datagram(address, data))
        for data in self.links.seal(now, peer, waiting):
            effects += [self._datagram(target, data) for target in path.targets(now, len(data))]
        return effects

    def handle_path(self, now: Now, peer: NodeId, kind: int, body: bytes) -> list[Effect]:
        """Answer a peer that asks whether its path to this node works, or take its answer."""
        route = self.links.routes.get(peer)
        if route is None:
            raise RemoteError(Refusal.UNKNOWN_SENDER, "no route to whoever asks")
        if kind == PathAsk.KIND:
            answer = PathAnswer(PathAsk.decode_untrusted(body).token)
            return self._carry(now.instant, peer, answer.KIND, answer.encode())
        answered = PathAnswer.decode_untrusted(body)
        if route.path.handle_answer(now.instant, answered.token):
            self.count("paths_moved")
        return []

    def _greetings(self, now: Instant, peer: NodeId) -> list[Effect]:
        if not self.links.should_greet(now, peer, self.silent_s):
            return []
        path = self.links.routes[peer].path
        targets = dict.fromkeys((path.address, path.advertised))
        return [self.hello(target) for target in targets]

    def _send_through(
        self, now: Instant, relay: NodeId, peer: NodeId, waiting: Sequence[tuple[int, bytes]]
    ) -> list[Effect]:
        fitting = [
            (kind, body)
            for kind, body in waiting
            if len(encode_frame(kind, body)) < RELAYED_PLAINTEXT_BYTES_MAX - FRAME_HEADER_BYTES
        ]
        effects = []
        for data in self.links.seal(now, peer, fitting, RELAYED_PLAINTEXT_BYTES_MAX):
            request = Relay(peer, data)
            effects += self._carry(now, relay, request.KIND, request.encode())
        self.count("through_relay", len(effects))
        return effects
