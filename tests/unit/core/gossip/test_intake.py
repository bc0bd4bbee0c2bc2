"""Foreign facts: known ones cost nothing, false ones leave no trace, early ones wait."""

from dataclasses import replace
from typing import Any

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import EagerFacts, Push, PushAck, Section
from mesh.core.gossip.vocabulary import Want
from mesh.core.wire.envelope import SignedFact, Verified
from tests.unit.core.gossip.network import Station, at, params_with

MEMBERS = Family.MEMBERS


def pair() -> tuple[Station, Station]:
    return Station(1, params_with(parked_max=4)), Station(2, params_with())


def eager(*facts: SignedFact, family: Family = MEMBERS) -> bytes:
    items = tuple(Item(Form.SINGLE, fact.encode()) for fact in facts)
    return EagerFacts(family, items).encode()


def give(receiver: Station, relay: Station, body: bytes) -> Refusal | None:
    try:
        receiver.gossip.handle_message(at(1), relay.id, EagerFacts.KIND, body)
    except RemoteError as refused:
        return refused.refusal
    return None


def test_an_accepted_fact_is_held_and_committed_as_it_came() -> None:
    here, there = pair()
    fact = there.notes(b"a")[0]
    assert give(here, there, eager(fact.signed)) is None
    commit = here.take_commit()
    assert commit is not None
    assert commit[1][0].value == bytes((MEMBERS,)) + fact.signed.encode()
    assert here.gossip.get(MEMBERS, fact.id) == fact
    assert list(here.gossip.facts(MEMBERS)) == [fact]


def test_a_known_fact_is_neither_verified_nor_judged_again() -> None:
    here, there = pair()
    here.judge = lambda verified: verified.fact.text != b"not needed"
    for text in (b"kept", b"not needed"):
        body = eager(there.notes(text)[0].signed)
        give(here, there, body)
        before = here.verifier.verifications
        assert give(here, there, body) is None
        assert here.verifier.verifications == before
    assert len(here.judged) == 2
    assert here.gossip.counters()["duplicates"] == 2
    assert len(here.gossip.ids(MEMBERS)) == 1


def test_a_forged_fact_does_not_keep_the_true_one_out() -> None:
    here, there = pair()
    true = there.notes(b"a", b"b")
    forged = [replace(true[0].signed, signature=bytes(64)), replace(true[1].signed, path=())]
    assert give(here, there, eager(forged[0])) is Refusal.BAD_SIGNATURE
    assert give(here, there, eager(forged[1])) is Refusal.MALFORMED
    assert here.judged == []
    assert give(here, there, eager(*(fact.signed for fact in true))) is None
    assert len(here.gossip.ids(MEMBERS)) == 2


def told(*items: bytes) -> bytes:
    return EagerFacts(MEMBERS, tuple(Item(Form.SINGLE, item) for item in items)).encode()


def test_the_rest_of_a_message_counts_and_the_first_error_is_told() -> None:
    here, there = pair()
    good = there.notes(b"good")[0]
    assert give(here, there, told(bytes(100), good.signed.encode())) is Refusal.MALFORMED
    assert here.gossip.holds(MEMBERS, good.id)


def test_what_comes_behind_a_forgery_is_not_looked_at() -> None:
    here, there = pair()
    before, bad, behind = (there.notes(text)[0].signed for text in (b"before", b"bad", b"behind"))
    forged = replace(bad, signature=bytes(64))
    body = told(bytes(100), before.encode(), forged.encode(), behind.encode())
    assert give(here, there, body) is Refusal.BAD_SIGNATURE
    assert here.gossip.ids(MEMBERS) == (before.id,)
    assert here.verifier.verifications == 2


@pytest.mark.parametrize(("refusal", "judged"), [(Refusal.BROKEN_RULE, 1), (Refusal.OVER_CAP, 2)])
def test_only_what_is_refused_for_ever_is_remembered(refusal: Refusal, judged: int) -> None:
    here, there = pair()

    def refuse(_verified: object) -> bool:
        raise RemoteError(refusal)

    here.judge = refuse
    body = eager(there.notes(b"a")[0].signed)
    assert give(here, there, body) is refusal
    give(here, there, body)
    assert len(here.judged) == judged


