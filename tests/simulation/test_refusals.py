"""What a node does with foreign and broken input: counts it, changes nothing, and goes on."""

from dataclasses import replace

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Result, Spec
from mesh.core.commands import MemberList, NodeStatus, TaskClaim
from mesh.core.effects import CloseStream, Commit, CommitNumber, Effect, Halt, StreamId
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import EagerFacts, SyncFacts
from mesh.core.identity import Address, Boot, FactId, Incarnation, TaskId, dot_task_id
from mesh.core.inputs import (
    CommitDone,
    CommitFailed,
    DatagramReceived,
    StreamClosed,
    StreamOpened,
    StreamReceived,
)
from mesh.core.instants import Now, later
from mesh.core.links.cookie import COOKIE_BYTES, encode_cookie
from mesh.core.links.hello import ASK, encode_hello
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.node.admissions import JOINS_MAX
from mesh.core.node.doorway import UNREAD_STREAMS_MAX
from mesh.core.node.halts import START_AFRESH
from mesh.core.node.messages import Relay
from mesh.core.node.node import Node
from mesh.core.node.participant import Participant
from mesh.core.snapshot import Status
from mesh.core.wire.envelope import Fact, SignedFact, Verified, sign_batch
from mesh.sim.scenario import Mesh, Refused
from tests.simulation.conftest import MeshOf

STRANGER = Address("10.9.9.9", 999)


def node_of(mesh: Mesh, name: str) -> Node:
    node = mesh.world.hosts[name].node
    assert isinstance(node, Node)
    return node


def participant_of(mesh: Mesh, name: str) -> Participant:
    participant = node_of(mesh, name).participant
    assert participant is not None
    return participant


def refused(mesh: Mesh, name: str) -> dict[str, int]:
    counters = participant_of(mesh, name).counters
    return {key.removeprefix("refused_"): count for key, count in counters.items()}


def give(mesh: Mesh, name: str, data: bytes, source: Address = STRANGER) -> None:
    mesh.world.give(mesh.world.hosts[name], DatagramReceived(data, source))


def say(mesh: Mesh, sender: str, receiver: str, kind: int, body: bytes) -> None:
    """Let a member say something that its own rules would never say."""
    mine, theirs = participant_of(mesh, sender), participant_of(mesh, receiver)
    now = mesh.world.hosts[sender].clock.read(mesh.world.now_s)
    for data in mine.transport.links.seal(now.instant, theirs.author.id, [(kind, body)]):
        give(mesh, receiver, data, mesh.world.hosts[sender].address)


def gossip_members(mesh: Mesh, sender: str, receiver: str, fact: SignedFact) -> None:
    """Let a member pass a membership fact on."""
    message = EagerFacts(Family.MEMBERS, (Item(Form.SINGLE, fact.encode()),))
    say(mesh, sender, receiver, message.KIND, message.encode())


def gossip(mesh: Mesh, sender: str, receiver: str, *facts: SignedFact) -> None:
    """Let a member pass facts on."""
    items = b"".join(
        bytes((0,)) + len(fact.encode()).to_bytes(2, "big") + fact.encode() for fact in facts
    )
    say(mesh, sender, receiver, EagerFacts.KIND, bytes((Family.TASKS,)) + items)


def signed_by(mesh: Mesh, name: str, fact: Fact) -> SignedFact:
    author = participant_of(mesh, name).author
    return author.sign([fact])[0].signed


def held(mesh: Mesh, name: str, signed: SignedFact) -> bool:
    return participant_of(mesh, name).gossip.holds(Family.TASKS, signed.id)


@pytest.fixture
def trio_mesh(meshes: MeshOf) -> Mesh:
    mesh = meshes(3)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.run(s=1)
    return mesh


