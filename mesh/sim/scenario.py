"""Scenarios in prose: a small mesh whose nodes are a, b, c, ..., and sentences about it.

    mesh = mesh_of(5, make_node)
    mesh["a"].claim("build")
    mesh.partition(["a"], mesh.rest("a"))
    mesh.run(s=60)
    mesh["b"].claim("build")
    mesh.repair()
    mesh.run(s=30)
    assert mesh.everyone_agrees("build", holder="b")

A task goes by a label. The first node that names a label submits a task of that kind; a task
submitted otherwise goes by the id that the node gave it. Every sentence that asks a node something
lets time pass until it is answered; a refusal raises `Refused`.
"""

from collections.abc import Callable, Sequence

from mesh.core.commands import (
    AgentAttach,
    Command,
    NodeLeave,
    TaskCancel,
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskResume,
    TaskStart,
    TaskSubmit,
)
from mesh.core.identity import NodeId, task_text
from mesh.core.params import Params, params_for
from mesh.core.snapshot import MemberView, Snapshot, Status, TaskView
from mesh.sim.agent import Habits, SimAgent
from mesh.sim.checker import Checker, Violation, watch
from mesh.sim.checkers import safety_checkers
from mesh.sim.client import Answer, SimClient
from mesh.sim.engine import Conditions
from mesh.sim.host import Host, HostState
from mesh.sim.liveness import check_agreement, check_alive
from mesh.sim.suite import SimSuite
from mesh.sim.trial import names_of
from mesh.sim.world import USUAL, NodeFactory, World

ANSWER_LIMIT_S = 60.0
STEP_S = 0.02
FORMING_LIMIT_S = 60.0
SNAPSHOT_S = 1.0


