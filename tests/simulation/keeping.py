"""Hunts around what is kept and what is let go of, and the bugs that they are to catch."""

from base64 import b64encode
from dataclasses import replace

from mesh.core.blob_commands import BlobPut
from mesh.core.claims.forgotten import Forgotten
from mesh.core.claims.keyed import Keyed
from mesh.core.claims.payloads import Payloads
from mesh.core.commands import TaskSubmit
from mesh.core.node.node import Node
from mesh.core.node.participant import Participant
from mesh.core.params import Params
from mesh.core.snapshot import TaskState
from mesh.sim.agent import Habits
from mesh.sim.scenario import Mesh
from tests.simulation.hunting import LOCAL, a_mesh
from tests.simulation.mutant import Mutant, Patch
from tests.simulation.planted import no
from tests.unit.core.blobs.pieces import content, name_of

TASKS = 4


def forgetful(retention_s: float) -> Params:
    """Keep finished tasks for seconds."""
    claims = replace(LOCAL.claims, retention_s=retention_s, forget_settle_s=0.5)
    return replace(LOCAL, claims=claims)


def part(mesh: Mesh, name: str) -> Participant:
    """Return the parts of a running node."""
    node = mesh.world.hosts[name].node
    assert isinstance(node, Node)
    assert node.participant is not None
    return node.participant


def is_done(mesh: Mesh, task: str) -> bool:
    """Whether a task is completed, or forgotten since, where it was submitted."""
    view = mesh["a"].view(task)
    return view is None or view.state is TaskState.COMPLETED


def back_after_all(seed: int) -> None:
    """Somebody comes back after everything was done and forgotten: it is not done again."""
    mesh = a_mesh(seed, 4, params=forgetful(5.0))
    tasks = [mesh["a"].submit(f"t{n}", TaskSubmit(kind="build")) for n in range(TASKS)]
    mesh.run_until(mesh.converged)
    mesh.kill("d")
    mesh.employ("b", "build", habits=Habits(("build",)))
    mesh.run_until(lambda: all(is_done(mesh, task) for task in tasks))
    mesh.run(s=20)
    starts = sum(mesh.world.history.starts(task) for task in tasks)
    mesh.restart("d")
    mesh.employ("d", "build", habits=Habits(("build",)))
    mesh.run(s=30)
    assert sum(mesh.world.history.starts(task) for task in tasks) == starts, "done again"
    assert mesh.converged(), "not the same facts"


def away_for_a_moment(seed: int) -> None:
    """Somebody is cut off while a task is done: it is not forgotten before that one is back."""
    mesh = a_mesh(seed, 3, params=forgetful(1.0))
    mesh.employ("b", "build", habits=Habits(("build",)))
    mesh["a"].submit("one", TaskSubmit(kind="build"))
    mesh.run(s=0.3)
    mesh.partition(["c"], ["a", "b"])
    mesh.run_until(lambda: is_done(mesh, mesh.known("one")))
    mesh.run(s=3)  # the dead are not waited for
    mesh.repair()
    mesh.run_until(mesh.everyone_sees_everyone)
    mesh.run(s=10)
    conflicts = part(mesh, "c").desk.counters().get("forget_conflicts", 0)
    assert conflicts == 0, "forgotten too early"


def key_once_more(seed: int) -> None:
    """A key is submitted again within its window, after its task was done and forgotten."""
    mesh = a_mesh(seed, 3, params=forgetful(1.0))
    mesh.employ("b", "build", habits=Habits(("build",)))
    mesh["a"].submit("nightly", TaskSubmit(kind="build", dedupe="nightly"))
    task = mesh.known("nightly")
    mesh.run_until(lambda: is_done(mesh, task))
    mesh.run(s=10)
    assert all(len(part(mesh, name).table) == 0 for name in "abc"), "not forgotten"
    mesh["c"].submit("again", TaskSubmit(kind="build", dedupe="nightly"))
    mesh.run(s=10)
    assert mesh.world.history.starts(task) == 1, "done again"


def large_payload(seed: int) -> None:
    """A task with a large payload is claimed elsewhere: the payload is there first."""
    mesh = a_mesh(seed, 3)
    data = content(400_000)
    digest, stored = name_of(data).hex(), 0
    while stored < len(data):
        piece = b64encode(data[stored : stored + 200_000]).decode()
        mesh["a"].tell(BlobPut(digest, len(data), stored, piece))
        stored += 200_000
    mesh["a"].submit("build", TaskSubmit(kind="build", blob=digest))
    mesh["c"].claim_next("build", wait_s=30)
    assert part(mesh, "c").blobs.has(name_of(data)), "claimed without its payload"


KEEPING = (
    Mutant(
        "forgotten-taken-anew",
        "That a task was forgotten keeps nobody from taking it in, and doing it, again.",
        "M13",
        back_after_all,
        (Patch(Forgotten, "__contains__", no),),
    ),
    Mutant(
        "forgets-behind-backs",
        "Tasks are forgotten while a member that is expected back has not heard of their end.",
        "M13",
        away_for_a_moment,
        (Patch(Participant, "missing", no),),
    ),
    Mutant(
        "forgotten-key-anew",
        "That the task of a dedupe key was forgotten keeps nobody from submitting it again.",
        "M13",
        key_once_more,
        (Patch(Keyed, "__contains__", no),),
    ),
    Mutant(
        "payload-later",
        "A claim is given before the payload of its task is here.",
        "M11",
        large_payload,
        (Patch(Payloads, "lacks", no),),
    ),
)
