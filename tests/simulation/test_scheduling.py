"""Order, dependencies, keys, limits and auctions on whole meshes, while things go wrong."""

import pytest

from mesh.core.commands import TaskClaim, TaskFail, TaskStart, TaskSubmit
from mesh.core.identity import parse_task_text
from mesh.core.snapshot import TaskState
from mesh.sim.agent import Habits
from mesh.sim.engine import Conditions
from mesh.sim.history import What
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Refused
from mesh.sim.trial import Plan, run_trial
from tests.simulation.conftest import MeshOf
from tests.simulation.fairness import shares
from tests.simulation.hunting import LOCAL, close, is_state, member_at

LOSSY = Conditions(loss=0.1, latency_s=(0.001, 0.02))
BUSY = Habits(("build",), work_s=(600.0, 600.0))


def reason(mesh: Mesh, name: str, label: str) -> int | None:
    """Return why a task is canceled, in the view of one node."""
    record = member_at(mesh, name).table.record(parse_task_text(mesh.known(label)))
    return None if record is None or record.cancel is None else record.cancel.fact.reason


def at_work(mesh: Mesh) -> int:
    """Return how many agents work at this moment."""
    events = mesh.world.history.events
    begun = [event.token for event in events if event.what is What.STARTED]
    ended = [event.token for event in events if event.what is What.STOPPED]
    return len(begun) - len(ended)


# Dependencies


def test_m27_a_task_waits_for_its_parent_across_a_split(meshes: MeshOf) -> None:
    mesh = meshes(4)
    parent = mesh["a"].submit("parent")
    mesh["a"].submit("child", TaskSubmit("child", after=(parent,)))
    mesh.run(s=1)
    mesh.partition(["a", "b"], ["c", "d"])
    mesh["a"].claim("parent")
    mesh["a"].complete("parent", "b25l")
    mesh.employ("c", "child")
    mesh.run(s=30)
    assert mesh.starts("child") == 0, "the far side cannot know that the parent is done"
    mesh.repair()
    mesh.run_until(lambda: is_state(mesh, "child", TaskState.COMPLETED))
    assert mesh.worked_on("child") == 1
    close(mesh, "child")


def test_a_failed_parent_cancels_its_child_with_the_submitter_dead(meshes: MeshOf) -> None:
    mesh = meshes(4)
    parent = mesh["b"].submit("parent", TaskSubmit("parent", max_attempts=1))
    mesh.run(s=1)
    child = mesh["a"].submit("child", TaskSubmit("child", after=(parent,)))
    mesh["b"].submit("grandchild", TaskSubmit("grandchild", after=(child,)))
    mesh.run(s=1)
    mesh.kill("a")
    mesh.run(s=15)
    mesh["b"].claim("parent")
    mesh["b"].fail("parent", "no luck")
    mesh.run_until(lambda: is_state(mesh, "grandchild", TaskState.CANCELED))
    assert reason(mesh, "c", "child") == reason(mesh, "c", "grandchild") == 3
    mesh.restart("a")
    mesh.run_until(mesh.everyone_sees_everyone)
    close(mesh)


# Times


@pytest.mark.parametrize("fault", ["kill", "partition", "suspend"])
def test_a_deadline_is_kept_without_the_submitter(meshes: MeshOf, fault: str) -> None:
    mesh = meshes(4)
    now_s = member_wall(mesh)
    mesh["a"].submit("build", TaskSubmit("build", deadline=now_s + 60.0))
    mesh.run(s=1)
    if fault == "kill":
        mesh.kill("a")
    elif fault == "partition":
        mesh.partition(["a"], ["b", "c", "d"])
    else:
        mesh.suspend("a", s=300.0)
    mesh.run(s=100)
    for name in "bcd":
        view = mesh[name].view("build")
        assert view is not None
        assert view.state is TaskState.CANCELED
        with pytest.raises(Refused):
            mesh[name].claim("build")
    if fault == "kill":
        mesh.restart("a")
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged(), limit_s=400)
    assert is_state(mesh, "build", TaskState.CANCELED)


