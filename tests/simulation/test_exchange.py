"""Work that goes from hand to hand under faults: hand-over, questions, reviews, stuck workers."""

import pytest

from mesh.core.commands import (
    TaskAccept,
    TaskAnswer,
    TaskAsk,
    TaskForceRelease,
    TaskOffer,
    TaskProgress,
    TaskReview,
    TaskSubmit,
)
from mesh.core.snapshot import TaskState
from mesh.sim.network import OneWay
from mesh.sim.scenario import Mesh, Refused
from tests.simulation.conftest import MeshOf
from tests.simulation.hunting import close, is_state

FORTY_SIX = "NDY="


def one_way(mesh: Mesh, source: str, target: str) -> OneWay:
    """Return the rule by which nothing gets from one node to another."""
    return OneWay(mesh.world.addresses([source]), mesh.world.addresses([target]))


def test_m6_a_stuck_worker_is_timed_out_by_its_own_node_and_the_task_goes_on(
    meshes: MeshOf,
) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit(kind="build", progress_limit_s=3.0, backoff_s=0.5))
    mesh.run(s=1)
    mesh["b"].claim("build")
    mesh["b"].start("build")
    mesh.employ("c", "build")
    mesh.run(s=2)
    assert mesh.everyone_agrees("build", holder="b")
    mesh.run_until(lambda: mesh["b"].was_told("task.lost"), 2)
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED), 20)
    assert mesh.starts("build") == 2
    close(mesh)


def test_m6_who_reports_is_never_timed_out_and_who_is_cut_off_only_by_its_own_node(
    meshes: MeshOf,
) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit(kind="build", progress_limit_s=3.0, orphan_grace_s=60.0))
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    mesh.partition(["b"], ["a", "c"])
    for done in range(10):
        mesh["b"].tell(TaskProgress(handle, done=done, total=10, copies=1))
        mesh.run(s=2)
    assert mesh["a"].owner("build") == "b", "nobody else looks at the clock"
    mesh.repair()
    mesh["b"].tell(TaskProgress(handle, done=10, total=10))
    mesh["b"].complete("build")
    close(mesh)
    assert mesh.starts("build") == 1


def test_m11_a_checkpoint_outlives_its_author_under_loss(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("items")
    mesh.run(s=1)
    handle = mesh["b"].claim("items").text("handle")
    mesh["b"].start("items")
    rule = one_way(mesh, "b", "a")
    mesh.world.add_rule(rule)
    mesh["b"].tell(TaskProgress(handle, "half", 46, 100, checkpoint=FORTY_SIX))
    mesh.kill("b", machine=True)
    mesh.world.remove_rule(rule)
    answer = mesh["a"].claim("items", wait_s=60.0)
    assert isinstance(answer.result, dict)
    kept = answer.result["checkpoint"]
    assert isinstance(kept, dict)
    assert kept["data"] == FORTY_SIX


@pytest.mark.parametrize("seed", range(4))
def test_m9_a_crash_half_way_through_a_hand_over_leaves_exactly_one_owner(
    meshes: MeshOf, seed: int
) -> None:
    """The receiver dies at a moment that the seed draws, before, amid or after its accept."""
    mesh = meshes(4, seed=seed)
    mesh["a"].submit("build", TaskSubmit(kind="build"))
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    mesh["b"].tell(TaskOffer(handle, to="c", goal="green"))
    mesh.run(s=0.5)
    accept = mesh["c"].ask(TaskAccept(mesh.known("build"), "carol", detached=True))
    mesh.world.run((0.0, 0.002, 0.006, 0.05)[seed])
    mesh.kill("c", machine=True)
    mesh.run(s=1)
    owners = {mesh[name].owner("build") for name in "abd"}
    assert len(owners) == 1
    assert owners <= {"b", "c"}
    if accept.error is None and accept.done:
        assert owners == {"c"}, "an acknowledged accept is kept"
    mesh.employ("d", "build")
    if owners == {"b"}:
        mesh["b"].complete("build")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED), 60)
    mesh.restart("c")
    close(mesh)


def test_m9_the_giver_dies_after_its_offer_and_the_receiver_may_still_take_it(
    meshes: MeshOf,
) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].tell(TaskOffer(handle, goal="green"))
    mesh.run(s=1)
    mesh.kill("b")
    taken = mesh["c"].tell(TaskAccept(mesh.known("build"), "carol", detached=True))
    assert taken.text("token")
    assert mesh["c"].owner("build") == "c"
    mesh.restart("b")
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder="c"))
    with pytest.raises(Refused) as refused:
        mesh["b"].tell(TaskProgress(handle))
    assert refused.value.name in {"claim_lost", "unknown_handle"}


