"""Named scenarios with real nodes that tell what happens in them, sentence by sentence.

A story drives a small mesh through one kind of trouble while every checker of the simulator
watches. What it expects must come true within the virtual time it says, or it ends in a
`Violation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.core.commands import TaskSubmit
from mesh.core.identity import task_text
from mesh.core.params import params_for
from mesh.core.snapshot import Status, TaskState
from mesh.core.trust_commands import TrustInvite
from mesh.sim.agent import Habits
from mesh.sim.checker import Violation
from mesh.sim.engine import Conditions
from mesh.sim.liveness import Final, check_final
from mesh.sim.network import OneWay
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Person, TooLate
from mesh.sim.suite import SimSuite
from mesh.sim.trial import finding, names_of, network_words
from mesh.sim.world import World

Say = Callable[[float, str], None]
"""Takes a moment of virtual time and a sentence."""
BUILD = "build"
HEAL_LIMIT_S = 60.0
TAKEOVER_S = 50.0
LID_CLOSED_S = 3600.0
GONE = (Status.DOWN, Status.DEAD, Status.LEFT)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part in a story: how many nodes, of which profile, and under which seed."""

    nodes: int
    seed: int = 1
    profile: str = "local"
    loss: float = 0.0
    """The share of all packets that is lost."""
    listen: Callable[[World], object] | None = None
    """Called with the world of the story before anything happens in it."""
    delay_s: tuple[float, float] | None = None
    """Median and p99 of what a packet takes, instead of the usual."""

    def world(self, population: Population) -> World:
        """Return a world in which nothing has happened yet."""
        conditions = Conditions(loss=self.loss, delay_s=self.delay_s)
        params, suite = params_for(self.profile), SimSuite()
        world = World(self.seed, params, population, suite=suite, conditions=conditions)
        if self.listen is not None:
            self.listen(world)
        return world

    def command(self, name: str) -> str:
        """Return the command that plays the story of this name with this cast."""
        words = [f"mesh sim --scenario {name} --nodes {self.nodes}"]
        words.append(f"--profile {self.profile} --seed {self.seed}")
        return " ".join([*words, *network_words(self.loss or None, self.delay_s)])

    def formed(self) -> Mesh:
        """Return a mesh in which everybody sees everybody."""
        mesh = Mesh(self.world(Population()), names_of(self.nodes))
        mesh.form()
        return mesh


class Teller:
    """A mesh in a story, and what is said about it."""

    def __init__(self, mesh: Mesh, say: Say) -> None:
        self.mesh = mesh
        self._say = say

    def tell(self, sentence: str) -> None:
        """Say what has just happened."""
        self._say(self.mesh.world.now_s, sentence)

    def expect(self, what: str, true: Callable[[], bool], limit_s: float = HEAL_LIMIT_S) -> None:
        """Wait until something holds, and say how long it took; raises Violation if too long."""
        try:
            took_s = self.mesh.run_until(true, limit_s)
        except TooLate:
            raise Violation("story", f"{what}: not within {limit_s:g} s") from None
        self.tell(f"After {took_s:.2f} s {what}.")

    def insist(self, what: str, holds: bool) -> None:
        """Say what holds; raises Violation if it does not."""
        if not holds:
            raise Violation("story", f"it does not hold that {what}")
        self.tell(f"{what[0].upper()}{what[1:]}.")

    def submit(self, names: Sequence[str], count: int) -> list[str]:
        """Submit so many tasks, by turns at these nodes; returns their ids."""
        people = [self.mesh[name] for name in names]
        return [submit_one(people[number % len(people)]) for number in range(count)]

    def all_completed(self, tasks: Sequence[str]) -> bool:
        """Whether every running node knows all of these tasks as completed."""
        for person in self.mesh.running():
            states = {task_text(view.id): view.state for view in person.snapshot().tasks}
            if any(states.get(task) is not TaskState.COMPLETED for task in tasks):
                return False
        return True

    def close(self) -> None:
        """Wait until all nodes agree, then ask every checker for its last word."""
        mesh = self.mesh
        self.expect(
            "all nodes see each other and hold the same facts",
            lambda: mesh.everyone_sees_everyone() and mesh.converged(),
        )
        core = tuple(person.name for person in mesh.running())
        final = Final(mesh.world, core, (BUILD,) if mesh.world.history.events else ())
        check_final(final)
        for checker in mesh.checkers:
            checker.finish(core, final.snapshots())


