"""Every safety rule, with a history that keeps it and one that breaks it."""

from dataclasses import replace

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Spec
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import Notify, Row
from mesh.core.identity import (
    Boot,
    FactId,
    Incarnation,
    MeshId,
    NodeId,
    TaskId,
    dot_task_id,
    mint_boot,
    task_text,
)
from mesh.core.membership.facts import Presence
from mesh.core.snapshot import MemberView, Snapshot, Status, TaskState, TaskView
from mesh.core.wire.envelope import Verifier, author_of
from mesh.sim.checker import Violation, unwatch, watch
from mesh.sim.checkers import (
    EqualFactsEqualState,
    FactsSigned,
    GreatestResultWins,
    LotsDrawn,
    StartsJustified,
    TablesBounded,
    TokensRise,
    safety_checkers,
)
from mesh.sim.durability import SubmitsKept
from mesh.sim.history import Event, What
from mesh.sim.world import World
from tests.unit.sim.scripted import empty_snapshot, id_of, world_of

TASK = TaskId(b"c" * 16 + bytes(11) + b"\1")
TEXT = task_text(TASK)
LOW, HIGH, NEXT = "00000001-01", "00000001-02", "00000002-01"
MESH = MeshId(b"m" * 32)
BOOT = Boot(1)
VIEW = TaskView(
    id=TASK,
    kind="build",
    state=TaskState.SUBMITTED,
    owner=None,
    agent="",
    token="",
    epoch=0,
    starts=0,
    attempts_used=0,
    outcome=None,
    result_token="",
    result_digest=b"",
)
MEMBER = MemberView(
    id=id_of("a"),
    name="a",
    address=world_of("a").hosts["a"].address,
    status=Status.ALIVE,
    boot=Boot(1),
    incarnation=Incarnation(0),
    rtt_s=None,
    tags=(),
    is_self=False,
)
FACTS = (FactId(b"f" * 32),)


def event(what: What, host: str = "a", token: str = LOW, copies: int = 1) -> Event:
    return Event(what, 0.0, host, 1, TEXT, "build", token, "agent", copies)


def showing(*tasks: TaskView, members: tuple[MemberView, ...] = ()) -> Snapshot:
    return replace(
        empty_snapshot("a"), tasks=tasks, members=members, task_facts=FACTS, member_facts=FACTS
    )


def test_s1_an_acknowledged_submit_that_is_gone() -> None:
    world = world_of("a", "b")
    checker = SubmitsKept(world)
    checker.handle_event(event(What.SUBMITTED, copies=2))
    checker.finish(["a"], {"a": showing(VIEW)})
    with pytest.raises(Violation, match="S1"):
        checker.finish(["a", "b"], {"a": showing(VIEW), "b": showing()})


@pytest.mark.parametrize(("copies", "excused"), [(1, True), (2, False)])
def test_s1_as_many_lost_disks_as_copies_excuse_it(copies: int, excused: bool) -> None:
    world = world_of("a", "b", "c")
    checker = SubmitsKept(world)
    checker.handle_event(event(What.SUBMITTED, copies=copies))
    world.destroy_disk("c")
    world.start("c")
    if excused:
        checker.finish(["a"], {"a": showing()})
    else:
        with pytest.raises(Violation):
            checker.finish(["a"], {"a": showing()})


def presence_row(
    world: World, key: bytes, incarnation: int, name: str = "a", boot: Boot = BOOT
) -> Row:
    verifier = Verifier(world.suite, MESH)
    author = author_of(world.suite, SigningKey(key * 32), verifier)
    address = world.hosts["a"].address
    presence = Presence(boot, Incarnation(incarnation), (address,), bytes(32), 1, name, (), ())
    signed = author.sign([presence])[0].signed
    return Row("fact", signed.id, b"\0" + signed.encode())


def test_s7_a_presence_signed_twice() -> None:
    world = world_of("a")
    host = world.hosts["a"]
    checker = FactsSigned(world)
    checker.handle_rows(host, [Row("fact", b"k", b"junk")])  # the mesh is not known yet
    world.mesh_id = MESH
    first = presence_row(world, b"k", 1)
    checker.handle_rows(host, [first, first, presence_row(world, b"k", 2)])
    checker.handle_rows(host, [presence_row(world, b"l", 1, "b"), Row("fact", b"k", None)])
    assert checker.facts == 4
    with pytest.raises(Violation, match="S7"):
        checker.handle_rows(host, [presence_row(world, b"k", 1, "again")])


def test_s7_two_boots_of_one_number() -> None:
    world = world_of("a")
    world.mesh_id = MESH
    checker, host = FactsSigned(world), world.hosts["a"]
    for boot in (mint_boot(1, 5), mint_boot(2, 5)):
        checker.handle_rows(host, [presence_row(world, b"k", 1, boot=boot)])
    with pytest.raises(Violation, match="one number"):
        checker.handle_rows(host, [presence_row(world, b"k", 1, boot=mint_boot(1, 6))])


