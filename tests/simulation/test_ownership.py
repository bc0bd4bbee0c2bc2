"""Who owns a task: under a race, after a death, over a partition, after a restart."""

import pytest

from mesh.core.commands import TaskStart, TaskSubmit
from mesh.core.node.node import Node
from mesh.core.snapshot import Status, TaskState
from mesh.sim.agent import Habits
from mesh.sim.network import Duplicate, Reorder, uniform
from mesh.sim.scenario import Mesh, Refused
from tests.simulation.conftest import MeshOf

GRACE_S = 5.0
"""Orphan grace of the `local` profile."""


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_m1_each_node_in_turn_may_die_and_work_goes_on(meshes: MeshOf, count: int) -> None:
    mesh = meshes(count)
    for victim in mesh.names:
        others = mesh.rest(victim)
        mesh.kill(victim)
        for name in others:
            label = f"after-{victim}-at-{name}"
            mesh[name].claim(label)
            mesh[name].start(label)
            mesh[name].complete(label)
        mesh.restart(victim)
        mesh.run_until(mesh.everyone_sees_everyone)
    mesh.run_until(mesh.converged)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_m2_all_claim_one_task_at_once_and_one_owns_it(meshes: MeshOf, count: int) -> None:
    for seed in range(5):
        mesh = meshes(count, seed=seed)
        task = mesh["a"].submit("build")
        mesh.run(s=1)
        agents = [mesh.employ(name, "build", habits=Habits(("build",))) for name in mesh.names]
        mesh.run_until(lambda: mesh["a"].view("build").state is TaskState.COMPLETED)  # type: ignore[union-attr]  # noqa: B023  it was submitted; called before the next turn
        assert mesh.worked_on("build") == 1, (seed, task, agents)
        mesh.run_until(lambda: mesh.everyone_agrees("build"))  # noqa: B023  called before the next turn
        assert mesh.starts("build") == 1


def test_m4_any_node_answers_for_every_task(meshes: MeshOf) -> None:
    mesh = meshes(5)
    for name in mesh.names:
        mesh[name].claim(f"of-{name}")
        mesh[name].start(f"of-{name}")
    mesh.run_until(mesh.converged)
    for name in mesh.names:
        assert mesh.everyone_agrees(f"of-{name}", holder=name)


def test_m5_a_late_joiner_learns_everything_and_claims_nothing_owned(meshes: MeshOf) -> None:
    mesh = meshes(4)
    mesh.kill("d", machine=True)
    mesh.world.destroy_disk("d")
    for number in range(40):
        mesh["abc"[number % 3]].claim(f"t{number}")
    mesh.restart("d")
    mesh.run(s=0.5)
    for number in range(40, 60):
        mesh["abc"[number % 3]].claim(f"t{number}")
    mesh.run_until(mesh.everyone_sees_everyone)
    mesh.run_until(mesh.converged)
    with pytest.raises(Refused) as refused:
        mesh["d"].claim("t0")
    assert refused.value.name in {"already_owned", "claim_lost"}
    assert all(mesh.owners(f"t{n}")["d"] in {"a", "b", "c"} for n in range(60))


def test_a_copy_of_a_completion_is_worth_something_by_itself(meshes: MeshOf) -> None:
    mesh = meshes(2)
    mesh.partition(["a"], ["b"])
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.repair()
    assert mesh["b"].view("build") is None, "it has missed everything so far"
    assert mesh["a"].complete("build").number("copies") == 2
    mesh.world.destroy_disk("a")
    view = mesh["b"].view("build")
    assert view is not None
    assert view.state is TaskState.COMPLETED


def test_m7_an_orphan_is_retaken_by_one_and_the_old_owner_is_fenced(meshes: MeshOf) -> None:
    mesh = meshes(5)
    first = mesh["a"].claim("build").text("token")
    mesh["a"].start("build")
    for name in "bcde":
        mesh.employ(name, "build", habits=Habits(("build",), work_s=(60.0, 60.0)))
    mesh.kill("a")
    took = mesh.run_until(lambda: mesh.owners("build")["b"] not in {"a", None})
    assert took > GRACE_S
    heir = mesh.owners("build")["b"]
    mesh.run_until(lambda: mesh.worked_on("build") == 2, 1.0)
    mesh.restart("a")
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder=heir))
    view = mesh["a"].view("build")
    assert view is not None
    assert view.token > first
    assert view.epoch == 2
    mesh.run(s=30)
    assert mesh.worked_on("build") == 2, "nobody else has started it"