class Refused(Exception):  # noqa: N818  it says what happened
    """A node refused a request: `name` is the error's name."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.error}: {answer.message} ({answer.command})")
        self.name = answer.error or ""


class TooLate(Exception):  # noqa: N818  it says what happened
    """Something did not come true within the virtual time it was given."""


class Person:
    """Somebody at the terminal of one node."""

    def __init__(self, mesh: "Mesh", host: Host) -> None:
        self._mesh = mesh
        self.host = host
        self.client = SimClient(mesh.world, host, f"person-{host.name}")

    @property
    def name(self) -> str:
        """The node's name."""
        return self.host.name

    def ask(self, command: Command) -> Answer:
        """Send a request and do not wait."""
        return self.client.ask(command)

    def tell(self, command: Command, limit_s: float = ANSWER_LIMIT_S) -> Answer:
        """Send a request and wait; raises Refused or TooLate."""
        answer = self.client.ask(command)
        self._mesh.run_until(lambda: answer.done, limit_s)
        if answer.error is not None:
            raise Refused(answer)
        return answer

    def submit(self, label: str, task: TaskSubmit | None = None) -> str:
        """Submit a task (of the kind of its label, unless given) and return its id."""
        text = self.tell(task or TaskSubmit(kind=label)).text("task")
        self._mesh.labels[label] = text
        return text

    def attach(self, *kinds: str, capacity: int = 1) -> Answer:
        """Wait for tasks of these kinds on this connection."""
        return self.tell(AgentAttach(self.client.name, kinds, capacity))

    def claim(self, label: str, *, detached: bool = True, wait_s: float = 0.0) -> Answer:
        """Own a task, which is submitted here if nobody named it before."""
        task = self._mesh.task(label) or self.submit(label)
        agent = self.client.name
        return self.tell(TaskClaim(task=task, detached=detached, wait_s=wait_s, agent=agent))

    def ask_to_claim(self, label: str, *, wait_s: float) -> Answer:
        """Want to own a task that somebody named before, and do not wait for it here."""
        task, agent = self._mesh.known(label), self.client.name
        return self.ask(TaskClaim(task=task, detached=True, wait_s=wait_s, agent=agent))

    def ask_to_claim_next(self, *kinds: str, wait_s: float) -> Answer:
        """Want to own the next task of some kinds, and do not wait for it here."""
        return self.ask(TaskClaim(kinds=kinds, wait_s=wait_s, agent=self.client.name))

    def claim_next(self, *kinds: str, wait_s: float = 0.0) -> Answer:
        """Own the next task of some kinds."""
        agent = self.client.name
        return self.tell(TaskClaim(kinds=kinds, wait_s=wait_s, agent=agent))

    def start(self, label: str) -> Answer:
        """Say that the work on a claim held here begins."""
        return self.tell(TaskStart(self.handle(label)))

    def resume(self, handle: str) -> Answer:
        """Take up a claim again."""
        return self.tell(TaskResume(handle))

    def complete(self, label: str, output: str = "") -> Answer:
        """Say that the work is done; `output` is base64."""
        return self.tell(TaskComplete(self.handle(label), output))

    def fail(self, label: str, error: str = "") -> Answer:
        """Say that this attempt failed."""
        return self.tell(TaskFail(self.handle(label), error))

    def release(self, label: str) -> Answer:
        """Give a task back."""
        return self.tell(TaskRelease(self.handle(label)))

    def cancel(self, label: str) -> Answer:
        """Let nobody do a task any more."""
        return self.tell(TaskCancel(self._mesh.known(label)))

    def leave(self) -> None:
        """Say goodbye to the mesh, and wait until the node has stopped."""
        self.ask(NodeLeave())
        self._mesh.run_until(lambda: self.host.state is HostState.OFF)

    def handle(self, label: str) -> str:
        """Return the handle of a claim held here; the newest when there are several."""
        task = self._mesh.known(label)
        handles = [held.handle for held in self.client.holdings.values() if held.task == task]
        assert handles, f"{self.name} holds no claim on {label}"
        return handles[-1]

    def was_told(self, topic: str) -> bool:
        """Whether the node notified this person of a topic."""
        return any(heard == topic for _, heard, _ in self.client.notices)

    def view(self, label: str) -> TaskView | None:
        """Return the task as this node sees it."""
        task = self._mesh.known(label)
        views = [view for view in self.snapshot().tasks if task_text(view.id) == task]
        return views[0] if views else None

    def owner(self, label: str) -> str | None:
        """Return the name of the node that owns a task in this node's view."""
        view = self.view(label)
        if view is None or view.owner is None:
            return None
        return self._mesh.name_of(view.owner)

    def members(self) -> dict[str, Status]:
        """Return what this node believes of whom, by name."""
        return {member.name: member.status for member in self.member_views()}

    def member_views(self) -> tuple[MemberView, ...]:
        """Return all members as this node sees them."""
        return self.snapshot().members

    def snapshot(self) -> Snapshot:
        """Return this node's state."""
        return self._mesh.world.snapshot(self.host)