def test_s3_a_fact_that_nobody_signed() -> None:
    world = world_of("a")
    world.mesh_id = MESH
    host = world.hosts["a"]
    row = presence_row(world, b"k", 1)
    assert row.value is not None
    forged = row.value.replace(b"\xa1a", b"\xa1z")
    assert forged != row.value
    for bad in (
        Row("fact", row.key, forged),
        Row("fact", row.key, b"\0junk"),
        Row("fact", b"x" * 32, row.value),
    ):
        with pytest.raises(Violation, match="S3"):
            FactsSigned(world).handle_rows(host, [bad])


@pytest.mark.parametrize(("again", "rule"), [("test", "S7"), ("build", None)])
def test_s7_two_tasks_of_one_number(again: str, rule: str | None) -> None:
    world = world_of("a")
    world.mesh_id = MESH
    checker, host = FactsSigned(world), world.hosts["a"]
    author = author_of(world.suite, SigningKey(b"k" * 32), Verifier(world.suite, MESH))
    rows = []
    for kind in ("build", again):
        spec = Spec(dot_task_id(author.id, BOOT, 1), kind, b"", 0, 3, 0, None, b"")
        signed = author.sign([spec])[0].signed
        rows.append(Row("fact", signed.id + b"\1", b"\1" + signed.encode()))
    if rule is None:
        checker.handle_rows(host, rows)
    else:
        with pytest.raises(Violation, match=rule):
            checker.handle_rows(host, rows)


def test_s4_equal_facts_and_different_views() -> None:
    suspected = replace(MEMBER, status=Status.SUSPECT, rtt_s=1.0)
    checker = EqualFactsEqualState()
    checker.handle_snapshots({"a": showing(VIEW, members=(MEMBER,))})
    checker.handle_snapshots({"b": showing(VIEW, members=(suspected,))})
    more = replace(showing(), task_facts=(*FACTS, FactId(b"g" * 32)), members=(MEMBER,))
    checker.handle_snapshots({"b": more})
    other = replace(VIEW, state=TaskState.CANCELED)
    with pytest.raises(Violation, match="S4: tasks"):
        checker.handle_snapshots({"b": showing(other, members=(MEMBER,))})
    raised = replace(MEMBER, incarnation=Incarnation(1))
    with pytest.raises(Violation, match="S4: members"):
        checker.handle_snapshots({"b": showing(VIEW, members=(raised,))})


def test_s5_tokens_rise_at_each_node() -> None:
    world = world_of("a", "b")
    checker = TokensRise(world)
    checker.handle_event(event(What.CLAIMED, "a", HIGH))
    checker.handle_event(event(What.CLAIMED, "b", LOW))  # the other side of a partition
    checker.handle_event(event(What.RESUMED, "a", HIGH))
    with pytest.raises(Violation, match="S5"):
        checker.handle_event(event(What.CLAIMED, "a", "00000001-00"))
    world.destroy_disk("a")
    checker.handle_event(event(What.CLAIMED, "a", "00000001-000"))


def test_s5_a_token_is_handed_out_once() -> None:
    checker = TokensRise(world_of("a", "b"))
    checker.handle_event(event(What.CLAIMED, "a"))
    with pytest.raises(Violation, match="S5"):
        checker.handle_event(event(What.CLAIMED, "b"))


def test_s5_a_token_has_one_owner() -> None:
    checker = TokensRise(world_of("a"))
    owned = replace(VIEW, owner=id_of("a"), token=LOW)
    checker.handle_snapshots({"a": showing(owned), "b": showing(owned, VIEW)})
    with pytest.raises(Violation, match="S5"):
        checker.handle_snapshots({"c": showing(replace(owned, owner=NodeId(b"x" * 16)))})


def test_s5_a_rank_is_the_lot_that_was_drawn() -> None:
    checker, owner = LotsDrawn(), id_of("a")
    lot = f"00000001-{claim_rank(TASK, 1, owner):016x}-{owner.hex()}-00"
    checker.handle_snapshots({"a": showing(replace(VIEW, owner=owner, epoch=1, token=lot))})
    later = lot.replace("00000001-", "00000002-", 1)
    with pytest.raises(Violation, match="S5"):
        checker.handle_snapshots({"a": showing(replace(VIEW, owner=owner, epoch=2, token=later))})


def completed(token: str, digest: bytes = b"") -> Snapshot:
    return showing(
        replace(VIEW, state=TaskState.COMPLETED, result_token=token, result_digest=digest)
    )


def test_s6_a_result_gives_way_to_greater_tokens_only() -> None:
    checker = GreatestResultWins(world_of("a"))
    for token in (LOW, HIGH):
        checker.handle_snapshots({"a": completed(token)})
    with pytest.raises(Violation, match="S6"):
        checker.handle_snapshots({"a": completed(LOW)})


def test_s6_a_completion_is_not_undone() -> None:
    checker = GreatestResultWins(world_of("a"))
    checker.handle_snapshots({"a": completed(LOW)})
    undone = replace(VIEW, state=TaskState.WORKING, result_token=LOW)
    with pytest.raises(Violation, match="S6"):
        checker.handle_snapshots({"a": showing(undone)})


