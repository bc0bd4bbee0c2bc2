"""A few at a time, each once, and nobody who is known no more."""

from mesh.core.membership.agenda import HEAL
from mesh.core.membership.rounds import MEMBERS_PER_TURN, Round
from tests.unit.core.membership.bench import Bench

PEERS = tuple(f"n{i:02}" for i in range(20))


def is_open(turns: Round) -> bool:
    return turns.is_open


def test_everybody_has_a_turn_once_and_the_forgotten_have_none() -> None:
    bench = Bench(*PEERS)
    ground = bench.membership._ground
    turns = Round(ground, HEAL)
    assert not is_open(turns)
    nodes = [bench.id(name) for name in PEERS]
    turns.start(bench.now, nodes, most=17)
    assert is_open(turns)
    assert ground.agenda.due(HEAL) > bench.instant
    bench.membership.remove(bench.now, nodes[3])
    seen = []
    for most in (MEMBERS_PER_TURN, MEMBERS_PER_TURN, 1):
        turn = turns.turn(bench.now)
        assert len(turn) <= most
        seen += [member.id for member in turn]
    assert not is_open(turns)
    assert turns.turn(bench.now) == []
    assert 16 <= len(seen) == len(dict.fromkeys(seen)) <= 17
    assert nodes[3] not in seen


def test_a_round_that_is_stopped_is_over() -> None:
    bench = Bench(*PEERS)
    turns = Round(bench.membership._ground, HEAL)
    turns.start(bench.now, [bench.id(name) for name in PEERS], most=99)
    turns.stop()
    assert not is_open(turns)
    assert turns.turn(bench.now) == []
