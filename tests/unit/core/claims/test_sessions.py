"""Agents, claims in their hands, and handles."""

import random

import pytest

from mesh.core.claims.facts import Claim
from mesh.core.claims.sessions import (
    Holding,
    Phase,
    Session,
    Sessions,
    decode_handle,
    handle_key,
    new_handle,
)
from mesh.core.effects import ClientId, Row
from mesh.core.errors import LocalError
from mesh.core.params import ClaimParams
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN

ONE, TWO = ClientId(1), ClientId(2)


def claim(number: int = 1) -> Verified[Claim]:
    return ANN.claim(ANN.spec(number))


def holding(number: int = 1, client: ClientId | None = ONE) -> Holding:
    handle = f"handle-{number}"
    return Holding(handle_key(handle), claim(number), handle, client)


def test_handles_are_fresh_secrets() -> None:
    rng = random.Random(1)
    first, second = new_handle(rng), new_handle(rng)
    assert first != second
    assert len(bytes.fromhex(first)) == 12
    assert len(handle_key(first)) == 16


def test_a_handle_is_known_again_from_its_row() -> None:
    made = holding()
    made.detached = True
    row = made.row()
    assert row.value is not None
    stored = decode_handle(row.key, row.value)
    assert stored is not None
    assert (stored.key, stored.claim, stored.task) == (made.key, made.claim.id, made.task)
    assert (stored.agent, stored.detached) == ("agent", True)
    assert decode_handle(b"k", b"\x93\x01\x02\x03") is None
    assert decode_handle(b"k", b"\xc1") is None
    assert decode_handle(b"k", b"\x01") is None
    assert decode_handle(b"k", b"\x94\x90\x80\x01\x02") is None


def test_capacity_counts_what_is_live() -> None:
    sessions = Sessions(ClaimParams())
    assert sessions.has_capacity(ONE), "no agent, no limit"
    sessions.attach(Session(ONE, "a", ("x", "y"), 2))
    sessions.add(first := holding(1))
    assert sessions.has_capacity(ONE)
    assert list(sessions.waiting_kinds()) == ["x", "y"]
    sessions.add(holding(2))
    assert not sessions.has_capacity(ONE)
    assert list(sessions.waiting_kinds()) == []
    assert sessions.close(first, Phase.LOST) == Row("handle", first.key, None)
    assert sessions.has_capacity(ONE)


def test_a_claim_passes_from_hand_to_hand() -> None:
    sessions = Sessions(ClaimParams())
    sessions.attach(Session(TWO, "b", ("x",), 1))
    sessions.add(one := holding(1))
    sessions.hand_to(one, TWO)
    assert not sessions.has_capacity(TWO)
    assert sessions.detach(ONE) == []
    assert sessions.detach(TWO) == [one]
    assert one.client is None
    assert sessions.session(TWO) is None
    assert sessions.find("handle-1") is one


def test_unknown_handles_are_refused() -> None:
    sessions = Sessions(ClaimParams())
    with pytest.raises(LocalError) as refused:
        sessions.find("nonsense")
    assert refused.value.name == "unknown_handle"
    assert not sessions.is_live("nonsense")


def test_one_claim_too_many_is_refused_and_closed_ones_do_not_count() -> None:
    sessions = Sessions(ClaimParams(handles_max=4))
    held = [holding(number) for number in range(1, 5)]
    for one in held:
        sessions.check_room()
        sessions.add(one)
    with pytest.raises(LocalError) as refused:
        sessions.check_room()
    assert refused.value.name == "too_many_claims"
    sessions.close(held[0], Phase.ENDED)
    sessions.check_room()


def test_closed_handles_are_remembered_up_to_a_bound() -> None:
    sessions = Sessions(ClaimParams(handles_max=4))
    first, second = holding(1), holding(2)
    sessions.add(first)
    sessions.close(first, Phase.ENDED)
    assert sessions.find("handle-1").phase is Phase.ENDED
    sessions.add(second)
    sessions.close(second, Phase.LOST)
    assert sessions.get(first.key) is None
    assert sessions.find("handle-2").phase is Phase.LOST
    assert len(sessions) == 1


def test_claims_are_found_by_task_while_they_live() -> None:
    sessions = Sessions(ClaimParams())
    sessions.add(one := holding(1))
    assert sessions.of_task(one.task) == sessions.live() == [one]
    sessions.close(one, Phase.LOST)
    assert sessions.of_task(one.task) == sessions.live() == []
    sessions.remove(one)
    assert len(sessions) == 0


def test_one_agent_too_many_is_refused() -> None:
    sessions = Sessions(ClaimParams(waiters_max=16))
    for number in range(16):
        sessions.attach(Session(ClientId(number), "a", ("x",), 1))
    sessions.attach(Session(ClientId(3), "again", ("x",), 1))
    with pytest.raises(LocalError) as refused:
        sessions.attach(Session(ClientId(16), "a", ("x",), 1))
    assert refused.value.name == "busy"
