"""What costs signatures waits its turn, each peer's by itself."""

from dataclasses import replace

from mesh.core.gossip.messages import PushAck, ToldFacts
from mesh.core.identity import MeshId, NodeId
from mesh.core.instants import NEVER, Instant, Now, WallTime
from mesh.core.membership.messages import Ping
from mesh.core.node.backlog import MESSAGE_BYTES, PAUSE_S, Backlog
from mesh.core.params import params_for
from mesh.core.wire.envelope import Verifier
from mesh.sim.suite import SimSuite

LINKS = replace(params_for("local").links, checks_per_turn=3, waiting_bytes_max=131_072)
A, B, C = (NodeId(bytes([number]) * 16) for number in range(3))
KIND = ToldFacts.KIND


def at(instant: float) -> Now:
    return Now(Instant(instant), WallTime(0.0))


class Desk:
    """Whoever handles messages; each costs as many checks as its body has bytes."""

    def __init__(self) -> None:
        self.verifier = Verifier(SimSuite(), MeshId(bytes(32)))
        self.handled: list[tuple[NodeId, bytes]] = []
        self.counted: list[str] = []
        self.backlog = Backlog(LINKS, self.verifier, self.handle, self.counted.append)

    def handle(self, _now: Now, peer: NodeId, _kind: int, body: bytes) -> None:
        self.verifier.verifications += len(body)
        self.handled.append((peer, body))

    def receive(self, peer: NodeId, body: bytes, kind: int = KIND) -> None:
        if self.backlog.must_wait(peer, kind):
            self.backlog.put(at(1.0), peer, kind, body)
        else:
            self.handle(at(1.0), peer, kind, body)

    def turns(self) -> list[list[NodeId]]:
        """Serve to the end; return whose messages were handled, turn by turn."""
        found = []
        while (due := self.backlog.next_deadline()) != NEVER:
            done = len(self.handled)
            self.backlog.begin_turn()
            self.backlog.serve(at(due))
            assert self.backlog.next_deadline() > due
            found.append([peer for peer, _ in self.handled[done:]])
        return found


def test_as_many_checks_as_a_turn_has_and_the_next_one_waits() -> None:
    desk = Desk()
    for _ in range(LINKS.checks_per_turn):
        desk.receive(A, b"x")
    assert len(desk.handled) == LINKS.checks_per_turn
    assert desk.backlog.next_deadline() == NEVER
    desk.receive(A, b"y")
    assert len(desk.handled) == LINKS.checks_per_turn
    assert desk.backlog.next_deadline() == 1.0 + PAUSE_S
    assert desk.turns() == [[A]]


def test_what_costs_nothing_never_waits() -> None:
    desk = Desk()
    desk.receive(A, b"xxx")
    for kind in (Ping.KIND, PushAck.KIND):
        desk.receive(A, b"", kind)
        desk.receive(B, b"", kind)
    assert len(desk.handled) == 5


def test_messages_of_one_peer_keep_their_order() -> None:
    desk = Desk()
    for number in range(10):
        desk.receive(A, bytes([number]) * 2)
    desk.backlog.begin_turn()
    desk.receive(A, b"last")
    desk.turns()
    assert [body[:1] for _, body in desk.handled] == [*(bytes([n]) for n in range(10)), b"l"]


def test_who_sends_the_most_delays_nobody_but_itself() -> None:
    desk = Desk()
    for _ in range(100):
        desk.receive(A, b"x")
    desk.receive(B, b"x")
    desk.receive(C, b"x")
    turns = desk.turns()
    assert turns[0] == [A, B, C]
    assert all(len(turn) <= LINKS.checks_per_turn for turn in turns)
    assert sum(map(len, turns)) == 100 + 2 - LINKS.checks_per_turn


def test_a_queue_is_bounded_in_bytes_and_of_one_peer_alone() -> None:
    desk = Desk()
    desk.receive(C, b"xxx")
    body = bytes(LINKS.waiting_bytes_max // 2 - MESSAGE_BYTES)
    desk.receive(A, body)
    desk.receive(A, body)
    assert desk.backlog.sizes() == (
        ("backlog of one peer", LINKS.waiting_bytes_max, LINKS.waiting_bytes_max),
    )
    assert "backlog_dropped" not in desk.counted
    desk.receive(A, b"")
    assert desk.counted.count("backlog_dropped") == 1
    desk.receive(B, b"")
    assert desk.counted.count("backlog_dropped") == 1
    assert desk.turns() == [[A], [B, A]]


def test_a_message_that_costs_more_than_a_turn_is_handled_alone() -> None:
    desk = Desk()
    desk.receive(A, b"x" * 50)
    desk.receive(A, b"x" * 50)
    desk.receive(B, b"x")
    assert desk.turns() == [[A], [B]]


def test_nothing_of_a_peer_waits_once_it_is_forgotten() -> None:
    desk = Desk()
    desk.receive(C, b"xxx")
    desk.receive(A, b"x")
    desk.backlog.forget(A)
    assert desk.turns() == [[]]
