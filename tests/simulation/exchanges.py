"""Hunts about what members say to each other on a task, and what liars among them would like."""

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.exchange_facts import Accept, Answer, Release, Review
from mesh.core.claims.facts import Claim
from mesh.core.claims.record import Record
from mesh.core.commands import TaskAsk, TaskOffer, TaskProgress, TaskReview, TaskSubmit
from mesh.core.identity import FactId
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import SignedFact
from mesh.sim.scenario import Mesh
from tests.simulation.hunting import Liar, a_mesh, close, is_state, member_at

BUILD = TaskSubmit(kind="build")


def record_at(mesh: Mesh, name: str) -> Record:
    """Return the one task's record at a node."""
    table = member_at(mesh, name).table
    (task,) = table.tasks()
    record = table.record(task)
    assert record is not None
    return record


def working(seed: int, task: TaskSubmit = BUILD, count: int = 3) -> tuple[Mesh, str]:
    """Return a mesh in which b works on a task of a's, and b's handle."""
    mesh = a_mesh(seed, count)
    mesh["a"].submit("build", task)
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    mesh.run(s=1)
    return mesh, handle


def follow(liar: Liar, because: FactId) -> SignedFact:
    """Return the claim with which a liar would follow the owner."""
    record, me = record_at(liar.mesh, liar.name), liar.member.author.id
    assert record.owner is not None
    assert record.spec is not None
    claim, epoch = record.owner.fact, record.epoch + 1
    rank = claim_rank(record.task, epoch, me)
    boot = liar.member.boot
    return liar.sign(
        Claim(record.task, record.spec.id, epoch, rank, boot, "liar", bytes(8), claim.id, because)
    )


def taken_though_offered_to_another(seed: int) -> None:
    """A task is offered to a; c accepts it and claims: b keeps it."""
    mesh, handle = working(seed)
    mesh["b"].tell(TaskOffer(handle, to="a"))
    mesh.run(s=1)
    liar, record = Liar(mesh, "c"), record_at(mesh, "c")
    offer = record.exchange.offers[0].fact
    accept = liar.sign(Accept(record.task, offer.id, liar.member.boot, "liar"))
    liar.say(accept, follow(liar, accept.id))
    assert mesh["a"].owner("build") == "b", "an offer to a was taken by c"


def released_by_a_bystander(seed: int) -> None:
    """Who is no admin and has no part in a task releases it: its owner keeps it."""
    mesh, _ = working(seed, count=4)
    liar, record = Liar(mesh, "d"), record_at(mesh, "d")
    assert record.owner is not None
    release = liar.sign(Release(record.task, record.owner.fact.id, None, b""))
    liar.say(release, follow(liar, release.id))
    assert mesh["a"].owner("build") == "b", "a bystander's release counted"


def reviewed_by_its_author(seed: int) -> None:
    """The owner accepts its own result: it completes nothing."""
    mesh, _ = working(seed, TaskSubmit(kind="build", verify=1))
    mesh["b"].complete("build")
    mesh.run(s=1)
    liar, record = Liar(mesh, "b"), record_at(mesh, "b")
    assert record.owner is not None
    assert record.owner.result is not None
    liar.say(liar.sign(Review(record.task, record.owner.result.id, True, "liar", b"")))
    assert not is_state(mesh, "build", TaskState.COMPLETED), "a result was accepted by its author"
    mesh["c"].tell(TaskReview(mesh.known("build"), accept=True))
    mesh.run_until(lambda: is_state(mesh, "build", TaskState.COMPLETED))
    close(mesh)


def given_up_by_another(seed: int) -> None:
    """A bystander says that a question is over: its asker still waits."""
    mesh, handle = working(seed)
    mesh["b"].tell(TaskAsk(handle, "which?"))
    mesh.run(s=1)
    liar, record = Liar(mesh, "c"), record_at(mesh, "c")
    question = record.exchange.questions[0].fact
    liar.say(liar.sign(Answer(record.task, question.id, "mesh", b"", timed_out=True)))
    assert is_state(mesh, "build", TaskState.INPUT_REQUIRED), "a bystander gave a question up"


def stuck_worker(seed: int) -> None:
    """A worker says nothing for longer than it may: its attempt is over for everybody."""
    mesh, _ = working(seed, TaskSubmit(kind="build", progress_limit_s=4.0))
    mesh.run(s=5)
    assert not is_state(mesh, "build", TaskState.WORKING), "a stuck worker is not flagged"


def busy_worker(seed: int) -> None:
    """A worker reports now and then: it is left alone."""
    mesh, handle = working(seed, TaskSubmit(kind="build", progress_limit_s=4.0))
    for done in range(4):
        mesh.run(s=2)
        mesh["b"].tell(TaskProgress(handle, done=done))
    assert mesh.everyone_agrees("build", holder="b"), "a reporting worker lost its task"


def checkpoint_kept(seed: int) -> None:
    """An owner reports a checkpoint and dies: whoever follows is given it."""
    mesh, handle = working(seed)
    mesh["b"].tell(TaskProgress(handle, checkpoint="NDY="))
    mesh.kill("b", machine=True)
    answer = mesh["a"].claim("build", wait_s=60.0)
    assert isinstance(answer.result, dict)
    kept = answer.result["checkpoint"]
    assert isinstance(kept, dict), "the checkpoint is lost"
    assert kept["data"] == "NDY=", "the checkpoint is lost"
