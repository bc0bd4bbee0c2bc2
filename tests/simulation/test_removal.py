"""How nodes are taken out of a mesh: everywhere, for good, and with what they have said."""

import random
from dataclasses import replace
from typing import Any

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Progress, ProgressState, Spec
from mesh.core.commands import TaskSubmit, TaskWait
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import Json
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, dot_task_id
from mesh.core.membership.facts import Verdict
from mesh.core.params import params_for
from mesh.core.snapshot import Status, TaskState
from mesh.core.trust.records import Admin, Certificate, Revocation
from mesh.core.trust_commands import TrustRemove
from mesh.core.wire.envelope import Verified, author_of
from mesh.sim.checker import unwatch
from mesh.sim.checkers import GreatestResultWins
from mesh.sim.host import HostState
from mesh.sim.network import Loss
from mesh.sim.population import Population, node_key, secret
from mesh.sim.scenario import Mesh, Refused
from mesh.sim.world import World
from tests.simulation.busy import past_of, remember
from tests.simulation.conftest import MeshOf
from tests.simulation.hunting import Liar, is_state, member_at

FAR_LOSS = 0.2
NODES = 100
LIMIT_S = 10.0


def knows_no(mesh: Mesh, name: str) -> bool:
    """Whether no other running node lists this one any more, nor could say anything to it."""
    removed = member_at(mesh, name).author.id
    others = [person for person in mesh.running() if person.name != name]
    return not any(
        name in person.members() or removed in member_at(mesh, person.name).transport.links.routes
        for person in others
    )


def remove(mesh: Mesh, name: str, *, by: str = "a", discard: bool = False) -> dict[str, Json]:
    """Let somebody remove a node."""
    result = mesh[by].tell(TrustRemove(name, discard=discard)).result
    assert isinstance(result, dict)
    return result


def refused(mesh: Mesh, name: str, *, by: str) -> str:
    """Return why somebody may not remove a node."""
    with pytest.raises(Refused) as error:
        remove(mesh, name, by=by)
    return error.value.name


