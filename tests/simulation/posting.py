"""Somebody without a key who sits near the way from one node to another, and posts letters anew."""

from dataclasses import dataclass, replace

from mesh.core.identity import Address
from mesh.sim.network import DROP, PASS, Packet
from mesh.sim.network import Verdict as Fate
from mesh.sim.scenario import Mesh
from tests.simulation.hunting import FAILED, a_mesh, close, member_at

ELSEWHERE = Address("203.0.113.9", 53)


@dataclass(eq=False)
class Poster:
    """Catches each sealed datagram of b to a and posts it to a from an address of its own."""

    mesh: Mesh
    late_s: float = 0.0
    """So much later than at once; the original takes the usual time."""
    keeps: bool = False
    """The original arrives never."""
    cuts: bool = False
    """Nothing that a sends to b arrives, but what is sent to the poster."""
    passes_back: bool = False
    """It hands to b what a sends to the poster."""
    got: int = 0
    posted: int = 0
    most: int = 0
    """By how many bytes more than it had posted it got, at the worst."""

    def __post_init__(self) -> None:
        world = self.mesh.world
        world.by_address[ELSEWHERE] = world.hosts["c"]  # so that it sees what is sent there
        world.add_rule(self)

    def __call__(self, packet: Packet) -> Fate:
        """Say what becomes of a packet."""
        a, b = (self.mesh.world.hosts[name].address for name in "ab")
        if packet.target == ELSEWHERE and packet.source == b:  # a is there for b, by now
            self._post(packet)
            return DROP
        if packet.target == ELSEWHERE:
            self.got += len(packet.data)
            self.most = max(self.most, self.got - self.posted)
            if self.passes_back:
                self.mesh.world.inject(replace(packet, source=ELSEWHERE, target=b), 0.001)
            return DROP
        if (packet.source, packet.target) == (a, b):
            return DROP if self.cuts else PASS
        if (packet.source, packet.target) == (b, a) and packet.data[:1] == b"\1":
            self._post(packet)
            return DROP if self.keeps else PASS
        return PASS

    def _post(self, packet: Packet) -> None:
        self.posted += len(packet.data)
        a = self.mesh.world.hosts["a"].address
        copy = replace(packet, source=ELSEWHERE, target=a, copies_s=[])
        self.mesh.world.inject(copy, self.late_s)

    def stop(self) -> None:
        """Leave the mail alone."""
        self.mesh.world.remove_rule(self)


def doubted(mesh: Mesh) -> list[str]:
    """Return who is believed to be down by whom, at this moment."""
    return [
        f"{name} is {status} at {person.name}"
        for person in mesh.running()
        for name, status in person.members().items()
        if status in FAILED
    ]


def run_and_watch(mesh: Mesh, s: float) -> None:
    """Let time pass; nobody may be believed to be down meanwhile."""
    for _ in range(int(s / 0.5)):
        mesh.run(s=0.5)
        assert not doubted(mesh), "false death"


def where_b_is(mesh: Mesh) -> Address:
    """Return where a sends what is for b."""
    found = member_at(mesh, "a").transport.links.address(member_at(mesh, "b").author.id)
    assert found is not None
    return found


def posted_faster(seed: int) -> None:
    """Each datagram of b comes to a from elsewhere first, for 30 s: b stays where it is."""
    mesh = a_mesh(seed)
    home = where_b_is(mesh)
    poster = Poster(mesh)
    for number in range(10):
        run_and_watch(mesh, 3)
        mesh["a"].submit(f"task-{number}")
        assert where_b_is(mesh) == home, "led away"
    assert poster.posted > 0, "nothing was caught"
    assert poster.most <= 0, "more bytes than were posted"
    poster.stop()
    close(mesh)


def posted_and_passed_on(seed: int) -> None:
    """The poster cuts the way and is a good postman, then posts on but delivers no more."""
    mesh = a_mesh(seed)
    home = where_b_is(mesh)
    poster = Poster(mesh, keeps=True, cuts=True, passes_back=True)
    run_and_watch(mesh, 15)
    assert where_b_is(mesh) == ELSEWHERE, "the only way that works is not taken"
    poster.keeps = poster.cuts = poster.passes_back = False
    mesh.run_until(lambda: where_b_is(mesh) == home, 15)
    run_and_watch(mesh, 15)
    assert where_b_is(mesh) == home
    poster.stop()
    close(mesh)