def test_garbage_is_counted_and_answered_by_nothing(trio_mesh: Mesh) -> None:
    before = participant_of(trio_mesh, "a").transport.counters["datagrams_sent"]
    for data in (b"", b"\x00", b"\x01" * 17, b"\x01" * 300, b"\x02" * 1200, b"\xff" * 1232):
        give(trio_mesh, "a", data)
    assert participant_of(trio_mesh, "a").transport.counters["datagrams_sent"] == before
    counts = refused(trio_mesh, "a")
    assert counts["malformed"] >= 4
    assert counts["unknown_sender"] == 1
    assert counts["wrong_mesh"] == 1


def test_a_greeting_of_a_stranger_with_the_mesh_id_admits_nobody(trio_mesh: Mesh) -> None:
    participant = participant_of(trio_mesh, "a")
    suite, mesh_id = participant.author.suite, participant.verifier.mesh
    presence = participant_of(trio_mesh, "b").membership.own_presence
    assert presence is not None
    key = type(participant.author.key)(b"x" * 32)
    suite.public_key(key)
    forged = sign_batch(suite, key, mesh_id, [presence.fact])[0]
    members = len(participant.membership.members(trio_mesh.world.hosts["a"].clock.read(99)))
    give(trio_mesh, "a", encode_hello(mesh_id, ASK, [forged.encode()]))
    assert refused(trio_mesh, "a")["not_admitted"] == 1
    now = trio_mesh.world.hosts["a"].clock.read(trio_mesh.world.now_s)
    assert len(participant.membership.members(now)) == members


def test_greetings_of_one_source_are_answered_at_a_bounded_rate(trio_mesh: Mesh) -> None:
    participant = participant_of(trio_mesh, "a")
    data = encode_hello(participant.verifier.mesh, ASK, [])
    before = participant.transport.counters["hellos_sent"]
    for _ in range(100):
        give(trio_mesh, "a", data)
    rate = participant.params.links.hello_per_source_s
    assert participant.transport.counters["hellos_sent"] - before == rate
    assert refused(trio_mesh, "a")["over_cap"] == 100 - rate


def task_of(mesh: Mesh, label: str) -> tuple[TaskId, Verified[Spec], Verified[Claim]]:
    table = participant_of(mesh, "a").table
    for task in table.tasks():
        record = table.record(task)
        if record and record.spec and record.owner and record.spec.fact.kind == label:
            return task, record.spec, record.owner.fact
    raise AssertionError(label)


def forged_claim(mesh: Mesh, by: str, *, epoch: int, because: FactId | None) -> SignedFact:
    task, spec, owner = task_of(mesh, "build")
    participant = participant_of(mesh, by)
    rank = claim_rank(task, epoch, participant.author.id)
    supersedes = None if because is None else owner.id
    claim = Claim(task, spec.id, epoch, rank, participant.boot, "x", b"n" * 8, supersedes, because)
    return signed_by(mesh, by, claim)


@pytest.mark.parametrize("epoch", [2, 3, 1_000])
def test_nobody_jumps_epochs_or_robs_a_live_owner(trio_mesh: Mesh, epoch: int) -> None:
    _, spec, _ = task_of(trio_mesh, "build")
    forged = forged_claim(trio_mesh, "b", epoch=epoch, because=spec.id)
    gossip(trio_mesh, "b", "c", forged)
    trio_mesh.run(s=20)
    assert trio_mesh.owners("build")["c"] == "a"
    assert trio_mesh.owners("build")["a"] == "a"


def test_a_later_epoch_without_a_because_is_refused(trio_mesh: Mesh) -> None:
    forged = forged_claim(trio_mesh, "b", epoch=2, because=None)
    gossip(trio_mesh, "b", "c", forged)
    assert refused(trio_mesh, "c")["broken_rule"] == 1
    assert not held(trio_mesh, "c", forged)


def test_a_rank_that_is_not_the_computed_one_is_refused(trio_mesh: Mesh) -> None:
    task, spec, _ = task_of(trio_mesh, "build")
    rank = claim_rank(task, 1, participant_of(trio_mesh, "b").author.id)
    claim = Claim(task, spec.id, 1, rank + 1, Boot(1), "x", b"n" * 8, None, None)
    gossip(trio_mesh, "b", "c", signed_by(trio_mesh, "b", claim))
    assert refused(trio_mesh, "c")["broken_rule"] == 1


