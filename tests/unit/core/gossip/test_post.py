"""Bodies: entries in order, none cut, each body within its limit."""

from mesh.core.gossip.messages import SyncFacts
from mesh.core.gossip.post import BULK_FROM_BYTES, Post, pack_bodies
from mesh.core.identity import NodeId
from mesh.core.outbox import Outbox
from mesh.core.wire.frame import BODY_BYTES_MAX

PEER = NodeId(b"p" * 16)


def test_bodies_are_filled_to_the_limit_and_not_beyond() -> None:
    bodies = list(pack_bodies(b"h", [b"aaa", b"bb", b"c", b"dddd"], 6))
    assert bodies == [b"haaabb", b"hcdddd"]
    assert list(pack_bodies(b"h", [], 6)) == []
    assert list(pack_bodies(b"h", [b"a", b"b" * 9, b"c"], 6)) == [b"ha", b"h" + b"b" * 9, b"hc"]


def test_little_goes_in_datagrams_and_much_over_a_stream() -> None:
    outbox = Outbox()
    post = Post(outbox)
    post.send_entries(PEER, SyncFacts, b"\0", [b"x" * 1000] * 8)
    assert len(outbox.messages[PEER]) == 8
    assert not outbox.bulk
    post.send_entries(PEER, SyncFacts, b"\0", [b"x" * 1000] * (BULK_FROM_BYTES // 1000 + 1))
    assert len(outbox.bulk[PEER]) == 1
    post.send(PEER, SyncFacts, bytes(BODY_BYTES_MAX + 1))
    assert len(outbox.bulk[PEER]) == 2
    assert post.counters()["sent_SyncFacts"] == 10
