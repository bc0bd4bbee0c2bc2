"""Greetings under load: a few bytes back, and an ear for whoever sends them along."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Address, MeshId
from mesh.core.instants import Instant
from mesh.core.links.cookie import (
    COOKIE_BYTES,
    LIFE_S,
    Doorkeeper,
    Greeted,
    Welcome,
    decode_cookie_untrusted,
    encode_cookie,
)
from mesh.core.links.hello import HELLO_BYTES
from mesh.core.params import LinkParams

MESH = MeshId(b"m" * 32)
PARAMS = LinkParams(hello_total_s=5.0, hello_per_source_s=2.0, sources_max=16)
NOW = Instant(1000.0)


def source(number: int) -> Address:
    return Address(f"192.0.2.{number}", 7946)


def under_load(secret: bytes = b"s" * 32) -> Doorkeeper:
    door = Doorkeeper(secret, PARAMS)
    heard = [door.welcome(NOW, source(each), None) for each in range(5)]
    assert heard == [Welcome.HEARD] * 5
    return door


def test_a_cookie_costs_less_than_the_greeting_it_answers() -> None:
    data = encode_cookie(MESH, b"c" * COOKIE_BYTES)
    assert len(data) == 33 < HELLO_BYTES
    assert decode_cookie_untrusted(MESH, data) == b"c" * COOKIE_BYTES


@pytest.mark.parametrize("cut", [1, 17, 32])
def test_a_cut_or_foreign_cookie_is_refused(cut: int) -> None:
    data = encode_cookie(MESH, b"c" * COOKIE_BYTES)
    for wrong in (data[:cut], data + b"x", encode_cookie(MeshId(b"x" * 32), b"c" * COOKIE_BYTES)):
        with pytest.raises(RemoteError) as refused:
            decode_cookie_untrusted(MESH, wrong)
        assert refused.value.refusal is Refusal.WRONG_MESH


def test_at_ease_everybody_is_heard_and_under_load_a_cookie_comes_first() -> None:
    door = under_load()
    assert door.welcome(NOW, source(9), None) is Welcome.COOKIE_FIRST
    assert door.welcome(NOW, source(9), door.cookie(NOW, source(9))) is Welcome.HEARD
    later = Instant(NOW + 1.0)
    assert door.welcome(later, source(10), None) is Welcome.HEARD


def test_a_cookie_is_for_its_source_its_node_and_its_time() -> None:
    door = under_load()
    cookie = door.cookie(NOW, source(9))
    assert door.welcome(NOW, source(8), cookie) is Welcome.COOKIE_FIRST
    assert door.welcome(NOW, source(9), under_load(b"t" * 32).cookie(NOW, source(9))) is (
        Welcome.COOKIE_FIRST
    )
    old = Instant(NOW + 2 * LIFE_S)
    for each in range(5):
        door.welcome(old, source(100 + each), None)
    assert door.welcome(old, source(9), cookie) is Welcome.COOKIE_FIRST


def test_one_source_with_a_cookie_has_its_own_bound_all_the_same() -> None:
    door = under_load()
    cookie = door.cookie(NOW, source(9))
    heard = [door.welcome(NOW, source(9), cookie) for _ in range(4)]
    assert heard.count(Welcome.TURNED_AWAY) == 2


def test_sources_are_remembered_up_to_their_bound() -> None:
    door = under_load()
    for number in range(PARAMS.sources_max + 5):
        door.welcome(NOW, source(number), door.cookie(NOW, source(number)))
    assert len(door._sources) == PARAMS.sources_max


def test_only_who_was_greeted_may_send_a_cookie_and_only_once() -> None:
    greeted = Greeted(sources_max=2)
    greeted.note(source(1))
    assert greeted.take(source(1))
    assert not greeted.take(source(1))
    assert not greeted.take(source(2))
    for number in (3, 4, 5):
        greeted.note(source(number))
    assert not greeted.take(source(3)), "the oldest beyond the bound was forgotten"
    assert greeted.take(source(5))