def test_a_result_by_somebody_else_completes_nothing(trio_mesh: Mesh) -> None:
    task, _, owner = task_of(trio_mesh, "build")
    digest = bytes.fromhex("0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8")
    forged = signed_by(trio_mesh, "b", Result(task, owner.id, b"", digest))
    gossip(trio_mesh, "b", "c", forged)
    trio_mesh.run(s=20)
    view = trio_mesh["c"].view("build")
    assert view is not None
    assert view.state == "working"


def test_a_task_in_the_name_of_another_node_is_refused(trio_mesh: Mesh) -> None:
    _, spec, _ = task_of(trio_mesh, "build")
    stolen = dot_task_id(participant_of(trio_mesh, "a").author.id, Boot(1), 77)
    forged = signed_by(trio_mesh, "b", replace(spec.fact, task=stolen))
    gossip(trio_mesh, "b", "c", forged)
    assert refused(trio_mesh, "c")["author_mismatch"] == 1


def test_three_forgeries_mute_their_relay(trio_mesh: Mesh) -> None:
    for number in range(4):
        _, spec, _ = task_of(trio_mesh, "build")
        honest = participant_of(trio_mesh, "b")
        dot = dot_task_id(honest.author.id, honest.boot, 100 + number)
        good = signed_by(trio_mesh, "b", replace(spec.fact, task=dot))
        gossip(trio_mesh, "b", "c", replace(good, signature=bytes(64)))
    assert refused(trio_mesh, "c")["bad_signature"] == 3, "the fourth was not even looked at"
    assert participant_of(trio_mesh, "c").transport.counters["muted"] == 1


def test_a_relay_to_nobody_and_over_budget_is_refused(trio_mesh: Mesh) -> None:
    nobody = Relay(type(participant_of(trio_mesh, "a").author.id)(b"z" * 16), b"d" * 100)
    say(trio_mesh, "b", "c", Relay.KIND, nobody.encode())
    assert refused(trio_mesh, "c")["unknown_sender"] == 1
    to_a = Relay(participant_of(trio_mesh, "a").author.id, b"\x01" * 1000)
    for _ in range(80):
        say(trio_mesh, "b", "c", Relay.KIND, to_a.encode())
    assert refused(trio_mesh, "c")["over_cap"] >= 10


def test_a_member_that_never_stops_talking_is_heard_at_a_bounded_rate(trio_mesh: Mesh) -> None:
    b, c = participant_of(trio_mesh, "b"), participant_of(trio_mesh, "c")
    presence = b.membership.own_presence
    assert presence is not None
    burst = int(c.params.gossip.author_facts_burst)
    for raised in range(1, 3 * burst):
        fact = replace(presence.fact, incarnation=Incarnation(raised * 2))
        gossip_members(trio_mesh, "b", "c", b.author.sign([fact])[0].signed)
    assert refused(trio_mesh, "c")["over_cap"] >= burst
    trio_mesh.run(s=30)
    assert trio_mesh.everyone_sees_everyone()


def test_old_words_of_a_member_posted_again_do_not_silence_it(trio_mesh: Mesh) -> None:
    a, c = participant_of(trio_mesh, "a"), participant_of(trio_mesh, "c")
    presence = a.membership.own_presence
    assert presence is not None
    newest = replace(presence.fact, incarnation=Incarnation(5000))
    gossip_members(trio_mesh, "a", "c", a.author.sign([newest])[0].signed)
    for old in range(1000, 1000 + 2 * int(c.params.gossip.author_facts_burst)):
        fact = replace(presence.fact, incarnation=Incarnation(old))
        gossip_members(trio_mesh, "b", "c", a.author.sign([fact])[0].signed)
    assert "over_cap" not in refused(trio_mesh, "c")


