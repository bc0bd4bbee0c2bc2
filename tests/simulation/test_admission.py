"""Who is let in, and by whom: tickets under a rush, waiting to be admitted, joins passed on."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from mesh.core.commands import Command, NodeStatus
from mesh.core.crypto.keys import make_signing_key
from mesh.core.effects import CloseStream, Json, SendStream, StreamId
from mesh.core.identity import Address
from mesh.core.instants import Now, WallTime, later
from mesh.core.params import params_for
from mesh.core.trust.joining import Joiner, JoinParts, JoinWish
from mesh.core.trust_commands import (
    TrustAdmit,
    TrustDeny,
    TrustInvite,
    TrustInvites,
    TrustPending,
    TrustUninvite,
)
from mesh.sim.host import HostState
from mesh.sim.network import DROP, PASS, Loss, Packet, Verdict
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Refused
from mesh.sim.suite import SimSuite
from mesh.sim.world import World
from tests.simulation.hunting import member_at, node_at

RUSH = 100
USES = 3


def founded(count: int, population: Population, seed: int = 1) -> Mesh:
    """Return a mesh of one node, a, and hosts whose nodes will be strangers."""
    names = ["a", *(f"n{number:02}" for number in range(1, count))]
    world = World(seed, params_for("local"), population, suite=SimSuite(strict=True))
    mesh = Mesh(world, names)
    world.start("a")
    mesh.run(s=1)
    return mesh


def tell(mesh: Mesh, name: str, command: Command) -> dict[str, Json]:
    """Ask a node, and return its answer."""
    result = mesh[name].tell(command).result
    assert isinstance(result, dict)
    return result


def state(mesh: Mesh, name: str) -> Mapping[str, Json]:
    """Return what a node says of itself."""
    node = tell(mesh, name, NodeStatus())["node"]
    assert isinstance(node, dict)
    return node


def is_member(mesh: Mesh, name: str) -> bool:
    """Whether a node has got in."""
    return state(mesh, name)["state"] == "member"


def invited(mesh: Mesh, by: str = "a", uses: int = 1) -> str:
    """Let the next strangers have a ticket."""
    ticket = str(tell(mesh, by, TrustInvite(uses=uses))["ticket"])
    mesh.world.ticket = ticket
    return ticket


def certified(mesh: Mesh) -> int:
    """Return how many keys have a certificate at a."""
    trust = member_at(mesh, "a").trust
    return sum(map(trust.is_member, trust.named_keys()))


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_hundred_at_once_on_a_ticket_of_three_uses(loss: float) -> None:
    mesh = founded(RUSH + 1, Population(by_ticket=True))
    invited(mesh, uses=USES)
    mesh.world.add_rule(Loss(random.Random(2), loss))
    rush = mesh.names[1:]
    for name in rush:
        mesh.world.start(name)
    mesh.run(s=2)
    mesh.restart("a")  # in the middle of it: what was granted is on disk
    mesh.run_until(lambda: len(inside(mesh, rush)) >= USES, 60)
    mesh.run(s=60)
    assert len(inside(mesh, rush)) == USES
    assert certified(mesh) == 1 + USES


@dataclass(frozen=True)
class Apart:
    """Two hosts do not reach each other; everybody else reaches both."""

    both: tuple[Address, ...]

    def severs(self, source: Address, target: Address) -> bool:
        """Whether nothing gets from source to target."""
        return source in self.both and target in self.both

    def __call__(self, packet: Packet) -> Verdict:
        """Say what becomes of a packet."""
        return DROP if self.severs(packet.source, packet.target) else PASS


def inside(mesh: Mesh, names: tuple[str, ...]) -> list[str]:
    """Return who of these has become a member."""
    running = [name for name in names if mesh.world.hosts[name].state is HostState.RUNNING]
    return [name for name in running if node_at(mesh, name).participant is not None]


def test_a_lost_answer_spends_nothing() -> None:
    mesh = founded(3, Population(by_ticket=True))
    invited(mesh, uses=1)
    mesh.world.start("n01")
    mesh.run_until(lambda: certified(mesh) == 2, 10)
    mesh.kill("n01")  # before or after the grant has reached its disk
    mesh.world.start("n01")
    mesh.run_until(lambda: inside(mesh, ("n01",)) == ["n01"], 60)
    assert certified(mesh) == 2


def test_tickets_are_listed_and_taken_back() -> None:
    mesh = founded(3, Population(by_ticket=True))
    ticket = invited(mesh, uses=2)
    mesh.world.start("n01")
    mesh.run_until(lambda: is_member(mesh, "n01"), 10)
    [shown] = listed(mesh, "a")
    assert (shown["uses_left"], shown["state"]) == (1, "open")
    assert ticket not in str(shown), "the list does not let anybody in"
    assert tell(mesh, "a", TrustUninvite(ticket=str(shown["ticket"])[:8]))["state"] == "expired"
    assert listed(mesh, "a")[0]["state"] == "expired"
    mesh.world.start("n02")
    mesh.run_until(lambda: mesh.world.hosts["n02"].state is HostState.OFF, 60)
    assert "expired" in str(mesh.world.hosts["n02"].halted)
    with pytest.raises(Refused) as refused:
        tell(mesh, "a", TrustUninvite(ticket="ffff"))
    assert refused.value.name == "no_ticket"
    other = invited(mesh)
    assert tell(mesh, "a", TrustUninvite(ticket=other))["state"] == "expired"


def listed(mesh: Mesh, name: str) -> list[dict[str, Json]]:
    """Return the tickets of a node."""
    tickets = tell(mesh, name, TrustInvites())["tickets"]
    assert isinstance(tickets, list)
    return [ticket for ticket in tickets if isinstance(ticket, dict)]


def waiting(mesh: Mesh, name: str) -> list[dict[str, Json]]:
    """Return who waits at a node."""
    pending = tell(mesh, name, TrustPending())["pending"]
    assert isinstance(pending, list)
    return [one for one in pending if isinstance(one, dict)]


def test_by_seed_and_mesh_id_somebody_waits_and_is_admitted() -> None:
    mesh = founded(2, Population(by_ticket=True, knows_mesh=True))
    mesh.world.start("n01")
    mesh.run_until(lambda: bool(waiting(mesh, "a")), 10)
    [applicant] = waiting(mesh, "a")
    own = state(mesh, "n01")
    assert own["state"] == "pending"
    assert own["fingerprint"] == applicant["fingerprint"], "to be compared by people"
    mesh.run(s=30)
    assert len(waiting(mesh, "a")) == 1, "it asks again and again"
    tell(mesh, "a", TrustAdmit(node="n01"))
    took = mesh.run_until(lambda: is_member(mesh, "n01"), 10)
    assert took < 5
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    assert not waiting(mesh, "a")


def test_who_is_denied_stops_and_says_why() -> None:
    mesh = founded(2, Population(by_ticket=True, knows_mesh=True))
    mesh.world.start("n01")
    mesh.run_until(lambda: bool(waiting(mesh, "a")), 10)
    with pytest.raises(Refused):
        tell(mesh, "a", TrustDeny(node="nobody"))
    tell(mesh, "a", TrustDeny(node="n01"))
    mesh.run_until(lambda: mesh.world.hosts["n01"].state is HostState.OFF, 20)
    assert "said no" in str(mesh.world.hosts["n01"].halted)


def test_a_denial_outlives_the_admins_restart_and_a_ticket_outdoes_it() -> None:
    mesh = founded(2, Population(by_ticket=True, knows_mesh=True))
    mesh.world.start("n01")
    mesh.run_until(lambda: bool(waiting(mesh, "a")), 10)
    tell(mesh, "a", TrustDeny(node="n01"))
    mesh.kill("a")
    mesh.run_until(lambda: mesh.world.hosts["n01"].state is not HostState.OFF, 1)
    mesh.world.start("a")
    mesh.run_until(lambda: mesh.world.hosts["n01"].state is HostState.OFF, 60)
    assert "said no" in str(mesh.world.hosts["n01"].halted)
    assert not waiting(mesh, "a")
    invited(mesh)
    mesh.world.start("n01")
    mesh.run_until(lambda: is_member(mesh, "n01"), 10)


def test_who_knows_no_mesh_id_is_answered_while_somebody_listens() -> None:
    mesh = founded(2, Population(by_ticket=True))
    mesh.world.start("n01")
    mesh.run_until(lambda: mesh.world.hosts["n01"].state is HostState.OFF, 20)
    assert "without a ticket" in str(mesh.world.hosts["n01"].halted)
    tell(mesh, "a", TrustAdmit(listen_s=60.0))
    mesh.world.start("n01")
    mesh.run_until(lambda: bool(waiting(mesh, "a")), 10)
    tell(mesh, "a", TrustAdmit(node="n01"))
    mesh.run_until(lambda: is_member(mesh, "n01"), 10)


def test_any_member_passes_a_join_on_to_the_admin_of_the_ticket() -> None:
    mesh = founded(6, Population(by_ticket=True))
    invited(mesh, uses=4)
    for name in mesh.names[1:5]:
        mesh.world.start(name)
        mesh.run_until(lambda: is_member(mesh, name), 10)  # noqa: B023  called before the next turn
    mesh.run_until(mesh.everyone_sees_everyone, 20)
    admins = member_at(mesh, "a").trust.admins()
    assert len(admins) == 3, "a and the first two that joined"
    invited(mesh, by="n02")
    # The newcomer does not reach the admin that has issued its ticket.
    mesh.world.add_rule(Apart(tuple(mesh.world.addresses(["n02", "n05"]))))
    mesh.world.start("n05")
    mesh.run_until(lambda: is_member(mesh, "n05"), 60)
    transports = [member_at(mesh, name).transport for name in mesh.names]
    assert sum(one.counters.get("joins_relayed", 0) for one in transports) >= 1


def test_a_join_is_not_refused_while_the_admin_of_the_ticket_is_away() -> None:
    mesh = founded(5, Population(by_ticket=True))
    invited(mesh, uses=3)
    for name in mesh.names[1:4]:
        mesh.world.start(name)
        mesh.run_until(lambda: is_member(mesh, name), 10)  # noqa: B023  called before the next turn
    mesh.run_until(mesh.everyone_sees_everyone, 20)
    invited(mesh, by="n02")
    mesh.kill("n02")
    mesh.world.start("n04")
    mesh.run(s=30)
    assert state(mesh, "n04")["state"] == "joining", "it was not told that nobody knows its ticket"
    mesh.world.start("n02")
    mesh.run_until(lambda: is_member(mesh, "n04"), 60)


def test_only_admins_admit() -> None:
    mesh = founded(5, Population(by_ticket=True))
    invited(mesh, uses=3)
    for name in mesh.names[1:4]:
        mesh.world.start(name)
        mesh.run_until(lambda: is_member(mesh, name), 10)  # noqa: B023  called before the next turn
    for command in (TrustAdmit(listen_s=5.0), TrustInvite()):
        with pytest.raises(Refused) as refused:
            tell(mesh, "n03", command)
        assert refused.value.name == "not_admin"
    with pytest.raises(Refused) as refused:
        tell(mesh, "a", TrustAdmit())
    assert refused.value.name == "no_node"


def test_a_join_that_goes_on_after_the_machine_slept_is_hung_up_on() -> None:
    mesh = founded(1, Population())
    node, rng = node_at(mesh, "a"), random.Random(1)
    now = mesh.world.hosts["a"].clock.read(mesh.world.now_s)
    wish = JoinWish("late", None, member_at(mesh, "a").verifier.mesh)
    parts = JoinParts(node.setup.suite, make_signing_key(rng), rng, now.wall)
    joiner, stream = Joiner(parts, wish), StreamId(2)
    node.admissions.accept(now, stream, relayed=False)
    [answer] = node.admissions.receive_untrusted(now, stream, joiner.start().send)
    assert isinstance(answer, SendStream)
    request = joiner.feed(answer.data)
    awake = Now(later(now.instant, 3600.0), WallTime(now.wall + 3600))
    said = node.admissions.receive_untrusted(awake, stream, request.send)
    assert said == [CloseStream(stream)], "what it knows of the time is an hour old"
    assert not node.admissions.owns(stream)
