"""Hunts with a member that lies: it holds a certificate and signs what no honest node would."""

from dataclasses import replace

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import (
    Attempt,
    AttemptKind,
    Claim,
    Progress,
    ProgressState,
    Result,
    Spec,
)
from mesh.core.claims.record import Record
from mesh.core.commands import TaskSubmit
from mesh.core.crypto.suite import SigningKey
from mesh.core.gossip.messages import ToldFacts
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import Address, Boot, FactId, dot_task_id, node_id, parse_task_text
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.trust.records import Revocation
from mesh.core.wire.envelope import SignedFact, leaf_hash, sign_batch
from mesh.sim.network import DROP, PASS, Packet
from mesh.sim.network import Verdict as Fate
from mesh.sim.scenario import Mesh
from tests.simulation.hunting import (
    LOCAL,
    Liar,
    a_mesh,
    close,
    member_at,
    nobody_failed,
)

STRANGER = SigningKey(b"\x77" * 32)
"""A signing key that no world has admitted."""
EMPTY_DIGEST = bytes.fromhex("0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8")
"""BLAKE2b-256 of nothing."""


def forged_facts(seed: int) -> None:
    """A member passes on a task in the name of another, with a signature of zeros."""
    mesh = a_mesh(seed)
    member = member_at(mesh, "a")
    task = dot_task_id(member.author.id, member.boot, 99)
    payload = Spec(task, "build", b"", 0, 3, 0, None, b"").encode()
    key = member.author.public_key
    id_ = leaf_hash(member.verifier.mesh, Spec.CONTEXT, key, payload)
    Liar(mesh, "b").say(SignedFact(id_, key, bytes(64), 0, 1, (), Spec.CONTEXT, payload))
    assert task not in [view.id for view in mesh["c"].snapshot().tasks]
    close(mesh)


def outsiders(seed: int) -> None:
    """A member passes on a task of somebody who was never admitted."""
    mesh = a_mesh(seed)
    world = mesh.world
    key = world.suite.public_key(STRANGER)
    assert world.mesh_id is not None
    spec = Spec(dot_task_id(node_id(key), Boot(1), 1), "build", b"", 0, 3, 0, None, b"")
    [signed] = sign_batch(world.suite, STRANGER, world.mesh_id, [spec])
    Liar(mesh, "b").say(signed)
    close(mesh)


def record_at(mesh: Mesh, name: str, label: str) -> Record:
    """Return what one node knows of a task."""
    record = member_at(mesh, name).table.record(parse_task_text(mesh.known(label)))
    assert record is not None
    return record


def claim_by(liar: Liar, label: str, epoch: int, because: FactId | None) -> Claim:
    """Return a claim that supersedes what the liar sees as the owner's."""
    record = record_at(liar.mesh, liar.name, label)
    assert record.spec is not None
    assert record.owner is not None
    return Claim(
        task=record.task,
        spec=record.spec.id,
        epoch=epoch,
        rank=claim_rank(record.task, epoch, liar.member.author.id),
        boot=liar.member.boot,
        agent="liar",
        nonce=b"12345678",
        supersedes=None if epoch == 1 else record.owner.fact.id,
        because=because,
    )


def work_of_a(seed: int) -> Mesh:
    """Return a mesh in which a works on a task that everybody knows of."""
    mesh = a_mesh(seed)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.run(s=1)
    return mesh


def still_of_a(mesh: Mesh) -> None:
    """Check that a is believed to own its task, and may complete it."""
    assert mesh.everyone_agrees("build", holder="a"), f"robbed: {mesh.owners('build')}"
    mesh["a"].complete("build")
    close(mesh)


def robbed_without_a_reason(seed: int) -> None:
    """A member claims the task that a works on, because of a fact that ends nothing."""
    mesh = work_of_a(seed)
    liar = Liar(mesh, "b")
    spec = record_at(mesh, "b", "build").spec
    assert spec is not None
    liar.say(liar.sign(claim_by(liar, "build", 2, spec.id)))
    still_of_a(mesh)


def robbed_for_an_old_boot(seed: int) -> None:
    """A member cites a's present presence, which only proves that a's former boots are over."""
    mesh = work_of_a(seed)
    liar = Liar(mesh, "b")
    presence = liar.member.membership.presence(member_at(mesh, "a").author.id)
    assert presence is not None
    liar.say(presence.signed, liar.sign(claim_by(liar, "build", 2, presence.id)))
    still_of_a(mesh)


def ended_by_another(seed: int) -> None:
    """A member releases, fails and completes a's claim in its own name."""
    mesh = work_of_a(seed)
    liar = Liar(mesh, "b")
    owner = record_at(mesh, "b", "build").owner
    assert owner is not None
    task, claim = owner.fact.fact.task, owner.fact.id
    liar.say(
        liar.sign(Progress(task, claim, liar.member.boot, 9, ProgressState.RELEASED, b"")),
        liar.sign(Attempt(task, claim, AttemptKind.FAILED, b"no")),
        liar.sign(Result(task, claim, b"", EMPTY_DIGEST)),
    )
    still_of_a(mesh)


def rank_of_ones_own(seed: int) -> None:
    """A member claims beside a with a rank that it chose itself."""
    mesh = work_of_a(seed)
    liar = Liar(mesh, "b")
    liar.say(liar.sign(replace(claim_by(liar, "build", 1, None), rank=(1 << 48) - 1)))
    still_of_a(mesh)


