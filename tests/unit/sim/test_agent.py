"""Agents on toy nodes: they work through what there is, come back, and can be bad."""

import pytest

from mesh.core.commands import TaskSubmit
from mesh.core.params import Params
from mesh.core.snapshot import TaskState
from mesh.sim.agent import Habits, SimAgent, reformed
from mesh.sim.client import SimClient
from mesh.sim.history import What
from mesh.sim.world import World
from tests.unit.sim.scripted import Board, toys


def workshop(habits: Habits, tasks: int = 5) -> tuple[World, SimAgent, Board]:
    board = Board()
    world = World(3, Params(), toys(board))
    host = world.add_host("a")
    world.start("a")
    agent = SimAgent(world, host, "worker", habits)
    agent.begin()
    client = SimClient(world, host)
    for _ in range(tasks):
        client.ask(TaskSubmit(kind="build"))
    return world, agent, board


def states(board: Board) -> list[TaskState]:
    return [view.state for view in board.tasks.values()]


@pytest.mark.parametrize("capacity", [1, 3])
def test_an_agent_does_its_tasks_as_many_at_once_as_it_can(capacity: int) -> None:
    world, agent, board = workshop(Habits(("build",), capacity, work_s=(1.0, 1.0)))
    most = 0
    for _ in range(40):
        world.run(0.5)
        most = max(most, len(agent.holdings))
    assert states(board) == [TaskState.COMPLETED] * 5
    assert most == capacity
    assert len(world.history.of(What.STARTED)) == 5


def test_other_kinds_are_left_alone() -> None:
    world, _, board = workshop(Habits(("paint",)))
    world.run(20.0)
    assert states(board) == [TaskState.SUBMITTED] * 5


def test_failing_releasing_and_lying_agents_get_there_in_the_end() -> None:
    bad = Habits(("build",), fails=0.3, releases=0.3, lies=0.5, work_s=(0.1, 0.2))
    world, agent, board = workshop(bad)
    world.run(60.0)
    assert states(board) == [TaskState.COMPLETED] * 5
    assert world.history.of(What.FAILED)
    assert world.history.of(What.RELEASED)
    asked = [answer.error for answer in agent.answers]
    assert "unknown" in asked, "no lie was told"


def test_a_crashing_agent_stops_its_work_and_comes_back() -> None:
    world, agent, _ = workshop(Habits(("build",), crashes=1.0), tasks=1)
    world.run(5.0)
    assert len(world.history.of(What.STOPPED)) == 1
    assert not agent.holdings
    assert agent.connection is not None
    agent.habits = reformed(agent.habits)
    assert agent.habits == Habits(("build",))


def test_an_agent_survives_its_node_and_takes_up_its_claim() -> None:
    world, agent, board = workshop(Habits(("build",), work_s=(2.0, 2.0)), tasks=1)
    world.run(1.0)
    held = list(agent.holdings)
    assert held
    world.kill("a")
    world.run(1.0)
    world.start("a")
    world.run(5.0)
    assert len(world.history.of(What.RESUMED)) == 1
    assert states(board) == [TaskState.COMPLETED]


def test_without_a_node_an_agent_loses_patience() -> None:
    world, agent, _ = workshop(Habits(("build",), work_s=(60.0, 60.0), patience_s=4.0), tasks=1)
    world.run(1.0)
    world.kill("a")
    world.run(3.9)
    assert agent.holdings
    world.run(0.2)
    assert not agent.holdings
    assert len(world.history.of(What.STOPPED)) == 1


def test_a_sleeping_agent_does_not_work() -> None:
    world, _, board = workshop(Habits(("build",), work_s=(2.0, 2.0)), tasks=1)
    world.run(1.0)
    world.suspend("a", 30.0)
    world.run(29.0)
    assert states(board) == [TaskState.WORKING]
    world.run(2.0)
    assert states(board) == [TaskState.COMPLETED]


def test_an_agent_outlives_a_power_cut_and_disk_trouble() -> None:
    world, _, board = workshop(Habits(("build",), work_s=(0.5, 0.5)))
    world.run(1.0)
    world.hosts["a"].disk.fail = 0.5
    world.run(5.0)
    world.kill("a", machine=True)
    world.hosts["a"].disk.mend()
    world.run(2.0)
    world.start("a")
    world.run(60.0)
    assert len(states(board)) == 5
    assert states(board).count(TaskState.COMPLETED) >= 4
