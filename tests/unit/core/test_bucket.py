"""A token bucket: a burst, a rate, one overdraft."""

from mesh.core.bucket import Bucket
from mesh.core.instants import Instant


def test_a_burst_then_the_rate() -> None:
    bucket = Bucket(rate=10, burst=100)
    assert bucket.take(Instant(0), 100)
    assert not bucket.take(Instant(0), 1)
    assert bucket.left(Instant(5)) == 50
    assert bucket.left(Instant(1000)) == 100


def test_an_overdraft_is_paid_back_before_anything_else() -> None:
    bucket = Bucket(rate=10, burst=100)
    assert bucket.take(Instant(0), 150)
    assert not bucket.take(Instant(5), 1)
    assert bucket.take(Instant(5.1), 1)


def test_time_that_stands_still_fills_nothing() -> None:
    bucket = Bucket(rate=10, burst=100)
    bucket.take(Instant(9), 100)
    assert bucket.left(Instant(8)) == 0
    assert bucket.left(Instant(9)) == 0