def submit_one(person: Person) -> str:
    """Submit one task, which goes by its own id."""
    return person.tell(TaskSubmit(kind=BUILD)).text("task")


def see_dead(person: Person, names: Sequence[str]) -> bool:
    """Whether these nodes, and no others, are dead in somebody's view."""
    members = person.members()
    dead = sorted(name for name in members if members[name] is Status.DEAD)
    return dead == sorted(names)


def split(cast: Cast, say: Say) -> None:
    """The network falls into two halves for a minute; both go on working, then they meet again."""
    story = Teller(cast.formed(), say)
    mesh = story.mesh
    middle = (cast.nodes + 1) // 2
    here, there = list(mesh.names[:middle]), list(mesh.names[middle:])
    far = there[-1]
    mesh[far].claim(BUILD)
    mesh[far].start(BUILD)
    story.tell(f"{far} owns a task and works on it.")
    mesh.partition(here, there)
    story.tell(f"The network splits: {', '.join(here)} here, {', '.join(there)} there.")
    story.expect(f"{', '.join(there)} are dead for a", lambda: see_dead(mesh["a"], there))
    mesh["a"].claim(BUILD, wait_s=TAKEOVER_S)
    mesh["a"].start(BUILD)
    story.tell(f"a takes over the task of {far}, whose grace is over; {far} still works on it.")
    mesh["a"].complete(BUILD)
    for name in mesh.names:
        mesh.employ(name, BUILD)
    tasks = story.submit([here[0], far], 6)
    story.tell("Each half is given three tasks, and works on them by itself.")
    mesh.run(s=60)
    mesh.repair()
    story.tell("The network is whole again.")
    story.expect("all six tasks are completed everywhere", lambda: story.all_completed(tasks))
    told = mesh[far]
    story.expect(f"{far} is told that its claim is lost", lambda: told.was_told("task.lost"))
    story.close()
    known = [mesh.known(BUILD)]
    story.insist("everybody knows the result of a", story.all_completed(known))
    story.insist("both starts of the task are shown, none is hidden", mesh.starts(BUILD) == 2)


def churn(cast: Cast, say: Say) -> None:
    """Every six seconds a node is killed and the one killed before comes back, for two minutes."""
    story = Teller(cast.formed(), say)
    mesh, rng = story.mesh, story.mesh.world.rng
    for name in mesh.names:
        mesh.employ(name, BUILD)
    story.tell(f"{cast.nodes} nodes wait for tasks.")
    tasks: list[str] = []
    victim: str | None = None
    for _ in range(20):
        tasks += story.submit([rng.choice([name for name in mesh.names if name != victim])], 3)
        mesh.run(s=1)
        previous, victim = victim, rng.choice([name for name in mesh.names if name != victim])
        mesh.kill(victim)
        if previous is not None:
            mesh.restart(previous)
        mesh.run(s=5)
    story.tell(f"20 nodes were killed (kill -9), and {len(tasks)} tasks submitted meanwhile.")
    assert victim is not None
    mesh.restart(victim)
    story.expect("all tasks are completed everywhere", lambda: story.all_completed(tasks))
    story.close()
    more = sum(mesh.starts(task) - 1 for task in tasks)
    story.tell(f"{more} of {len(tasks) + more} starts took up again what a killed node had begun.")


def lid_closed(cast: Cast, say: Say) -> None:
    """A laptop that owns a task is shut for an hour; its work is taken over, and it is told."""
    story = Teller(cast.formed(), say)
    mesh = story.mesh
    laptop, desktop = mesh.names[-1], mesh.names[0]
    mesh[laptop].claim(BUILD)
    mesh[laptop].start(BUILD)
    story.tell(f"{laptop}, a laptop, owns a task and works on it.")
    mesh.suspend(laptop, LID_CLOSED_S)
    story.tell("Its lid is closed, for an hour.")
    story.expect(f"{laptop} is dead for the others", lambda: mesh.seen_as(laptop, Status.DEAD))
    mesh[desktop].claim(BUILD, wait_s=TAKEOVER_S)
    mesh[desktop].start(BUILD)
    mesh[desktop].complete(BUILD)
    story.tell(f"{desktop} takes the task over and completes it.")
    mesh.run(s=LID_CLOSED_S - 120.0)
    asleep = mesh[laptop]
    mesh.run_until(lambda: asleep in mesh.running(), 240.0)
    story.tell("The lid is opened.")
    story.expect(f"{laptop} is told that its claim is lost", lambda: asleep.was_told("task.lost"))
    story.close()
    view = asleep.view(BUILD)
    done = view is not None and view.state is TaskState.COMPLETED
    story.insist(f"{laptop} knows the result of {desktop}", done)


