"""Membership under any order of facts and any sequence of inputs."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.errors import RemoteError
from mesh.core.identity import Incarnation
from mesh.core.membership.messages import Accuse, Ack, Ask, Ping, Vouch, Withdraw
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import (
    BOOT,
    NEXT_BOOT,
    Bench,
    leave_of,
    presence_of,
    verdict_of,
)
from tests.unit.core.membership.playground import make_author

NAMES = ("a", "b", "c", "d")
SUBJECT = make_author("x")
VOTERS = [make_author(name) for name in NAMES]
STANDINGS = [(BOOT, 0), (BOOT, 1), (BOOT, 3), (NEXT_BOOT, 0), (NEXT_BOOT, 1)]
FACTS = [
    *(presence_of(SUBJECT, *standing) for standing in STANDINGS),
    leave_of(SUBJECT, BOOT),
    leave_of(SUBJECT, NEXT_BOOT),
    *(
        verdict_of(VOTERS[start : start + 3], SUBJECT.id, incarnation)
        for start in (0, 1)
        for incarnation in (0, 1, 3)
    ),
    verdict_of(VOTERS, SUBJECT.id, 1, observers=5),
]


def outcome(facts: list[int]) -> tuple[object, ...]:
    bench = Bench(*NAMES)
    for number in facts:
        fact = FACTS[number]
        known = bench.gossip.holds_id(fact.id) or fact.id in bench.gossip.judged
        if not known and not bench.take(fact):
            bench.gossip.judged[fact.id] = None
    presence = bench.membership.presence(SUBJECT.id)
    standing = None if presence is None else (presence.fact.boot, presence.fact.incarnation)
    held = sorted(id_ for id_, v in bench.gossip.held.items() if v.author != bench.author.id)
    return standing, bench.membership.status(SUBJECT.id), held


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equal_sets_of_facts_give_equal_beliefs(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(FACTS))), unique=True, max_size=8))
    if not any(number < len(STANDINGS) for number in chosen):
        chosen = [0, *chosen]
    shuffled = data.draw(st.permutations(chosen))
    assert outcome(chosen) == outcome(shuffled) == outcome([*shuffled, *chosen])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_was_dropped_as_dominated_is_not_missed(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(FACTS))), unique=True, max_size=10))
    told = outcome([0, *chosen])
    held = told[2]
    assert isinstance(held, list)
    kept = [number for number in dict.fromkeys((0, *chosen)) if FACTS[number].id in held]
    assert outcome(data.draw(st.permutations(kept))) == told


STEPS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0.0, 5.0)),
    st.tuples(st.just("echo"), st.sampled_from(NAMES), st.none() | st.floats(0.0, 10.0)),
    st.tuples(st.just("accuse"), st.sampled_from(NAMES), st.sampled_from((*NAMES, "me"))),
    st.tuples(st.just("vouch"), st.sampled_from(NAMES), st.sampled_from((*NAMES, "me"))),
    st.tuples(st.just("ask"), st.sampled_from(NAMES), st.sampled_from((*NAMES, "me"))),
    st.tuples(st.just("withdraw"), st.sampled_from(NAMES), st.sampled_from((*NAMES, "me"))),
    st.tuples(st.just("verdict"), st.sampled_from((*NAMES, "me")), st.integers(0, 2)),
    st.tuples(st.just("presence"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("leave"), st.sampled_from(NAMES)),
    st.tuples(st.just("refused"), st.sampled_from(NAMES)),
    st.tuples(st.just("lag"), st.floats(0.0, 5.0)),
    st.tuples(st.just("suspend"), st.floats(0.0, 100.0)),
    st.tuples(st.just("kinds"), st.integers(0, 3)),
)


def apply_fact(bench: Bench, what: str, name: str, number: int) -> None:
    if what == "verdict":
        voters = [bench.author_of(n) for n in NAMES if n != name][: 2 + number]
        fact = verdict_of(voters, bench.id(name), number)
    else:
        author = bench.author_of(name)
        fact = leave_of(author) if what == "leave" else presence_of(author, BOOT, number)  # type: ignore[assignment]  # any fact will do
    if fact.id not in bench.gossip.held and fact.id not in bench.gossip.judged:
        bench.take(fact)


def apply_step(bench: Bench, step: tuple[Any, ...]) -> None:
    what, *rest = step
    membership = bench.membership
    remark = (BOOT, Incarnation(0))
    actions: dict[str, Callable[..., object]] = {
        "wait": lambda seconds: bench.run(seconds, NAMES[:2]),
        "echo": lambda name, echo: membership.handle_evidence(bench.now, bench.id(name), echo),
        "accuse": bench.accuse,
        "vouch": bench.vouch,
        "ask": lambda name, subject: bench.receive(name, Ask(bench.id(subject), *remark)),
        "withdraw": lambda name, subject: bench.receive(name, Withdraw(bench.id(subject), *remark)),
        "verdict": lambda name, number: apply_fact(bench, "verdict", name, number),
        "presence": lambda name, number: apply_fact(bench, "presence", name, number),
        "leave": lambda name: apply_fact(bench, "leave", name, 0),
        "refused": lambda name: membership.handle_refused(bench.now, bench.id(name)),
        "lag": lambda seconds: membership.handle_lag(bench.now, seconds),
        "suspend": lambda seconds: membership.handle_suspend(bench.now, seconds),
        "kinds": lambda number: membership.set_kinds(
            bench.now, tuple(f"kind-{i}" for i in range(number))
        ),
    }
    if what == "suspend":
        bench.instant += rest[0]
    actions[what](*rest)


def check_invariants(bench: Bench) -> None:
    membership = bench.membership
    membership.handle_timeout(bench.now)
    assert membership.next_deadline() > bench.instant
    views = {view.id: view for view in membership.members(bench.now)}
    here = [id_ for id_, v in views.items() if v.status in {Status.ALIVE, Status.SUSPECT}]
    assert [id_ for id_ in sorted(here) if id_ != bench.author.id] == list(membership.alive())
    assert list(bench.gossip.peers) == list(membership.alive())
    edges = membership._edges.members
    assert sorted(edges) == list(membership._table.rule.observers(bench.author.id))
    for member in membership._table:
        assert bench.gossip.holds_id(member.presence.id)
        assert (member.id in edges) is member.is_here
        assert (member.id in membership._table.down) is member.is_down
        assert (member.id in membership._lifecycle.lost) is (member.is_down and member.local)
        assert not member.is_down or member.ended(member.standing[0]) is not None
    held = [v.id for v in bench.gossip.held.values() if v.fact.CONTEXT == "verdict/1"]
    known = [m.verdict.id for m in membership._table if m.verdict is not None]
    early = len(membership._intake._early_verdicts)
    assert len(set(held) - set(known)) == early


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_no_sequence_of_inputs_breaks_the_books(steps: list[tuple[Any, ...]]) -> None:
    bench = Bench(*NAMES, orphan_grace_s=2.0)
    for step in steps:
        apply_step(bench, step)
        check_invariants(bench)


@settings(max_examples=200)
@given(st.sampled_from([Ping, Ack, Accuse, Vouch, Withdraw, Ask]), st.binary(max_size=200))
def test_foreign_bytes_raise_nothing_but_remote_errors(kind: type[Ping], data: bytes) -> None:
    bench = BENCH
    before = [view.status for view in bench.membership.members(bench.now)]
    try:
        bench.membership.handle_message(bench.now, bench.id("a"), kind.KIND, data)
    except RemoteError:
        assert [view.status for view in bench.membership.members(bench.now)] == before


BENCH = Bench(*NAMES)
