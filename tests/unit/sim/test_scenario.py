"""Scenarios read as prose; here on toy nodes that work by magic."""

import pytest

from mesh.core.commands import TaskSubmit
from mesh.core.snapshot import Status, TaskState
from mesh.sim.agent import Habits
from mesh.sim.host import HostState
from mesh.sim.scenario import Mesh, Refused, TooLate, mesh_of
from tests.unit.sim.scripted import toys


@pytest.fixture
def mesh() -> Mesh:
    return mesh_of(3, toys())


def test_a_task_from_claim_to_result(mesh: Mesh) -> None:
    mesh["a"].claim("build")
    assert mesh.everyone_agrees("build", holder="a")
    assert not mesh.everyone_agrees("build", holder="b")
    mesh["a"].start("build")
    mesh["a"].complete("build")
    view = mesh["b"].view("build")
    assert view is not None
    assert view.state is TaskState.COMPLETED
    assert mesh.starts("build") == mesh.worked_on("build") == 1


def test_a_refusal_is_raised_with_its_name(mesh: Mesh) -> None:
    mesh["a"].claim("build")
    with pytest.raises(Refused) as refused:
        mesh["b"].claim("build")
    assert refused.value.name == "lost"


def test_a_task_goes_on_to_another_node(mesh: Mesh) -> None:
    task = mesh["a"].submit("night", TaskSubmit(kind="build"))
    mesh["a"].claim("night")
    mesh["a"].release("night")
    answer = mesh["b"].claim_next("build")
    assert answer.text("task") == task
    assert mesh.owners(task) == {"a": "b", "b": "b", "c": "b"}
    mesh.kill("b")
    mesh["c"].claim(task)
    assert mesh.everyone_agrees("night", holder="c")
    mesh["c"].fail("night")
    mesh["c"].cancel("night")
    assert mesh["c"].owner("night") is None
    with pytest.raises(AssertionError, match="nobody"):
        mesh["a"].view("day")


def test_a_claim_is_taken_up_after_a_restart(mesh: Mesh) -> None:
    mesh["a"].claim("build")
    handle = mesh["a"].handle("build")
    mesh.restart("a")
    mesh["a"].resume(handle)
    mesh["a"].start("build")
    assert mesh.starts("build") == 1


def test_members_come_and_go(mesh: Mesh) -> None:
    assert mesh["a"].members() == {"a": Status.ALIVE, "b": Status.ALIVE, "c": Status.ALIVE}
    mesh["b"].leave()
    assert mesh.seen_as("b", Status.DEAD)
    assert mesh.everyone_sees_everyone()
    assert mesh.converged()
    assert mesh.rest("a") == ["b", "c"]


def test_faults_come_from_the_world(mesh: Mesh) -> None:
    mesh.pause("a", s=5.0)
    mesh.suspend("b", s=5.0)
    mesh.partition(["a"], mesh.rest("a"))
    states = [host.state for host in mesh.world.hosts.values()]
    assert states == [HostState.PAUSED, HostState.ASLEEP, HostState.RUNNING]
    assert not mesh.world.network.whole
    mesh.repair()
    mesh.run(s=6)
    assert len(mesh.running()) == 3
    mesh.kill("a", machine=True)
    assert len(mesh.running()) == 2


def test_waiting_takes_as_long_as_it_takes(mesh: Mesh) -> None:
    begin_s = mesh.world.now_s
    assert mesh.run_until(lambda: mesh.world.now_s > begin_s + 1.0) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(TooLate):
        mesh.run_until(lambda: False, 1.0)


def test_agents_can_be_employed(mesh: Mesh) -> None:
    mesh.employ("a", "build")
    mesh.employ("b", habits=Habits(("test",)))
    for label in ("build", "test"):
        mesh["c"].submit(label)
    mesh["c"].attach("paint")
    mesh.run(s=10)
    for label in ("build", "test"):
        view = mesh["c"].view(label)
        assert view is not None
        assert view.state is TaskState.COMPLETED
    assert not mesh["c"].was_told("task.lost")
