"""Rumours: the budget, the queue's bound, pulls that are asked for once."""

from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import SHORT_BYTES, EagerFacts, Have, Pull, PulledFacts
from mesh.core.identity import FactId, NodeId
from tests.unit.core.gossip.network import Station, at, params_with

PEERS = [NodeId(bytes((i,)) * 16) for i in range(1, 9)]


def ready(count: int, family: Family = Family.MEMBERS, **changes: float) -> Station:
    """Return a station with notes that are on disk and wait for the next tick."""
    station = Station(1, params_with(**changes))
    station.gossip.set_peers(PEERS)
    add(station, count, family)
    return station


def add(station: Station, count: int, family: Family) -> None:
    for i in range(count):
        station.gossip.publish(at(1), family, station.notes(b"%d" % i * 20))
    commit = station.take_commit()
    assert commit is not None
    station.gossip.handle_committed(at(1), commit[0])


def tick(station: Station, now: float) -> list[tuple[NodeId, int, bytes]]:
    station.gossip.handle_timeout(at(now))
    assert station.gossip.next_deadline() > now
    return station.take_sent()


def test_eager_to_three_then_by_id_to_four_on_three_more_ticks_then_silence() -> None:
    station = ready(1)
    rounds = []
    while station.gossip.next_deadline() < float("inf"):
        rounds.append(tick(station, station.gossip.next_deadline()))
    kinds = [sorted({kind for _, kind, _ in sent}) for sent in rounds]
    assert kinds == [[EagerFacts.KIND], [Have.KIND], [Have.KIND], [Have.KIND]]
    assert [len(sent) for sent in rounds] == [3, 4, 4, 4]
    assert all(len({peer for peer, _, _ in sent}) == len(sent) for sent in rounds)


def test_rumours_wait_until_there_is_a_peer() -> None:
    station = ready(1)
    station.gossip.set_peers([])
    assert station.gossip.next_deadline() == float("inf")
    assert tick(station, 5) == []
    station.gossip.set_peers(PEERS)
    assert len(tick(station, 6)) == 3


def test_spreading_keeps_to_its_budget_and_the_rest_waits() -> None:
    station = ready(100, spread_bytes_s=2_000, spread_burst_bytes=4_000)
    first = sum(len(body) for _, _, body in tick(station, 2))
    assert first < 6_000
    later = sum(len(body) for i in range(100) for _, _, body in tick(station, 3 + i * 0.1))
    assert 15_000 < later < 30_000  # ten seconds at 2,000 bytes a second, one item over


def test_beyond_the_budget_what_others_pass_on_as_well_is_only_announced() -> None:
    station = ready(100, spread_bytes_s=2_000, spread_burst_bytes=4_000)
    told = station.gossip.ids(Family.MEMBERS)
    items = [
        Item(Form.SINGLE, verified.signed.encode()).encode()
        for verified in station.gossip.facts(Family.MEMBERS)
    ]
    again = bytes((Family.MEMBERS,)) + b"".join(items)
    station.gossip.handle_message(at(1), PEERS[0], EagerFacts.KIND, again)
    first = tick(station, 2)  # there was a budget until now
    assert {kind for _, kind, _ in first} == {EagerFacts.KIND}
    station.gossip.handle_message(at(2), PEERS[0], EagerFacts.KIND, again)
    rest = [message for i in range(100) for message in tick(station, 3 + i * 0.1)]
    assert {kind for _, kind, _ in rest} == {Have.KIND}
    announced = [len(body) - 1 for _, kind, body in rest if kind == Have.KIND]
    assert sum(announced) == len(told) * 3 * 4 * SHORT_BYTES


def test_application_facts_get_their_share_when_both_families_wait() -> None:
    station = ready(40, spread_burst_bytes=4_000, spread_bytes_s=2_000, push_all_max=1)
    add(station, 40, Family.TASKS)
    sizes = {Family.MEMBERS: 0, Family.TASKS: 0}
    for _, _, body in tick(station, 2):
        sizes[Family(body[0])] += len(body)
    assert sizes[Family.TASKS] >= 0.35 * sum(sizes.values())
    assert sizes[Family.MEMBERS] >= 0.35 * sum(sizes.values())


def test_the_queue_is_bounded_and_the_oldest_goes() -> None:
    station = ready(17, queue_items_max=16)
    assert station.gossip.counters()["spread_dropped"] == 1
    told = {body for _, _, body in tick(station, 2)}
    assert len(told) > 0
    assert station.gossip.counters()["eager"] == 16 * 3


def test_a_dropped_fact_is_not_spread() -> None:
    station = ready(1)
    station.gossip.drop(Family.MEMBERS, station.gossip.ids(Family.MEMBERS)[0])
    assert tick(station, 2) == []


