"""Hunts with faults and no ill will: cheap situations in which one rule decides."""

from dataclasses import replace
from functools import partial

from mesh.core.commands import TaskClaim, TaskComplete, TaskStart, TaskSubmit
from mesh.core.params import params_for
from mesh.core.snapshot import Status, TaskState
from mesh.sim.agent import Habits
from mesh.sim.client import Answer
from mesh.sim.engine import Conditions
from mesh.sim.history import Event, What
from mesh.sim.network import PASS, Between, Drop, OneWay
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Person, Refused
from mesh.sim.trial import Plan, run_trial
from tests.simulation.hunting import FAILED, LOCAL, a_mesh, close, is_state, nobody_failed

GRACE_S = LOCAL.membership.orphan_grace_s
SLOW_NETWORK = Conditions(latency_s=(0.002, 0.02))
SLOW_DISKS = Conditions(commit_s=(0.001, 0.045))
LONG_WORK = (600.0, 600.0)


def weather(seed: int) -> None:
    """A random trial: a whole mesh at work in the weather that the seed draws."""
    outcome = run_trial(Plan(seed, nodes=4, storm_s=30.0, tasks=12), LOCAL, Population())
    assert outcome.broken is None, outcome.line()


# Races


def claim_at_once(mesh: Mesh, label: str) -> None:
    """Let everybody claim a task in the same moment, and start it as soon as they may."""

    def granted(person: Person, answer: Answer) -> None:
        if answer.error is None:
            person.ask(TaskStart(answer.text("handle")))

    for person in mesh.running():
        ask = TaskClaim(task=mesh.known(label), detached=True, agent=person.client.name)
        person.client.ask(ask, partial(granted, person))


def race(seed: int, conditions: Conditions = SLOW_NETWORK, tasks: int = 4) -> None:
    """Five claim each task at the same moment over a slow network: one starts."""
    mesh = a_mesh(seed, 5, conditions=conditions)
    mesh.run(s=5)
    for number in range(tasks):
        label = f"t{number}"
        mesh["a"].submit(label)
        mesh.run(s=1)
        claim_at_once(mesh, label)
        mesh.run(s=2)
        assert mesh.worked_on(label) == 1, f"{mesh.worked_on(label)} started {label}"
    close(mesh)


def race_on_slow_disks(seed: int) -> None:
    """The same where disks are slower than the network: whoever is beaten may not know it yet."""
    race(seed, SLOW_DISKS, tasks=8)


def race_beside_a_standing_disk(seed: int) -> None:
    """All claim at once while one disk stands still, longer than any wait for the network."""
    mesh = a_mesh(seed, 3)
    for number in range(12):
        label = f"t{number}"
        mesh["a"].submit(label)
        mesh.run(s=0.4)
        answers = [mesh[name].ask_to_claim(label, wait_s=0.0) for name in mesh.names]
        disk = mesh.world.hosts[mesh.world.rng.choice(mesh.names)].disk
        draw, disk.draw = disk.draw, lambda: 0.15
        mesh.run(s=0.003)
        disk.draw = draw
        mesh.run(s=1)
        won = [answer for answer in answers if answer.done and answer.error is None]
        assert len(won) == 1, f"{len(won)} may start {label}"


def both_sides(seed: int) -> Mesh:
    """Return a mesh whose two sides claimed one task and have not met yet."""
    mesh = a_mesh(seed, 4)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh.partition(["a", "b"], ["c", "d"])
    for name in "ac":
        mesh[name].claim("build")
        mesh[name].start("build")
    mesh.run(s=20)
    return mesh


def two_owners_meet(seed: int) -> None:
    """Both sides of a partition own a task; after it they agree on the greater token."""
    mesh = both_sides(seed)
    tokens = {name: view.token for name in "ac" if (view := mesh[name].view("build"))}
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged(), 30)
    holder = max(tokens, key=lambda name: tokens[name])
    assert mesh.everyone_agrees("build", holder=holder)
    loser = "c" if holder == "a" else "a"
    assert mesh[loser].was_told("task.lost")
    mesh[holder].complete("build")
    close(mesh)


