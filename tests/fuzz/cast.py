"""Who takes part in fuzzing: one mesh, the node under test, and peers whose keys we hold."""

import hashlib
import random
from dataclasses import dataclass, field, replace
from functools import cache

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.exchange_facts import (
    Accept,
    Answer,
    Decline,
    Offer,
    Question,
    Release,
    Review,
)
from mesh.core.claims.facts import (
    Attempt,
    AttemptKind,
    Cancel,
    Claim,
    Progress,
    ProgressState,
    Result,
    Spec,
)
from mesh.core.claims.forgotten import Forget, ForgetBoots
from mesh.core.claims.keyed import ForgetKey
from mesh.core.crypto.suite import LinkKey, SigningKey
from mesh.core.identity import (
    Address,
    Boot,
    FactId,
    Incarnation,
    MeshId,
    PublicKey,
    TaskId,
    dot_task_id,
)
from mesh.core.links.links import Links
from mesh.core.links.session import LinkEnd
from mesh.core.membership.facts import Accusation, Leave, Presence, Twin, Verdict
from mesh.core.node.entry import fact_row
from mesh.core.node.node import Node
from mesh.core.node.setup import NodeSetup
from mesh.core.params import Params, params_for
from mesh.core.trust.founding import Founded, MeshPlan, found
from mesh.core.trust.records import Admin, Certificate, Revocation, Rotation, StandingPage
from mesh.core.trust.tickets import Entry as TicketEntry
from mesh.core.trust.tickets import Ticket, ticket_psk
from mesh.core.wire.envelope import (
    Author,
    Fact,
    SignedFact,
    Verified,
    Verifier,
    author_of,
    sign_batch,
)
from mesh.sim.suite import SimSuite

SUITE = SimSuite()
CREATED_S = 1_700_000_000
ROOT_KEY = SigningKey(b"r" * 32)
NODE_ADDRESS = Address("10.0.0.1", 7946)
BOOT = Boot(1 << 28 | 7)
SECRET = b"the-ticketsecret"
FAR_S = 4_000_000_000


def small_params() -> Params:
    """Numbers whose tables a few hundred bytes can fill."""
    base = params_for("local")
    return replace(
        base,
        membership=replace(base.membership, members_max=8),
        gossip=replace(
            base.gossip, parked_max=4, seen_max=64, queue_items_max=16, sync_queue_max=64
        ),
        claims=replace(
            base.claims,
            facts_per_author_max=100,
            held_back_max=2,
            task_facts_per_author_max=64,
            tasks_max=16,
            waiters_max=16,
            requests_max=16,
            handles_max=4,
            sightings_max=8,
        ),
        links=replace(base.links, sources_max=16, streams_max=4),
    )


PARAMS = small_params()


@dataclass(slots=True)
class Peer:
    """Somebody with keys: a member, an admin, or a stranger."""

    name: str
    key: SigningKey
    address: Address
    author: Author
    link_key: LinkKey
    presence: Verified[Presence] = field(init=False)

    def __post_init__(self) -> None:
        public = SUITE.link_public(self.link_key)
        self.presence = self.author.sign(
            [Presence(BOOT, Incarnation(0), (self.address,), public, 1, self.name, (), ("build",))]
        )[0]

    def links(self, node: Verified[Presence]) -> Links:
        """Return the peer's own links, which know the node."""
        end = LinkEnd(self.author.id, BOOT, SUITE.link_public(self.link_key))
        links = Links(SUITE, self.author.verifier.mesh, end, self.link_key, PARAMS.links)
        theirs = LinkEnd(node.author, node.fact.boot, node.fact.link_key)
        links.learn(theirs, NODE_ADDRESS)
        return links