def test_m9_both_sides_of_a_partition_accept_one_offer_and_one_owns_it_afterwards(
    meshes: MeshOf,
) -> None:
    mesh = meshes(4)
    mesh["a"].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    mesh["b"].tell(TaskOffer(handle))
    mesh.run(s=1)
    mesh.partition(["a", "b", "c"], ["d"])
    for name in "cd":
        mesh[name].tell(TaskAccept(mesh.known("build"), name, detached=True))
        mesh[name].start("build")
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_sees_everyone() and mesh.converged())
    holder = mesh["a"].owner("build")
    assert holder in {"c", "d"}
    assert mesh.everyone_agrees("build", holder=holder)
    assert mesh["c" if holder == "d" else "d"].was_told("task.lost")


def test_m11_a_question_is_answered_on_the_far_side_of_a_partition_after_it_heals(
    meshes: MeshOf,
) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit(kind="build", orphan_grace_s=600.0))
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    question = mesh["b"].tell(TaskAsk(handle, "which branch?")).text("question")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.INPUT_REQUIRED))
    mesh.partition(["b"], ["a", "c"])
    mesh.run(s=20)
    mesh["c"].tell(TaskAnswer(mesh.known("build"), "main", question))
    assert mesh["b"].view("build").state is TaskState.INPUT_REQUIRED  # type: ignore[union-attr]  # it was submitted
    mesh.repair()
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.WORKING))
    assert mesh["b"].was_told("task.answered")
    mesh["b"].complete("build")
    close(mesh)


def test_m18_a_false_done_is_refused_and_its_author_named_although_it_is_dead(
    meshes: MeshOf,
) -> None:
    mesh = meshes(4)
    mesh["a"].submit("build", TaskSubmit(kind="build", verify=1, backoff_s=0.1))
    mesh.run(s=1)
    mesh["b"].claim("build")
    mesh["b"].start("build")
    mesh["b"].complete("build")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.INPUT_REQUIRED))
    mesh.kill("b")
    mesh.run(s=30)
    assert is_state(mesh, "build", TaskState.INPUT_REQUIRED), "nobody does it again meanwhile"
    mesh["c"].tell(TaskReview(mesh.known("build"), False, "carol", "no tests"))
    mesh["d"].claim("build", wait_s=10.0)
    mesh["d"].complete("build")
    mesh.run(s=1)
    mesh["c"].tell(TaskReview(mesh.known("build"), True, "carol"))
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED))
    mesh.restart("b")
    close(mesh)


def test_an_operator_frees_a_task_and_its_owner_is_fenced(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build", TaskSubmit(kind="build", orphan_grace_s=600.0))
    mesh.run(s=1)
    mesh["b"].claim("build")
    mesh["b"].start("build")
    mesh.partition(["b"], ["a", "c"])
    mesh["a"].tell(TaskForceRelease(mesh.known("build"), "its network is gone"))
    mesh["c"].claim("build", wait_s=10.0)
    mesh["c"].start("build")
    mesh.repair()
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder="c"))
    mesh.run_until(lambda: mesh["b"].was_told("task.lost"))
    mesh["c"].complete("build")
    close(mesh)


def test_m26_a_cancel_reaches_an_owner_that_the_canceler_cannot_reach(meshes: MeshOf) -> None:
    """A does not reach B, and B not A, but C reaches both."""
    mesh = meshes(3)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh["b"].claim("build")
    mesh["b"].start("build")
    mesh.world.add_rule(one_way(mesh, "a", "b"))
    mesh.world.add_rule(one_way(mesh, "b", "a"))
    mesh.run(s=5)
    mesh["a"].cancel("build")
    took_s = mesh.run_until(lambda: mesh["b"].was_told("task.lost"), 20)
    assert took_s < 10
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.CANCELED))


def test_an_owner_that_dies_while_it_waits_for_an_answer_is_replaced(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    question = mesh["b"].tell(TaskAsk(handle, "which branch?")).text("question")
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.INPUT_REQUIRED))
    mesh.kill("b", machine=True)
    mesh["c"].claim("build", wait_s=60.0)
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.WORKING))
    mesh["a"].tell(TaskAnswer(mesh.known("build"), "main", question))
    mesh["c"].start("build")
    mesh["c"].complete("build")
    mesh.restart("b")
    close(mesh)
