"""Where no majority comes about everybody is looked at; who is silent is concluded upon alone."""

import pytest

from mesh.core.identity import NodeId
from mesh.core.membership.facts import Verdict
from mesh.core.membership.messages import Ack, Ask, Ping
from mesh.core.membership.rounds import MEMBERS_PER_TURN
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import BOOT, Bench, presence_of

PEERS = tuple(f"n{i:02}" for i in range(40))


class Cut(Bench):
    """A bench on whose far side some peers lie, and who was pinged at which instant."""

    def __init__(self, **changed: float) -> None:
        self.pinged: list[tuple[float, NodeId]] = []
        super().__init__(*PEERS, random_probe_s=600.0, dead_redial_s=600.0, **changed)
        for _ in range(8):  # everybody was met, and its round trip is known
            for member in self.membership._table:
                if member.probe is None:
                    self.membership._edges.begin(self.now, member)
            self.run(0.5, PEERS)
        self.pinged.clear()

    def _answer(self, answering: tuple[str, ...]) -> None:
        ids = {self.id(name): name for name in answering}
        for peer, ping in self.said(Ping):
            self.pinged.append((self.instant, peer))
            if peer in ids:
                self.receive(ids[peer], Ack(ping.sequence, 0, 0))

    def edges(self) -> list[str]:
        return [name for name in PEERS if self.membership.is_edge(self.id(name))]

    def is_sweeping(self) -> bool:
        return self.membership._sweep._round.is_open

    def far(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the far side, with one edge and ten others, and who is left."""
        edge = self.edges()[0]
        strangers = [name for name in PEERS if name not in self.edges()][:10]
        far = [edge, *strangers]
        return far, tuple(name for name in PEERS if name not in far)


def test_who_is_silent_behind_a_cut_is_down_though_nobody_here_observes_it() -> None:
    bench = Cut()
    far, here = bench.far()
    bench.run(25.0, here)
    assert {bench.status(name) for name in far} <= {Status.DOWN, Status.DEAD}
    assert {bench.status(name) for name in here} == {Status.ALIVE}
    ended = bench.membership.ended(bench.id(far[-1]), BOOT)
    assert ended is not None
    assert ended.local
    assert isinstance(ended.fact.fact, Verdict)
    [(key, _)] = ended.fact.fact.accusations
    assert key == bench.author.public_key, "nobody else said so"
    assert bench.gossip.published[1:] == [], "and nobody else hears of it"


def test_a_sweep_asks_a_few_at_a_time() -> None:
    bench = Cut()
    _, here = bench.far()
    bench.run(25.0, here)
    strangers = {bench.id(name) for name in PEERS} - {bench.id(name) for name in bench.edges()}
    first: dict[NodeId, float] = {}
    for instant, peer in bench.pinged:
        if peer in strangers:
            first.setdefault(peer, instant)
    assert len(first) == len(strangers)
    at_once = max(list(first.values()).count(instant) for instant in first.values())
    assert at_once <= MEMBERS_PER_TURN


def test_nobody_is_swept_while_somebody_vouches_for_the_silent_edge() -> None:
    bench = Cut()
    far, here = bench.far()
    for _ in range(50):
        bench.run(0.5, here)
        if bench.status(far[0]) is Status.SUSPECT:
            bench.vouch(here[0], far[0])
    assert {bench.status(name) for name in far[1:]} == {Status.ALIVE}
    assert bench.membership._sweep._began < 0


def test_any_word_for_who_is_no_edge_ends_the_doubt() -> None:
    bench = Cut()
    far, here = bench.far()
    bench.run(9.0, here)
    suspects = [name for name in far[1:] if bench.status(name) is Status.SUSPECT]
    assert len(suspects) > 5
    asked = [peer for peer, ask in bench.said(Ask) if ask.subject == bench.id(suspects[0])]
    assert asked
    bench.vouch(here[0], suspects[0])
    assert bench.status(suspects[0]) is Status.ALIVE
    bench.reach(suspects[1])
    assert bench.status(suspects[1]) is Status.ALIVE
    bench.run(4.0, here)
    assert bench.status(suspects[0]) is Status.ALIVE, "the next sweep is seconds away"
    accused = dict.fromkeys(said.subject for _, said in bench.accused())
    assert list(accused) == [bench.id(far[0])], "no observers are asked to vote on the others"


@pytest.mark.parametrize("word", ["heard", "vouched for", "refuted"])
def test_who_was_concluded_upon_comes_back(word: str) -> None:
    bench = Cut()
    far, here = bench.far()
    bench.run(25.0, here)
    name = far[-1]
    if word == "heard":
        bench.reach(name)
    elif word == "vouched for":
        bench.vouch(here[0], name)
    else:
        bench.take(presence_of(bench.author_of(name), BOOT, 1))
    assert bench.status(name) is Status.ALIVE
    assert {bench.status(other) for other in far[:-1]} <= {Status.DOWN, Status.DEAD}


def test_a_host_that_slept_stops_its_sweep() -> None:
    bench = Cut(edge_hold_s=1.0)
    _, here = bench.far()
    while not bench.is_sweeping():
        bench.run(0.1, here)
    bench.membership.handle_suspend(bench.now, 60.0)
    assert not bench.is_sweeping()
    bench.run(1.0, PEERS)
    assert {bench.status(name) for name in PEERS} == {Status.ALIVE}