def member_wall(mesh: Mesh) -> float:
    """Return the wall time that a new task of node a shows, in seconds."""
    task = parse_task_text(mesh["a"].submit("clock"))
    record = member_at(mesh, "a").table.record(task)
    assert record is not None
    assert record.spec is not None
    return record.spec.fact.created_ms / 1000


def test_an_attempt_that_takes_too_long_goes_to_somebody_else(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit("build", run_limit_s=20.0, backoff_s=0.0))
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.employ("b", "build", habits=Habits(("build",), work_s=(5.0, 5.0)))
    mesh.run(s=15)
    assert mesh.everyone_agrees("build", holder="a")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED), limit_s=20)
    assert mesh["a"].was_told("task.lost")
    close(mesh, "build")


def test_a_restarted_owner_keeps_the_run_limit(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit("build", run_limit_s=30.0, max_attempts=1))
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.run(s=5)
    mesh.restart("a")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.FAILED), limit_s=60)


# Keys


def test_two_submitters_on_two_sides_make_one_task(meshes: MeshOf) -> None:
    mesh = meshes(4)
    mesh.partition(["a", "b"], ["c", "d"])
    here = mesh["a"].submit("build", TaskSubmit("build", dedupe="nightly"))
    there = mesh["c"].submit("build", TaskSubmit("build", dedupe="nightly"))
    assert here == there
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged())
    mesh.employ("b", "build")
    mesh.employ("d", "build")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED))
    assert mesh.worked_on("build") == 1
    close(mesh, "build")


def test_who_joined_a_key_cancels_its_task_when_the_first_submitter_is_gone(
    meshes: MeshOf,
) -> None:
    mesh = meshes(4, conditions=LOSSY)
    nightly = TaskSubmit("build", dedupe="nightly")
    mesh["b"].submit("build", nightly)
    mesh.run_until(mesh.converged)
    mesh.employ("c", "build", habits=BUSY)
    mesh.run_until(lambda: at_work(mesh) == 1)
    mesh.kill("b", machine=True)
    mesh.world.destroy_disk("b")
    with pytest.raises(Refused, match="was submitted on"):
        mesh["d"].cancel("build")
    joined = mesh["d"].tell(nightly).result
    assert isinstance(joined, dict)
    assert joined["joined"] is True
    mesh["d"].cancel("build")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.CANCELED) and at_work(mesh) == 0)
    assert mesh.worked_on("build") == 1


# Limits


@pytest.mark.parametrize("seed", range(2))
def test_m27_a_limit_is_exact_while_messages_are_lost(meshes: MeshOf, seed: int) -> None:
    mesh = meshes(5, seed=seed, conditions=LOSSY)
    for name in mesh.names:
        mesh.employ(name, "build", habits=Habits(("build",), work_s=(0.5, 2.0)))
    for number in range(12):
        mesh["abcde"[number % 5]].submit(f"t{number}", TaskSubmit("build", limit=("db", 2)))
    most = 0
    for _ in range(1200):
        mesh.run(s=0.05)
        most = max(most, at_work(mesh))
        assert most <= 2
        if all(is_state(mesh, f"t{number}", TaskState.COMPLETED) for number in range(12)):
            break
    assert most == 2, "both slots were used"
    close(mesh, "build")


