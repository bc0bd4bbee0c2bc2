"""Whom a blob is fetched from, and who is blamed when its bytes are wrong."""

from mesh.core.blobs.fetching import Fetch, Fetching
from mesh.core.blobs.messages import PART_BYTES_MAX, BlobAsk
from mesh.core.identity import BlobId, NodeId
from mesh.core.instants import Instant
from mesh.core.params import BlobParams

BLOB = BlobId(bytes(32))
A, B, C = (NodeId(letter * 16) for letter in (b"a", b"b", b"c"))
SIZE = 2 * PART_BYTES_MAX
START = Instant(1.0)


class Peers:
    """Three peers that are asked, and what this node does about one blob."""

    def __init__(self) -> None:
        self.asked: list[tuple[NodeId, int]] = []
        self.fetching = Fetching(BlobParams(), lambda: (A, B, C), self._ask)
        self.fetching.begin(BLOB, SIZE, ())

    def _ask(self, peer: NodeId, ask: BlobAsk) -> None:
        self.asked.append((peer, ask.offset))

    @property
    def fetch(self) -> Fetch:
        """The fetch under way."""
        return self.fetching.fetches[BLOB]

    def turn(self, have: int) -> tuple[NodeId, int]:
        """Nothing comes any more: return who is asked, and from where on."""
        self.fetching.handle_silence(START, self.fetch, have)
        return self.asked[-1]

    def come(self, size: int) -> None:
        """Bytes come from whoever was asked."""
        self.fetch.received += size


def test_whoever_has_sent_all_of_wrong_bytes_is_not_asked_again() -> None:
    peers = Peers()
    assert peers.turn(0) == (A, 0)
    peers.come(SIZE)
    peers.fetching.handle_wrong(START, BLOB)
    assert peers.turn(0) == (B, 0)
    peers.come(SIZE)
    peers.fetching.handle_wrong(START, BLOB)
    assert peers.turn(0) == (C, 0)
    assert list(peers.fetch.liars) == [A, B]


def test_nobody_is_blamed_for_the_bytes_of_another() -> None:
    peers = Peers()
    assert peers.turn(0) == (A, 0)
    peers.come(PART_BYTES_MAX)
    assert peers.turn(PART_BYTES_MAX) == (B, PART_BYTES_MAX), "what is here is kept"
    peers.come(PART_BYTES_MAX)
    peers.fetching.handle_wrong(START, BLOB)
    assert not peers.fetch.liars, "one of the two: nobody can say which"
    assert peers.turn(0) == (C, 0)
    peers.come(PART_BYTES_MAX)
    peers.turn(PART_BYTES_MAX)
    assert peers.turn(PART_BYTES_MAX) == (A, 0), "from now on each sends all of it"


def test_wrong_bytes_from_before_a_restart_are_nobodys() -> None:
    peers = Peers()
    assert peers.turn(PART_BYTES_MAX) == (A, PART_BYTES_MAX)
    peers.come(PART_BYTES_MAX)
    peers.fetching.handle_wrong(START, BLOB)
    assert not peers.fetch.liars


def test_a_broken_connection_is_followed_by_asking_again_at_once() -> None:
    peers = Peers()
    assert peers.turn(0) == (A, 0)
    peers.come(PART_BYTES_MAX)
    peers.fetch.gained = True
    peers.fetching.handle_cut(START, A)
    assert peers.fetch.due == START
    assert peers.turn(PART_BYTES_MAX) == (B, PART_BYTES_MAX)
    peers.fetching.handle_cut(START, A)
    assert peers.fetch.source == B, "it was not with A any more"


def test_a_single_peer_is_asked_again_as_long_as_it_sends_something() -> None:
    peers = Peers()
    peers.fetching.alive = lambda: (A,)
    assert peers.turn(0) == (A, 0)
    peers.come(PART_BYTES_MAX)
    peers.fetch.gained = True
    peers.fetching.handle_cut(START, A)
    assert peers.turn(PART_BYTES_MAX) == (A, PART_BYTES_MAX)
    peers.fetching.handle_cut(START, A)
    assert peers.fetch.due > START, "it has sent nothing since: it is given its time"
    peers.turn(PART_BYTES_MAX)
    assert peers.fetch.source is None, "then it rests"
    assert len(peers.asked) == 2


def test_more_is_asked_for_once_half_of_the_window_is_here() -> None:
    peers = Peers()
    peers.fetch.size = 100 * PART_BYTES_MAX
    assert peers.turn(0) == (A, 0)
    window = peers.fetching.params.window_parts
    for have in range(1, 100):
        peers.fetching.go_on(START, peers.fetch, have * PART_BYTES_MAX)
        on_their_way = peers.fetch.asked // PART_BYTES_MAX - have
        assert min(window // 2 + 1, 100 - have) <= on_their_way <= window
    assert len(peers.asked) <= 2 * 100 / window + 1