def test_one_peer_does_not_use_up_what_is_relayed_for_all(trio_mesh: Mesh) -> None:
    to_a = Relay(participant_of(trio_mesh, "a").author.id, b"\x01" * 1000)
    for _ in range(80):
        say(trio_mesh, "b", "c", Relay.KIND, to_a.encode())
    before = participant_of(trio_mesh, "c").transport.counters["relayed"]
    to_b = Relay(participant_of(trio_mesh, "b").author.id, b"\x01" * 1000)
    say(trio_mesh, "a", "c", Relay.KIND, to_b.encode())
    assert participant_of(trio_mesh, "c").transport.counters["relayed"] == before + 1


def test_a_flood_of_greetings_is_answered_with_cookies_and_keeps_nobody_out(meshes: MeshOf) -> None:
    mesh = meshes(2)
    a = participant_of(mesh, "a")
    greeting = encode_hello(a.verifier.mesh, ASK, a.transport.own_facts())
    mesh.kill("b")
    mesh.run(s=20)
    assert not mesh.seen_as("b", Status.ALIVE)
    mesh.restart("b")
    for second in range(5):
        for number in range(int(a.params.links.hello_total_s) + 50):
            give(mesh, "a", greeting, Address(f"10.77.{second}.{number % 256}", 1 + number))
        mesh.run(s=1)
    assert a.transport.counters["cookies_sent"] >= 200
    assert mesh.seen_as("b", Status.ALIVE)


def test_a_cookie_that_nobody_asked_for_is_refused(trio_mesh: Mesh) -> None:
    mesh_id = participant_of(trio_mesh, "a").verifier.mesh
    give(trio_mesh, "a", encode_cookie(mesh_id, bytes(COOKIE_BYTES)))
    assert refused(trio_mesh, "a")["unknown_sender"] == 1


def test_streams_of_strangers_are_bounded_and_closed(trio_mesh: Mesh) -> None:
    node = node_of(trio_mesh, "a")
    now = trio_mesh.world.hosts["a"].clock.read(trio_mesh.world.now_s)
    for number in range(UNREAD_STREAMS_MAX):
        opened = StreamOpened(StreamId(2 * number), STRANGER, dialled=False)
        assert node.handle(now, opened) == []
    one_more = StreamOpened(StreamId(2 * UNREAD_STREAMS_MAX), STRANGER, dialled=False)
    effects = node.handle(now, one_more)
    assert [type(effect).__name__ for effect in effects] == ["CloseStream"]
    for number, first in enumerate((b"S" + b"?" * 40, b"J" + b"\xff" * 40, b"GET / HTTP/1.1\r\n")):
        effects = node.handle(now, StreamReceived(StreamId(2 * number), first))
        assert [type(effect).__name__ for effect in effects] == ["CloseStream"], first
    effects = node.handle(now, StreamReceived(StreamId(9999), b"late"))
    assert effects == []
    for number in range(UNREAD_STREAMS_MAX + 1):
        node.handle(now, StreamClosed(StreamId(2 * number), "ended"))


def closed_by(effects: list[Effect]) -> list[StreamId]:
    return [effect.stream for effect in effects if isinstance(effect, CloseStream)]


def test_who_holds_streams_open_and_says_nothing_makes_room_for_others(trio_mesh: Mesh) -> None:
    node, spare_s = node_of(trio_mesh, "a"), trio_mesh.world.params.links.stream_spare_s
    then = trio_mesh.world.hosts["a"].clock.read(trio_mesh.world.now_s)
    for number in range(UNREAD_STREAMS_MAX):
        node.handle(then, StreamOpened(StreamId(2 * number), STRANGER, dialled=False))
    now = Now(later(then.instant, spare_s), then.wall)
    newcomer = StreamId(2 * UNREAD_STREAMS_MAX)
    assert closed_by(node.handle(now, StreamOpened(newcomer, STRANGER, dialled=False))) == [
        StreamId(2 * number) for number in range(UNREAD_STREAMS_MAX)
    ]
    assert closed_by(node.handle(now, StreamReceived(newcomer, b"J"))) == []