def test_m7_a_slow_live_owner_is_never_robbed(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.employ("b", "build", habits=Habits(("build",)))
    mesh.employ("c", "build", habits=Habits(("build",)))
    mesh.run(s=3600)
    assert mesh.everyone_agrees("build", holder="a")
    mesh["a"].complete("build")


def test_m19_both_sides_of_a_partition_work_and_agree_afterwards(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh.partition(["a", "b"], ["c", "d", "e"])
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh["c"].claim("build")
    mesh["c"].start("build")
    mesh.run(s=60)
    mesh.repair()
    healed = mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged())
    assert healed < 15
    holder = mesh.owners("build")["a"]
    assert holder in {"a", "c"}
    assert mesh.everyone_agrees("build", holder=holder)
    loser = "c" if holder == "a" else "a"
    assert mesh[loser].was_told("task.lost")
    assert mesh.starts("build") == 2, "a start on each side is counted and shown"


def test_m24_a_restarted_owner_takes_up_its_claim_again(meshes: MeshOf) -> None:
    mesh = meshes(3)
    claimed = mesh["a"].claim("build", detached=True)
    mesh["a"].start("build")
    mesh.restart("a")
    mesh.run_until(mesh.everyone_sees_everyone)
    mesh.run(s=60)
    assert mesh.everyone_agrees("build", holder="a")
    assert mesh["a"].resume(claimed.text("handle")).text("token") == claimed.text("token")
    mesh["a"].complete("build")
    mesh.run_until(mesh.converged)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_last_survivor_takes_over_everything(meshes: MeshOf, count: int) -> None:
    mesh = meshes(count)
    for name in mesh.rest("a"):
        mesh[name].claim(f"of-{name}")
        mesh[name].start(f"of-{name}")
    mesh.run(s=1)
    kinds = tuple(f"of-{name}" for name in mesh.rest("a"))
    mesh.employ("a", *kinds, habits=Habits(kinds, capacity=count))
    mesh.kill(*mesh.rest("a"))
    mesh.run_until(
        lambda: all(
            (view := mesh["a"].view(kind)) is not None and view.state is TaskState.COMPLETED
            for kind in kinds
        ),
        limit_s=60,
    )


def test_a_lid_closed_for_an_hour_resumes_or_is_fenced(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.employ("b", "build", habits=Habits(("build",), work_s=(10_000.0, 10_000.0)))
    mesh.suspend("a", s=3600)
    mesh.run_until(lambda: mesh.owners("build")["b"] == "b", limit_s=120)
    mesh.run(s=3600)
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder="b"), limit_s=30)
    assert mesh["a"].was_told("task.lost")