def two_owners_go_on(seed: int) -> None:
    """Both sides of a partition work for long: after it only the owner does."""
    mesh = both_sides(seed)
    mesh.repair()
    close(mesh)


def two_results_meet(seed: int) -> None:
    """Both sides complete a task: the result of the greater token stays."""
    mesh = both_sides(seed)
    mesh["a"].complete("build", "b2s=")
    mesh["c"].complete("build", "bm8=")
    mesh.repair()
    close(mesh)


def canceled_and_completed(seed: int) -> None:
    """One side cancels a task that the other has completed: it stays completed."""
    mesh = a_mesh(seed, 4)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh["c"].claim("build")
    mesh["c"].start("build")
    mesh.run(s=1)
    mesh.partition(["a", "b"], ["c", "d"])
    mesh["c"].complete("build")
    mesh["a"].cancel("build")
    mesh.run(s=1)
    mesh.repair()
    close(mesh)
    assert is_state(mesh, "build", TaskState.COMPLETED)


def late_completion(seed: int) -> None:
    """The loser of a partition completes after the winner's result is known: refused."""
    mesh = both_sides(seed)
    tokens = {name: view.token for name in "ac" if (view := mesh[name].view("build"))}
    winner, loser = sorted("ac", key=lambda name: tokens[name], reverse=True)
    handle = mesh[loser].handle("build")
    mesh[winner].complete("build")
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged(), 30)
    refused = mesh[loser].ask(TaskComplete(handle, "bGF0ZQ=="))
    mesh.run(s=2)
    assert refused.error == "already_finished", f"a late finish was acknowledged: {refused}"
    close(mesh)


# What is acknowledged is kept


def strike_when_submitted(mesh: Mesh, submitter: str, restarted: str) -> None:
    """Cut the power of everybody the moment a submit is acknowledged; its first disk is lost."""

    def strike(event: Event) -> None:
        if event.what is What.SUBMITTED:
            mesh.world.call_later(0.0, down)

    def down() -> None:
        if len(restarted) > 1:
            mesh.world.destroy_disk(submitter)
        mesh.kill(*mesh.names, machine=True)

    for host in mesh.world.hosts.values():
        host.disk.written_unsaid = 0.0
    mesh.world.history.listeners.append(strike)
    mesh[submitter].ask(TaskSubmit(kind="build", copies=min(2, len(mesh.names))))
    mesh.run(s=3)
    assert not mesh.running()
    mesh.restart(*restarted)
    close(mesh)


def power_cut_alone(seed: int) -> None:
    """A lone node loses its power the moment it has acknowledged a submit."""
    mesh = a_mesh(seed, 1, conditions=Conditions(commit_s=(0.02, 0.05)))
    strike_when_submitted(mesh, "a", "a")


def power_cut_of_copies(seed: int) -> None:
    """Two copies are acknowledged; then one disk is lost and all others lose their power."""
    mesh = a_mesh(seed, 3, conditions=Conditions(commit_s=(0.02, 0.2)))
    strike_when_submitted(mesh, "a", "bc")


def copy_of_the_end_alone(seed: int) -> None:
    """A peer that missed a claim hears of its completion, and the disk of the owner is lost."""
    mesh = a_mesh(seed, 2)
    mesh.run(s=2)
    mesh.partition(["a"], ["b"])
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.repair()
    mesh["a"].complete("build")
    mesh.world.destroy_disk("a")
    close(mesh)