def test_joins_that_get_no_further_make_room_for_others(trio_mesh: Mesh) -> None:
    node, spare_s = node_of(trio_mesh, "a"), trio_mesh.world.params.links.stream_spare_s
    then = trio_mesh.world.hosts["a"].clock.read(trio_mesh.world.now_s)

    def knock(now: Now, number: int) -> list[StreamId]:
        stream = StreamId(2 * number)
        node.handle(now, StreamOpened(stream, STRANGER, dialled=False))
        return closed_by(node.handle(now, StreamReceived(stream, b"J")))

    assert not any(knock(then, number) for number in range(JOINS_MAX))
    assert knock(then, JOINS_MAX) == [StreamId(2 * JOINS_MAX)]
    later_on = Now(later(then.instant, spare_s), then.wall)
    assert knock(later_on, JOINS_MAX + 1) == [StreamId(0)]


def test_streams_of_members_that_rest_make_room_and_strangers_go_first(trio_mesh: Mesh) -> None:
    node, links = node_of(trio_mesh, "a"), trio_mesh.world.params.links
    then = trio_mesh.world.hosts["a"].clock.read(trio_mesh.world.now_s)
    bulk = participant_of(trio_mesh, "a").bulk
    peer = participant_of(trio_mesh, "b").author.id
    bulk.send(then.instant, {peer: [(SyncFacts.KIND, b"")]})
    [ours] = bulk.channels

    def dial_in(now: Now, number: int) -> list[StreamId]:
        stream = StreamId(2 * number)
        node.handle(now, StreamOpened(stream, STRANGER, dialled=False))
        return closed_by(node.handle(now, StreamReceived(stream, b"S")))

    assert not any(dial_in(then, number) for number in range(links.streams_max - 1))
    assert dial_in(then, 900) == [StreamId(1800)]
    now = Now(later(then.instant, links.stream_spare_s), then.wall)
    assert dial_in(now, 901) == [StreamId(0)]
    assert ours in bulk.channels
    # A stranger that wants in is let in whatever streams there are.
    stream = StreamId(1900)
    node.handle(then, StreamOpened(stream, STRANGER, dialled=False))
    assert closed_by(node.handle(then, StreamReceived(stream, b"J"))) == []


def test_a_node_that_cannot_write_its_first_row_stops_and_says_why(meshes: MeshOf) -> None:
    mesh = meshes(1)
    node = node_of(mesh, "a")
    fresh = Node(replace(node.setup, rows=None, founding=None, seeds=("10.0.0.1:1",)))
    now = mesh.world.hosts["a"].clock.read(mesh.world.now_s)
    effects = fresh.start(now)
    number = next(effect.number for effect in effects if isinstance(effect, Commit))
    halts = fresh.handle(now, CommitFailed(number, "disk full"))
    assert [type(effect).__name__ for effect in halts] == ["Halt"]
    assert "disk full" in str(halts)


def test_a_node_whose_disk_is_full_says_so_until_it_is_not(trio_mesh: Mesh) -> None:
    def warned() -> bool:
        status = trio_mesh["a"].tell(NodeStatus()).result
        assert isinstance(status, dict)
        return "cannot write to its disk" in str(status["warnings"])

    disk = trio_mesh.world.hosts["a"].disk
    assert not warned()
    disk.full = True
    with pytest.raises(Refused, match="cannot write to its disk"):
        trio_mesh["a"].submit("build")
    assert warned()
    trio_mesh.run(s=5)
    assert warned()
    disk.mend()
    trio_mesh.run(s=5)
    assert not warned()
    assert trio_mesh["a"].submit("build")


