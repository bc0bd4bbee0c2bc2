"""Links: two nodes that know each other's presence need no handshake, and nothing gets in twice."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import LinkKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Address, Boot, MeshId, NodeId
from mesh.core.instants import Instant
from mesh.core.links.links import Links
from mesh.core.links.session import LinkEnd, ReplayWindow, pair_keys
from mesh.core.params import LinkParams

SUITE = RealSuite()
MESH = MeshId(b"m" * 32)
NOW = Instant(10.0)


def links_of(name: bytes, boot: int = 1, mesh: MeshId = MESH) -> Links:
    key = LinkKey(name * 31 + bytes([boot]))
    end = LinkEnd(NodeId(name * 16), Boot(boot), SUITE.link_public(key))
    return Links(SUITE, mesh, end, key, LinkParams())


def introduced(a: Links, b: Links) -> None:
    a.learn(b.own, Address("127.0.0.1", 2), NOW)
    b.learn(a.own, Address("127.0.0.1", 1), NOW)


def test_a_sealed_datagram_opens_at_the_other_end_and_nowhere_else() -> None:
    a, b, c = links_of(b"a"), links_of(b"b"), links_of(b"c")
    introduced(a, b)
    introduced(a, c)
    (data,) = a.seal(NOW, b.own.id, [(7, b"hello"), (9, b"")])
    opened = b.open_untrusted(NOW, data, Address("127.0.0.1", 9))
    assert (opened.peer, opened.frames) == (a.own.id, [(7, b"hello"), (9, b"")])
    assert opened.echo_age_s is None
    with pytest.raises(RemoteError) as refused:
        c.open_untrusted(NOW, data, Address("127.0.0.1", 9))
    assert refused.value.refusal is Refusal.UNKNOWN_SENDER


def test_the_same_datagram_twice_is_refused_and_changes_nothing() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    introduced(a, b)
    (data,) = a.seal(NOW, b.own.id, [(7, b"once")])
    b.open_untrusted(NOW, data, Address("127.0.0.1", 1))
    with pytest.raises(RemoteError) as refused:
        b.open_untrusted(NOW, data, Address("9.9.9.9", 1))
    assert refused.value.refusal is Refusal.REPLAYED
    assert b.address(a.own.id) == Address("127.0.0.1", 1)


def test_any_changed_bit_is_refused() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    introduced(a, b)
    (data,) = a.seal(NOW, b.own.id, [(7, b"exact")])
    for place in range(len(data)):
        forged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(RemoteError):
            b.open_untrusted(NOW, forged, None)
    assert b.open_untrusted(NOW, data, None).frames == [(7, b"exact")]


def test_counters_of_one_boot_never_repeat_over_peers_and_forgotten_sessions() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    introduced(a, b)
    first = a.seal(NOW, b.own.id, [(1, b"")])[0]
    a.forget(b.own.id)
    a.learn(b.own, Address("127.0.0.1", 2))
    second = a.seal(NOW, b.own.id, [(1, b"")])[0]
    assert first[1:9] == second[1:9]
    assert first[9:17] < second[9:17]


def test_another_boot_is_another_link() -> None:
    a, b, reborn = links_of(b"a"), links_of(b"b"), links_of(b"b", boot=2)
    introduced(a, b)
    a.learn(reborn.own, Address("127.0.0.1", 2))
    reborn.learn(a.own, Address("127.0.0.1", 1))
    (data,) = a.seal(NOW, b.own.id, [(7, b"new")])
    with pytest.raises(RemoteError):
        b.open_untrusted(NOW, data, None)
    assert reborn.open_untrusted(NOW, data, None).frames == [(7, b"new")]


def test_many_messages_are_cut_into_datagrams_that_fit() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    introduced(a, b)
    messages = [(20, bytes([i]) * 700) for i in range(5)]
    datagrams = a.seal(NOW, b.own.id, messages)
    assert all(len(data) <= 1232 for data in datagrams)
    frames = [f for data in datagrams for f in b.open_untrusted(NOW, data, None).frames]
    assert frames == messages


def test_the_echo_tells_how_long_ago_the_peer_was_heard() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    introduced(a, b)
    ping = a.seal(NOW, b.own.id, [(1, b"")])[0]
    b.open_untrusted(NOW, ping, Address("127.0.0.1", 1))
    answer = b.seal(Instant(11.0), a.own.id, [(2, b"")])[0]
    age = a.open_untrusted(Instant(12.0), answer, Address("127.0.0.1", 2)).echo_age_s
    assert age is not None
    assert 1.0 <= age <= 1.2


def test_a_link_key_of_small_order_is_refused() -> None:
    a = links_of(b"a")
    with pytest.raises(RemoteError) as refused:
        a.learn(LinkEnd(NodeId(b"z" * 16), Boot(1), bytes(32)), Address("127.0.0.1", 2))
    assert refused.value.refusal is Refusal.BAD_KEY
    assert a.address(NodeId(b"z" * 16)) is None


def test_two_meshes_share_no_keys() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    other = pair_keys(SUITE, MeshId(b"o" * 32), a.key, a.own, b.own)
    same = pair_keys(SUITE, MESH, a.key, a.own, b.own)
    assert other.send_key != same.send_key
    assert other.send_index != same.send_index


def test_replay_window_at_its_edges() -> None:
    window = ReplayWindow(64)
    assert window.admit(100)
    assert not window.admit(100)
    assert window.admit(37)
    assert not window.admit(37)
    assert not window.admit(36), "one below the window is too old to tell"
    assert window.admit(99)
    assert window.admit(10_000)
    assert not window.admit(100)
    assert window.admit(9_999)


def test_a_peer_is_greeted_until_it_answers_and_not_too_often() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    introduced(a, b)
    assert a.should_greet(NOW, b.own.id, 6.0)
    assert not a.should_greet(Instant(10.5), b.own.id, 6.0)
    assert a.should_greet(Instant(11.1), b.own.id, 6.0)
    a.open_untrusted(Instant(11.2), b.seal(NOW, a.own.id, [(2, b"")])[0], Address("127.0.0.1", 2))
    assert not a.should_greet(Instant(13.0), b.own.id, 6.0)
    assert not a.should_greet(Instant(18.0), b.own.id, 6.0), "silent, but nobody asked it"
    assert a.ask(Instant(18.0), b.own.id) == 0.0
    assert not a.should_greet(Instant(18.0), b.own.id, 6.0), "it may answer yet"
    assert a.ask(Instant(18.5), b.own.id) == 0.5
    assert not a.should_greet(Instant(18.5), b.own.id, 6.0), "one loss is no silence"
    assert a.ask(Instant(19.0), b.own.id) == 1.0
    assert a.should_greet(Instant(19.0), b.own.id, 6.0)
    a.open_untrusted(Instant(19.0), b.seal(NOW, a.own.id, [(2, b"")])[0], Address("127.0.0.1", 2))
    assert a.ask(Instant(26.0), b.own.id) == 0.0, "what was heard answers what was asked"


def test_a_link_key_that_shares_no_secret_is_told_before_it_is_learnt() -> None:
    a, b = links_of(b"a"), links_of(b"b")
    a.check(b.own.link_key)
    with pytest.raises(RemoteError) as refused:
        a.check(bytes(32))
    assert refused.value.refusal is Refusal.BAD_KEY
    assert not a.routes
