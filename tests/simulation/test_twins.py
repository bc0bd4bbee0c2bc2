"""One key, two nodes: copied disks, cloned machines, and backups that are put back."""

import pytest

from mesh.core.commands import NodeStatus, TaskClaim
from mesh.core.params import params_for
from mesh.sim.checker import unwatch
from mesh.sim.checkers import FactsSigned
from mesh.sim.engine import Conditions
from mesh.sim.host import HostState
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Refused
from mesh.sim.world import World
from tests.simulation.hunting import member_at, node_at

LIMIT_S = 10.0
COPY, ORIGINAL = "z", "e"


def a_mesh(profile: str = "lan", seed: int = 1) -> Mesh:
    """Return five nodes at work, and a host z that is off and has no disk of its own yet."""
    population = Population(copies=((COPY, ORIGINAL),))
    world = World(seed, params_for(profile), population, conditions=Conditions())
    mesh = Mesh(world, (*"abcde", COPY))
    unwatch(world, FactsSigned)  # a copy and a backup break S7: one boot number is used twice
    for name in "abcde":
        world.start(name)
    mesh.run(s=15)
    return mesh


def copy_disk(mesh: Mesh) -> None:
    """Copy the disk of e, as it is now, to z."""
    hosts = mesh.world.hosts
    hosts[COPY].disk.replace(hosts[ORIGINAL].disk.restored())


def alarm(mesh: Mesh, name: str) -> str:
    """Return what a node says of its own key."""
    if mesh.world.hosts[name].state is not HostState.RUNNING:
        return ""
    participant = node_at(mesh, name).participant
    return "" if participant is None else participant.alarm


def warned(mesh: Mesh, name: str) -> bool:
    """Whether the status of a node says that some key lives twice."""
    status = mesh[name].tell(NodeStatus()).result
    assert isinstance(status, dict)
    return "LIVES TWICE" in str(status["warnings"])


def all_know(mesh: Mesh) -> bool:
    """Whether both have raised the alarm, and everybody has heard it."""
    if not (alarm(mesh, COPY) and alarm(mesh, ORIGINAL)):
        return False
    members = [member_at(mesh, name).membership for name in "abcd"]
    key = member_at(mesh, ORIGINAL).author.id
    return all(one._intake.twins.get(key) is not None for one in members)


def takes_no_work(mesh: Mesh, name: str, task: str) -> bool:
    """Whether a node refuses to claim because of its key."""
    with pytest.raises(Refused) as refused:
        mesh[name].tell(TaskClaim(task=task, detached=True))
    return refused.value.name == "key_lives_twice"


@pytest.mark.parametrize("profile", ["local", "lan", "wan"])
def test_a_copied_disk_is_told_within_ten_seconds_to_both_and_all(profile: str) -> None:
    mesh = a_mesh(profile)
    copy_disk(mesh)
    mesh["a"].submit("build")
    waiting = mesh[ORIGINAL].ask_to_claim_next("other", wait_s=60.0)
    mesh.run(s=1)
    mesh.world.start(COPY)
    took = mesh.run_until(lambda: all_know(mesh), LIMIT_S)
    assert took < LIMIT_S
    assert waiting.error == "key_lives_twice", "whoever waits for work there is told so"
    task = mesh.known("build")
    for name in (COPY, ORIGINAL):
        assert "boot" in alarm(mesh, name)
        assert warned(mesh, name)
        assert takes_no_work(mesh, name, task)
    assert warned(mesh, "a")
    assert "cloned" in next(v.flags for v in mesh["a"].member_views() if v.name == COPY)
    mesh["b"].claim("build")


def test_two_that_start_at_once_do_not_outrun_each_other_for_ever() -> None:
    for seed in range(4):
        mesh = a_mesh("lan", seed)
        mesh.kill(ORIGINAL)
        copy_disk(mesh)
        mesh.run(s=5)
        mesh.world.start(ORIGINAL)
        mesh.world.start(COPY)
        mesh.run_until(lambda: all_know(mesh), LIMIT_S)  # noqa: B023  called before the next turn


def test_a_backup_that_is_put_back_raises_no_false_alarm() -> None:
    mesh = a_mesh()
    copy_disk(mesh)
    backup = mesh.world.hosts[COPY].disk.restored()
    for _ in range(3):
        mesh.restart(ORIGINAL)
        mesh.run(s=3)
    mesh.kill(ORIGINAL)
    mesh.world.hosts[ORIGINAL].disk.replace(backup)
    mesh.run(s=20)
    mesh.world.start(ORIGINAL)
    mesh.run_until(lambda: is_back(mesh), 20)
    mesh.run(s=60)
    assert not any(alarm(mesh, person.name) for person in mesh.running())
    assert is_back(mesh)
    mesh.world.kill(ORIGINAL)
    mesh.world.start(ORIGINAL)
    mesh.run_until(lambda: is_back(mesh), 20)
    assert mesh.world.hosts[ORIGINAL].disk.restored().get("risen", {}) == {}


def is_back(mesh: Mesh) -> bool:
    """Whether e runs and is seen by everybody under the boot in which it runs."""
    if mesh.world.hosts[ORIGINAL].state is not HostState.RUNNING:
        return False
    back = node_at(mesh, ORIGINAL)
    if back.participant is None:
        return False
    seen = [mesh[name].member_views() for name in "abcd"]
    return all((back.boot, "alive") in [(v.boot, v.status.value) for v in views] for views in seen)


def test_an_ordinary_restart_raises_no_alarm() -> None:
    mesh = a_mesh()
    for _ in range(3):
        mesh.restart("b", "d")
        mesh.run(s=2)
        mesh.restart("c")
        mesh.run(s=10)
    assert not any(alarm(mesh, person.name) for person in mesh.running())


def test_the_alarm_is_over_once_one_of_them_has_started_anew() -> None:
    mesh = a_mesh()
    copy_disk(mesh)
    mesh.world.start(COPY)
    mesh.run_until(lambda: all_know(mesh), LIMIT_S)
    mesh.world.hosts[COPY].retired = True
    mesh.kill(COPY)
    mesh.restart(ORIGINAL)
    mesh.run_until(lambda: is_back(mesh), 30)
    mesh.run(s=20)
    assert not any(alarm(mesh, person.name) for person in mesh.running())
    assert not warned(mesh, "a")
    mesh[ORIGINAL].claim("build")
