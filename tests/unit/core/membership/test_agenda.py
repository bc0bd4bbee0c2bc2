"""Timers: what is due comes once, in order, wherever it was moved to."""

import random

from mesh.core.instants import NEVER, Instant
from mesh.core.membership.agenda import HEAP_SLACK, Agenda


def drain(agenda: Agenda, instant: float) -> list[bytes]:
    taken = []
    while (key := agenda.take_due(Instant(instant))) is not None:
        taken.append(key)
    return taken


def test_due_keys_come_once_and_in_order() -> None:
    agenda = Agenda()
    for key, due in ((b"b", 2.0), (b"c", 3.0), (b"a", 2.0)):
        agenda.set(key, Instant(due))
    assert drain(agenda, 1.9) == []
    assert drain(agenda, 2.5) == [b"a", b"b"]
    assert agenda.next_instant() == 3.0
    assert drain(agenda, 9.0) == [b"c"]
    assert agenda.next_instant() == NEVER


def test_a_key_moves_both_ways() -> None:
    agenda = Agenda()
    agenda.set(b"x", Instant(5.0))
    agenda.set(b"x", Instant(7.0))
    assert agenda.due(b"x") == 7.0
    assert drain(agenda, 6.0) == []
    agenda.set(b"x", Instant(6.5))
    assert drain(agenda, 6.6) == [b"x"]
    assert drain(agenda, 99.0) == []
    assert agenda.due(b"x") == NEVER


def test_nobody_is_woken_for_what_was_moved_or_cancelled() -> None:
    agenda = Agenda()
    for key, due in ((b"x", 1.0), (b"y", 2.0), (b"z", 9.0)):
        agenda.set(key, Instant(due))
    agenda.set(b"x", Instant(5.0))
    agenda.cancel(b"y")
    assert agenda.next_instant() == 5.0
    agenda.set(b"x", Instant(12.0))
    assert agenda.next_instant() == 9.0
    assert drain(agenda, 20.0) == [b"z", b"x"]


def test_a_cancelled_key_never_comes_unless_set_again() -> None:
    agenda = Agenda()
    agenda.set(b"x", Instant(1.0))
    agenda.cancel(b"x")
    agenda.cancel(b"unknown")
    agenda.set(b"y", Instant(2.0))
    agenda.cancel(b"y")
    agenda.set(b"y", Instant(1.5))
    assert drain(agenda, 9.0) == [b"y"]
    assert len(agenda) == 0


def test_moving_a_timer_earlier_again_and_again_keeps_the_heap_small() -> None:
    agenda = Agenda()
    for step in range(10_000):
        agenda.set(b"x", Instant(20_000.0 - step))
    assert len(agenda._heap) <= 2 + HEAP_SLACK
    assert drain(agenda, 20_000.0) == [b"x"]


def test_it_agrees_with_a_plain_dictionary() -> None:
    rng = random.Random(5)
    agenda, model = Agenda(), dict[bytes, float]()
    now = 0.0
    for _ in range(5_000):
        key = bytes((rng.randrange(20),))
        act = rng.random()
        if act < 0.6:
            model[key] = now + rng.uniform(0.1, 10)
            agenda.set(key, Instant(model[key]))
        elif act < 0.7:
            model.pop(key, None)
            agenda.cancel(key)
        else:
            now += rng.uniform(0, 2)
            taken = drain(agenda, now)
            assert sorted(taken) == sorted(k for k, due in model.items() if due <= now)
            for gone in taken:
                del model[gone]
            assert agenda.next_instant() > now
            assert agenda.next_instant() <= min(model.values(), default=NEVER)