def test_a_presence_with_a_link_key_that_is_none_changes_nothing(trio_mesh: Mesh) -> None:
    presence = participant_of(trio_mesh, "b").membership.own_presence
    assert presence is not None
    forged = replace(presence.fact, incarnation=Incarnation(9), link_key=bytes(32))
    gossip_members(trio_mesh, "b", "c", signed_by(trio_mesh, "b", forged))
    assert refused(trio_mesh, "c")["bad_key"] == 1
    held_by_c = participant_of(trio_mesh, "c").membership.presence(presence.author)
    assert held_by_c == presence


def test_one_accuser_is_no_evidence_that_somebody_has_failed(trio_mesh: Mesh) -> None:
    victim = participant_of(trio_mesh, "a").membership.own_presence
    liar = participant_of(trio_mesh, "b").author
    assert victim is not None
    named = (victim.author, victim.fact.boot, victim.fact.incarnation)
    proof = (liar.public_key, liar.sign([Accusation(*named)])[0].signed.signature)
    verdict = signed_by(trio_mesh, "b", Verdict(*named, 1, False, (proof,)))
    gossip(trio_mesh, "b", "c", verdict)
    assert refused(trio_mesh, "c")["broken_rule"] == 1
    forged = forged_claim(trio_mesh, "b", epoch=2, because=verdict.id)
    gossip(trio_mesh, "b", "c", forged)
    trio_mesh.run(s=5)
    assert trio_mesh.owners("build")["c"] == "a"


def test_streams_that_say_nothing_make_room_for_others(trio_mesh: Mesh) -> None:
    node = node_of(trio_mesh, "a")
    now = trio_mesh.world.hosts["a"].clock.read(trio_mesh.world.now_s)
    node.handle(now, StreamOpened(StreamId(1000), STRANGER, dialled=False))
    idle_s = node.setup.params.links.stream_idle_s
    early = Now(later(now.instant, idle_s - 0.5), now.wall)
    assert CloseStream(StreamId(1000)) not in node.handle_timeout(early)
    late = Now(later(now.instant, idle_s), now.wall)
    assert node.next_deadline() <= late.instant
    assert CloseStream(StreamId(1000)) in node.handle_timeout(late)
    assert node.next_deadline() > late.instant


@pytest.mark.parametrize(
    ("kind", "value"), [("mesh", b"\x97damaged"), ("boot", b"\xff" * 8), ("boot", b"")]
)
def test_a_node_whose_disk_is_damaged_stops_and_says_so(
    meshes: MeshOf, kind: str, value: bytes
) -> None:
    mesh = meshes(1)
    rows = {name: dict(held) for name, held in mesh.world.hosts["a"].disk.restored().items()}
    rows["mesh"] = dict(node_of(mesh, "a").rows["mesh"])
    rows[kind] = {b"": value}
    node = Node(replace(node_of(mesh, "a").setup, rows=rows))
    now = mesh.world.hosts["a"].clock.read(mesh.world.now_s)
    effects = node.start(now)
    effects += node.handle(now, CommitDone(CommitNumber(1)))
    assert [effect.hint for effect in effects if isinstance(effect, Halt)] == [START_AFRESH]


def test_more_kinds_than_a_greeting_has_room_for_are_advertised_in_part(meshes: MeshOf) -> None:
    mesh = meshes(2)
    kinds = tuple(f"{number:064}" for number in range(16))
    mesh["a"].attach(*kinds)
    mesh["a"].ask(TaskClaim(kinds=kinds, wait_s=60))
    mesh.run(s=12)
    presence = participant_of(mesh, "b").membership.presence(participant_of(mesh, "a").author.id)
    assert presence is not None
    assert presence.fact.kinds == kinds[:8]
    assert participant_of(mesh, "a").transport.counters["kinds_not_advertised"] == 8


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(" * 5000])
def test_a_pattern_that_is_none_is_refused(meshes: MeshOf, pattern: str) -> None:
    mesh = meshes(1)
    with pytest.raises(Refused) as refusal:
        mesh["a"].tell(MemberList(status=pattern))
    assert refusal.value.name == "bad_pattern"
