"""Hunts for copies that are none: the bytes of what was acknowledged were on one disk."""

from base64 import b64encode

from mesh.core.commands import Command, TaskClaim, TaskComplete, TaskProgress, TaskSubmit
from mesh.core.identity import BlobId
from mesh.core.snapshot import TaskState
from mesh.sim.client import Answer
from mesh.sim.engine import Conditions
from mesh.sim.scenario import Mesh
from mesh.sim.world import USUAL
from tests.simulation.hunting import a_mesh, close, shown_part
from tests.simulation.test_garbage import member
from tests.unit.core.blobs.pieces import content, name_of

PROMPT = content(10_000, mark=b"prompt")
DIGEST = name_of(PROMPT)
ENCODED = b64encode(PROMPT).decode()
LOSSY = Conditions(loss=0.1)
UNHURRIED_S = 2.0


def lose_the_disk_when_answered(mesh: Mesh, name: str, command: Command) -> int:
    """Destroy the disk of a node the moment it answers; returns how many copies it told of."""

    def answered(_: Answer) -> None:
        mesh.world.call_later(0.0, lambda: mesh.world.destroy_disk(name))

    answer = mesh[name].client.ask(command, answered)
    mesh.run_until(lambda: answer.done)
    assert answer.error is None
    mesh.run(s=UNHURRIED_S)
    assert name not in [person.name for person in mesh.running()]
    if isinstance(command, TaskSubmit):
        mesh.labels["build"] = answer.text("task")
    return answer.number("copies")


def holders(mesh: Mesh, blob: BlobId = DIGEST) -> list[str]:
    """Return on which running nodes a blob is whole."""
    return [person.name for person in mesh.running() if member(mesh, person.name).blobs.has(blob)]


def copies_without_bytes(seed: int) -> None:
    """Whatever is acknowledged with copies, its bytes are on as many disks."""
    for story in (lost_submitter, lost_owner, lost_checkpoint):
        copies = story(seed)
        assert copies > 1, f"nobody had a copy in time ({story.__name__})"


def owned(seed: int, conditions: Conditions, submitter: str) -> tuple[Mesh, str]:
    """Return a mesh in which b works on a task, and its handle."""
    mesh = a_mesh(seed, 4, conditions=conditions)
    mesh[submitter].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build", wait_s=10.0).text("handle")
    mesh["b"].start("build")
    return mesh, handle


def lost_submitter(seed: int, conditions: Conditions = USUAL) -> int:
    """A prompt of 10 KB is acknowledged, and the submitter's disk is lost: the task is done."""
    mesh = a_mesh(seed, 4, conditions=conditions)
    mesh.run(s=1)
    copies = lose_the_disk_when_answered(mesh, "a", TaskSubmit("build", ENCODED))
    if copies > 1:
        assert holders(mesh), f"{copies} copies were told of"
        answer = mesh["c"].tell(TaskClaim(mesh.known("build"), wait_s=30.0, agent="c")).result
        assert isinstance(answer, dict)
        assert answer["blob"] == {"digest": DIGEST.hex(), "size": len(PROMPT)}
        assert "c" in holders(mesh)
        mesh["c"].start("build")
        mesh["c"].complete("build")
        close(mesh)
    return copies


def lost_owner(seed: int, conditions: Conditions = USUAL, submitter: str = "a") -> int:
    """A result of 10 KB is acknowledged, and the owner's disk is lost: the result is not."""
    mesh, handle = owned(seed, conditions, submitter)
    copies = lose_the_disk_when_answered(mesh, "b", TaskComplete(handle, ENCODED))
    if copies > 1:
        assert holders(mesh), f"{copies} copies were told of"
        views = [person.view("build") for person in mesh.running()]
        assert all(view is not None and view.state is TaskState.COMPLETED for view in views)
    return copies


def lost_checkpoint(seed: int, conditions: Conditions = USUAL, submitter: str = "a") -> int:
    """A checkpoint of 10 KB is acknowledged, and the owner's disk is lost: the next goes on."""
    mesh, handle = owned(seed, conditions, submitter)
    copies = lose_the_disk_when_answered(mesh, "b", TaskProgress(handle, checkpoint=ENCODED))
    if copies > 1:
        assert holders(mesh), f"{copies} copies were told of"
        assert shown_part(mesh, "c", "build", "checkpoint")["digest"] == DIGEST.hex()
    return copies
