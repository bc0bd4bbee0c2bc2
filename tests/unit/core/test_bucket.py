"""A token bucket: a burst, a rate, one overdraft."""

from mesh.core.bucket import Bucket, Buckets
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


def test_everybody_has_a_bucket_of_its_own() -> None:
    buckets: Buckets[str] = Buckets(1.0, 2.0, kept_max=8)
    assert [buckets.take(Instant(0.0), "a", 1) for _ in range(3)] == [True, True, False]
    assert buckets.take(Instant(0.0), "b", 1)
    assert not buckets.has(Instant(0.0), "a")
    assert buckets.has(Instant(0.0), "c")
    assert buckets.has(Instant(1.5), "a")


def test_of_too_many_the_longest_unused_are_forgotten() -> None:
    buckets: Buckets[int] = Buckets(1.0, 1.0, kept_max=2)
    for key in (1, 2, 1, 3):
        buckets.take(Instant(0.0), key, 5)
    assert len(buckets) == 2
    assert not buckets.has(Instant(0.0), 1)
    assert buckets.has(Instant(0.0), 2), "forgotten, and so as good as new"
