"""Several nodes that gossip: every fact reaches everybody, at a bounded price."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.awaiting import Awaiting, Withheld
from mesh.core.gossip.gossip import Family, Gossip, Want
from mesh.core.gossip.messages import EagerFacts, Push, PushAck, SyncFacts, ToldFacts
from mesh.core.gossip.post import Post
from mesh.core.identity import BlobId, NodeId
from mesh.core.instants import Now
from mesh.core.outbox import Outbox
from mesh.core.wire.frame import BODY_BYTES_MAX
from tests.unit.core.gossip.network import (
    Network,
    Note,
    Station,
    Weather,
    at,
    hold,
    params_with,
    publish_many,
)

BYTES = BlobId(b"b" * 32)
ROUGH = Weather(loss=0.1, doubled=0.05, low_s=0.001, high_s=0.05)


def test_rumours_reach_all_of_fifty_with_at_most_four_copies_each() -> None:
    network = Network(50)
    for i in range(10):
        publish_many(network, i, Family.MEMBERS, [b"news %d" % i])
    network.run(3)
    assert network.all_equal()
    assert len(network.stations[0].gossip.ids(Family.MEMBERS)) == 10
    copies = sum(
        s.gossip.counters().get("eager", 0) + s.gossip.counters().get("pulled", 0)
        for s in network.stations
    )
    assert copies / (10 * 50) <= 4


def test_rumours_survive_loss_reordering_and_duplication() -> None:
    network = Network(30, weather=ROUGH)
    for i in range(30):
        publish_many(network, i, Family.MEMBERS, [b"news %d" % i])
    network.run(1.5)
    network.run_with_pings(8)
    assert network.all_equal()
    assert len(network.stations[0].gossip.ids(Family.MEMBERS)) == 30


def test_a_push_reaches_everybody_within_one_journey_and_is_not_forwarded() -> None:
    network = Network(5)
    publish_many(network, 0, Family.TASKS, [b"a", b"b"])
    network.run(0.02)
    assert network.all_equal()
    assert {kind for kind, _ in network.messages} == {Push.KIND}
    assert len(network.messages) == 4


def test_beyond_push_all_max_task_facts_travel_as_rumours() -> None:
    network = Network(8, params=params_with(push_all_max=3))
    publish_many(network, 0, Family.TASKS, [b"a"])
    network.run(1)
    assert network.all_equal()
    assert Push.KIND not in {kind for kind, _ in network.messages}


def test_beyond_push_all_max_a_wanted_answer_comes_from_a_few() -> None:
    network = Network(12, params=params_with(push_all_max=3))
    station = network.stations[0]
    facts = station.notes(b"a")
    network.do(station, lambda g, now: g.publish(now, Family.TASKS, facts, Want.DURABLE))
    network.run(1)
    assert network.all_equal()
    assert len(station.acknowledged) == 3


def test_lossy_pushes_are_sent_again_until_everybody_has_acknowledged() -> None:
    network = Network(6, weather=Weather(loss=0.2, doubled=0.1, high_s=0.02))
    station = network.stations[0]
    for i in range(20):
        facts = station.notes(b"%d" % i)
        network.do(
            station,
            lambda g, now, f=facts: g.publish(now, Family.TASKS, f, Want.RECEIPT),  # type: ignore[misc]  # defaults bind the loop's value
        )
    network.run(1.5)
    assert station.gossip.counters()["resends"] > 0
    assert len(station.acknowledged) == len(set(station.acknowledged))
    assert len(station.acknowledged) >= 98  # 100, but for four losses in a row
    network.run_with_pings(5)
    assert network.all_equal()


def test_nothing_leaves_before_its_own_commit() -> None:
    a, b = Station(1, params_with()), Station(2, params_with())
    a.gossip.set_peers([b.id])
    number = a.gossip.publish(at(0), Family.TASKS, a.notes(b"task"), Want.RECEIPT)
    a.gossip.publish(at(0), Family.MEMBERS, a.notes(b"member"))
    commit = a.take_commit()
    assert commit is not None
    assert [row.kind for row in commit[1]] == ["fact", "fact"]
    task = a.gossip.ids(Family.TASKS)[0]
    member = a.gossip.ids(Family.MEMBERS)[0]
    a.gossip.tell(at(0.1), b.id, Family.TASKS, [task])
    a.gossip.handle_timeout(at(1))
    b.gossip.start_sync(at(0), a.id)
    for _, kind, body in b.take_sent():  # b lacks everything, but it may not have it yet
        a.gossip.handle_message(at(1.1), b.id, kind, body)
    a.gossip.handle_message(at(1.2), b.id, 24, bytes((Family.MEMBERS,)) + member[:8])
    a.gossip.handle_timeout(at(2))
    assert a.take_sent() == []
    a.gossip.handle_committed(at(2), commit[0])
    assert [kind for _, kind, _ in a.take_sent()] == [ToldFacts.KIND, Push.KIND]
    a.gossip.handle_timeout(at(3))
    assert EagerFacts.KIND in [kind for _, kind, _ in a.take_sent()]
    assert number > 0


def test_a_durable_acknowledgement_waits_for_the_receivers_commit() -> None:
    a, b = Station(1, params_with()), Station(2, params_with())
    a.gossip.set_peers([b.id])
    number = a.gossip.publish(at(0), Family.TASKS, a.notes(b"task"), Want.DURABLE)
    own = a.take_commit()
    assert own is not None
    a.gossip.handle_committed(at(0), own[0])
    ((_, kind, push),) = a.take_sent()
    b.gossip.handle_message(at(0), a.id, kind, push)
    theirs = b.take_commit()
    assert theirs is not None
    b.gossip.handle_message(at(0), a.id, kind, push)  # again, while the commit is under way
    assert b.take_sent() == []
    b.gossip.handle_committed(at(1), theirs[0])
    ((_, kind, ack),) = b.take_sent()
    assert PushAck.decode_untrusted(ack) == PushAck(durable=True, entries=((number, 0),))
    a.gossip.handle_message(at(1), b.id, kind, ack)
    a.gossip.handle_message(at(1), b.id, kind, ack)
    assert a.acknowledged == [(number, b.id, True)]
    b.gossip.handle_message(at(2), a.id, Push.KIND, push)  # held already: still acknowledged
    assert [kind for _, kind, _ in b.take_sent()] == [PushAck.KIND]
    assert b.take_commit() is None


def test_a_late_joiner_gets_five_thousand_facts_in_few_messages() -> None:
    network = Network(2)
    old, joiner = network.stations
    hold(old, Family.TASKS, [b"%d" % i * 40 for i in range(5000)])
    hold(joiner, Family.TASKS, [b"own"])
    network.do(joiner, lambda g, now: g.start_sync(now, old.id))
    network.run(2)
    assert network.all_equal()
    assert len(joiner.gossip.ids(Family.TASKS)) == 5001
    facts_bytes = sum(len(v.signed.encode()) for v in old.gossip.facts(Family.TASKS))
    assert len(network.messages) <= 60
    assert sum(size for _, size in network.messages) <= facts_bytes * 1.1
    assert max(size for kind, size in network.messages if kind == SyncFacts.KIND) <= 60_000


def test_restored_facts_are_neither_committed_nor_spread() -> None:
    station = Station(1, params_with())
    station.gossip.set_peers([Station(2, params_with()).id])
    hold(station, Family.MEMBERS, [b"a"])
    station.gossip.handle_timeout(at(5))
    assert station.take_commit() is None
    assert station.take_sent() == []
    assert station.gossip.next_deadline() == float("inf")


def test_digests_are_equal_exactly_for_equal_sets() -> None:
    a, b, writer = (Station(i, params_with()) for i in range(3))
    facts = [writer.notes(b"%d" % i)[0] for i in range(50)]
    for fact in facts:
        a.gossip.restore(Family.MEMBERS, fact)
    for fact in reversed(facts[1:]):
        b.gossip.restore(Family.MEMBERS, fact)
    assert a.gossip.digest(Family.MEMBERS) != b.gossip.digest(Family.MEMBERS)
    a.gossip.drop(Family.MEMBERS, facts[0].id)
    assert a.gossip.digest(Family.MEMBERS) == b.gossip.digest(Family.MEMBERS)
    assert a.gossip.digest(Family.TASKS) == b.gossip.digest(Family.TASKS)


def test_a_dropped_fact_is_erased_and_not_taken_in_again() -> None:
    network = Network(2)
    a, b = network.stations
    publish_many(network, 0, Family.MEMBERS, [b"old"])
    network.run(1)
    id_ = a.gossip.ids(Family.MEMBERS)[0]
    b.gossip.drop(Family.MEMBERS, id_)
    commit = b.take_commit()
    assert commit is not None
    assert [row.value for row in commit[1]] == [None]
    network.do(a, lambda g, now: g.tell(now, b.id, Family.MEMBERS, [id_]))
    network.run(1)
    assert not b.gossip.holds(Family.MEMBERS, id_)
    assert b.judged == [id_]


def test_a_fact_of_both_families_keeps_a_row_for_each() -> None:
    station = Station(1, params_with())
    fact = station.notes(b"evidence")
    for family in Family:
        station.gossip.publish(at(0), family, fact)
    commit = station.take_commit()
    assert commit is not None
    assert len({row.key for row in commit[1]}) == 2


def test_publications_that_wait_for_one_commit_share_datagrams() -> None:
    network = Network(3)
    station = network.stations[1]

    def publish_all(gossip: Gossip, now: Now) -> None:
        for i in range(6):
            gossip.publish(now, Family.TASKS, station.notes(b"x%d" % i))

    network.do(station, publish_all)
    network.run(0.1)
    assert network.all_equal()
    assert [kind for kind, _ in network.messages] == [Push.KIND, Push.KIND]


def test_a_batch_too_large_for_a_datagram_travels_in_parts_of_one_push() -> None:
    network = Network(2)
    station = network.stations[0]
    facts = station.notes(*[bytes((i,)) * 300 for i in range(20)])
    network.do(station, lambda g, now: g.publish(now, Family.TASKS, facts, Want.RECEIPT))
    network.run(0.03)
    pushes = [size for kind, size in network.messages if kind == Push.KIND]
    assert len(pushes) > 5
    assert max(pushes) <= BODY_BYTES_MAX
    assert network.all_equal()
    assert len(station.acknowledged) == 1
    assert network.stations[1].verifier.verifications == 1


def test_a_fact_too_large_for_a_datagram_takes_a_stream() -> None:
    network = Network(2)
    for family in Family:
        publish_many(network, 0, family, [b"x" * 1090])
    network.run(1)
    assert network.all_equal()


def test_an_unknown_kind_or_an_oversized_body_is_refused() -> None:
    station = Station(1, params_with())
    with pytest.raises(RemoteError) as unknown:
        station.gossip.handle_message(at(0), Station(2, params_with()).id, 49, b"")
    assert unknown.value.refusal is Refusal.MALFORMED
    with pytest.raises(RemoteError) as large:
        station.gossip.handle_message(at(0), Station(2, params_with()).id, 20, bytes(60_001))
    assert large.value.refusal is Refusal.TOO_LARGE


def test_true_signatures_work_too() -> None:
    network = Network(4, suite=RealSuite())
    for i in range(4):
        publish_many(network, i, Family.MEMBERS, [b"news %d" % i])
        publish_many(network, i, Family.TASKS, [b"task %d" % i])
    network.run(1)
    assert network.all_equal()
    assert len(network.stations[0].gossip.ids(Family.TASKS)) == 4


def test_a_fact_that_was_dropped_before_its_commit_does_not_leave_as_a_rumour() -> None:
    station = Station(1, params_with())
    station.gossip.set_peers([Station(2, params_with()).id])
    station.gossip.publish(at(0), Family.MEMBERS, station.notes(b"old"))
    id_ = station.gossip.ids(Family.MEMBERS)[0]
    station.gossip.drop(Family.MEMBERS, id_)
    station.gossip.drop(Family.MEMBERS, id_)
    commit = station.take_commit()
    assert commit is not None
    assert [row.value is None for row in commit[1]] == [False, True]
    station.gossip.handle_committed(at(0), commit[0])
    assert station.gossip.next_deadline() == float("inf")


def test_publishing_what_is_held_and_on_disk_leaves_at_once() -> None:
    station = Station(1, params_with())
    station.gossip.set_peers([Station(2, params_with()).id])
    facts = station.notes(b"evidence")
    station.gossip.restore(Family.TASKS, facts[0])
    station.gossip.publish(at(0), Family.TASKS, facts)
    assert station.take_commit() is None
    assert [kind for _, kind, _ in station.take_sent()] == [Push.KIND]


def test_a_receipt_is_withheld_for_what_is_beaten_here() -> None:
    network = Network(2)
    a, b = network.stations
    facts = a.notes(b"lesser")
    b.beaten[facts[0].id] = None
    network.do(a, lambda g, now: g.publish(now, Family.TASKS, facts, Want.RECEIPT))
    network.run(1.5)
    assert b.gossip.holds(Family.TASKS, facts[0].id)
    assert a.acknowledged == []
    assert b.gossip.counters()["receipts_withheld"] > 1, "each resend asks again"
    assert {peer for _, peer in a.objected} == {b.id}, "silence would be taken for a slow network"
    assert a.gossip.counters()["objections"] == len(a.objected) > 1
    durable = a.notes(b"another")
    b.beaten[durable[0].id] = None
    network.do(a, lambda g, now: g.publish(now, Family.TASKS, durable, Want.DURABLE))
    network.run(1.5)
    assert [entry[1:] for entry in a.acknowledged] == [(b.id, True)]


@pytest.mark.parametrize("want", [Want.RECEIPT, Want.DURABLE])
def test_what_was_refused_for_ever_is_no_copy_when_it_comes_again(want: Want) -> None:
    network = Network(2)
    a, b = network.stations

    def refuse(_verified: object) -> bool:
        raise RemoteError(Refusal.BROKEN_RULE, "of a later version")

    b.judge = refuse
    network.do(a, lambda g, now: g.publish(now, Family.TASKS, a.notes(b"new"), want))
    network.run(1.5)
    assert b.gossip.counters()["duplicates"] > 0, "it was pushed again"
    assert a.acknowledged == []


def test_a_copy_counts_once_what_it_rests_on_has_been_asked_for_and_is_there() -> None:
    network = Network(2)
    a, b = network.stations
    base, top = a.notes(b"claim") + a.notes(b"result")
    a.gossip.restore(Family.TASKS, base)
    b.bases[top.id] = (base.id,)
    network.do(a, lambda g, now: g.publish(now, Family.TASKS, [top], Want.DURABLE))
    network.run(0.01)
    assert b.gossip.counters()["copies_withheld"] == 1
    assert b.gossip.holds(Family.TASKS, base.id), "one round trip after it was missed"
    assert a.acknowledged == []
    network.run(1.5)
    assert [entry[1:] for entry in a.acknowledged] == [(b.id, True)]
    assert b.gossip.counters()["copies_withheld"] == 1


def test_a_copy_counts_once_the_bytes_that_it_names_are_here() -> None:
    network = Network(3)
    a, b, c = network.stations
    (fact,) = a.notes(b"names a blob")
    for station, coming in ((b, True), (c, False)):
        station.bytes_lacking[fact.id] = {BYTES: coming}
    network.do(a, lambda g, now: g.publish(now, Family.TASKS, [fact], Want.DURABLE))
    network.run(0.01)
    assert a.acknowledged == [(a.acknowledged[0][0], c.id, False)], "it does not even fetch them"
    network.run(0.2)
    assert len(a.acknowledged) == 1
    b.bytes_lacking.clear()
    network.do(b, lambda g, now: g.handle_stored(now, [BYTES]))
    network.run(0.01)
    assert [entry[1:] for entry in a.acknowledged[1:]] == [(b.id, True)], "without being asked"


def test_receipts_that_wait_for_bytes_are_bounded_and_the_oldest_goes() -> None:
    awaiting = Awaiting(2, Post(Outbox()))
    waits = [Withheld(NodeId(b"n" * 32), Family.TASKS, n, 0, ()) for n in range(3)]
    other = BlobId(b"o" * 32)
    for withheld in waits:
        awaiting.put(withheld, [BYTES, other])
        awaiting.put(withheld, [other])
    assert awaiting.take([other, BYTES]) == waits[1:]
    assert awaiting.take([other, BYTES]) == []
    assert awaiting.post.counters()["acks_dropped"] == 1


def test_beyond_push_all_max_the_keepers_of_bytes_are_asked_as_well() -> None:
    network = Network(12, params=params_with(push_all_max=4, eager_peers=1))
    a, keeper = network.stations[0], network.stations[7]
    (fact,) = a.notes(b"names a blob")
    a.kept_by[fact.id] = (keeper.id,)
    network.do(a, lambda g, now: g.publish(now, Family.TASKS, [fact], Want.DURABLE))
    network.run(0.1)
    assert (keeper.id, True) in [entry[1:] for entry in a.acknowledged]
    assert len(a.acknowledged) <= 2


def test_a_fact_drafted_twice_leaves_with_the_signature_of_the_first() -> None:
    station, peer = Station(1, params_with()), Station(2, params_with())
    station.gossip.set_peers([peer.id])
    drafts = [station.author.draft(Note(b"the same")) for _ in range(2)]
    for draft in drafts:
        station.gossip.publish(at(0), Family.TASKS, [draft], Want.DURABLE)
    station.gossip.sign_drafts()
    commit = station.take_commit()
    assert commit is not None
    station.gossip.handle_committed(at(0), commit[0])
    assert len(commit[1]) == 1
    for _, kind, body in station.take_sent():
        peer.gossip.handle_message(at(0), station.id, kind, body)
    assert peer.gossip.ids(Family.TASKS) == (drafts[0].id,)