@dataclass(frozen=True, slots=True)
class Cast:
    """The mesh and everybody around it."""

    founded: Founded
    node_key: SigningKey
    root: Author
    admin: Peer
    member: Peer
    stranger: Peer
    ticket: Ticket
    rows: dict[str, dict[bytes, bytes]]

    @property
    def mesh(self) -> MeshId:
        """The id of the mesh."""
        return self.founded.mesh

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Whose keys the fuzzer has."""
        return self.admin, self.member, self.stranger


def _peer(name: str, number: int, mesh: MeshId) -> Peer:
    key = SigningKey(name[:1].encode() * 32)
    author = author_of(SUITE, key, Verifier(SUITE, mesh))
    address = Address(f"10.0.0.{number}", 7946)
    return Peer(name, key, address, author, LinkKey(name[:1].upper().encode() * 32))


def _alone(author: Author, fact: Fact) -> SignedFact:
    return sign_batch(author.suite, author.key, author.verifier.mesh, [fact])[0]


@cache
def cast() -> Cast:
    """Return the same cast each time."""
    node_key = SigningKey(b"n" * 32)
    plan = MeshPlan("fuzz", "local", False, CREATED_S, b"0123456789abcdef", bytes(32))
    founded = found(SUITE, ROOT_KEY, node_key, plan)
    root = author_of(SUITE, ROOT_KEY, Verifier(SUITE, founded.mesh))
    founder = author_of(SUITE, node_key, Verifier(SUITE, founded.mesh))
    admin, member = _peer("admin", 2, founded.mesh), _peer("member", 3, founded.mesh)
    stranger = _peer("stranger", 9, founded.mesh)
    ticket = Ticket(founded.mesh, (founder.public_key,), (NODE_ADDRESS,), SECRET, FAR_S)
    entry = TicketEntry(ticket_psk(SUITE, founded.mesh, SECRET), 5, FAR_S, ())
    facts = [record.signed for record in founded.records]
    for peer in (admin, member):
        facts.append(_alone(founder, Certificate(peer.author.public_key, CREATED_S, 0)))
        facts.append(peer.presence.signed)
    facts.append(_alone(root, Admin(admin.author.public_key)))
    fact_rows = [fact_row(signed) for signed in facts]
    rows: dict[str, dict[bytes, bytes]] = {
        "boot": {b"": (4).to_bytes(8, "big")},
        "mesh": {b"": founded.genesis.signed.encode()},
        "root_key": {b"": ROOT_KEY},
        "ticket": {ticket.id: entry.encode()},
        "fact": {row.key: row.value or b"" for row in fact_rows},
    }
    return Cast(founded, node_key, root, admin, member, stranger, ticket, rows)


def make_node(rows: dict[str, dict[bytes, bytes]] | None, *, ticket: str | None = None) -> Node:
    """Return the node under test, not started; the same one for the same rows."""
    return Node(
        NodeSetup(
            suite=SUITE,
            key=cast().node_key if ticket is None else SigningKey(b"j" * 32),
            params=PARAMS,
            rng=random.Random(7),
            name="node",
            addresses=(NODE_ADDRESS,),
            seeds=("10.0.0.2:7946",),
            ticket=ticket,
            rows=rows,
        )
    )


def sample_facts() -> list[tuple[Author, Fact]]:
    """Return one fact or more of every context, as honest nodes make them, with their authors."""
    people = cast()
    admin, member = people.admin, people.member
    task = dot_task_id(member.author.id, BOOT, 1)
    spec = Spec(task, "build", b"payload", CREATED_S * 1000, 3, 1000, None, b"note")
    spec_id = member.author.sign([spec])[0].id
    claim = Claim(
        task, spec_id, 1, claim_rank(task, 1, admin.author.id), BOOT, "agent", b"12345678",
        None, None,
    )  # fmt: skip
    claim_id = admin.author.sign([claim])[0].id
    given_up = Progress(task, claim_id, BOOT, 2, ProgressState.RELEASED, b"")
    because = admin.author.sign([given_up])[0].id
    second = replace(
        claim, epoch=2, rank=claim_rank(task, 2, member.author.id), nonce=b"87654321",
        supersedes=claim_id, because=because,
    )  # fmt: skip
    output = b"output"
    digest = hashlib.blake2b(output, digest_size=32).digest()
    accusation_signature = member.presence.signed.signature
    verdict = Verdict(
        admin.author.id, BOOT, Incarnation(0), 2, False,
        ((member.author.public_key, accusation_signature),) * 2,
    )  # fmt: skip
    records: list[tuple[Author, Fact]] = [
        (people.root, people.founded.genesis.fact),
        (people.root, Admin(PublicKey(admin.author.public_key))),
        (admin.author, Certificate(people.stranger.author.public_key, CREATED_S, 0)),
        (member.author, replace(member.presence.fact, tags=(("zone", "a"),))),
        (member.author, Leave(BOOT, Incarnation(0))),
        (member.author, verdict),
        (member.author, Accusation(admin.author.id, BOOT, Incarnation(0))),
        (member.author, Twin(BOOT, Boot(BOOT + 1))),
    ]
    tasks: list[tuple[Author, Fact]] = [
        (member.author, spec),
        (admin.author, claim),
        (admin.author, Progress(task, claim_id, BOOT, 1, ProgressState.STARTED, b"")),
        (admin.author, given_up),
        (member.author, second),
        (admin.author, Attempt(task, claim_id, AttemptKind.FAILED, b"no")),
        (admin.author, Result(task, claim_id, output, digest)),
        (member.author, Cancel(task, FactId(spec_id))),
    ]
    stranger = people.stranger.author.public_key
    root_key = people.founded.genesis.fact.root_key
    endings: list[tuple[Author, Fact]] = [
        (admin.author, Revocation(stranger, 0, FactId(spec_id), CREATED_S, "stolen")),
        (people.root, Revocation(stranger, 1, None, CREATED_S, "")),
        (people.root, Rotation(root_key, bytes(32), FactId(spec_id), CREATED_S)),
        (admin.author, StandingPage(FactId(spec_id), ((spec_id[:16], claim_id[:16]),))),
    ]
    over: list[tuple[Author, Fact]] = [
        (member.author, Forget(member.author.id, BOOT, (0, 9, 1, 3))),
        (member.author, ForgetBoots(member.author.id, BOOT, ((1, 7), (1, 9)))),
        (member.author, ForgetKey("build", "nightly", CREATED_S, CREATED_S + 604_800)),
    ]
    return records + tasks + endings + over + _talk(people, task, FactId(claim_id))


def _talk(people: Cast, task: TaskId, claim: FactId) -> list[tuple[Author, Fact]]:
    admin, member = people.admin, people.member
    context = b'{"goal":"green"}'
    offer = Offer(task, claim, BOOT, 3, member.author.id, "agent", context)
    offered = admin.author.sign([offer])[0].id
    question = Question(task, claim, BOOT, 4, CREATED_S * 1000, 60_000, b"which?")
    asked = admin.author.sign([question])[0].id
    return [
        (admin.author, offer),
        (member.author, Accept(task, offered, BOOT, "agent")),
        (member.author, Decline(task, offered, "agent", b"busy")),
        (admin.author, question),
        (member.author, Answer(task, asked, "agent", b"this")),
        (member.author, Review(task, asked, False, "agent", b"no tests")),
        (member.author, Release(task, claim, CREATED_S * 1000, b"stuck")),
    ]
