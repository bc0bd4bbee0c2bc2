"""Where a peer is: a new source gets no more than it sent, until the peer quotes an answer."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.identity import Address
from mesh.core.instants import Instant
from mesh.core.links.path import CREDIT_BYTES_MAX, Path

HOME = Address("192.0.2.1", 7946)
AWAY = Address("198.51.100.7", 40_000)
OTHER = Address("203.0.113.9", 53)


def at_home() -> Path:
    path = Path(HOME)
    path.receive(HOME, 100, None)
    return path


def test_before_anything_is_heard_the_advertised_address_is_used() -> None:
    path = Path(HOME)
    assert path.target(Instant(1.0), 1000) == path.address == HOME
    path.advertise(OTHER)
    assert path.address == OTHER


def test_a_proved_address_outlives_what_the_peer_advertises() -> None:
    path = at_home()
    path.advertise(OTHER)
    assert path.target(Instant(1.0), 1000) == HOME


def test_a_new_source_gets_back_what_it_sent_and_not_a_byte_more() -> None:
    path = at_home()
    path.receive(AWAY, 60, None)
    assert path.target(Instant(1.0), 61) == HOME
    assert path.target(Instant(1.0), 60) == AWAY
    assert path.target(Instant(1.0), 1) == HOME
    assert path.address == HOME


def test_a_peer_that_quotes_the_answer_has_moved() -> None:
    path = at_home()
    path.receive(AWAY, 60, Instant(0.5))
    assert path.target(Instant(1.0), 60) == AWAY
    path.receive(AWAY, 60, Instant(0.9))
    assert path.address == HOME, "what it heard was said before the answer left"
    path.receive(AWAY, 60, Instant(1.1))
    assert path.address == AWAY
    assert path.target(Instant(2.0), 100_000) == AWAY


def test_word_from_the_proved_address_ends_the_doubt() -> None:
    path = at_home()
    path.receive(AWAY, 600, None)
    path.receive(HOME, 60, None)
    assert path.target(Instant(1.0), 10) == HOME


def test_a_third_source_starts_from_nothing() -> None:
    path = at_home()
    path.receive(AWAY, 600, None)
    path.target(Instant(1.0), 10)
    path.receive(OTHER, 60, Instant(5.0))
    assert path.address == HOME
    assert path.target(Instant(6.0), 61) == HOME


def test_credit_has_a_bound() -> None:
    path = at_home()
    for _ in range(100):
        path.receive(AWAY, 1232, None)
    assert path.credit == CREDIT_BYTES_MAX


Events = st.lists(
    st.tuples(st.sampled_from(["in", "out"]), st.integers(1, 1232), st.sampled_from([AWAY, OTHER]))
)


@given(Events)
def test_bytes_to_an_unproved_address_never_exceed_bytes_from_it(
    events: list[tuple[str, int, Address]],
) -> None:
    path, balance = at_home(), {AWAY: 0, OTHER: 0}
    for number, (what, size, source) in enumerate(events):
        if what == "in":
            path.receive(source, size, None)
            balance[source] += size
            continue
        target = path.target(Instant(float(number)), size)
        if target != HOME:
            balance[target] -= size
            assert balance[target] >= 0
