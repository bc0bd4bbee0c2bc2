"""Coming back together: one who is heard makes us dial all whom we gave up alone."""

from collections import Counter

from mesh.core.identity import NodeId
from mesh.core.instants import Instant
from mesh.core.membership.messages import Ack, Ping
from mesh.core.membership.rounds import MEMBERS_PER_TURN
from mesh.core.snapshot import Status
from tests.unit.core.membership.bench import Bench, verdict_of

LOST = tuple(f"n{i:02}" for i in range(20))


class Dialling(Bench):
    """A bench that remembers whom it pinged, turn by turn."""

    def __init__(self, *names: str) -> None:
        self.turns: list[list[NodeId]] = []
        super().__init__(*names, all_observe_max=18, dead_redial_s=600.0)

    def _answer(self, answering: tuple[str, ...]) -> None:
        turn = self.said(Ping)
        self.turns.append([peer for peer, _ in turn])
        ids = {self.id(name): name for name in answering}
        for peer, ping in turn:
            if peer in ids:
                self.receive(ids[peer], Ack(ping.sequence, 0, 0))

    def dialled(self) -> Counter[NodeId]:
        """Return who was pinged since the last call, and how often."""
        self._answer(())
        found = Counter(peer for turn in self.turns for peer in turn)
        self.turns.clear()
        return found


def alone(*names: str) -> Dialling:
    """Return a bench whose peers are all dead by its own conclusion."""
    bench = Dialling(*names)
    bench.run(3.0, names)
    bench.run(60.0)
    assert {bench.status(name) for name in names} == {Status.DEAD}
    bench.dialled()
    return bench


def test_the_first_who_is_heard_makes_us_dial_the_others_at_once() -> None:
    bench = alone("a", "b", "c", "d")
    bench.receive("a", Ping(1, 0, 0))
    assert bench.dialled() == {bench.id("a"): 1}, "does it hear us?"
    bench.run(0.3)
    assert set(bench.dialled()) == {bench.id(name) for name in "bcd"}


def test_hearing_the_same_one_again_and_again_dials_nobody_again() -> None:
    bench = alone("a", "b", "c", "d")
    for _ in range(20):
        bench.receive("a", Ping(1, 0, 0))
        bench.run(0.02)
    assert bench.dialled() == dict.fromkeys(map(bench.id, "abcd"), 1)
    assert len(bench.said(Ack)) == 20


def test_many_are_dialled_in_turns() -> None:
    bench = alone(*LOST)
    bench.receive(LOST[0], Ping(1, 0, 0))
    assert set(bench.dialled()) == {bench.id(LOST[0])}
    bench.run(2.0)
    assert 0 < max(map(len, bench.turns)) <= MEMBERS_PER_TURN
    assert set(bench.dialled()) == {bench.id(name) for name in LOST[1:]}


def test_who_comes_back_is_believed_once_it_answers() -> None:
    bench = alone("a", "b", "c")
    bench.receive("a", Ping(1, 0, 0))
    bench.run(0.5, ("a", "b"))
    assert [bench.status(name) for name in "abc"] == [Status.ALIVE, Status.ALIVE, Status.DEAD]


def test_who_is_down_by_a_verdict_is_told_and_nobody_else_is_dialled() -> None:
    bench = Dialling("a", "b", "c", "x", "y")
    bench.run(3.0, ("a", "b", "c", "x", "y"))
    for name in "xy":
        bench.take(verdict_of([bench.peers[n] for n in "abc"], bench.id(name)))
    bench.dialled()
    bench.receive("x", Ping(1, 0, 0))
    assert [peer for peer, _ in bench.gossip.told] == [bench.id("x")]
    bench.run(0.3, ("a", "b", "c"))
    assert bench.id("y") not in bench.dialled(), "gossip tells it"


def test_an_edge_that_answers_hears_of_a_verdict_that_others_came_to() -> None:
    bench = Bench("a", "b", "c", "d", "x")
    names = ("a", "b", "c", "d", "x")
    bench.run(3.0, names)
    strangers = [bench.author_of(name) for name in ("far1", "far2", "far3")]
    verdict = verdict_of(strangers, bench.id("x"))
    bench.take(verdict)
    assert bench.status("x") is Status.ALIVE, "strangers are no observers: test it first"
    bench.run(0.5, names)
    assert bench.gossip.told == [(bench.id("x"), (verdict.id,))]
    bench.run(1.0, names)
    assert len(bench.gossip.told) == 1


def test_whom_we_gave_up_alone_is_dialled_every_other_time_however_many_are_dead() -> None:
    """Seed 622 of ten nodes for ten minutes: two gave each other up, beside forty real dead."""
    here = ("a", "b", "c")
    everybody = (*here, *LOST, "x")
    bench = Bench(*everybody, all_observe_max=18, dead_redial_s=1.0)
    bench.run(3.0, everybody)
    for name in LOST:
        bench.take(verdict_of([bench.peers[n] for n in here], bench.id(name)))
    x = bench.membership._table.get(bench.id("x"))
    assert x is not None
    bench.membership._ground.table.set_status(x, Status.DEAD, Instant(bench.instant))
    bench.membership._lifecycle.lost[x.id] = None
    ids = {bench.id(name): name for name in here}
    dialled: Counter[NodeId] = Counter()
    for _ in range(400):
        bench.instant = Instant(bench.instant + 0.1)
        bench.membership.handle_timeout(bench.now)
        for peer, ping in bench.said(Ping):
            dialled[peer] += 1
            if peer in ids:
                bench.receive(ids[peer], Ack(ping.sequence, 0, 0))
    dead = sum(dialled[bench.id(name)] for name in LOST)
    assert dialled[x.id] >= 10, "one of 21 by chance alone"
    assert dead >= 10, "the others are not forgotten for it"