def test_an_announced_fact_is_pulled_once_until_patience_ends() -> None:
    station = ready(1)
    held = station.gossip.ids(Family.MEMBERS)[0]
    body = Have(Family.MEMBERS, (held[:8], b"unknown!")).encode()
    for now, pulls in ((1.0, 1), (1.1, 0), (1.3, 1)):
        station.gossip.handle_message(at(now), PEERS[0], Have.KIND, body)
        sent = station.take_sent()
        assert [kind for _, kind, _ in sent] == [Pull.KIND] * pulls
        assert all(Pull.decode_untrusted(b).ids == (b"unknown!",) for _, _, b in sent)


def test_what_does_not_come_is_asked_of_the_others_who_announced_it_one_by_one() -> None:
    station = Station(1, params_with())
    station.gossip.set_peers(PEERS)
    body = Have(Family.MEMBERS, (b"unknown!", b"another!")).encode()
    for peer in PEERS[:6]:
        station.gossip.handle_message(at(1.0), peer, Have.KIND, body)
    other = Have(Family.MEMBERS, (b"a third!",)).encode()
    station.gossip.handle_message(at(1.05), PEERS[0], Have.KIND, other)
    asked = [(peer, Pull.decode_untrusted(body).ids) for peer, _, body in station.take_sent()]
    assert asked == [(PEERS[0], (b"unknown!", b"another!")), (PEERS[0], (b"a third!",))]
    for peer in PEERS[1:4]:
        now = station.gossip.next_deadline()
        station.gossip.handle_timeout(at(now))
        ((whom, _, body),) = station.take_sent()
        assert (whom, Pull.decode_untrusted(body).ids) == (peer, (b"unknown!", b"another!"))
        while station.gossip.next_deadline() < now + 0.1:
            station.gossip.handle_timeout(at(station.gossip.next_deadline()))
            assert station.take_sent() == [], "nobody else has announced the third"
    station.gossip.handle_timeout(at(station.gossip.next_deadline()))
    assert station.take_sent() == []
    assert station.gossip.next_deadline() == float("inf")
    assert station.gossip.counters()["pulled_again"] == 6


def test_what_has_come_is_not_asked_for_again() -> None:
    source, station = Station(2, params_with()), Station(1, params_with())
    station.gossip.set_peers(PEERS)
    fact = source.notes(b"a")[0]
    for peer in PEERS[:3]:
        body = Have(Family.MEMBERS, (fact.id[:8],)).encode()
        station.gossip.handle_message(at(1), peer, Have.KIND, body)
    source.gossip.restore(Family.MEMBERS, fact)
    source.gossip.handle_message(at(1), station.id, *station.take_sent()[0][1:])
    station.gossip.handle_message(at(1), PEERS[0], *source.take_sent()[0][1:])
    while station.gossip.next_deadline() < float("inf"):
        station.gossip.handle_timeout(at(station.gossip.next_deadline()))
        assert Pull.KIND not in [kind for _, kind, _ in station.take_sent()]


def test_pulls_are_answered_within_the_budget() -> None:
    station = ready(60, spread_burst_bytes=2_000, spread_bytes_s=500)
    cuts = tuple(id_[:8] for id_ in station.gossip.ids(Family.MEMBERS))
    body = Pull(Family.MEMBERS, cuts).encode()
    station.gossip.handle_message(at(1), PEERS[0], Pull.KIND, body)
    sent = station.take_sent()
    assert {kind for _, kind, _ in sent} == {PulledFacts.KIND}
    assert 1_500 < sum(len(body) for _, _, body in sent) < 2_500
    assert station.gossip.counters()["pulls_refused"] == 1
    station.gossip.handle_message(at(1), PEERS[0], Pull.KIND, body)
    assert station.take_sent() == []


def test_who_told_us_gets_no_copy() -> None:
    source, station = Station(2, params_with()), Station(1, params_with())
    station.gossip.set_peers([source.id])
    fact = source.notes(b"a")[0]
    source.gossip.restore(Family.MEMBERS, fact)
    source.gossip.tell(at(0), station.id, Family.MEMBERS, [fact.id, FactId(bytes(32))])
    ((_, kind, body),) = source.take_sent()
    station.gossip.handle_message(at(0), source.id, kind, body)
    assert station.take_sent() == []
    assert EagerFacts.KIND not in [kind for _, kind, _ in tick(station, 1)]


def test_a_fact_published_twice_is_spread_once() -> None:
    station = ready(1)
    station.gossip.publish(at(1), Family.MEMBERS, list(station.gossip.facts(Family.MEMBERS)))
    tick(station, 2)
    assert station.gossip.counters()["eager"] == 3


def test_pulls_under_way_are_bounded_and_the_oldest_may_be_asked_for_again() -> None:
    station = Station(1, params_with(queue_items_max=16))
    cuts = tuple(b"unknown%c" % i for i in range(17))
    wanted = []
    for ids in (cuts, cuts[:1], cuts[-1:]):
        body = Have(Family.MEMBERS, ids).encode()
        station.gossip.handle_message(at(1), PEERS[0], Have.KIND, body)
        wanted.append(len(station.take_sent()))
    assert wanted == [1, 1, 0]
