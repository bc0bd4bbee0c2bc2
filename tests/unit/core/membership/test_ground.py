"""The shared ground: spread instants, facts let go only once."""

from tests.unit.core.membership.bench import Bench, leave_of


def test_instants_are_spread_and_always_ahead() -> None:
    bench = Bench()
    ground = bench.membership._ground
    soon = [ground.soon(bench.now) for _ in range(200)]
    assert min(soon) > bench.instant
    assert len(set(soon)) > 100
    spread = [ground.spread(bench.now, 4.0) for _ in range(200)]
    assert min(spread) >= 3.0
    assert max(spread) <= 5.0


def test_only_held_facts_are_dropped() -> None:
    bench = Bench("a")
    ground = bench.membership._ground
    ground.drop(None)
    ground.drop(leave_of(bench.peers["a"]))
    held = bench.membership.presence(bench.id("a"))
    assert ground.is_held(held)
    ground.drop(held)
    assert not ground.is_held(held)
    assert not ground.is_held(None)
