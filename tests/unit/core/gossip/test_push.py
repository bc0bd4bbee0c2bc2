"""Pushes: parts, back-off, giving up, bounds."""

import pytest

from mesh.core.gossip.gossip import Family, PushNumber, Want
from mesh.core.gossip.messages import Push, PushAck, ToldFacts
from mesh.core.identity import NodeId
from tests.unit.core.gossip.network import Station, at, params_with

PEERS = [NodeId(bytes((i,)) * 16) for i in range(1, 4)]


def pushed(station: Station, now: float, *texts: bytes, want: Want = Want.RECEIPT) -> PushNumber:
    """Publish notes and let their commit be done."""
    number = station.gossip.publish(at(now), Family.TASKS, station.notes(*texts), want)
    commit = station.take_commit()
    assert commit is not None
    station.gossip.handle_committed(at(now), commit[0])
    return number


def ack(station: Station, peer: NodeId, *entries: tuple[int, int], durable: bool = False) -> None:
    body = PushAck(durable, entries).encode()
    station.gossip.handle_message(at(9), peer, PushAck.KIND, body)


def ready(**changes: float) -> Station:
    station = Station(1, params_with(**changes))
    station.gossip.set_peers(PEERS)
    return station


def resends(station: Station) -> list[tuple[float, list[NodeId]]]:
    """Let time pass; return when something was sent again, and to whom."""
    seen = []
    while (due := station.gossip.next_deadline()) < float("inf"):
        station.gossip.handle_timeout(at(due))
        assert station.gossip.next_deadline() > due
        sent = [peer for peer, kind, _ in station.take_sent() if kind == Push.KIND]
        if sent:
            seen.append((round(due, 3), sent))
    return seen


@pytest.mark.parametrize(
    ("want", "first", "second"), [(Want.RECEIPT, 1.04, 1.17), (Want.DURABLE, 1.1, 1.3)]
)
def test_the_unacknowledged_get_it_again_ever_later_until_it_is_given_up(
    want: Want, first: float, second: float
) -> None:
    durable = want is Want.DURABLE
    station = ready(push_resend_s=0.1, push_tries=3)
    number = pushed(station, 1, b"a", want=want)
    assert [peer for peer, _, _ in station.take_sent()] == PEERS
    ack(station, PEERS[0], (number, 0), durable=durable)
    assert resends(station) == [(first, PEERS[1:]), (second, PEERS[1:])]
    assert station.gossip.counters()["pushes_given_up"] == 1
    ack(station, PEERS[1], (number, 0), durable=durable)
    assert station.acknowledged == [(number, PEERS[0], durable)]


def test_nothing_is_awaited_where_nothing_is_wanted() -> None:
    station = ready()
    pushed(station, 1, b"a", want=Want.NOTHING)
    assert len(station.take_sent()) == 3
    assert resends(station) == []


def test_only_the_lacking_parts_are_sent_again() -> None:
    station = ready(push_tries=2)
    number = pushed(station, 1, b"a" * 800, b"b" * 800)
    assert len(station.take_sent()) == 6
    for peer in PEERS[1:]:
        ack(station, peer, (number, 0), (number, 1))
    ack(station, PEERS[0], (number, 1))
    station.gossip.handle_timeout(at(2))
    ((peer, _, body),) = station.take_sent()
    assert peer == PEERS[0]
    assert [s.part for s in Push.decode_untrusted(body).sections] == [0]
    assert [peer for _, peer, _ in station.acknowledged] == PEERS[1:]


def test_a_receipt_does_not_stand_in_for_a_durable_acknowledgement() -> None:
    station = ready()
    number = pushed(station, 1, b"a", want=Want.DURABLE)
    ack(station, PEERS[0], (number, 0))
    assert station.acknowledged == [(number, PEERS[0], False)], "it says that it is no copy"
    ack(station, PEERS[0], (number, 0), durable=True)
    assert station.acknowledged[1:] == [(number, PEERS[0], True)]


def test_who_says_that_it_is_no_copy_is_not_asked_again_and_may_become_one_late() -> None:
    station = ready(push_resend_s=0.1, push_tries=3, push_linger_s=2.0)
    number = pushed(station, 1, b"a", want=Want.DURABLE)
    station.take_sent()
    for peer in PEERS[:2]:
        ack(station, peer, (number, 0))
    while (due := station.gossip.next_deadline()) < 3:
        station.gossip.handle_timeout(at(due))
    resent = [peer for peer, kind, _ in station.take_sent() if kind == Push.KIND]
    assert resent == [PEERS[2]] * 2
    assert round(due, 3) == 3.3, "it lingers after its last try"
    ack(station, PEERS[1], (number, 0), durable=True)
    assert station.acknowledged[2:] == [(number, PEERS[1], True)]
    station.gossip.handle_timeout(at(due))
    assert station.gossip.counters()["pushes_given_up"] == 1