def test_a_slot_of_a_dead_owner_is_free_again(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["b"].submit("one", TaskSubmit("build", limit=("db", 1)))
    mesh["b"].submit("two", TaskSubmit("build", limit=("db", 1)))
    mesh.run(s=1)
    mesh["a"].claim("one")
    mesh["a"].start("one")
    mesh.employ("b", "build", habits=Habits(("build",), work_s=(1.0, 1.0)))
    mesh.run(s=10)
    assert mesh.starts("two") == 0
    mesh.kill("a")
    for label in ("one", "two"):
        mesh.run_until(lambda: is_state(mesh, label, TaskState.COMPLETED))  # noqa: B023  called before the next turn


# Auctions


@pytest.mark.parametrize("seed", range(2))
def test_m13_ten_bidders_and_one_winner_everywhere(meshes: MeshOf, seed: int) -> None:
    mesh = meshes(10, seed=seed, conditions=LOSSY)
    mesh["a"].submit("build", TaskSubmit("build", allocation="auction", bid_window_s=2.0))
    mesh.run(s=0.3)
    scores = mesh.world.rng.sample(range(1, 60_000), 10)
    wishes = []
    for name, score in zip(mesh.names, scores, strict=True):
        wishes.append(mesh[name].ask(TaskClaim(kinds=("build",), wait_s=90.0, score=score)))
        mesh.run(s=mesh.world.rng.uniform(0.0, 0.1))
    best, second = (name for _, name in sorted(zip(scores, mesh.names, strict=True))[:-3:-1])
    mesh.run_until(lambda: any(wish.done for wish in wishes))
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder=best), limit_s=5)
    mesh[best].tell(TaskStart(mesh[best].handle("build")))
    claims = mesh_claims(mesh)
    assert len(claims) <= 10, "nobody says more than its bid"
    mesh.kill(best)
    mesh.run_until(lambda: mesh.owners("build")[second] == second)
    mesh.run_until(lambda: wishes[mesh.names.index(second)].done)
    mesh[second].start("build")
    mesh[second].complete("build")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED))
    assert mesh.worked_on("build") == 2, "the dead winner and the one that replaced it"


def mesh_claims(mesh: Mesh) -> list[str]:
    """Return the tokens of all claims that node a holds."""
    table = member_at(mesh, "a").table
    records = [table.record(task) for task in table.tasks()]
    return [view.fact.id.hex() for record in records if record for view in record.claims]


def test_bidders_on_two_sides_agree_when_they_meet(meshes: MeshOf) -> None:
    mesh = meshes(4)
    mesh["a"].submit("build", TaskSubmit("build", allocation="auction"))
    mesh.run(s=0.1)
    mesh.partition(["a", "b"], ["c", "d"])
    for name, score in zip("abcd", (5, 7, 6, 4), strict=True):
        mesh[name].ask(TaskClaim(kinds=("build",), wait_s=5.0, score=score))
    mesh.run(s=60)
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged())
    assert mesh.everyone_agrees("build", holder="b")


def test_failed_bids_cost_nobody_an_attempt(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit("build", allocation="auction", backoff_s=0.0))
    mesh.run(s=0.1)
    wishes = [
        mesh[name].ask(TaskClaim(kinds=("build",), wait_s=60.0, score=score))
        for name, score in zip("abc", (1, 2, 3), strict=True)
    ]
    for number, name in enumerate("cba"):
        mesh.run_until(lambda: wishes["abc".index(name)].done)  # noqa: B023  called before the next turn
        mesh[name].tell(TaskFail(mesh[name].handle("build"), "no luck"))
        mesh.run(s=0.5)
        view = mesh["a"].view("build")
        assert view is not None
        assert view.attempts_used == number + 1
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.FAILED))


# Weather


def test_whatever_the_weather_every_schedule_comes_to_its_end(seeds: range) -> None:
    for seed in seeds[:50]:
        plan = Plan(seed, nodes=4, storm_s=30.0, tasks=12, scheduled=True)
        outcome = run_trial(plan, LOCAL, Population())
        assert outcome.broken is None, outcome.line()


# Fairness


def test_no_node_gets_much_more_than_its_share() -> None:
    tasks, nodes = 100, 5
    worst = max(shares(tasks, nodes, seed=1).values()) * nodes / tasks
    assert worst <= 1.6, "a hundred lots spread this far; ten thousand stay below 1.3"