def test_s6_the_greatest_acknowledged_result_wins() -> None:
    checker = GreatestResultWins(world_of("a"))
    checker.handle_event(event(What.COMPLETED, token=HIGH))
    checker.finish(["a"], {"a": completed(HIGH)})
    for forgetful in (completed(LOW), showing()):
        with pytest.raises(Violation, match="S6"):
            checker.finish(["a"], {"a": forgetful})


@pytest.mark.parametrize("told", [True, False])
def test_s6_a_changed_result_is_announced(told: bool) -> None:
    world = world_of("a")
    checker = GreatestResultWins(world, announced=True)
    checker.handle_snapshots({"a": completed(LOW, b"1")})
    if told:
        checker.handle_notice(world.hosts["a"], Notify("task.superseded", {"task": TEXT}))
        checker.handle_snapshots({"a": completed(HIGH, b"2")})
    with pytest.raises(Violation, match="announce"):
        checker.handle_snapshots({"a": completed(NEXT, b"3")})


def test_s8_a_table_at_its_cap_and_one_beyond() -> None:
    full = replace(empty_snapshot("a"), table_sizes=(("members", 8, 8),))
    TablesBounded().handle_snapshots({"a": full})
    with pytest.raises(Violation, match="S8"):
        TablesBounded().handle_snapshots({"a": replace(full, table_sizes=(("members", 9, 8),))})


def test_s9_a_done_task_is_started() -> None:
    checker = StartsJustified(world_of("a", "b"))
    checker.handle_event(event(What.COMPLETED, "a"))
    checker.handle_event(event(What.STARTED, "b", HIGH))  # b need not know
    with pytest.raises(Violation, match="S9"):
        checker.handle_event(event(What.STARTED, "a", HIGH))
    checker.handle_snapshots({"b": completed(LOW)})
    with pytest.raises(Violation, match="S9"):
        checker.handle_event(event(What.STARTED, "b", NEXT))


def rescue(world: World, token: str = NEXT, *, stopped: bool = False) -> None:
    checker = StartsJustified(world)
    begun = replace(event(What.STARTED, "a", LOW), at_s=world.now_s)
    checker.handle_event(begun)
    world.run(30.0)
    if stopped:
        checker.handle_event(event(What.STOPPED, "a", LOW))
    checker.handle_event(event(What.STARTED, "b", token))


def test_s9_live_work_is_rescued_in_calm_weather() -> None:
    world = world_of("a", "b")
    rescue(world)  # the nodes have only just started
    world.run(100.0)
    with pytest.raises(Violation, match="S9"):
        rescue(world)
    rescue(world, stopped=True)


def test_s9_a_rescue_is_none_the_better_for_telling_the_owner_first() -> None:
    world = world_of("a", "b")
    world.run(100.0)
    checker = StartsJustified(world)
    for what in (What.STARTED, What.LOST, What.STOPPED):
        checker.handle_event(replace(event(what), at_s=world.now_s))
    with pytest.raises(Violation, match="S9"):
        checker.handle_event(event(What.STARTED, "b", NEXT))


def test_s9_the_loser_of_a_race_is_not_rescued_by_who_follows_the_winner() -> None:
    """Seed 182 of ten nodes for ten minutes: the winner gave back at once, and a third went on."""
    world = world_of("a", "b")
    world.run(100.0)
    checker = StartsJustified(world)
    checker.handle_event(replace(event(What.STARTED, "a", LOW), at_s=world.now_s))
    checker.handle_snapshots({"b": showing(replace(VIEW, token=HIGH))})
    checker.handle_event(event(What.LOST, "a", LOW))
    world.run(30.0)
    checker.handle_event(event(What.STARTED, "b", NEXT))


def test_s9_nobody_joins_in_where_nothing_is_lost() -> None:
    world = world_of("a", "b")
    world.run(100.0)
    world.network.loss = 0.01
    rescue(world, HIGH)  # a race within an epoch, which loss excuses
    world.network.loss = 0.0
    with pytest.raises(Violation, match="S9"):
        rescue(world, HIGH)


def test_s9_trouble_excuses_a_rescue() -> None:
    world = world_of("a", "b", "c")
    world.run(100.0)
    world.pause("a", 1.0)
    rescue(world)
    world.run(100.0)
    world.partition(["a"], ["b", "c"])
    world.run(100.0)
    rescue(world)
    world.repair()
    world.run(100.0)
    world.kill("c")
    with pytest.raises(Violation, match="S9"):
        rescue(world)


def test_all_checkers_watch_a_world() -> None:
    world = world_of("a")
    watch(world, safety_checkers(world))
    world.watch(1.0)
    world.run(3.0)
    world.history.add(event(What.CLAIMED))
    with pytest.raises(Violation, match="S5"):
        world.history.add(event(What.CLAIMED))


def test_whoever_is_named_sees_a_world_no_longer() -> None:
    world = world_of("a")
    kept, gone = SubmitsKept(world), TokensRise(world)
    watch(world, [kept, gone])
    unwatch(world, TokensRise)
    assert world.observers == [kept]
    for _ in range(2):
        world.history.add(event(What.CLAIMED))  # S5 would mind the second one
    unwatch(world)
    assert not world.observers
    assert not world.history.listeners