def test_acknowledgements_of_strangers_and_of_other_numbers_do_nothing() -> None:
    station = ready()
    number = pushed(station, 1, b"a")
    ack(station, NodeId(b"x" * 16), (number, 0))
    ack(station, PEERS[0], (number + 1, 0), (number, 7))
    assert station.acknowledged == []


def test_nobody_waits_for_a_peer_that_is_gone() -> None:
    station = ready()
    pushed(station, 1, b"a")
    station.take_sent()
    station.gossip.set_peers(PEERS[:1])
    assert [sent for _, sent in resends(station)] == [PEERS[:1]] * 3
    pushed(station, 20, b"b")
    station.gossip.set_peers([])
    station.take_sent()
    assert resends(station) == []


def test_pushes_under_way_are_bounded_and_the_oldest_goes() -> None:
    station = ready(queue_items_max=16)
    numbers = [pushed(station, 1, b"%d" % i) for i in range(17)]
    ack(station, PEERS[0], *((number, 0) for number in numbers))
    assert [number for number, _, _ in station.acknowledged] == numbers[1:]
    assert station.gossip.counters()["pushes_dropped"] == 1


def test_owed_acknowledgements_are_bounded_and_the_oldest_goes() -> None:
    sender, station = ready(), Station(2, params_with(queue_items_max=16))
    numbers = [pushed(sender, 1, b"%d" % i, want=Want.DURABLE) for i in range(17)]
    for peer, kind, body in sender.take_sent():
        if peer == PEERS[0]:
            station.gossip.handle_message(at(1), sender.id, kind, body)
    commit = station.take_commit()
    assert commit is not None
    station.gossip.handle_committed(at(2), commit[0])
    ((_, _, body),) = station.take_sent()
    assert [n for n, _ in PushAck.decode_untrusted(body).entries] == numbers[1:]


def test_alone_a_push_is_no_work() -> None:
    station = Station(1, params_with())
    pushed(station, 1, b"a")
    assert station.take_sent() == []
    assert station.gossip.next_deadline() == float("inf")


def test_numbers_rise_and_start_elsewhere_in_every_run() -> None:
    first, second = Station(1, params_with()), Station(2, params_with())
    numbers = [pushed(first, 1, b"%d" % i) for i in range(3)]
    assert numbers == sorted(set(numbers))
    assert pushed(second, 1, b"x") not in numbers


def test_acknowledgements_wait_for_their_own_commit_only() -> None:
    sender, station = ready(), Station(2, params_with())
    commits = []
    for text in (b"a", b"b"):
        pushed(sender, 1, text, want=Want.DURABLE)
        for _, kind, body in sender.take_sent()[:1]:
            station.gossip.handle_message(at(1), sender.id, kind, body)
        commit = station.take_commit()
        assert commit is not None
        commits.append(commit[0])
    for number in commits:
        station.gossip.handle_committed(at(2), number)
        ((_, kind, body),) = station.take_sent()
        assert kind == PushAck.KIND
        assert len(PushAck.decode_untrusted(body).entries) == 1


def test_who_gets_a_push_again_is_told_first_what_came_of_it() -> None:
    station = ready(push_resend_s=0.1, push_tries=3)
    (follower,) = station.notes(b"since")
    station.gossip.publish(at(1), Family.TASKS, [follower])
    number = pushed(station, 1, b"a")
    fact = next(iter(station.gossip.facts(Family.TASKS)))
    facts = {v.fact.text: v.id for v in station.gossip.facts(Family.TASKS)}
    assert fact.id == follower.id
    station.followers[facts[b"a"]] = (follower.id,)
    ack(station, PEERS[0], (number, 0))
    station.take_sent()
    station.gossip.handle_timeout(at(station.gossip.next_deadline()))
    sent = [(peer, kind) for peer, kind, _ in station.take_sent()]
    for peer in PEERS[1:]:
        assert [kind for to, kind in sent if to == peer] == [ToldFacts.KIND, Push.KIND]
    assert PEERS[0] not in [peer for peer, _ in sent]
