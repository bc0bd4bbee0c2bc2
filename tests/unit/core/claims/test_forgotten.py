"""What is black, and which facts are still needed to say so."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core.claims import forgotten
from mesh.core.claims.forgotten import (
    Blackened,
    Forget,
    ForgetBoots,
    Forgotten,
    blackened_by,
    check_forget,
    dot_of,
    steps_of,
)
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, NodeId, TaskId, dot_task_id
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "claims.json").read_text())


def forget(boot: int, *steps: int) -> Forget:
    return Forget(ANN.id, Boot(boot), steps)


def task(boot: int, number: int) -> TaskId:
    return dot_task_id(ANN.id, Boot(boot), number)


def test_a_dot_is_black_once_a_fact_says_so() -> None:
    known = Forgotten()
    assert known.add(ANN.write(forget(3, 1, 2))) == []
    assert dot_of(task(3, 1)) == (ANN.id, Boot(3), 1)
    assert [n for n in range(5) if task(3, n) in known] == [1, 2]
    assert task(2, 1) not in known
    assert dot_task_id(BOB.id, Boot(3), 1) not in known
    assert known.creators() == (ANN.id,)
    assert known.of(ANN.id).cost == 1


def test_a_fact_that_covers_others_makes_them_needless() -> None:
    known, small, large = Forgotten(), ANN.write(forget(3, 1, 2)), ANN.write(forget(3, 1, 5))
    known.add(small)
    assert not known.is_needless(large)
    assert known.add(large) == [small]
    assert known.is_needless(small)
    assert known.facts(ANN.id) == (large,)
    by_bob = BOB.write(forget(3, 1, 2))
    assert not known.is_needless(by_bob), "whose word it is may matter one day"


def test_one_author_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    high, known = 16, Forgotten()
    monkeypatch.setattr(forgotten, "FORGETS_MAX", high)
    for boot in range(high):
        known.check_room(ANN.write(forget(boot, 1, 1)))
        known.add(ANN.write(forget(boot, 1, 1)))
    one_more = forget(high, 1, 1)
    with pytest.raises(RemoteError) as error:
        known.check_room(ANN.write(one_more))
    assert error.value.refusal is Refusal.OVER_CAP
    known.check_room(BOB.write(one_more))
    floor = ANN.write(ForgetBoots(ANN.id, Boot(high), ()))
    known.check_room(floor)
    assert len(known.add(floor)) == high
    known.check_room(ANN.write(one_more))


def test_old_boots_collapse_into_a_floor_and_exceptions() -> None:
    known = Forgotten()
    first = ANN.write(forget(3, 1, 2))
    known.add(first)
    floor = ANN.write(ForgetBoots(ANN.id, Boot(9), ((4, 7), (5, 1))))
    assert known.add(floor) == [first]
    assert task(1, 99) in known
    assert task(4, 7) not in known
    assert task(9, 1) not in known
    later = ANN.write(ForgetBoots(ANN.id, Boot(9), ((5, 1),)))
    assert known.add(later) == [floor]
    assert task(4, 7) in known
    assert known.of(ANN.id).covers(forget(4, 7, 1))
    assert not known.of(ANN.id).covers(forget(5, 1, 1))


def test_a_run_over_an_exception_blackens_it() -> None:
    floor = blackened_by(ForgetBoots(ANN.id, Boot(9), ((4, 7),)))
    joined = floor.join(blackened_by(forget(4, 7, 1)))
    assert joined == Blackened(Boot(9))
    assert joined == blackened_by(forget(4, 7, 1)).join(floor)
    assert not floor.covers(ForgetBoots(ANN.id, Boot(10), ()))


@pytest.mark.parametrize(
    "fact",
    [
        forget(1),
        forget(1, 1),
        forget(1, 1, 0),
        forget(1, 1, 2, 0, 2),
        forget(1, (1 << 32) - 1, 2),
        ForgetBoots(ANN.id, Boot(9), ((9, 1),)),
        ForgetBoots(ANN.id, Boot(9), ((2, 1), (1, 1))),
        ForgetBoots(ANN.id, Boot(9), ((1, 1), (1, 1))),
    ],
)
def test_there_is_one_way_to_say_it(fact: Forget | ForgetBoots) -> None:
    with pytest.raises(RemoteError):
        check_forget(fact)


@pytest.mark.parametrize("vector", VECTORS["forget"], ids=lambda vector: vector["name"])
def test_the_bytes_of_a_forget(vector: dict[str, Any]) -> None:
    fact = Forget.decode_untrusted(bytes.fromhex(vector["payload"]))
    assert (fact.creator.hex(), fact.boot) == (vector["creator"], vector["boot"])
    assert list(fact.steps) == vector["steps"]
    assert [list(run) for run in fact.numbers().runs()] == vector["numbers"]
    assert steps_of(fact.numbers()) == fact.steps
    assert fact.encode().hex() == vector["payload"]


@pytest.mark.parametrize("vector", VECTORS["forget_boots"], ids=lambda vector: vector["name"])
def test_the_bytes_of_a_floor(vector: dict[str, Any]) -> None:
    fact = ForgetBoots.decode_untrusted(bytes.fromhex(vector["payload"]))
    assert (fact.creator.hex(), fact.floor) == (vector["creator"], vector["floor"])
    assert [list(dot) for dot in fact.exceptions] == vector["exceptions"]
    assert fact.encode().hex() == vector["payload"]


dots = st.tuples(st.integers(1, 4), st.integers(0, 3))


@given(st.sets(dots), st.integers(1, 5))
def test_a_floor_blackens_all_but_its_exceptions(open_: set[tuple[int, int]], floor: int) -> None:
    below = tuple(sorted(dot for dot in open_ if dot[0] < floor))
    black = blackened_by(ForgetBoots(NodeId(bytes(16)), Boot(floor), below))
    for boot in range(1, 5):
        for number in range(4):
            assert ((boot, number) in black) == (boot < floor and (boot, number) not in open_)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.integers(0, 9), st.integers(1, 9))),
    st.lists(st.tuples(st.booleans(), st.integers(1, 4))),
    st.randoms(use_true_random=False),
)
def test_what_a_removed_author_has_blackened_is_black_no_longer(
    runs: list[tuple[bool, int, int, int]], floors: list[tuple[bool, int]], rng: random.Random
) -> None:
    """Whatever is forgotten, in whatever order: as if it had never said a word."""
    said: list[Verified[Any]] = [
        (ANN if by_ann else BOB).write(forget(boot, *run)) for by_ann, boot, *run in runs
    ]
    said += [
        (ANN if by_ann else BOB).write(ForgetBoots(ANN.id, Boot(floor), ()))
        for by_ann, floor in floors
    ]
    rng.shuffle(said)
    known, without = Forgotten(), Forgotten()
    for fact in said:
        if not known.is_needless(fact):
            known.add(fact)
    for fact in said:
        if fact.author == ANN.id and not without.is_needless(fact):
            without.add(fact)
    known.withdraw(fact for fact in known.facts(ANN.id) if fact.author == BOB.id)
    known.withdraw(fact for fact in said if fact.author == BOB.id)
    assert known.facts(ANN.id) == without.facts(ANN.id)
    dots = [task(boot, number) for boot in range(6) for number in range(20)]
    assert [dot in known for dot in dots] == [dot in without for dot in dots]
    known.check_room(BOB.write(forget(9, 1, 1)))
    assert known._counts.get(BOB.id, 0) == 0
