"""Reconciliation: when it starts, how it is answered, what bounds it."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import Have, IdList, SyncFacts, SyncIds, SyncRanges, SyncWant
from mesh.core.gossip.reconcile import (
    DIFFERENCES_MAX,
    PATIENCE,
    SESSIONS_MAX,
    STILL_DOUBLINGS_MAX,
)
from mesh.core.identity import NodeId
from mesh.core.lattice.fingerprint import Range
from tests.unit.core.gossip.network import Network, Station, Weather, at, hold, params_with

PEER = NodeId(b"p" * 16)
TASKS = Family.TASKS


def with_facts(count: int, **changes: float) -> Station:
    station = Station(1, params_with(**changes))
    hold(station, TASKS, [b"%d" % i for i in range(count)])
    return station


def kinds_sent(station: Station) -> list[int]:
    return [kind for _, kind, _ in station.take_sent()]


def digests(station: Station, now: float, peer: NodeId = PEER, *, tasks: int = 99) -> None:
    members = station.gossip.digest(Family.MEMBERS)
    station.gossip.handle_digests(at(now), peer, members, tasks)


def test_digests_must_differ_for_a_while_before_anything_is_compared() -> None:
    station = with_facts(100)
    digests(station, 1)
    digests(station, 2.9)
    assert kinds_sent(station) == []
    digests(station, 3)
    assert kinds_sent(station) == [SyncRanges.KIND]


def test_equal_digests_in_between_start_the_clock_anew() -> None:
    station = with_facts(100)
    digests(station, 1)
    digests(station, 2.5, tasks=station.gossip.digest(TASKS))
    digests(station, 3.5)
    assert kinds_sent(station) == []
    digests(station, 5.5)
    assert kinds_sent(station) == [SyncRanges.KIND]


def test_comparisons_that_repair_nothing_come_ever_later() -> None:
    station = with_facts(100)
    starts = 0
    for tenth in range(1000):
        digests(station, tenth / 10)
        station.gossip.handle_timeout(at(tenth / 10))
        starts += bool(kinds_sent(station))
    assert 4 <= starts <= 9


def next_comparison(station: Station, now: float, step: float) -> float:
    """Return when the next comparison begins, if the peer tells its digests every so often."""
    while True:
        now += step
        digests(station, now)
        station.gossip.handle_timeout(at(now))
        if kinds_sent(station):
            return now


def in_vain(times: int, count: int = 100) -> tuple[Station, float]:
    """Return a station that has compared so often for nothing, and when it last did."""
    station, now = with_facts(count), 0.0
    for _ in range(times):
        now = next_comparison(station, now, 0.5)
    return station, now


def test_if_nothing_changes_comparisons_in_vain_come_an_hour_apart() -> None:
    station, began = in_vain(PATIENCE + STILL_DOUBLINGS_MAX + 1)
    again = next_comparison(station, began, 10)
    assert 3600 < again - began < 2 * 3600
    digests(station, again + 65, tasks=98)
    assert kinds_sent(station) == [SyncRanges.KIND], "the peer holds something else by now"


def test_facts_that_are_refused_repair_nothing() -> None:
    station, began = in_vain(PATIENCE + 4)
    [fact] = Station(2, params_with()).notes(b"of a version to come")
    message = SyncFacts(TASKS, (Item(Form.SINGLE, fact.signed.encode()),))

    def refuse(_: object) -> bool:
        raise RemoteError(Refusal.UNKNOWN_CONTEXT)

    station.judge = refuse
    with pytest.raises(RemoteError):
        answer(station, message)
    assert next_comparison(station, began, 0.5) - began >= 16
    station.judge = lambda _: True
    [kept] = Station(2, params_with()).notes(b"of this one")
    answer(station, SyncFacts(TASKS, (Item(Form.SINGLE, kept.signed.encode()),)))
    again = next_comparison(station, began + 40, 0.5)
    assert next_comparison(station, again, 0.5) - again < 4, "what is kept does"


def test_what_was_sent_in_vain_so_often_is_announced_by_id_alone() -> None:
    count = 1500
    station, _ = in_vain(PATIENCE + 1, count)
    sent = answer(station, SyncRanges(TASKS, (Range("", 0, 0),)))
    assert {kind for kind, _ in sent} == {Have.KIND}
    announced = [id_ for _, body in sent for id_ in Have.decode_untrusted(body).ids]
    assert sorted(announced) == [id_[:8] for id_ in station.gossip.ids(TASKS)]
    station.gossip.start_sync(at(500), PEER)
    station.take_sent()
    sent = answer(station, SyncRanges(TASKS, (Range("", 0, 0),)))
    assert {kind for kind, _ in sent} == {SyncFacts.KIND}, "the peer may be another version now"


def test_few_comparisons_at_once_and_one_per_peer() -> None:
    station = with_facts(100, sync_open_max=2)
    peers = [NodeId(bytes((i,)) * 16) for i in range(5)]
    for peer in [*peers, peers[0]]:
        station.gossip.start_sync(at(1), peer)
    sent = station.take_sent()
    assert {peer for peer, _, _ in sent} == set(peers[:2])
    assert len(sent) == 4  # both families each
    for now in (2.5, 4, 5.5):
        deadline = station.gossip.next_deadline()
        assert deadline < now
        station.gossip.handle_timeout(at(deadline))
        assert station.gossip.next_deadline() > deadline
    station.gossip.handle_timeout(at(5.5))
    assert {peer for peer, _, _ in station.take_sent()} == set(peers[2:])


def answer(
    station: Station, message: SyncRanges | SyncIds | SyncWant | SyncFacts
) -> list[tuple[int, bytes]]:
    station.gossip.handle_message(at(1), PEER, message.KIND, message.encode())
    return [(kind, body) for _, kind, body in station.take_sent()]


def test_an_equal_range_is_answered_with_nothing() -> None:
    station = with_facts(100)
    root = Range("", 100, station.gossip.digest(TASKS))
    assert answer(station, SyncRanges(TASKS, (root,))) == []


def test_a_long_range_is_answered_with_sixteen_narrower_ones() -> None:
    ((kind, body),) = answer(with_facts(100), SyncRanges(TASKS, (Range("", 100, 1),)))
    assert kind == SyncRanges.KIND
    ranges = SyncRanges.decode_untrusted(body).ranges
    assert [r.prefix for r in ranges] == list("0123456789abcdef")
    assert sum(r.size for r in ranges) == 100


def test_a_short_range_is_answered_with_its_ids() -> None:
    station = with_facts(24)
    ((kind, body),) = answer(station, SyncRanges(TASKS, (Range("", 5000, 1),)))
    assert kind == SyncIds.KIND
    (listed,) = SyncIds.decode_untrusted(body).lists
    assert listed.ids == tuple(id_[:8] for id_ in station.gossip.ids(TASKS))


def test_a_range_that_is_short_over_there_is_handed_back_to_be_listed() -> None:
    station = with_facts(100)
    ((kind, body),) = answer(station, SyncRanges(TASKS, (Range("", 5, 1),)))
    assert kind == SyncRanges.KIND
    assert SyncRanges.decode_untrusted(body).ranges[0] == Range(
        "", 100, station.gossip.digest(TASKS)
    )


def test_an_empty_range_is_answered_with_the_facts() -> None:
    sent = answer(with_facts(100), SyncRanges(TASKS, (Range("", 0, 0),)))
    assert {kind for kind, _ in sent} == {SyncFacts.KIND}
    assert sum(len(SyncFacts.decode_untrusted(body).items) for _, body in sent) == 100


def test_a_list_is_answered_with_facts_and_wishes() -> None:
    station = with_facts(3)
    known, *lacking = station.gossip.ids(TASKS)
    sent = dict(answer(station, SyncIds(TASKS, (IdList("", 1, 8, (known[:8], b"unknown!")),))))
    assert SyncWant.decode_untrusted(sent[SyncWant.KIND]).ids == (b"unknown!",)
    assert len(SyncFacts.decode_untrusted(sent[SyncFacts.KIND]).items) == len(lacking)


def test_ids_that_agree_in_their_first_bytes_are_compared_in_full() -> None:
    station = with_facts(1)
    (id_,) = station.gossip.ids(TASKS)
    ((kind, body),) = answer(station, SyncIds(TASKS, (IdList("", 1, 8, (id_[:8],)),)))
    assert kind == SyncIds.KIND
    assert SyncIds.decode_untrusted(body).lists[0].ids == (id_,)
    twin = id_[:8] + bytes(24)
    sent = dict(answer(station, SyncIds(TASKS, (IdList("", 1, 32, (twin,)),))))
    assert SyncWant.decode_untrusted(sent[SyncWant.KIND]) == SyncWant(TASKS, 32, (twin,))


def test_a_fact_that_was_dropped_here_is_not_wished_for() -> None:
    station = with_facts(2)
    first, _ = station.gossip.ids(TASKS)
    station.gossip.drop(TASKS, first)
    sent = answer(station, SyncIds(TASKS, (IdList("", 1, 8, (first[:8],)),)))
    assert SyncWant.KIND not in dict(sent)


def test_a_fact_is_sent_once_per_comparison_however_often_it_is_asked_for() -> None:
    station = with_facts(3)
    want = SyncWant(TASKS, 32, station.gossip.ids(TASKS))
    assert len(answer(station, want)) == 1
    assert answer(station, want) == []


def test_facts_leave_at_the_agreed_pace() -> None:
    station = with_facts(3000, sync_rate_bytes_s=100_000)
    answer(station, SyncRanges(TASKS, (Range("", 0, 0),)))
    sent = 0
    now = 1.0
    while (now := station.gossip.next_deadline()) < 4:
        station.gossip.handle_timeout(at(now))
        assert station.gossip.next_deadline() > now
        sent += sum(len(body) for _, _, body in station.take_sent())
    assert 200_000 < sent < 400_000


def test_the_queue_towards_a_peer_is_bounded() -> None:
    station = with_facts(700, sync_queue_max=64)
    answer(station, SyncRanges(TASKS, (Range("", 0, 0),)))
    assert station.gossip.counters()["sync_queue_full"] == 700 - 64


def test_work_that_a_peer_asks_for_is_bounded() -> None:
    station = with_facts(2000)
    root = SyncIds(TASKS, (IdList("", 1, 8, ()),))
    for _ in range(100):
        answer(station, root)
    assert station.gossip.counters()["sync_throttled"] > 50
    assert answer(station, SyncWant(TASKS, 8, (b"unknown!",))) == []


def test_ranges_that_overlap_are_refused() -> None:
    station = with_facts(1)
    for prefixes in (("", "a"), ("b", "a"), ("a", "a")):
        message = SyncRanges(TASKS, tuple(Range(prefix, 1, 1) for prefix in prefixes))
        with pytest.raises(RemoteError) as refused:
            answer(station, message)
        assert refused.value.refusal is Refusal.MALFORMED


def test_a_small_difference_in_a_large_set_costs_little() -> None:
    network = Network(2)
    for index, own in ((0, b"left"), (1, b"right")):
        hold(network.stations[index], TASKS, [own])
    writer = Station(77, params_with())
    for i in range(5000):
        fact = writer.notes(b"%d" % i)[0]
        for station in network.stations:
            station.gossip.restore(TASKS, fact)
    network.run_with_pings(4)
    assert network.all_equal()
    assert sum(size for _, size in network.messages) < 4_000


def test_loss_only_delays() -> None:
    network = Network(2, weather=Weather(loss=0.3))
    for index in (0, 1):
        hold(network.stations[index], TASKS, [b"%d-%d" % (index, i) for i in range(150)])
    network.run_with_pings(30)
    assert network.all_equal()
    assert len(network.stations[0].gossip.ids(TASKS)) == 300


def test_what_is_remembered_of_peers_is_bounded_and_the_oldest_goes() -> None:
    station = with_facts(100)
    peers = [NodeId(i.to_bytes(16, "big")) for i in range(DIFFERENCES_MAX + 1)]
    for peer in peers:
        digests(station, 1, peer)
    digests(station, 3, peers[0])
    assert kinds_sent(station) == []
    digests(station, 3, peers[-1])
    assert kinds_sent(station) == [SyncRanges.KIND]


def test_comparisons_are_bounded_and_the_oldest_goes() -> None:
    station = with_facts(3, sync_open_max=1)
    want = SyncWant(TASKS, 32, station.gossip.ids(TASKS))
    peers = [NodeId(i.to_bytes(16, "big")) for i in range(SESSIONS_MAX + 1)]
    for peer in peers:
        station.gossip.handle_message(at(1), peer, SyncWant.KIND, want.encode())
    assert len(station.take_sent()) == len(peers)
    for peer, answers in ((peers[-1], 0), (peers[0], 1)):
        station.gossip.handle_message(at(1), peer, SyncWant.KIND, want.encode())
        assert len(station.take_sent()) == answers


def test_joins_that_wait_for_room_are_bounded_and_the_oldest_goes() -> None:
    station = with_facts(100, sync_open_max=1)
    peers = [NodeId(i.to_bytes(16, "big")) for i in range(SESSIONS_MAX + 2)]
    for peer in peers:
        station.gossip.start_sync(at(1), peer)
    station.take_sent()
    station.gossip.handle_timeout(at(station.gossip.next_deadline()))
    assert {peer for peer, _, _ in station.take_sent()} == {peers[2]}


def test_ranges_are_answered_until_the_peers_share_is_used_up() -> None:
    station = with_facts(2000)
    message = SyncRanges(TASKS, tuple(Range(f"{i:02x}", 500, 1) for i in range(256)))
    sizes = [sum(len(body) for _, body in answer(station, message)) for _ in range(40)]
    assert sizes[0] > 0
    assert sizes[-1] == 0
    assert station.gossip.counters()["sync_throttled"] > 0


def test_the_memory_of_what_was_sent_is_bounded() -> None:
    station = with_facts(65, sync_queue_max=64)
    ids = station.gossip.ids(TASKS)
    for i, id_ in enumerate((*ids, ids[64], ids[0])):
        want = SyncWant(TASKS, 32, (id_,))
        station.gossip.handle_message(at(1 + i * 0.01), PEER, SyncWant.KIND, want.encode())
    assert station.gossip.counters()["sync_facts_sent"] == 66  # the last one once more