def test_a_failed_attempt_is_tried_again_until_attempts_are_used_up(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build")
    for attempt in range(3):
        name = "abc"[attempt]
        mesh[name].claim("build", wait_s=30.0)
        mesh[name].start("build")
        mesh[name].fail("build", "no luck")
        mesh.run(s=1)
    mesh.run_until(mesh.converged)
    view = mesh["c"].view("build")
    assert view is not None
    assert (view.state, view.attempts_used) == (TaskState.FAILED, 3)


def test_a_canceled_task_stops_its_owner_and_is_claimed_by_nobody(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh["b"].claim("build")
    mesh["b"].start("build")
    mesh.run(s=1)
    mesh["a"].cancel("build")
    mesh.run_until(lambda: mesh["b"].was_told("task.lost"), limit_s=2)
    with pytest.raises(Refused):
        mesh["c"].claim("build")
    mesh.run_until(lambda: mesh.everyone_agrees("build"))


def test_a_node_that_leaves_gives_its_work_back_at_once(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].claim("build")
    mesh["a"].start("build")
    mesh.run(s=1)
    mesh["a"].leave()
    took = mesh.run_until(lambda: mesh["b"].members()["a"] is Status.LEFT, limit_s=5)
    assert took < 3
    mesh["b"].claim("build", wait_s=2.0)


def test_m17_an_empty_disk_and_peers_rebuild_equal_state(meshes: MeshOf) -> None:
    mesh = meshes(4)
    for number in range(12):
        label = f"t{number}"
        mesh["abcd"[number % 4]].claim(label)
        mesh["abcd"[number % 4]].start(label)
        if number % 3:
            mesh["abcd"[number % 4]].complete(label)
    mesh.run_until(mesh.converged)
    before = {view.id: view for view in mesh["b"].snapshot().tasks}
    mesh.world.destroy_disk("c")
    mesh.world.start("c")
    mesh.run_until(lambda: mesh["c"].members().get("a") is Status.ALIVE)
    mesh.run_until(lambda: len(mesh["c"].snapshot().tasks) == 12, 30)
    rebuilt = {view.id: view for view in mesh["c"].snapshot().tasks}
    mesh.run(s=3)
    assert {id_: view.result_token for id_, view in rebuilt.items()} == {
        id_: view.result_token for id_, view in before.items()
    }


def test_m17_duplicates_and_reordering_change_nothing(meshes: MeshOf) -> None:
    mesh = meshes(4)
    rng = mesh.world.rng
    mesh.world.add_rule(Duplicate(rng, 0.3, uniform(rng, 0.0, 0.05)))
    mesh.world.add_rule(Reorder(rng, 0.3, uniform(rng, 0.0, 0.05)))
    for number in range(20):
        label = f"t{number}"
        mesh["abcd"[number % 4]].claim(label)
        mesh["abcd"[number % 4]].start(label)
        mesh["abcd"[number % 4]].complete(label)
    mesh.run_until(mesh.converged)
    assert all(mesh.starts(f"t{number}") == 1 for number in range(20))
    assert all(mesh.everyone_agrees(f"t{number}") for number in range(20))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_dead_owner_of_the_last_attempt_leaves_a_failed_task(meshes: MeshOf, count: int) -> None:
    mesh = meshes(count)
    victim = mesh.names[-1]
    mesh[victim].submit("build", TaskSubmit(kind="build", max_attempts=1))
    mesh[victim].claim("build")
    mesh[victim].start("build")
    mesh.run(s=1)
    mesh.kill(victim)
    took = mesh.run_until(lambda: failed_everywhere(mesh, "build"))
    assert took > GRACE_S
    mesh.run(s=10)
    view = mesh["a"].view("build")
    assert view is not None
    assert (view.epoch, view.starts) == (2, 1), "one node has written it down, and none has started"
    mesh.restart(victim)
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and failed_everywhere(mesh, "build"))


def failed_everywhere(mesh: Mesh, label: str) -> bool:
    """Whether all running nodes see that a task has failed."""
    views = [person.view(label) for person in mesh.running()]
    return all(view is not None and view.state is TaskState.FAILED for view in views)


def test_what_a_full_disk_refused_binds_nobody(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh.world.hosts["b"].disk.full = True
    for label in ("build", "other"):
        with pytest.raises(Refused) as refused:
            mesh["b"].claim(label)
        assert refused.value.name == "not_durable"
    mesh.run(s=5)
    mesh.world.hosts["b"].disk.mend()
    mesh.run_until(mesh.converged, 30)
    states = [view.state for view in mesh["a"].snapshot().tasks]
    assert sorted(states) == [TaskState.SUBMITTED] * len(states)
    mesh["c"].claim("build")
    mesh["b"].claim("other")


@pytest.mark.parametrize("stop", ["suspend", "pause"])
def test_who_stood_still_starts_nothing_on_old_news(meshes: MeshOf, stop: str) -> None:
    refused = 0
    for seed in range(8):
        mesh = meshes(3, seed=seed)
        mesh["a"].claim("build")
        mesh.run(s=1)
        mesh.employ("b", "build", habits=Habits(("build",), work_s=(900.0, 900.0)))
        {"suspend": mesh.suspend, "pause": mesh.pause}[stop]("a", s=60.0)
        start = None if stop == "suspend" else mesh["a"].ask(TaskStart(mesh["a"].handle("build")))
        mesh.run(s=59.9)
        assert mesh.owners("build")["b"] == "b"
        mesh.world.network.loss = 0.4
        mesh.run_until(lambda: mesh.world.hosts["a"] in mesh.world.running())  # noqa: B023  called before the next turn
        if start is None:
            start = mesh["a"].ask(TaskStart(mesh["a"].handle("build")))
        mesh.run_until(lambda: start.done)  # noqa: B023  called before the next turn
        assert start.error == "claim_lost"
        refused += withheld(mesh, "b") + withheld(mesh, "c")
    assert refused >= 8, "a receipt would have said that nothing greater is known"


def withheld(mesh: Mesh, name: str) -> int:
    """Return how many receipts a node has refused to give."""
    node = mesh.world.hosts[name].node
    assert isinstance(node, Node)
    assert node.participant is not None
    return node.participant.gossip.counters().get("receipts_withheld", 0)
