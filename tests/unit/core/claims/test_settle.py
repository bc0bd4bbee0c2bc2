"""The settle window, and who has acknowledged."""

import pytest

from mesh.core.claims.settle import SILENT_WINDOWS, TRUSTED_SAMPLES, Copies, Samples, Settle
from mesh.core.effects import CommitNumber
from mesh.core.gossip.vocabulary import PushNumber
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant
from mesh.core.params import ClaimParams

A, B, C = NodeId(b"a" * 16), NodeId(b"b" * 16), NodeId(b"c" * 16)


def samples(*delays_s: float, **params: float) -> Samples:
    made = Samples(ClaimParams(**params))  # type: ignore[arg-type]  # numbers by name
    for delay_s in delays_s:
        made.add(delay_s)
    return made


def settle() -> Settle:
    return Settle(PushNumber(1), CommitNumber(1))


def test_before_anything_was_measured_the_first_value_counts() -> None:
    assert samples().window_s() == 0.05
    assert samples(*[0.001] * (TRUSTED_SAMPLES - 1)).window_s() == 0.05
    assert samples(0.3).window_s() == 0.3


@pytest.mark.parametrize(
    ("delays_s", "window_s"),
    [
        ([0.001] * TRUSTED_SAMPLES, 0.02),
        ([0.03] * TRUSTED_SAMPLES, 0.03),
        ([9.0] * TRUSTED_SAMPLES, 2.0),
        ([0.1] * 99 + [0.9], 0.1),
        ([0.9] * (TRUSTED_SAMPLES - 1), 0.9),
        ([0.1] * 98 + [0.9] * 2, 0.9),
        ([0.9] + [0.1] * 100, 0.1),
    ],
)
def test_the_window_is_the_p99_within_floor_and_ceiling(
    delays_s: list[float], window_s: float
) -> None:
    assert samples(*delays_s).window_s() == window_s


def test_only_the_last_samples_count() -> None:
    made = samples(*[1.0] * 16, *[0.1] * 15, settle_samples=16)
    assert len(made) == 16
    assert made.window_s() == 1.0
    made.add(0.1)
    assert len(made) == 16
    assert made.window_s() == 0.1


def test_nothing_starts_before_the_hand_over() -> None:
    one = settle()
    assert not one.may_start(Instant(99.0), [])
    assert one.deadline(Instant(99.0)) == NEVER
    assert one.acknowledge(A, Instant(1.0)) is None
    one.hand_over(Instant(2.0), 0.5)
    assert one.may_start(Instant(2.0), [])
    assert not one.may_start(Instant(2.0), [A])


def test_it_starts_when_all_know_or_the_window_is_over() -> None:
    one = settle()
    one.hand_over(Instant(2.0), 0.5)
    assert one.acknowledge(A, Instant(2.125)) == 0.125
    assert one.acknowledge(A, Instant(2.25)) is None
    assert not one.may_start(Instant(2.25), [A, B, C])
    one.acknowledge(B, Instant(2.25))
    assert not one.may_start(Instant(2.25), [A, B, C])
    assert one.may_start(Instant(2.5), [A, B, C])
    assert one.may_start(Instant(2.25), [A, B])


def test_who_is_hardly_heard_waits_longer() -> None:
    one = settle()
    one.hand_over(Instant(2.0), 0.5)
    one.acknowledge(A, Instant(2.125))
    silence = Instant(2.0 + SILENT_WINDOWS * 0.5)
    for alive in ([B], [A, B], [A, B, C]):
        assert not one.may_start(Instant(2.5), alive)
        assert one.may_start(silence, alive)
    assert one.deadline(Instant(2.1)) == 2.5
    assert one.deadline(Instant(2.5)) == silence


def test_who_objects_is_waited_for_beyond_every_window_but_not_for_ever() -> None:
    one = settle()
    one.hand_over(Instant(2.0), 0.5)
    one.acknowledge(A, Instant(2.1))
    one.object(B, Instant(9.0))
    one.object(B, Instant(99.0))
    silence = Instant(2.0 + SILENT_WINDOWS * 0.5)
    assert not one.may_start(silence, [A, B])
    assert one.may_start(silence, [A]), "who is gone holds nobody up"
    assert one.deadline(silence) == 9.0
    assert not one.may_start(Instant(8.9), [A, B])
    assert one.may_start(Instant(9.0), [A, B])
    one.acknowledge(B, Instant(4.0))
    assert one.may_start(Instant(4.0), [A, B]), "what beat it is no more"


def test_after_sleep_only_fresh_voices_count() -> None:
    one = settle()
    one.hand_over(Instant(2.0), 0.5)
    one.acknowledge(A, Instant(2.1))
    one.acknowledge(B, Instant(2.1))
    one.restart(Instant(50.0), 0.5, [B])
    assert not one.may_start(Instant(50.1), [A, B])
    assert one.may_start(Instant(50.1), [B])
    assert one.may_start(Instant(51.5), [A, B])


def test_copies_are_counted_with_ones_own() -> None:
    copies = Copies(PushNumber(1), 2, Instant(5.0))
    copies.durable[A] = None
    assert not copies.is_over(Instant(9.0), [A]), "never before the own commit"
    copies.committed = True
    assert copies.count == 2
    assert copies.is_over(Instant(0.0), [A])


def test_copies_that_nobody_can_make_are_not_waited_for() -> None:
    copies = Copies(PushNumber(1), 3, Instant(5.0), committed=True)
    assert copies.is_over(Instant(0.0), [])
    assert not copies.is_over(Instant(0.0), [A])
    assert not copies.is_over(Instant(4.9), [A, B])
    assert copies.is_over(Instant(5.0), [A, B])


def test_who_has_the_fact_without_its_bytes_is_not_waited_for_and_may_become_a_copy() -> None:
    copies = Copies(PushNumber(1), 3, Instant(5.0), committed=True)
    copies.acknowledge(A, durable=False)
    assert not copies.is_over(Instant(0.0), [A, B]), "B may still be one"
    copies.acknowledge(B, durable=True)
    assert (copies.count, copies.is_over(Instant(0.0), [A, B])) == (2, True)
    copies.acknowledge(B, durable=False)
    assert copies.count == 2, "what is on a disk stays there"
    copies.acknowledge(A, durable=True)
    assert copies.count == 3
    assert not copies.without


def test_a_node_without_the_bytes_is_no_copy_of_what_it_writes() -> None:
    copies = Copies(PushNumber(1), 2, Instant(5.0), has_bytes=False, committed=True)
    copies.acknowledge(A, durable=True)
    assert copies.count == 1
    assert not copies.is_over(Instant(0.0), [A, B])