def jumped_epochs(seed: int) -> None:
    """A member claims what a released, but for an epoch far ahead, which nobody could outrank."""
    mesh = work_of_a(seed)
    mesh["a"].release("build")
    mesh.run(s=1)
    liar = Liar(mesh, "b")
    owner = record_at(mesh, "b", "build").owner
    assert owner is not None
    liar.say(liar.sign(claim_by(liar, "build", 1 << 31, owner.ended_by)))
    mesh["a"].claim("build", wait_s=5.0)
    mesh["a"].start("build")
    mesh.run(s=1)
    still_of_a(mesh)


def lone_accuser(seed: int) -> None:
    """A member publishes a verdict on c that rests on its own accusation."""
    mesh = a_mesh(seed, 5)
    mesh.run(s=5)
    liar = Liar(mesh, "b")
    presence = liar.member.membership.presence(member_at(mesh, "c").author.id)
    assert presence is not None
    subject, fact = presence.author, presence.fact
    accusation = liar.sign(Accusation(subject, fact.boot, fact.incarnation))
    proof = ((accusation.author, accusation.signature),)
    for observers in (1, 4):
        verdict = Verdict(subject, fact.boot, fact.incarnation, observers, False, proof)
        liar.say(liar.sign(verdict), family=Family.MEMBERS, for_s=0.0)
        for _ in range(100):
            mesh.run(s=0.01)
            assert nobody_failed(mesh, "c"), "one word was enough"
    close(mesh)


def removed_by_a_member(seed: int) -> None:
    """A member that is no admin signs that another one takes part no more."""
    mesh = a_mesh(seed, 5)
    victim = member_at(mesh, "d").author.public_key
    liar = Liar(mesh, "e")
    liar.say(liar.sign(Revocation(victim, 0, None, 0, "")), family=Family.MEMBERS, for_s=5.0)
    assert len(mesh.running()) == len(mesh.names), "one word was enough"
    close(mesh)


def replayed_datagrams(seed: int) -> None:
    """Somebody on the way repeats every datagram that b ever sent to a."""
    small = replace(LOCAL, links=replace(LOCAL.links, replay_window=64))
    mesh = a_mesh(seed, 2, params=small)
    world, b = mesh.world, mesh.world.hosts["b"]
    taken: list[Packet] = []

    def listen(packet: Packet) -> Fate:
        if packet.source == b.address and packet.data[:1] == b"\1":
            taken.append(replace(packet, copies_s=[]))
        return PASS

    world.add_rule(listen)
    mesh.run(s=120)
    assert len(taken) > 2 * small.links.replay_window
    mesh.run(s=1)
    counters = member_at(mesh, "a").counters
    before = counters.get("refused_replayed", 0)
    repeated = list(taken)
    for packet in repeated:
        world.inject(packet)
    mesh.run(s=0.01)
    refused = counters.get("refused_replayed", 0) - before
    assert refused == len(repeated), f"{len(repeated) - refused} datagrams counted twice"
    close(mesh)


def ghost(seed: int) -> None:
    """The datagrams of a dead node are repeated for ever: it must be known to be dead."""
    mesh = a_mesh(seed)
    world, b = mesh.world, mesh.world.hosts["b"]
    taken: list[Packet] = []

    def listen(packet: Packet) -> Fate:
        if packet.source == b.address:
            taken.append(replace(packet, copies_s=[]))
        return PASS

    world.add_rule(listen)
    mesh.run(s=10)
    mesh.kill("b")
    for _ in range(300):
        for packet in taken[-20:]:
            world.inject(packet)
        mesh.run(s=0.1)
    assert not any(
        person.members()["b"].value in {"alive", "suspect"} for person in mesh.running()
    ), "the dead b seems alive"


def posted_elsewhere(seed: int) -> None:
    """Somebody catches datagrams of b and posts them from a victim's address."""
    mesh = a_mesh(seed)
    world, a, b = mesh.world, mesh.world.hosts["a"], mesh.world.hosts["b"]
    victim = Address("203.0.113.9", 53)
    world.by_address[victim] = world.hosts["c"]  # so that rules see what is sent there
    sent, to_catch = {"from": 0, "to": 0}, [True]

    def on_the_way(packet: Packet) -> Fate:
        if packet.target == victim:
            sent["to"] += len(packet.data)
            return DROP
        is_of_b = (packet.source, packet.target) == (b.address, a.address)
        if not (to_catch and is_of_b and packet.data[:1] == b"\1"):
            return PASS
        to_catch.clear()
        sent["from"] += len(packet.data)
        world.inject(replace(packet, source=victim, copies_s=[]))
        return DROP

    world.add_rule(on_the_way)
    for number in range(10):
        to_catch[:] = [True]
        mesh.run_until(lambda: not to_catch)
        mesh["a"].submit(f"task-{number}", TaskSubmit("build", "x" * 400))
        assert sent["to"] <= sent["from"], "a victim gets more than was posted in its name"
    assert sent["from"], "nothing was caught"
    world.remove_rule(on_the_way)
    close(mesh)


def one_forges_among_many(seed: int) -> None:
    """A member passes on forgeries while the others say what is true."""
    mesh = a_mesh(seed)
    liar = Liar(mesh, "b")
    for number in range(LOCAL.links.strikes_max):
        mesh["a"].submit(f"true-{number}")
        task = dot_task_id(liar.member.author.id, liar.member.boot, 100 + number)
        true = liar.sign(Spec(task, "build", b"", 0, 3, 0, None, b""))
        liar.say_to("c", replace(true, signature=bytes(64)), for_s=0.1)
    now = mesh.world.hosts["c"].clock.read(mesh.world.now_s)
    muted = [
        name
        for name in "ab"
        if member_at(mesh, "c").blame.is_muted(
            now.instant, member_at(mesh, name).author.id, ToldFacts.KIND
        )
    ]
    assert muted == ["b"], f"muted: {muted}"
    close(mesh)