def test_a_removed_node_is_cut_off_everywhere_and_stops(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh["e"].submit("kept")
    mesh.run(s=1)
    assert remove(mesh, "e")["standing"] == 1
    took = mesh.run_until(lambda: knows_no(mesh, "e"), 10)
    assert took < 2
    mesh.run_until(lambda: mesh.world.hosts["e"].state is HostState.OFF, 30)
    assert "removed" in str(mesh.world.hosts["e"].halted)
    mesh.run_until(mesh.converged, 10)
    assert is_state(mesh, "kept", TaskState.SUBMITTED), "what it has said before stands"
    mesh.world.start("e")
    mesh.run(s=5)
    assert mesh.world.hosts["e"].state is HostState.OFF, "it remembers"


def test_its_open_claims_are_void_and_reclaimed(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh["e"].claim("open")
    mesh["e"].start("open")
    mesh["e"].claim("done")
    mesh["e"].start("done")
    mesh["e"].complete("done")
    mesh.run(s=1)
    waiting = mesh["b"].ask_to_claim("open", wait_s=20.0)
    mesh.run(s=2)
    assert not waiting.done, "e is there and works"
    remove(mesh, "e")
    took = mesh.run_until(lambda: waiting.done, 10)
    assert took < 5, "at once: no grace for a node that was removed"
    assert waiting.error is None
    mesh["b"].start("open")
    mesh.run_until(lambda: mesh.everyone_agrees("open", holder="b"), 10)
    assert is_state(mesh, "done", TaskState.COMPLETED), "a result from before stands"


def test_a_few_digits_of_an_id_remove_nobody(meshes: MeshOf) -> None:
    mesh = meshes(3)
    node = member_at(mesh, "b").author.id.hex()
    assert refused(mesh, node[:3], by="a") == "not_found"
    assert remove(mesh, node[:8])["removed"] == node


def test_with_discard_nothing_it_has_said_stands(meshes: MeshOf) -> None:
    mesh = meshes(4)
    # What was completed is open again: S6 does not hold, as asked.
    unwatch(mesh.world, GreatestResultWins)
    mesh["d"].submit("gone")
    mesh["a"].submit("its")
    mesh["d"].claim("its")
    mesh["d"].start("its")
    mesh["d"].complete("its")
    mesh.run_until(lambda: is_state(mesh, "its", TaskState.COMPLETED))
    mesh.kill("d")
    assert remove(mesh, "d", discard=True)["standing"] == 0
    mesh.run_until(mesh.converged, 10)
    assert is_state(mesh, "its", TaskState.SUBMITTED), "as if it had never claimed"
    assert all(person.view("gone") is None for person in mesh.running())
    mesh["b"].claim("its")
    mesh.run_until(lambda: mesh.everyone_agrees("its", holder="b"))
    mesh.restart("a", "b", "c")
    mesh.run(s=5)
    mesh.run_until(mesh.converged, 30)
    views = [person.view("its") for person in mesh.running()]
    assert all(view and view.outcome is None for view in views), "also after a restart"
    assert all(person.view("gone") is None for person in mesh.running())


def test_what_it_says_afterwards_counts_nowhere_whoever_brings_it(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh["a"].submit("build")
    mesh.run(s=1)
    thief = member_at(mesh, "e")
    record = member_at(mesh, "b").table.record(next(iter(thief.table.tasks())))
    assert record is not None
    mesh.partition(["e"], mesh.rest("e"))
    remove(mesh, "e")
    mesh.run_until(lambda: knows_no(mesh, "e"), 10)
    liar = Liar(mesh, "d")
    task = member_at(mesh, "d").table.record(record.task)
    assert task is not None
    assert task.spec is not None
    claim = Claim(record.task, task.spec.id, 1, 0, thief.boot, "thief", b"12345678", None, None)
    note = Progress(record.task, task.spec.id, thief.boot, 1, ProgressState.STARTED, b"")
    for fact in (claim, note):
        liar.say(thief.author.sign([fact])[0].signed)
    assert is_state(mesh, "build", TaskState.SUBMITTED)
    for name in "abc":
        held = member_at(mesh, name).gossip.facts(Family.TASKS)
        assert all(fact.author != thief.author.id for fact in held)


def test_a_late_joiner_does_not_revive_it(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh.kill("d")
    remove(mesh, "e")
    mesh.run_until(lambda: knows_no(mesh, "e") and "e" not in mesh["a"].members(), 10)
    mesh.kill("e")
    mesh.partition(["d", "e"], ["a", "b", "c"])
    # d was away, and the first that it meets is e, which has not heard of its removal either.
    rows = mesh.world.hosts["e"].disk
    assert rows is not None
    mesh.world.start("d")
    mesh.run(s=2)
    mesh.repair()
    mesh.run_until(lambda: "e" not in mesh["d"].members(), 20)
    mesh.run_until(mesh.converged, 20)
    assert all("e" not in person.members() for person in mesh.running())


def test_who_was_cut_off_hears_of_it_when_the_network_heals(meshes: MeshOf) -> None:
    mesh = meshes(6)
    mesh.partition(["a", "b", "c"], ["d", "e", "f"])
    mesh.run(s=5)
    remove(mesh, "f")
    mesh["f"].submit("meanwhile")
    mesh.run(s=5)
    assert mesh["d"].members()["f"] is Status.ALIVE, "nobody there has heard"
    mesh.repair()
    mesh.run_until(lambda: all("f" not in p.members() for p in mesh.running() if p.name != "f"), 60)
    mesh.run_until(lambda: mesh.world.hosts["f"].state is HostState.OFF, 60)
    mesh.run_until(mesh.converged, 30)
    assert mesh["d"].view("meanwhile") is None, "said after the list was made"


def test_ranks(meshes: MeshOf) -> None:
    mesh = meshes(5)  # a, b and c are admins, and a has the root key
    assert refused(mesh, "d", by="e") == "not_admin"
    assert refused(mesh, "b", by="c") == "root_needed"
    assert refused(mesh, "c", by="c") == "self"
    assert refused(mesh, "nobody", by="a") == "not_found"
    remove(mesh, "d", by="c")
    mesh.run_until(lambda: knows_no(mesh, "d"), 10)
    remove(mesh, "b", by="a")
    mesh.run_until(lambda: "b" not in mesh["c"].members(), 10)
    assert "e" in mesh["c"].members()


def test_everywhere_in_ten_seconds_at_a_hundred_nodes_and_a_fifth_lost() -> None:
    world = World(1, params_for("lan"), Population())
    mesh = Mesh(world, [f"n{number}" for number in range(NODES)])
    for name in mesh.names:
        world.start(name)
    world.run(5.0)
    victim, *others = [member_at(mesh, name) for name in reversed(mesh.names)]
    assert all(len(other.known_alive) == NODES - 1 for other in others)
    world.add_rule(Loss(random.Random(1), FAR_LOSS))
    world.run(1.0)
    remove(mesh, mesh.names[-1], by=mesh.names[0])

    def is_gone() -> bool:
        gone = victim.author.id
        return all(
            gone not in other.transport.links.routes and other.membership.status(gone) is None
            for other in others
        )

    took = mesh.run_until(is_gone, LIMIT_S)
    print(f"removed everywhere after {took:.1f} s")
    assert took < LIMIT_S


def test_nobody_but_an_admin_can_take_a_key_back(meshes: MeshOf) -> None:
    mesh = meshes(5)
    liar, victim = Liar(mesh, "e"), member_at(mesh, "d").author.public_key
    liar.say(liar.sign(Revocation(victim, 0, None, 0, "")), family=Family.MEMBERS)
    liar.say(liar.sign(Certificate(victim, 0, 1)), family=Family.MEMBERS)
    mesh.run(s=5)
    assert len(mesh.running()) == len(mesh.names)
    assert mesh.everyone_sees_everyone()


PAST = 30_720
"""Facts of the removed node: more than anybody would want to list one by one."""


def long_past(mesh: Mesh, facts: int, per_task: int = 32) -> list[Verified[Any]]:
    """Let everybody hold many facts of "busy"; return them."""
    past = past_of(member_at(mesh, "busy"), facts, per_task=per_task)
    for person in mesh.running():
        if person.name != "busy":
            remember(member_at(mesh, person.name), past)
    return past


def all_judged(mesh: Mesh, standing: list[Verified[Any]]) -> bool:
    """Whether every running node holds just these facts about tasks, and is done with judging."""
    ids = tuple(sorted(fact.id for fact in standing))
    members = [member_at(mesh, person.name) for person in mesh.running()]
    return all(
        member.trust.revoked()
        and not member.trust.wanted_sheets()
        and not member.removals.is_judging
        and member.gossip.ids(Family.TASKS) == ids
        for member in members
    )


def test_a_node_with_a_long_past_is_removed_and_its_work_stands() -> None:
    world = World(1, params_for("lan"), Population())
    mesh = Mesh(world, [*"abcdefghi", "busy"])
    unwatch(world)
    for name in mesh.names:
        world.start(name)
    world.run(5.0)
    busy = member_at(mesh, "busy")
    past = long_past(mesh, PAST)
    unheard = past_of(busy, 4, first=1_000_000)
    # b lacks a few of them, and c has heard what the remover has not.
    b, c = member_at(mesh, "b"), member_at(mesh, "c")
    b.gossip.forget(Family.TASKS, [verified.id for verified in past[100:110]])
    b.table.withdraw(past[100:110])
    remember(c, unheard)
    world.add_rule(Loss(random.Random(1), FAR_LOSS))
    world.hosts["busy"].retired = True
    mesh.kill("busy")
    assert remove(mesh, "busy")["standing"] == len(past)
    took = mesh.run_until(lambda: all_judged(mesh, past), LIMIT_S)
    members = [member_at(mesh, name) for name in "abcdefghi"]
    sheets = [member.sheets.received for member in members]
    print(f"judged everywhere after {took:.1f} s; sheets that were sent: {sheets}")
    assert took < LIMIT_S
    assert sum(sheets) < 30, "who holds the same facts needs nothing but the pages"

    backdated = busy.author.sign([replace(past[2].fact, number=9999)])[0]
    for liar in "cd":
        said = (backdated.signed, *(fact.signed for fact in unheard))
        Liar(mesh, liar).say_to("abefghi", *said, for_s=1.0)
    assert all_judged(mesh, past), "what is dated back, or was not heard, counts nowhere"


def test_a_late_joiner_holds_the_same_of_a_node_with_a_long_past() -> None:
    world = World(1, params_for("lan"), Population())
    mesh = Mesh(world, [*"abc", "busy", "late"])
    unwatch(world)
    for name in mesh.names[:-1]:
        world.start(name)
    world.run(5.0)
    past = long_past(mesh, 4000)
    world.hosts["busy"].retired = True
    mesh.kill("busy")
    remove(mesh, "busy")
    mesh.run_until(lambda: all_judged(mesh, past), LIMIT_S)
    world.start("late")
    mesh.run(s=1.0)
    took = mesh.run_until(lambda: all_judged(mesh, past), 30)
    received = member_at(mesh, "late").sheets.received
    print(f"a late joiner holds the same after {1 + took:.1f} s; sheets that were sent: {received}")
    assert received <= 4000 // 64 + 1 + 56, "each about once"
    # The lists are on its disk: when it starts again it need ask nobody.
    mesh.restart("late")
    mesh.run(s=2.0)
    assert all_judged(mesh, past)
    assert member_at(mesh, "late").sheets.received == 0


def test_nobody_stumbles_over_a_task_that_went_with_its_author(meshes: MeshOf) -> None:
    mesh = meshes(4)
    unwatch(mesh.world, GreatestResultWins)  # a completed task is gone: S6 does not hold, as asked
    mesh["d"].submit("late", TaskSubmit("build", queue_ttl_s=20))
    mesh["d"].submit("keyed", TaskSubmit("build", dedupe="key"))
    mesh["d"].submit("begun", TaskSubmit("other"))
    mesh["d"].claim("done")
    mesh["d"].complete("done")
    mesh.run(s=2)
    mesh["b"].claim("begun")
    mesh["b"].start("begun")
    waits = mesh["c"].ask(TaskWait(mesh.known("late"), wait_s=60))
    mesh.run(s=1)
    mesh.kill("d")
    remove(mesh, "d", discard=True)
    mesh.run_until(mesh.converged, 10)
    assert waits.error == "not_found", "said at once"
    assert mesh["b"].was_told("task.lost")
    next_one = mesh["b"].ask_to_claim_next("build", wait_s=5)
    mesh.run(s=30)  # beyond the time of every task
    assert next_one.error == "no_task"
    mesh.restart("a", "b", "c")
    mesh.run(s=5)
    mesh.run_until(mesh.converged, 30)
    mesh["a"].submit("keyed", TaskSubmit("build", dedupe="key"))
    assert mesh["c"].claim_next("build", wait_s=5).text("task") == mesh.known("keyed")


def verdict_on(mesh: Mesh, name: str, *, at: str) -> Verified[Any] | None:
    """Return the verdict on a node that stands at another one."""
    subject = member_at(mesh, name).author.id
    facts = member_at(mesh, at).gossip.facts(Family.MEMBERS)
    found = [fact for fact in facts if isinstance(fact.fact, Verdict)]
    return next((fact for fact in found if fact.fact.subject == subject), None)


@pytest.mark.parametrize("restarts", [False, True])
def test_nobody_stays_dead_by_the_word_of_a_node_that_was_removed(
    meshes: MeshOf, restarts: bool
) -> None:
    mesh = meshes(5)
    mesh.partition(["c"], mesh.rest("c"))
    mesh.run_until(lambda: mesh.seen_as("c", Status.DOWN), 20)
    mesh.run(s=1)
    verdict = verdict_on(mesh, "c", at="a")
    assert verdict is not None
    judge = mesh.name_of(verdict.author)
    assert judge != "a", "whoever has written it is removed"
    mesh.kill(judge)
    remove(mesh, judge)
    mesh.run(s=0.2)
    if restarts:
        mesh.restart("a")
    mesh.run(s=20)
    assert mesh["a"].members()["c"] in {Status.DOWN, Status.DEAD}, "whoever is left finds the same"
    assert verdict_on(mesh, "c", at="a") != verdict
    mesh.repair()
    mesh.run_until(mesh.everyone_sees_everyone, 20)
    mesh.run_until(mesh.converged, 10)


def test_with_discard_the_work_of_others_stands(meshes: MeshOf) -> None:
    mesh = meshes(5)
    mesh["a"].submit("orphan")
    mesh["a"].submit("failed", TaskSubmit("failed", backoff_s=0.1))
    mesh["c"].claim("orphan")
    mesh["c"].start("orphan")
    mesh.run(s=1)
    mesh.kill("c", machine=True)
    taken_over = mesh["a"].ask_to_claim("orphan", wait_s=60)
    mesh.run_until(lambda: taken_over.done)
    mesh["a"].start("orphan")
    mesh["a"].complete("orphan")
    facts = member_at(mesh, "a").gossip.facts(Family.MEMBERS)
    judge = mesh.name_of(next(fact.author for fact in facts if isinstance(fact.fact, Verdict)))
    assert judge != "a", "whoever has written the verdict is removed"
    mesh[judge].claim("failed")
    mesh[judge].fail("failed")
    mesh["a"].claim("failed", wait_s=5)
    mesh["a"].complete("failed")
    mesh[judge].submit("gone")
    mesh[judge].submit("done")
    mesh["a"].claim("done")
    mesh["a"].complete("done")
    mesh.run(s=1)
    listed = ("verdict", "claim", "attempt", "spec of what is done")
    assert remove(mesh, judge, discard=True)["standing"] == len(listed)
    mesh.run(s=5)
    mesh.run_until(mesh.converged, 10)
    for label in ("orphan", "failed", "done"):
        assert is_state(mesh, label, TaskState.COMPLETED), "others have done that"
    assert mesh["a"].view("gone") is None


@pytest.mark.parametrize("keyed", [False, True])
def test_what_others_did_out_of_sight_goes_with_the_tasks_of_a_removed_node(
    meshes: MeshOf, keyed: bool
) -> None:
    usual = params_for("lan")
    params = replace(usual, claims=replace(usual.claims, held_back_max=3))
    mesh = meshes(4, params=params)
    unwatch(mesh.world, GreatestResultWins)  # a completed task is gone: S6 does not hold, as asked
    mesh.partition(["a", "c"], ["b", "d"])
    mesh.run(s=10)
    labels = [f"t{number}" for number in range(params.claims.held_back_max + 2)]
    for label in labels:
        mesh["d"].submit(label, TaskSubmit("build", dedupe=label if keyed else None))
        mesh.run(s=0.5)
        mesh["b"].claim(label)
        mesh["b"].complete(label)
    begun = mesh["d"].submit("begun", TaskSubmit("build", dedupe="begun" if keyed else None))
    mesh.run(s=0.5)
    mesh["b"].claim("begun")
    mesh["b"].start("begun")
    remove(mesh, "d")
    mesh.repair()
    mesh.run_until(lambda: knows_no(mesh, "d"), 60)
    mesh.run_until(mesh.converged, 60)
    for restarts in (False, True):
        if restarts:
            mesh.restart("a", "b", "c")
            mesh.run(s=5)
            mesh.run_until(mesh.converged, 30)
        assert all(person.view(label) is None for label in labels for person in mesh.running())
        held = [member_at(mesh, name).table for name in "abc"]
        assert all(not table.waiting() and not len(table) for table in held), begun
    assert mesh["b"].was_told("task.lost")


def test_a_word_waits_for_the_task_of_an_admin_whose_certificate_is_yet_to_come(
    meshes: MeshOf,
) -> None:
    mesh = meshes(3)
    world, b, table = mesh.world, Liar(mesh, "b"), member_at(mesh, "c").table
    x, root, a = (
        author_of(world.suite, key, b.member.verifier)
        for key in (SigningKey(b"x" * 32), secret(world, "root"), node_key(world, "a", 0))
    )
    task = dot_task_id(x.id, Boot(1), 1)
    (spec,) = x.sign([Spec(task, "build", b"", 0, 3, 0, None, b"")])
    rank = claim_rank(task, 1, b.member.author.id)
    claim = Claim(task, spec.id, 1, rank, Boot(1), "agent", b"n" * 8, None, None)
    (admin,) = root.sign([Admin(x.public_key)])
    b.say_to("c", admin.signed, family=Family.MEMBERS)
    b.say_to("c", b.sign(claim))
    assert [word.fact for word in table.waiting()] == [claim]
    (certificate,) = a.sign([Certificate(x.public_key, 0, 0)])
    b.say_to("c", certificate.signed, family=Family.MEMBERS)
    b.say_to("c", spec.signed)
    record = table.record(task)
    assert record is not None
    assert record.holder is not None


def test_whoever_joined_a_task_keeps_it_when_its_submitter_is_removed(meshes: MeshOf) -> None:
    mesh = meshes(4)
    wish = TaskSubmit("build", dedupe="key")
    mesh["d"].submit("keyed", wish)
    mesh.run(s=1)
    joined = mesh["b"].tell(wish).result
    assert isinstance(joined, dict)
    assert joined["joined"]
    mesh.kill("d")
    remove(mesh, "d", discard=True)
    mesh.run(s=1)
    mesh.run_until(mesh.converged, 10)
    assert is_state(mesh, "keyed", TaskState.SUBMITTED), "b was told that it is submitted"
    assert mesh["c"].claim_next("build", wait_s=5).text("task") == mesh.known("keyed")


def test_claims_upon_unheard_failures_of_a_removed_node_are_the_same_everywhere(
    meshes: MeshOf,
) -> None:
    usual = params_for("lan")
    params = replace(usual, claims=replace(usual.claims, held_back_max=3))
    mesh = meshes(4, params=params)
    # A completed task is open again: S6 does not hold, as asked.
    unwatch(mesh.world, GreatestResultWins)
    mesh.partition(["a", "c"], ["b", "d"])
    mesh.run(s=10)
    labels = [f"t{number}" for number in range(params.claims.held_back_max + 2)]
    for label in labels:
        mesh["b"].submit(label, TaskSubmit("build", backoff_s=0.1))
        mesh.run(s=0.5)
        mesh["d"].claim(label)
        mesh["d"].fail(label)
        mesh["b"].claim(label, wait_s=5)
        mesh["b"].complete(label)
    remove(mesh, "d")
    mesh.repair()
    mesh.run_until(lambda: knows_no(mesh, "d"), 60)
    mesh.run_until(mesh.converged, 60)
    assert all(is_state(mesh, label, TaskState.SUBMITTED) for label in labels), "as documented"
    mesh["c"].claim("t0")
    mesh.run_until(lambda: mesh.everyone_agrees("t0", holder="c"), 10)