class Mesh:
    """A mesh and the sentences about it."""

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self.world = world
        self.names = tuple(names)
        self.labels: dict[str, str] = {}
        self.checkers: list[Checker] = safety_checkers(world)
        self._ids: dict[NodeId, str] = {}
        watch(world, self.checkers)
        self.people = {name: Person(self, world.add_host(name)) for name in names}

    def __getitem__(self, name: str) -> Person:
        """Return who sits at a node."""
        return self.people[name]

    def form(self) -> None:
        """Start all nodes and wait until each sees all the others alive."""
        first, *others = self.names
        self.world.start(first)
        self.world.run(1.0)
        for name in others:
            self.world.start(name)
        self.run_until(self.everyone_sees_everyone, FORMING_LIMIT_S)
        self._learn_ids()
        self.world.watch(SNAPSHOT_S)

    # Faults

    def kill(self, *names: str, machine: bool = False) -> None:
        """Stop nodes without warning; with `machine`, cut the power."""
        for name in names:
            self.world.kill(name, machine=machine)

    def restart(self, *names: str) -> None:
        """Start nodes on what their disks kept, killing them first if they run."""
        for name in names:
            self.world.kill(name)
            self.world.start(name)

    def pause(self, name: str, s: float) -> None:
        """Stop a node's process for a while (SIGSTOP)."""
        self.world.pause(name, s)

    def suspend(self, name: str, s: float) -> None:
        """Let a machine sleep for a while."""
        self.world.suspend(name, s)

    def partition(self, *groups: Sequence[str]) -> None:
        """Let nothing through between groups."""
        self.world.partition(*groups)

    def repair(self) -> None:
        """End the partition."""
        self.world.repair()

    def rest(self, *names: str) -> list[str]:
        """Return everybody else."""
        return [name for name in self.names if name not in names]

    # Time

    def run(self, *, s: float) -> None:
        """Let virtual seconds pass."""
        self.world.run(s)

    def run_until(self, true: Callable[[], bool], limit_s: float = ANSWER_LIMIT_S) -> float:
        """Let time pass until something is true; returns how long it took, or raises TooLate."""
        begin_s = self.world.now_s
        while not true():
            if self.world.now_s - begin_s >= limit_s:
                raise TooLate(f"not within {limit_s:g} s, at {self.world.now_s:.3f} s")
            self.world.run(STEP_S)
        return self.world.now_s - begin_s

    # Agents

    def employ(self, name: str, *kinds: str, habits: Habits | None = None) -> SimAgent:
        """Let an agent work at a node: of these kinds, or of these habits."""
        host = self.world.hosts[name]
        number = len(host.programs)
        agent = SimAgent(self.world, host, f"agent-{name}-{number}", habits or Habits(kinds))
        agent.begin()
        return agent

    # Looking

    def running(self) -> list[Person]:
        """Return who sits at nodes that run."""
        return [self.people[host.name] for host in self.world.running()]

    def task(self, label: str) -> str | None:
        """Return the id of the task that goes by a label or by its own id, if there is one."""
        if label in self.labels:
            return self.labels[label]
        submitted = [event.task for event in self.world.history.events]
        return label if label in submitted else None

    def known(self, label: str) -> str:
        """Return the id of a task that somebody named before."""
        task = self.task(label)
        assert task is not None, f"nobody has submitted {label}"
        return task

    def name_of(self, node: NodeId) -> str:
        """Return the name of the host on which a node has run."""
        self._learn_ids()
        return self._ids.get(node, node.hex())

    def starts(self, label: str) -> int:
        """Return how many starts of a task are known: the greatest number that any node shows."""
        views = [person.view(label) for person in self.running()]
        return max((view.starts for view in views if view is not None), default=0)

    def worked_on(self, label: str) -> int:
        """Return how many starts were acknowledged to clients."""
        return self.world.history.starts(self.known(label))

    def owners(self, label: str) -> dict[str, str | None]:
        """Return who owns a task, in the view of each running node."""
        return {person.name: person.owner(label) for person in self.running()}

    def everyone_agrees(self, label: str, *, holder: str | None = None) -> bool:
        """Whether all running nodes see a task alike, owned by `holder` if given."""
        views = [person.view(label) for person in self.running()]
        if not views or views[0] is None or any(view != views[0] for view in views):
            return False
        return holder is None or set(self.owners(label).values()) == {holder}

    def everyone_sees_everyone(self) -> bool:
        """Whether each running node is alive in the view of each."""
        try:
            check_alive(self.world.snapshots())
        except Violation:
            return False
        return True

    def converged(self) -> bool:
        """Whether all running nodes hold the same facts and see the same members and tasks."""
        try:
            check_agreement(self.world.snapshots())
        except Violation:
            return False
        return True

    def seen_as(self, name: str, status: Status) -> bool:
        """Whether all other running nodes believe this of a node."""
        others = [person for person in self.running() if person.name != name]
        return all(person.members().get(name) is status for person in others)

    def _learn_ids(self) -> None:
        # A host whose disk was lost runs another node, and both ids are its own.
        for name, snapshot in self.world.snapshots().items():
            self._ids[snapshot.id] = name


def mesh_of(
    count: int,
    factory: NodeFactory,
    *,
    seed: int = 1,
    params: Params | None = None,
    conditions: Conditions = USUAL,
    strict: bool = False,
) -> Mesh:
    """Return a mesh of nodes a, b, c, ... in which everybody sees everybody."""
    suite = SimSuite(strict=strict)
    world = World(seed, params or params_for("local"), factory, suite=suite, conditions=conditions)
    mesh = Mesh(world, names_of(count))
    mesh.form()
    return mesh