def test_a_strangers_fact_waits_for_a_certificate() -> None:
    here, there = pair()
    third = Station(3, params_with())
    here.strangers[there.author.public_key] = None
    early = there.notes(b"early")[0]
    assert give(here, there, eager(early.signed)) is Refusal.NOT_ADMITTED
    assert here.verifier.verifications == 0
    assert give(here, there, eager(early.signed)) is Refusal.NOT_ADMITTED

    def admit(_verified: object) -> bool:
        here.strangers.clear()
        return True

    here.judge = admit
    assert give(here, third, eager(third.notes(b"certificate")[0].signed)) is None
    assert here.gossip.holds(MEMBERS, early.id)


def test_certificate_and_fact_may_come_in_the_wrong_order_within_a_message() -> None:
    here, there = pair()
    third = Station(3, params_with())
    here.strangers[there.author.public_key] = None

    def admit(_verified: object) -> bool:
        here.strangers.clear()
        return True

    here.judge = admit
    early, certificate = there.notes(b"early")[0], third.notes(b"certificate")[0]
    give(here, third, eager(early.signed, certificate.signed))
    assert here.gossip.holds(MEMBERS, early.id)


def test_parked_facts_are_bounded_and_the_oldest_goes() -> None:
    here, there = pair()
    third = Station(3, params_with())
    here.strangers[there.author.public_key] = None
    early = [there.notes(b"%d" % i)[0] for i in range(5)]
    for fact in early:
        give(here, there, eager(fact.signed))
    here.strangers.clear()
    give(here, third, eager(third.notes(b"news")[0].signed))
    held = [here.gossip.holds(MEMBERS, fact.id) for fact in early]
    assert held == [False, True, True, True, True]


def test_a_push_with_a_bad_fact_is_not_acknowledged_but_its_neighbour_is() -> None:
    here, there = pair()
    bad = replace(there.notes(b"bad")[0].signed, signature=bytes(64))
    good = there.notes(b"good")[0].signed
    sections = tuple(
        Section(number, 0, Want.RECEIPT, (Item(Form.SINGLE, fact.encode()),))
        for number, fact in ((7, bad), (8, good))
    )
    body = Push(Family.TASKS, sections).encode()
    with pytest.raises(RemoteError) as refused:
        here.gossip.handle_message(at(1), there.id, Push.KIND, body)
    assert refused.value.refusal is Refusal.BAD_SIGNATURE
    ((_, kind, ack),) = here.take_sent()
    assert kind == PushAck.KIND
    assert PushAck.decode_untrusted(ack).entries == ((8, 0),)


def test_memory_of_facts_that_are_not_kept_is_bounded() -> None:
    here, there = Station(1, params_with(seen_max=64)), Station(2, params_with())
    here.judge = lambda _verified: False
    bodies = [eager(there.notes(b"%d" % i)[0].signed) for i in range(65)]
    for body in bodies:
        give(here, there, body)
    give(here, there, bodies[64])
    assert len(here.judged) == 65
    give(here, there, bodies[0])
    assert len(here.judged) == 66


def test_parked_facts_are_judged_like_any_other_and_strangers_stay_parked() -> None:
    here, there, fourth = *pair(), Station(4, params_with())
    third = Station(3, params_with())
    here.strangers[there.author.public_key] = None
    here.strangers[fourth.author.public_key] = None
    forged = replace(there.notes(b"early")[0].signed, signature=bytes(64))
    stranger = fourth.notes(b"stranger")[0]
    give(here, there, eager(forged))
    give(here, there, eager(stranger.signed))
    del here.strangers[there.author.public_key]
    assert give(here, third, eager(third.notes(b"certificate")[0].signed)) is None
    assert here.gossip.counters()["parked_refused"] == 1
    assert len(here.gossip.ids(MEMBERS)) == 1
    here.strangers.clear()
    give(here, third, eager(third.notes(b"another")[0].signed))
    assert here.gossip.holds(MEMBERS, stranger.id)


def test_whoever_accepts_may_publish_and_drop_meanwhile() -> None:
    here, there = pair()
    old, new = there.notes(b"old", b"new")

    def judge(verified: Verified[Any]) -> bool:
        if verified.id == new.id:
            here.gossip.drop(MEMBERS, old.id)
            here.gossip.publish(at(1), MEMBERS, [verified])
        return True

    here.judge = judge
    here.gossip.set_peers([there.id, Station(3, params_with()).id])
    assert give(here, there, eager(old.signed, new.signed)) is None
    assert here.gossip.ids(MEMBERS) == (new.id,)
    commit = here.take_commit()
    assert commit is not None
    assert [row.value is None for row in commit[1]] == [False, True, False]
    here.gossip.handle_timeout(at(2))
    sent = [kind for _, kind, _ in here.take_sent()]
    assert sent == [EagerFacts.KIND], "the new one, and only to the one who lacks it"