def kill_all(cast: Cast, say: Say) -> None:
    """Every node is killed at once, with tasks waiting and under way; then all are restarted."""
    story = Teller(cast.formed(), say)
    mesh = story.mesh
    for name in mesh.names:
        mesh.employ(name, BUILD, habits=Habits((BUILD,), work_s=(4.0, 8.0)))
    tasks = story.submit(mesh.names, 4 * cast.nodes)
    mesh.run(s=5)
    story.tell(f"{len(tasks)} tasks are acknowledged; some are under way.")
    mesh.kill(*mesh.names, machine=True)
    story.tell("The power of every machine fails in the same moment.")
    mesh.run(s=30)
    mesh.restart(*mesh.names)
    story.tell("The power is back.")
    story.expect(
        "every node sees every other again, from what the disks kept",
        mesh.everyone_sees_everyone,
        15.0,
    )
    story.expect("all tasks are completed everywhere", lambda: story.all_completed(tasks), 180.0)
    story.close()


def mass_join(cast: Cast, say: Say) -> None:
    """A mesh of one node hands out one ticket, and all other machines join by it at once."""
    names = names_of(cast.nodes)
    factory = Population(by_ticket=True)
    world = cast.world(factory)
    story = Teller(Mesh(world, names), say)
    mesh = story.mesh
    world.start("a")
    mesh.run(s=1)
    answer = mesh["a"].tell(TrustInvite(uses=cast.nodes, ttl_s=3600.0))
    world.ticket = answer.text("ticket")
    story.tell(f"a founds a mesh and hands out a ticket for {cast.nodes - 1} machines.")
    for name in names[1:]:
        world.start(name)
    story.tell("All of them are switched on at once.")
    story.expect("everybody sees everybody", mesh.everyone_sees_everyone, 30.0)
    world.watch(1.0)
    story.close()


def one_way(cast: Cast, say: Say) -> None:
    """Nothing gets from one node to another any more, while the other way stays open."""
    story = Teller(cast.formed(), say)
    mesh, world = story.mesh, story.mesh.world
    rule = OneWay(world.addresses(["a"]), world.addresses(["b"]))
    world.add_rule(rule)
    story.tell("Nothing gets from a to b any more; b still reaches a, and both reach the rest.")
    worst: dict[Status, None] = {}
    for _ in range(120):
        mesh.run(s=1)
        for person in mesh.running():
            worst.update(dict.fromkeys(person.members().values()))
    story.insist(
        "in two minutes nobody is believed to be down", not any(each in GONE for each in worst)
    )
    mesh["a"].claim(BUILD)
    story.expect(
        "everybody, b too, knows that a owns a task",
        lambda: mesh.everyone_agrees(BUILD, holder="a"),
    )
    world.remove_rule(rule)
    story.tell("The way from a to b is open again.")
    mesh["a"].start(BUILD)
    mesh["a"].complete(BUILD)
    story.close()


def hear(name: str, cast: Cast, say: Say) -> str | None:
    """Play a story to its end; returns what was violated, or None when all went well."""
    told_s = [0.0]

    def keep_time(at_s: float, sentence: str) -> None:
        told_s[0] = at_s
        say(at_s, sentence)

    try:
        STORIES[name].play(cast, keep_time)
    except Exception as failure:  # noqa: BLE001  whatever a node raises is a finding
        return finding(failure, told_s[0])
    return None


@dataclass(frozen=True, slots=True)
class Story:
    """A scenario that can be asked for by its name."""

    play: Callable[[Cast, Say], None]
    nodes: int
    """How many take part unless somebody says otherwise."""
    nodes_low: int

    @property
    def summary(self) -> str:
        """What it is about, in one sentence."""
        return (self.play.__doc__ or "").strip()


STORIES = {
    "split": Story(split, 5, 2),
    "churn": Story(churn, 10, 3),
    "lid-closed": Story(lid_closed, 3, 2),
    "kill-all": Story(kill_all, 5, 1),
    "mass-join": Story(mass_join, 30, 2),
    "one-way": Story(one_way, 4, 4),
}
