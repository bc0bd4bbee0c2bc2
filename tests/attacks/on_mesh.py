"""What memberlist leaves out of scope, tried on mesh: by a stranger, and by a member that lies.

The two attacks are those of hashicorp/memberlist#370 (a forged goodbye, then the victim's name at
the attacker's address) and #371 (answers to pings are sent to somebody else, many for one).
"""

import socket
import time
from dataclasses import dataclass, replace

from mesh.cli.demo import DemoNode
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import EagerFacts
from mesh.core.identity import Address, Incarnation, NodeId
from mesh.core.links.hello import ASK, encode_hello
from mesh.core.membership.facts import Leave, Presence
from mesh.core.membership.messages import Ping
from mesh.core.wire.envelope import Fact, SignedFact, sign_batch
from tests.attacks.evil_member import HOST, EvilMember

PINGS = 255
WATCH_S = 2.0
LISTEN_S = 0.5
RECEIVE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Hijack:
    """What an observer showed of the victim while it was attacked."""

    statuses: tuple[str, ...]
    addresses: tuple[str, ...]

    @property
    def worked(self) -> bool:
        """Whether the live victim was ever shown as gone, or somewhere else."""
        return self.statuses != ("alive",) or len(self.addresses) > 1


@dataclass(frozen=True, slots=True)
class Reflection:
    """What was sent, and what somebody else got of it."""

    bytes_in: int
    bytes_at_victim: int
    datagrams_at_victim: int

    @property
    def factor(self) -> float:
        """Bytes at the victim for each byte that the attacker spent."""
        return self.bytes_at_victim / self.bytes_in


def watch_victim(observer: DemoNode, victim: str, seconds: float = WATCH_S) -> Hijack:
    """Return every status and address that an observer showed for some time."""
    statuses: dict[str, None] = {}
    addresses: dict[str, None] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for view in observer.call("member.list")["members"]:
            if view["name"] == victim:
                statuses[view["status"]] = None
                addresses[view["address"]] = None
        time.sleep(0.05)
    return Hijack(tuple(statuses), tuple(addresses))


def forged_facts(evil: EvilMember, victim: NodeId) -> list[SignedFact]:
    """Return a goodbye and a new presence of the victim, signed as well as an attacker can.

    Signed truly, by its own key, the attacker would say them of itself.
    """
    participant = evil.participant
    presence = participant.membership.presence(victim)
    assert presence is not None
    said: Presence = presence.fact
    raised = Incarnation(said.incarnation + 1000)
    moved = Presence(
        boot=said.boot,
        incarnation=raised,
        addresses=(Address(evil.address.host, evil.address.port),),
        link_key=participant.transport.links.own.link_key,
        protocol=said.protocol,
        name=said.name,
        tags=said.tags,
        kinds=said.kinds,
    )
    forged: list[SignedFact] = []
    for fact in (Leave(said.boot, raised), moved):
        (own,) = participant.author.sign([fact])
        forged.append(_in_the_name_of(presence.signed, own.signed))
    return forged


def _in_the_name_of(victim: SignedFact, own: SignedFact) -> SignedFact:
    return replace(own, author=victim.author)


def hijack_as_stranger(
    observer: DemoNode, address: Address, evil: EvilMember, victim: str
) -> Hijack:
    """A stranger that knows the mesh id greets with the victim's goodbye and a new address."""
    participant = evil.participant
    stranger = SigningKey(b"\x5a" * 32)
    suite, mesh = RealSuite(), participant.verifier.mesh
    suite.public_key(stranger)
    presence = participant.membership.presence(evil.peer(victim))
    assert presence is not None
    facts: list[Fact] = [Leave(presence.fact.boot, presence.fact.incarnation), presence.fact]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        for fact in facts:
            (signed,) = sign_batch(suite, stranger, mesh, [fact])
            for shown in (signed, _in_the_name_of(presence.signed, signed)):
                greeting = encode_hello(mesh, ASK, [shown.encode()])
                port.sendto(greeting, (address.host, address.port))
    return watch_victim(observer, victim)


def hijack_as_member(observer: DemoNode, evil: EvilMember, victim: str) -> Hijack:
    """A member gossips the victim's goodbye and its new address."""
    target = evil.peer(observer.name)
    for signed in forged_facts(evil, evil.peer(victim)):
        items = (Item(Form.SINGLE, signed.encode()),)
        message = EagerFacts(Family.MEMBERS, items)
        evil.say(target, message.KIND, message.encode())
    return watch_victim(observer, victim)


def reflect_as_member(observer: DemoNode, evil: EvilMember) -> Reflection:
    """A member sends hundreds of pings in as few datagrams as hold them, from a foreign source."""
    peer = evil.peer(observer.name)
    pings = [(Ping.KIND, Ping(number, 0, 0).encode()) for number in range(PINGS)]
    target = evil.participant.transport.links.address(peer)
    assert target is not None
    return _reflect(evil.seal(peer, pings), target)


def reflect_as_stranger(target: Address) -> Reflection:
    """Somebody without a key sends what looks like the same."""
    return _reflect([b"\x01" + bytes(1231) for _ in range(8)], target)


def _reflect(datagrams: list[bytes], target: Address) -> Reflection:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind((HOST, 0))
        victim.settimeout(0.05)
        for data in datagrams:
            victim.sendto(data, (target.host, target.port))
        sizes: list[int] = []
        end = time.monotonic() + LISTEN_S
        while time.monotonic() < end:
            try:
                sizes.append(len(victim.recv(RECEIVE_BYTES)))
            except TimeoutError:
                continue
    return Reflection(sum(map(len, datagrams)), sum(sizes), len(sizes))