def failed_commit(seed: int) -> None:
    """A peer's disk fails once, for the copy of a task, and then takes the next one."""
    mesh = a_mesh(seed, 2)
    mesh.run(s=2)
    disk = mesh.world.hosts["b"].disk
    disk.fail = 1.0
    first = mesh["a"].ask(TaskSubmit(kind="first"))
    mesh.run(s=0.05)
    disk.mend()
    second = mesh["a"].ask(TaskSubmit(kind="second"))
    mesh.run_until(lambda: first.done and second.done, 5)
    mesh.world.destroy_disk("a")
    disk.written_unsaid = 0.0
    mesh.kill("b", machine=True)
    mesh.restart("b")
    close(mesh)


def unsaid(seed: int) -> None:
    """A node loses its power before a task is on its disk: nobody may have heard of it."""
    mesh = a_mesh(seed)
    disk = mesh.world.hosts["a"].disk
    disk.written_unsaid, disk.draw = 0.0, lambda: 0.1
    mesh["a"].ask(TaskSubmit(kind="build"))
    mesh.run(s=0.05)
    mesh.kill("a", machine=True)
    mesh.run(s=1)
    assert not mesh["b"].snapshot().tasks, "it left the node before it was on disk"
    mesh.restart("a")
    close(mesh)


def black_hole(seed: int) -> None:
    """For a while nothing but small datagrams gets from a to b: they find out what is missing."""
    mesh = a_mesh(seed)
    a, b = mesh.world.addresses(["a"]), mesh.world.addresses(["b"])
    mesh.world.add_rule(Between(a, b, lambda packet: Drop() if len(packet.data) > 200 else PASS))
    for number in range(5):
        mesh["a"].submit(f"t{number}")
    mesh.run(s=10)
    mesh.world.clear_rules()
    close(mesh)


def asked_again(seed: int) -> None:
    """A client asks again with the same request id after its node was killed."""
    mesh = a_mesh(seed)
    command = TaskSubmit(kind="build", request_id="once")
    first = mesh["a"].tell(command).text("task")
    mesh.restart("a")
    mesh.run_until(mesh.everyone_sees_everyone, 30)
    again = mesh["a"].tell(command).text("task")
    assert again == first, "one request made two tasks"
    close(mesh)


# Owners die, sleep, come back


def orphan(seed: int) -> None:
    """The node of an owner dies: another takes over, after the grace and not before."""
    mesh = a_mesh(seed, 4)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    for name in "bcd":
        mesh.employ(name, "build", habits=Habits(("build",), work_s=LONG_WORK))
    mesh.run(s=1)
    mesh.kill("a", machine=True)
    took = mesh.run_until(lambda: mesh.owners("build")["b"] not in {"a", None}, 40)
    assert took >= GRACE_S, f"taken over {took:.1f} s after the kill"
    mesh.run(s=2)
    mesh.restart("a")
    close(mesh)
    assert mesh.worked_on("build") == 2


def owner_restarts(seed: int) -> None:
    """A detached claim survives the restart of its node, though others wait for the task."""
    mesh = a_mesh(seed)
    claimed = mesh["a"].claim("build", detached=True)
    mesh["a"].start("build")
    for name in "bc":
        mesh.employ(name, "build", habits=Habits(("build",), work_s=LONG_WORK))
    mesh.run(s=1)
    mesh.restart("a")
    mesh.run(s=60)
    assert mesh.everyone_agrees("build", holder="a"), f"robbed: {mesh.owners('build')}"
    assert mesh["a"].resume(claimed.text("handle")).text("token") == claimed.text("token")
    mesh["a"].complete("build")
    close(mesh)


def owner_restarts_and_dies(seed: int) -> None:
    """An owner's node shows itself under a new boot and then dies: its old claim is over."""
    mesh = a_mesh(seed)
    mesh["a"].attach("build")
    mesh["a"].claim("build", detached=False)
    mesh["a"].start("build")
    mesh.employ("b", "build")
    mesh.run(s=1)
    mesh.restart("a")
    mesh.run_until(mesh.everyone_sees_everyone, 10)
    mesh.kill("a", machine=True)
    mesh.run(s=60)
    close(mesh, "build")


