"""What hunts for planted bugs share: meshes, endings, and members that lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from mesh.core.commands import TaskShow
from mesh.core.effects import Json
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import ToldFacts
from mesh.core.gossip.vocabulary import Family
from mesh.core.node.node import Node
from mesh.core.node.participant import Participant
from mesh.core.params import Params, params_for
from mesh.core.snapshot import Status, TaskState
from mesh.core.wire.envelope import Fact, SignedFact
from mesh.sim.checker import Violation
from mesh.sim.engine import Conditions
from mesh.sim.liveness import Final, check_final
from mesh.sim.population import Population
from mesh.sim.scenario import SNAPSHOT_S, Mesh, mesh_of
from mesh.sim.world import USUAL

Hunt = Callable[[int], None]
"""A scenario under a seed; it raises when a rule is broken."""

LOCAL = params_for("local")
STEP_S = 0.1
FAILED = (Status.DOWN, Status.DEAD)


def a_mesh(
    seed: int, count: int = 3, *, params: Params = LOCAL, conditions: Conditions = USUAL
) -> Mesh:
    """Return a mesh of real nodes a, b, c, ..."""
    return mesh_of(count, Population(), seed=seed, params=params, conditions=conditions)


def close(mesh: Mesh, *willing: str, limit_s: float = 30.0) -> None:
    """Wait until all is well again, then ask every checker for its last word."""
    core = tuple(person.name for person in mesh.running())
    final = Final(mesh.world, core, willing)
    deadline_s = mesh.world.now_s + limit_s
    while True:
        try:
            check_final(final)
            break
        except Violation:
            if mesh.world.now_s >= deadline_s:
                raise
            mesh.run(s=STEP_S)
    mesh.run(s=SNAPSHOT_S + STEP_S)  # the checkers look once more
    for checker in mesh.checkers:
        checker.finish(core, final.snapshots())


def shown_part(mesh: Mesh, name: str, label: str, part: str) -> Mapping[str, Json]:
    """Return what a node shows of a part of a task, such as its result or its checkpoint."""
    shown = mesh[name].tell(TaskShow(mesh.known(label))).result
    assert isinstance(shown, dict)
    task = shown["task"]
    assert isinstance(task, dict)
    found = task[part]
    assert isinstance(found, dict)
    return found


def is_state(mesh: Mesh, label: str, state: TaskState) -> bool:
    """Whether every running node sees a task in this state."""
    views = [person.view(label) for person in mesh.running()]
    return all(view is not None and view.state is state for view in views)


def nobody_failed(mesh: Mesh, *names: str) -> bool:
    """Whether no running node believes that one of these is down."""
    return not any(
        status in FAILED and name in names
        for person in mesh.running()
        for name, status in person.members().items()
    )


def node_at(mesh: Mesh, name: str) -> Node:
    """Return the node that runs on a host."""
    return cast("Node", mesh.world.hosts[name].node)


def member_at(mesh: Mesh, name: str) -> Participant:
    """Return the parts of a member."""
    participant = node_at(mesh, name).participant
    assert participant is not None
    return participant


@dataclass(frozen=True)
class Liar:
    """A member whose program says whatever it is told to, signed with its own key."""

    mesh: Mesh
    name: str

    @property
    def member(self) -> Participant:
        """Its parts."""
        return member_at(self.mesh, self.name)

    def sign(self, fact: Fact) -> SignedFact:
        """Return a fact under this member's true signature."""
        return self.member.author.sign([fact])[0].signed

    def say(self, *facts: SignedFact, family: Family = Family.TASKS, for_s: float = 1.0) -> None:
        """Tell everybody else some facts, in their order, and let time pass."""
        self.say_to(self.mesh.rest(self.name), *facts, family=family, for_s=for_s)

    def say_to(
        self,
        names: Iterable[str],
        *facts: SignedFact,
        family: Family = Family.TASKS,
        for_s: float = 1.0,
    ) -> None:
        """Tell some of the others."""
        world = self.mesh.world
        host = world.hosts[self.name]
        for other in names:
            peer = member_at(self.mesh, other).author.id
            for fact in facts:
                entry = Item(Form.SINGLE, fact.encode()).encode()
                post = self.member.gossip._post
                post.send_entries(peer, ToldFacts, bytes((family,)), [entry])
        now = host.clock.read(world.now_s)
        world.perform(host, node_at(self.mesh, self.name)._finish(now))
        self.mesh.run(s=for_s)
