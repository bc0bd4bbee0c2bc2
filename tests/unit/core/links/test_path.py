"""Where a peer is: it moves once it has answered elsewhere and not where it was."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.identity import Address
from mesh.core.instants import Instant
from mesh.core.links.path import (
    ASK_EVERY_S,
    CREDIT_BYTES_MAX,
    DEAF_S,
    QUESTION_BYTES,
    REST_S,
    RIVALS_MAX,
    WAIT_S,
    Path,
)

SECRET = bytes(32)
HOME = Address("192.0.2.1", 7946)
AWAY = Address("198.51.100.7", 40_000)
OTHER = Address("203.0.113.9", 53)


def at(s: float) -> Instant:
    return Instant(s)


def at_home() -> Path:
    path = Path(HOME, SECRET)
    path.receive(at(0), HOME, 100, None)
    return path


def moved_away() -> Path:
    """Return a path that has moved because only the new address answered."""
    path = at_home()
    path.receive(at(1), AWAY, 600, None)
    path.questions(at(1))
    assert path.handle_answer(at(1 + WAIT_S), dict(path.questions(at(1.5)))[AWAY])
    return path


def test_before_anything_is_heard_the_advertised_address_is_used() -> None:
    path = Path(HOME, SECRET)
    assert path.targets(at(1), 1000) == [HOME]
    path.advertise(OTHER)
    assert path.address == OTHER


def test_a_proved_address_outlives_what_the_peer_advertises() -> None:
    path = at_home()
    path.advertise(OTHER)
    assert path.targets(at(1), 1000) == [HOME]


def test_a_new_source_gets_copies_of_as_many_bytes_as_it_sent_and_not_one_more() -> None:
    path = at_home()
    path.receive(at(1), AWAY, 60, None)
    assert path.targets(at(1), 61) == [HOME]
    assert path.targets(at(1), 60) == [HOME, AWAY]
    assert path.targets(at(1), 1) == [HOME]


def test_a_question_takes_credit_too() -> None:
    path = at_home()
    path.receive(at(1), AWAY, QUESTION_BYTES - 1, None)
    assert [address for address, _ in path.questions(at(1))] == [HOME]
    path.receive(at(2), AWAY, 1, None)
    assert [address for address, _ in path.questions(at(2))] == [HOME, AWAY]
    assert path.targets(at(2), 1) == [HOME]


def test_each_address_has_a_token_of_its_own_and_each_doubt() -> None:
    path = at_home()
    path.receive(at(1), AWAY, 600, None)
    first = path.questions(at(1))
    assert not path.questions(at(1 + ASK_EVERY_S / 2)), "asked too often"
    path.handle_answer(at(1), dict(first)[HOME])
    path.receive(at(3), AWAY, 600, None)
    tokens = [token for _, token in first + path.questions(at(3))]
    assert len(set(tokens)) == len(tokens)
    other = Path(HOME, b"\1" * 32)
    other.receive(at(1), AWAY, 600, None)
    assert not set(tokens) & {token for _, token in other.questions(at(1))}


def test_where_the_old_address_answers_the_peer_is_there() -> None:
    path = at_home()
    path.receive(at(1), AWAY, 600, None)
    tokens = dict(path.questions(at(1)))
    assert not path.handle_answer(at(1.1), tokens[AWAY]), "at once, before the old one could"
    assert path.targets(at(1.2), 100_000) == [HOME, AWAY], "it has proved where it is"
    assert not path.handle_answer(at(1.2), tokens[HOME])
    assert path.address == HOME
    path.receive(at(1.3), AWAY, 600, None)
    assert path.targets(at(1.3), 10) == [HOME], "it rests"
    path.receive(at(1.2 + REST_S), AWAY, 600, None)
    assert path.targets(at(2.3), 10) == [HOME, AWAY], "and is looked at anew"


def test_an_echo_proves_nothing_for_it_may_be_of_what_was_sent_to_the_old_address() -> None:
    path = at_home()
    path.receive(at(1), AWAY, 600, None)
    path.targets(at(1), 60)
    for second in range(2, 30):
        path.receive(at(second), AWAY, 600, at(second - 0.1))
        assert not path.handle_answer(at(second), bytes(8))
        assert path.address == HOME


def test_where_only_the_new_address_answers_the_peer_has_moved() -> None:
    path = moved_away()
    assert (path.address, path.former, path.doubt) == (AWAY, HOME, None)
    assert path.targets(at(4), 100_000) == [AWAY]


def test_where_the_peer_says_to_be_an_answer_counts_at_once() -> None:
    path = moved_away()
    path.receive(at(4), HOME, 600, None)
    assert path.handle_answer(at(4.1), dict(path.questions(at(4)))[HOME])
    assert path.address == HOME


def test_a_peer_that_hears_nothing_any_more_is_looked_for_where_it_was() -> None:
    path = moved_away()
    path.advertise(OTHER)
    path.targets(at(4), 100)
    path.receive(at(4 + DEAF_S), AWAY, 100, at(3.5))
    assert not path.questions(at(9)), "not for long enough"
    path.receive(at(4.1 + DEAF_S), AWAY, 100, at(3.5))
    tokens = dict(path.questions(at(9.1)))
    assert list(tokens) == [AWAY, OTHER, HOME]
    assert path.targets(at(9.1), 10) == [AWAY], "no copies to where it was, only the question"
    path.receive(at(9.2), AWAY, 100, at(9.1))
    assert path.handle_answer(at(9.2), tokens[OTHER]), "that it comes by the old way is no matter"


def test_a_peer_that_hears_what_is_sent_is_not_looked_for_elsewhere() -> None:
    path = moved_away()
    for second in range(4, 60):
        path.targets(at(second), 100)
        path.receive(at(second + 0.01), AWAY, 100, at(second - 0.09))
        assert path.doubt is None


def test_credit_and_rivals_have_a_bound() -> None:
    path = at_home()
    for _ in range(100):
        path.receive(at(1), AWAY, 1232, None)
    assert path.doubt is not None
    assert path.doubt.rivals[AWAY].credit == CREDIT_BYTES_MAX
    for port in range(RIVALS_MAX):
        path.receive(at(1), Address("203.0.113.9", port), 60, None)
    assert len(path.doubt.rivals) == RIVALS_MAX
    assert AWAY not in path.doubt.rivals, "the oldest that has not answered goes"


Events = st.lists(
    st.tuples(
        st.sampled_from(["in", "out", "ask", "wait", "home answers"]),
        st.integers(1, 1232),
        st.sampled_from([AWAY, OTHER, HOME]),
        st.booleans(),
    )
)


@given(Events)
def test_nobody_without_the_tokens_moves_a_peer_or_gets_more_than_it_posted(
    events: list[tuple[str, int, Address, bool]],
) -> None:
    path, now = at_home(), 1.0
    balance = {AWAY: 0, OTHER: 0, HOME: 1 << 40}
    tokens: dict[Address, bytes] = {}
    for what, size, source, heard in events:
        if what == "in":
            path.receive(at(now), source, size, at(now) if heard else None)
            balance[source] += size
        elif what == "out":
            targets = path.targets(at(now), size)
            assert targets[0] == HOME, "everything goes there, whatever else does"
            for target in targets:
                balance[target] -= size
        elif what == "ask":
            asked = dict(path.questions(at(now)))
            tokens |= asked
            for target in asked:
                balance[target] -= QUESTION_BYTES
        elif what == "home answers":
            path.handle_answer(at(now), tokens.get(HOME, b""))
        else:
            now += size / 500
        assert path.address == HOME
        assert min(balance.values()) >= 0