def goodbye(seed: int) -> None:
    """A node leaves: its claims are free at once, without a grace."""
    mesh = a_mesh(seed)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.run(s=1)
    mesh["a"].leave()
    mesh.run(s=0.5)
    mesh["b"].claim("build", wait_s=1.0)


def node_restarts(seed: int) -> None:
    """A node is restarted again and again, and is known each time."""
    mesh = a_mesh(seed)
    for _ in range(4):
        mesh.restart("b")
        mesh.run_until(mesh.everyone_sees_everyone, 30)
    close(mesh)


def lid_closed(seed: int) -> None:
    """A laptop sleeps with a claim in hand; on waking its agent starts before anything is heard."""
    mesh = a_mesh(seed)
    handle = mesh["a"].claim("build").text("handle")
    mesh.employ("b", "build", habits=Habits(("build",), work_s=(10_000.0, 10_000.0)))
    mesh.run(s=1)
    mesh.suspend("a", s=60)
    answers: list[Answer] = []
    ask = partial(mesh["a"].ask, TaskStart(handle))
    mesh.world.call_later(60.0001, lambda: answers.append(ask()))
    mesh.run(s=59)
    assert mesh.owners("build") == {"b": "b", "c": "b"}
    mesh.run(s=5)
    [answer] = answers
    assert answer.error == "claim_lost", f"it started what b works on: {answer}"
    mesh.run(s=10)
    assert mesh.everyone_agrees("build", holder="b")


def long_work(seed: int) -> None:
    """An attached agent works for minutes in calm weather, and others wait for the task."""
    mesh = a_mesh(seed)
    mesh.run(s=65)
    mesh.employ("a", "build", habits=Habits(("build",), work_s=(150.0, 160.0)))
    mesh.run(s=6)
    mesh["a"].submit("build")
    mesh.run_until(lambda: mesh.worked_on("build") == 1, 10)
    for name in "bc":
        mesh.employ(name, "build", habits=Habits(("build",), work_s=(150.0, 160.0)))
    mesh.run(s=170)
    assert mesh.worked_on("build") == 1
    close(mesh, "build")


# Rules of the desk


def always_failing(seed: int) -> None:
    """A task that fails each time is tried as often as allowed, at the pace that was asked for."""
    mesh = a_mesh(seed)
    mesh["a"].submit("build", TaskSubmit(kind="build", max_attempts=3, backoff_s=4.0))
    for name in mesh.names:
        mesh.employ(name, "build", habits=Habits(("build",), work_s=(0.2, 0.4), fails=1.0))
    mesh.run_until(lambda: mesh.worked_on("build") >= 3, 60)
    mesh.run(s=60)
    starts = [event.at_s for event in mesh.world.history.of(What.STARTED)]
    failures = [event.at_s for event in mesh.world.history.of(What.FAILED)]
    assert len(starts) == 3, f"{len(starts)} attempts of 3"
    waits = [start - end for end, start in zip(failures, starts[1:], strict=False)]
    assert waits[0] >= 3.0, f"tried again after {waits[0]:.1f} s of 4 s"
    assert waits[1] >= 6.0, f"tried again after {waits[1]:.1f} s of 8 s"
    assert is_state(mesh, "build", TaskState.FAILED)
    close(mesh, "build")


def greedy_agent(seed: int) -> None:
    """An agent with one free hand asks for two tasks at the same moment."""
    mesh = a_mesh(seed)
    for label in ("t0", "t1", "t2"):
        mesh["b"].submit(label, TaskSubmit(kind="build"))
    mesh.run(s=1)
    mesh["a"].attach("build", capacity=1)
    for _ in range(2):
        mesh["a"].ask(TaskClaim(kinds=("build",), wait_s=3.0))
    mesh.run(s=5)
    held = len(mesh["a"].client.holdings)
    assert held == 1, f"{held} tasks in one hand"
    close(mesh)


