"""Hunts about order, limits and auctions: cheap situations in which one rule decides."""

from functools import partial

from mesh.core.commands import TaskClaim, TaskStart, TaskSubmit
from mesh.core.identity import parse_task_text
from mesh.core.snapshot import TaskState
from mesh.sim.agent import Habits
from mesh.sim.client import Answer
from mesh.sim.history import What
from mesh.sim.scenario import Mesh, Person
from tests.simulation.hunting import a_mesh, is_state, member_at
from tests.simulation.hunts import SLOW_NETWORK

SLOTS = 2


def parent_and_child(seed: int) -> None:
    """An agent waits for the child's kind; nobody does the parent: nothing begins."""
    mesh = a_mesh(seed)
    parent = mesh["a"].submit("parent")
    mesh["a"].submit("child", TaskSubmit("child", after=(parent,)))
    mesh.employ("b", "child")
    mesh.run(s=5)
    assert mesh.worked_on("child") == 0, "the child begins before its parent is done"


def late_without_its_submitter(seed: int) -> None:
    """The submitter's node dies; the task's time passes; all the same it ends."""
    mesh = a_mesh(seed)
    clock = parse_task_text(mesh["a"].submit("clock"))
    record = member_at(mesh, "a").table.record(clock)
    assert record is not None
    assert record.spec is not None
    now_s = record.spec.fact.created_ms / 1000
    mesh["a"].submit("build", TaskSubmit("build", deadline=now_s + 30.0))
    mesh.run(s=1)
    mesh.kill("a")
    mesh.run(s=60)
    assert is_state(mesh, "build", TaskState.CANCELED), "a late task is still open"


def rush_for_slots(seed: int) -> None:
    """Five claim five tasks of one key at the same moment: as many start as there are slots."""
    mesh = a_mesh(seed, 5, conditions=SLOW_NETWORK)
    for name in mesh.names:
        mesh[name].submit(name, TaskSubmit("build", limit=("db", SLOTS)))
    mesh.run(s=2)
    for person in mesh.running():
        ask = TaskClaim(task=mesh.known(person.name), detached=True, wait_s=20.0)
        person.client.ask(ask, partial(_start, person))
    mesh.run(s=10)
    begun = len(list(mesh.world.history.of(What.STARTED)))
    assert begun <= SLOTS, f"{begun} run on {SLOTS} slots"
    assert begun == SLOTS, "a slot is left empty"


def _start(person: Person, answer: Answer) -> None:
    if answer.error is None:
        person.ask(TaskStart(answer.text("handle")))


def bids_one_after_another(seed: int) -> None:
    """Four bid one after another, each more than the last: only the last starts."""
    mesh: Mesh = a_mesh(seed, 4, conditions=SLOW_NETWORK)
    mesh["a"].submit("build", TaskSubmit("build", allocation="auction", bid_window_s=2.0))
    mesh.run(s=0.2)
    for score, person in enumerate(mesh.running(), start=1):
        ask = TaskClaim(kinds=("build",), wait_s=20.0, score=score)
        person.client.ask(ask, partial(_start, person))
        mesh.run(s=0.3)
    mesh.run(s=5)
    assert mesh.worked_on("build") == 1, "more than one bidder has started"
    assert mesh.everyone_agrees("build", holder="d"), "the greatest bid has not won"


def too_long(seed: int) -> None:
    """An attempt takes longer than it may: somebody else does the task."""
    mesh = a_mesh(seed)
    mesh["a"].submit("build", TaskSubmit("build", run_limit_s=5.0, backoff_s=0.0))
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.employ("b", "build", habits=Habits(("build",), work_s=(1.0, 1.0)))
    mesh.run(s=12)
    assert is_state(mesh, "build", TaskState.COMPLETED), "a stuck attempt goes on"
