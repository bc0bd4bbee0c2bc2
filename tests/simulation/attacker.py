"""A member with valid keys that lies: it signs whatever it likes, and tells all."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import (
    Attempt,
    AttemptKind,
    Cancel,
    Claim,
    Progress,
    ProgressState,
    Result,
)
from mesh.core.claims.record import Record
from mesh.core.crypto.suite import Suite
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import EagerFacts, Push, Section, ToldFacts
from mesh.core.gossip.vocabulary import Want
from mesh.core.identity import Address, FactId, Incarnation, NodeId, TaskId
from mesh.core.inputs import DatagramReceived
from mesh.core.membership.facts import Accusation, Presence, Verdict
from mesh.core.membership.messages import Accuse, Ask, Vouch, Withdraw
from mesh.core.node.node import Node
from mesh.core.node.participant import Participant
from mesh.core.snapshot import Status, TaskState
from mesh.core.trust.records import Admin, Certificate, Genesis
from mesh.core.wire.envelope import Fact, SignedFact, Verified
from mesh.core.wire.frame import BODY_BYTES_MAX
from mesh.sim.scenario import Mesh

EVIL = "e"
HONEST = ("a", "b", "c", "d")
KINDS = ("build", "test")
EVERY_S = 0.1
ATTACK_S = 60.0
TASKS = 20
INCARNATION_MAX = (1 << 32) - 1
NEVER_ENDED = (Status.DOWN, Status.DEAD, Status.LEFT)
Said = tuple[Family, Fact]


def participant_of(mesh: Mesh, name: str) -> Participant:
    node = mesh.world.hosts[name].node
    assert isinstance(node, Node)
    assert node.participant is not None
    return node.participant


class Moves:
    """What somebody who knows the protocol says with its key, wherever the others run."""

    rng: random.Random
    honest: tuple[str, ...]
    careless: bool = True
    """Whether it makes up signatures: who passes on three that do not hold is not heard."""

    @property
    def me(self) -> Participant:
        """Its own node."""
        raise NotImplementedError

    @property
    def suite(self) -> Suite:
        """What it signs with in the name of strangers."""
        raise NotImplementedError

    def seen_by(self, name: str) -> Participant:
        """Return a node that knows what this honest one knows, as well as a liar can tell."""
        raise NotImplementedError

    def presence_of(self, name: str) -> Verified[Presence]:
        """Return what an honest node last said of itself."""
        raise NotImplementedError

    def say(self, target: str, kind: int, body: bytes) -> None:
        """Send one message over the true link."""
        raise NotImplementedError

    # ---- what it can do

    def spread(self, family: Family, fact: Fact, targets: tuple[str, ...] = ()) -> FactId:
        """Sign a fact and hand it to everybody, in any of the ways of gossip."""
        [verified] = self.me.author.sign([fact])
        self.pass_on(family, verified.signed, targets)
        return verified.id

    def pass_on(self, family: Family, signed: SignedFact, targets: tuple[str, ...] = ()) -> None:
        """Hand something signed to everybody."""
        item = Item(Form.SINGLE, signed.encode())
        want = self.rng.choice(tuple(Want))
        push = Push(family, (Section(self.rng.getrandbits(40), 0, want, (item,)),))
        for target in targets or self.honest:
            way = self.rng.randrange(3)
            if way == 0:
                self.say(target, Push.KIND, push.encode())
            else:
                kind = EagerFacts if way == 1 else ToldFacts
                self.say(target, kind.KIND, kind(family, (item,)).encode())

    # ---- what it knows

    def victim(self) -> Presence:
        return self.presence_of(self.rng.choice(self.honest)).fact

    def victim_id(self) -> NodeId:
        return self.presence_of(self.rng.choice(self.honest)).author

    def own(self) -> Presence:
        presence = self.me.membership.own_presence
        assert presence is not None
        return presence.fact

    def records(self) -> list[Record]:
        table = self.seen_by(self.rng.choice(self.honest)).table
        found = [table.record(task) for task in table.tasks()]
        return [record for record in found if record is not None and record.spec is not None]

    def target_claim(self) -> tuple[Record, Claim, FactId] | None:
        owned = [record for record in self.records() if record.owner is not None]
        live = [record for record in owned if record.state is TaskState.WORKING] or owned
        if not live:
            return None
        record = self.rng.choice(live)
        assert record.owner is not None
        return record, record.owner.fact.fact, record.owner.fact.id

    # ---- its moves

    def inflate(self) -> None:
        """Its own presence under an incarnation far ahead, with wrong and too many words."""
        rng, fact = self.rng, self.own()
        addresses = rng.choice(
            [
                self.presence_of(rng.choice(self.honest)).fact.addresses[:1],
                (Address("localhost", 1), Address("255.255.255.255", 65535)),
                (Address("no address at all", 0),) * 4,
                (),
            ]
        )
        tags = rng.choice([(), (("k" * 32, "v" * 64),) * 16, (("zone", "a"),) * 9])
        name = rng.choice([rng.choice(self.honest), "e", "n" * 64])
        raised = rng.choice([1, 2, 1000, INCARNATION_MAX - 7, INCARNATION_MAX])
        said = replace(
            fact, incarnation=Incarnation(raised), addresses=addresses, tags=tags, name=name
        )
        self.spread(rng.choice(tuple(Family)), said)
        if rng.random() < 0.1:  # a key that is none, for some
            self.spread(Family.MEMBERS, replace(said, link_key=bytes(32)), self.honest[:2])

    def judge(self) -> None:
        """A verdict on an honest node, with as much proof as one accuser can make up."""
        rng, author = self.rng, self.me.author
        presence = self.presence_of(rng.choice(self.honest))
        incarnation = Incarnation(presence.fact.incarnation + rng.choice([0, 0, 0, 1, 9]))
        accused = Accusation(presence.author, presence.fact.boot, incarnation)
        signature = author.sign([accused])[0].signed.signature
        mine = (author.public_key, signature)
        other = self.presence_of(rng.choice(self.honest)).signed.author
        made_up = (other, signature)
        itself = (presence.signed.author, signature)
        true = [(mine,), (mine, mine), ()]
        # Three signatures that do not hold mute whoever passes them on: it uses few.
        wrong = [(mine,), (mine, mine), (mine, itself), ()] * 30 + [(mine, made_up), (made_up,) * 3]
        proofs = rng.choice(wrong if self.careless else true)
        verdict = Verdict(
            accused.subject, accused.boot, incarnation, rng.choice([0, 1, 1, 2, 3, 255]),
            False, proofs,
        )  # fmt: skip
        self.spread(Family.MEMBERS, verdict)
        self.steal(presence.author, self.spread(Family.TASKS, verdict))

    def accuse(self) -> None:
        """Accusations and other remarks about honest nodes, at all who would listen."""
        rng, victim = self.rng, self.presence_of(self.rng.choice(self.honest))
        raised = min(victim.fact.incarnation + rng.choice([0, 0, 0, 1, 1 << 31]), INCARNATION_MAX)
        named = (victim.author, victim.fact.boot, Incarnation(raised))
        signed = self.me.author.sign([Accusation(*named)])[0].signed
        accusation = Accuse(signed.encode())
        for target in self.honest:
            self.say(target, Accuse.KIND, accusation.encode())
            if rng.random() < 0.3:
                kind = rng.choice([Vouch, Withdraw, Ask])
                self.say(target, kind.KIND, kind(*named).encode())

    def rob(self, because: FactId | None = None) -> None:
        """A claim of the next epoch, or of one far away, for a reason that is none."""
        found = self.target_claim()
        if found is None:
            return
        record, owned, owned_id = found
        rng, me = self.rng, self.me.author.id
        assert record.spec is not None
        epoch = min(owned.epoch + rng.choice([1, 1, 1, 1, 2, 7, 1 << 20]), (1 << 32) - 1)
        claim = Claim(
            record.task, record.spec.id, epoch, claim_rank(record.task, epoch, me), self.me.boot,
            "thief", rng.randbytes(8), owned_id, because or self._no_reason(record, owned_id),
        )  # fmt: skip
        stolen = self.spread(Family.TASKS, claim)
        self.finish(record.task, stolen)

    def steal(self, victim: NodeId, because: FactId) -> None:
        """A claim that is perfect but for its reason, on whatever the victim works on."""
        for record in self.records():
            owner, me = record.owner, self.me.author.id
            mine = any(view.fact.author == me for view in record.claims)
            if owner is None or owner.fact.author != victim or mine or owner.ended_by is not None:
                continue
            assert record.spec is not None
            epoch = record.epoch + 1
            claim = Claim(
                record.task, record.spec.id, epoch, claim_rank(record.task, epoch, me),
                self.me.boot, "thief", self.rng.randbytes(8), owner.fact.id, because,
            )  # fmt: skip
            self.spread(Family.TASKS, claim)
            return

    def _no_reason(self, record: Record, owned: FactId) -> FactId:
        """Return a fact that ends nothing: foreign, unsuitable, or not there at all."""
        rng, task = self.rng, record.task
        assert record.spec is not None
        note = Progress(task, owned, self.me.boot, 1, ProgressState.RELEASED, b"")
        reasons: list[Callable[[], FactId]] = [
            lambda: record.spec.id if record.spec else owned,
            lambda: owned,
            lambda: FactId(rng.randbytes(32)),
            lambda: self.spread(Family.TASKS, note),
            lambda: self.spread(Family.TASKS, Attempt(task, owned, AttemptKind.LOST, b"")),
            lambda: self.spread(Family.TASKS, replace(self.own(), incarnation=Incarnation(1))),
        ]
        return rng.choice(reasons)()

    def finish(self, task: TaskId | None = None, claim: FactId | None = None) -> None:
        """Words about a claim that is not its own: started, failed, done, or nobody shall do it."""
        found = self.target_claim()
        if found is None:
            return
        record, _, owned = found
        task, claim = task or record.task, claim or owned
        digest = bytes.fromhex("0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8")
        number, state = self.rng.getrandbits(32), self.rng.choice(tuple(ProgressState))
        assert record.spec is not None
        self.spread(
            Family.TASKS,
            self.rng.choice(
                [
                    Progress(task, claim, self.me.boot, number, state, b"x" * 256),
                    Attempt(task, claim, AttemptKind.FAILED, b"no"),
                    Result(task, claim, b"", digest),
                    Cancel(task, record.spec.id),
                ]
            ),
        )

    def admit(self) -> None:
        """Records of trust that it may not sign."""
        key = self.rng.choice([self.rng.randbytes(32), self.me.author.public_key])
        genesis = self.me.trust.genesis.fact
        made: list[Fact] = [
            Admin(type(genesis.root_key)(key)),
            Certificate(type(genesis.root_key)(key), 0, 0),
            replace(genesis, nonce=bytes(16)),
            Genesis(*(getattr(genesis, name) for name in Genesis.__match_args__)),
        ]
        self.spread(self.rng.choice(tuple(Family)), self.rng.choice(made))


@dataclass
class Attacker(Moves):
    """A node of a simulated mesh in the hands of somebody who knows the protocol."""

    mesh: Mesh
    rng: random.Random
    name: str = EVIL
    honest: tuple[str, ...] = HONEST
    sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        node = self.mesh.world.hosts[self.name].node
        assert isinstance(node, Node)
        # Its own program does not mind what else is said with its key.
        node.own_key.is_rising = True

    @property
    def me(self) -> Participant:
        return participant_of(self.mesh, self.name)

    @property
    def suite(self) -> Suite:
        return self.mesh.world.suite

    def seen_by(self, name: str) -> Participant:
        return participant_of(self.mesh, name)

    def presence_of(self, name: str) -> Verified[Presence]:
        presence = self.seen_by(name).membership.own_presence
        assert presence is not None
        return presence

    def begin(self, *moves: Callable[[], None]) -> None:
        """Make a move every so often, until the attack is over."""
        until_s = self.mesh.world.now_s + ATTACK_S

        def act() -> None:
            if self.mesh.world.now_s > until_s:
                return
            move = self.rng.choice(moves)
            self.sent[move.__name__] = self.sent.get(move.__name__, 0) + 1
            move()
            self.mesh.world.call_later(EVERY_S, act)

        self.mesh.world.call_later(EVERY_S, act)

    def say(self, target: str, kind: int, body: bytes) -> None:
        """Send one message over the true link."""
        now = self.mesh.world.hosts[self.name].clock.read(self.mesh.world.now_s)
        receiver = self.mesh.world.hosts[target]
        links, peer = self.me.transport.links, participant_of(self.mesh, target).author.id
        if len(body) > BODY_BYTES_MAX or peer not in links.routes:
            return
        for data in links.seal(now.instant, peer, [(kind, body)]):
            event = DatagramReceived(data, self.mesh.world.hosts[self.name].address)
            self.mesh.world.give(receiver, event)
