"""The log of the last runs: what facts and the times of their sight add up to."""

from typing import Any

from mesh.core.claims.exchange_views import moment
from mesh.core.claims.facts import ProgressState
from mesh.core.claims.runs import RUNS_MAX, runs_view
from mesh.core.commands import TaskCancel, TaskComplete, TaskFail, TaskRelease, TaskStart
from tests.unit.core.claims.desk_world import World
from tests.unit.core.claims.scribe import ANN, BOB, CAT, ranked, table_of


def runs_of(*facts: Any, seen: dict[Any, int] | None = None) -> list[Any]:  # noqa: ANN401  facts of any kind
    table, task = table_of(*facts), facts[0].fact.task
    record = table.record(task)
    assert record is not None
    return runs_view(record, table.facts_of(task), seen or {}, lambda node: node.hex()[:4])


def test_a_run_tells_who_when_and_how_it_ended() -> None:
    spec = ANN.spec()
    claim = BOB.claim(spec)
    begun, failed = BOB.progress(claim), BOB.attempt(claim, error=b"no\xff")
    [run] = runs_of(spec, claim, begun, failed, seen={begun.id: 1000, failed.id: 3000})
    assert (run["epoch"], run["node"], run["name"]) == (1, BOB.id.hex(), BOB.id.hex()[:4])
    assert (run["outcome"], run["error"]) == ("failed", "no\ufffd")
    assert (run["started_at"], run["ended_at"]) == (moment(1000), moment(3000))
    [unseen] = runs_of(spec, claim, begun, failed)
    assert (unseen["started_at"], unseen["ended_at"]) == (None, None)


def test_of_two_results_one_is_superseded() -> None:
    spec = ANN.spec()
    low, high = ranked(spec.fact.task, 1, BOB, CAT)
    claims = [low.claim(spec), high.claim(spec)]
    results = [low.result(claims[0], b"old"), high.result(claims[1], b"new")]
    runs = runs_of(spec, *claims, *results)
    assert [run["outcome"] for run in runs] == ["superseded", "completed"]


def test_an_outranked_claim_that_never_began_is_no_run() -> None:
    spec = ANN.spec()
    low, high = ranked(spec.fact.task, 1, BOB, CAT)
    [run] = runs_of(spec, low.claim(spec), high.claim(spec))
    assert (run["node"], run["outcome"]) == (high.id.hex(), None)
    begun = low.progress(low.claim(spec))
    assert begun.fact.state == ProgressState.STARTED
    lost, _ = runs_of(spec, low.claim(spec), high.claim(spec), begun)
    assert (lost["node"], lost["outcome"]) == (low.id.hex(), "lost")


def test_a_desk_shows_at_most_so_many_newest_last() -> None:
    world = World()
    task = world[0].submit(max_attempts=RUNS_MAX + 9, backoff_s=0)
    for number in range(RUNS_MAX + 2):
        world.run(400)
        handle = world[0].claim(task)["handle"]
        world[0].call(TaskStart(handle))
        world[0].call(TaskFail(handle, f"no {number}"))
    world.run(400)
    runs = world[0].view(task)["runs"]
    assert [run["error"] for run in runs] == [f"no {n}" for n in range(2, RUNS_MAX + 2)]
    assert all(run["started_at"] <= run["ended_at"] for run in runs)
    last = world[0].claim(task)["handle"]
    assert world[0].view(task)["runs"][-1]["outcome"] is None
    world[0].call(TaskRelease(last))
    world.run(400)
    assert world[0].view(task)["runs"][-1]["outcome"] == "released"
    world[0].call(TaskComplete(world[0].claim(task)["handle"], ""))
    assert world[0].view(task)["runs"][-1]["outcome"] == "completed"


def test_a_canceled_run_is_told_as_such() -> None:
    world = World()
    task = world[0].submit()
    world[0].claim(task)
    world[0].call(TaskCancel(task))
    [run] = world[0].view(task)["runs"]
    assert run["outcome"] == "canceled"
    assert run["ended_at"] is not None