def token_shown_twice(seed: int) -> None:
    """A provisional token is shown, the power fails before it is on disk: it never comes again."""
    mesh = a_mesh(seed)
    task = mesh["b"].submit("build")
    mesh.run(s=1)
    disk = mesh.world.hosts["a"].disk
    disk.written_unsaid, disk.draw = 0.0, lambda: 0.05
    ask = TaskClaim(task=task, detached=True, provisional=True, agent="x")
    first = mesh["a"].ask(ask)
    mesh.run(s=0.01)
    assert first.done
    mesh.kill("a", machine=True)
    mesh.restart("a")
    mesh.run_until(mesh.everyone_sees_everyone, 30)
    second = mesh["a"].tell(ask)
    assert second.text("token") != first.text("token"), "two claims with one fencing token"
    mesh.run(s=1)
    close(mesh)


def unknown_handle(seed: int) -> None:
    """An agent completes with a handle that it made up."""
    mesh = a_mesh(seed)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    answer = mesh["a"].ask(TaskComplete("00000000deadbeef", ""))
    mesh.run(s=1)
    assert answer.error == "unknown_handle", f"any handle would do: {answer}"
    close(mesh)
    assert mesh.everyone_agrees("build", holder="a")


def full_table(seed: int) -> None:
    """More tasks are submitted than a table may hold."""
    small = replace(LOCAL, claims=replace(LOCAL.claims, tasks_max=16))
    mesh = a_mesh(seed, 2, params=small)
    refused = 0
    for number in range(24):
        try:
            mesh["ab"[number % 2]].submit(f"t{number}")
        except Refused:
            refused += 1
    mesh.run(s=2)
    assert refused == 8, f"{refused} of 24 were refused"


# Who is here


def frozen(seed: int) -> None:
    """A process stops for twelve seconds, is declared down, and comes back."""
    mesh = a_mesh(seed, 4)
    mesh.run(s=5)
    mesh.pause("c", s=12)
    mesh.run(s=11)
    assert mesh.seen_as("c", Status.DOWN) or mesh.seen_as("c", Status.DEAD)
    mesh.run(s=2)
    close(mesh)


def hiccup(seed: int) -> None:
    """A process stops for less than a refutation window: too short to be anybody's death."""
    mesh = a_mesh(seed, 4, params=params_for("lan"))
    mesh.run(s=5)
    for name in "bcd":
        mesh.pause(name, s=1.8)
        for _ in range(60):
            mesh.run(s=0.1)
            assert nobody_failed(mesh, *mesh.names), "declared dead for so short a silence"
    close(mesh)


def broken_edge(seed: int) -> None:
    """Two nodes do not reach each other, and everybody else reaches both."""
    mesh = a_mesh(seed, 4)
    a, b = mesh.world.addresses(["a"]), mesh.world.addresses(["b"])
    for one, other in ((a, b), (b, a)):
        mesh.world.add_rule(Between(one, other, lambda _: Drop()))
    for _ in range(150):
        mesh.run(s=0.2)
        assert nobody_failed(mesh, "a", "b"), "a broken edge became a dead node"
    mesh.world.clear_rules()
    close(mesh)


def deaf(seed: int) -> None:
    """A node is heard by all and hears nobody: that is a failure all the same."""
    mesh = a_mesh(seed, 5)
    mesh.run(s=3)
    mesh.world.add_rule(OneWay(mesh.world.addresses(mesh.rest("e")), mesh.world.addresses(["e"])))
    mesh.run_until(lambda: all(mesh[name].members()["e"] in FAILED for name in mesh.rest("e")), 4)


def long_partition(seed: int) -> None:
    """Two halves are apart for ten minutes, without names to look each other up."""
    mesh = a_mesh(seed, 4)
    mesh.world.names_resolve = False
    mesh.partition(["a", "b"], ["c", "d"])
    mesh.run(s=600)
    mesh.repair()
    close(mesh, limit_s=60.0)
