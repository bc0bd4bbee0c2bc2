"""What is told of a world, in which order, and that telling changes nothing."""

from mesh.core.effects import Notify
from mesh.core.params import params_for
from mesh.sim.history import Event, What
from mesh.sim.narrator import Happening, Narrator, narrate, weather_report
from mesh.sim.population import Population
from mesh.sim.trial import JOIN_S, Plan, Trial, run_trial
from mesh.sim.world import World

LOCAL = params_for("local")
STORMY = Plan(3, nodes=3, storm_s=20.0, tasks=3)


def a_trial() -> Trial:
    return Trial(STORMY, LOCAL, Population())


def listening(*, everything: bool = False) -> tuple[World, Narrator, list[Happening]]:
    world = World(1, LOCAL, Population())
    world.add_host("a")
    world.add_host("b")
    told: list[Happening] = []
    return world, Narrator(world, told.append, everything=everything), told


def event(what: What, task: str = "1-2-aa") -> Event:
    return Event(what, 0.0, "a", 1, task, "build", "token", "agent-a")


def test_a_narrated_trial_goes_as_it_would_by_itself() -> None:
    silent = run_trial(STORMY, LOCAL, Population())
    for everything in (False, True):
        trial, told = a_trial(), list[Happening]()
        narrator = narrate(trial, told.append, everything=everything)
        assert trial.run() == silent
        narrator.tell_rest()
        moments = [happening.at_s for happening in told]
        assert moments == sorted(moments)
        assert next(each for each in told if each.what in {"storm", "calm"}).at_s == JOIN_S
        starts = [each.where for each in told if each.what == "starts"]
        assert starts[:3] == ["a", "b", "c"]


def test_every_fault_is_announced() -> None:
    trial = a_trial()
    assert trial.weather.faults
    report = weather_report(trial)
    assert [each.what for each in report] == [
        "storm",
        *(fault.kind.value for fault in trial.weather.faults),
        "calm",
    ]


def test_what_is_announced_comes_when_its_time_has_come() -> None:
    world, narrator, told = listening()
    late, early = (Happening(at_s, "*", "news", "") for at_s in (3.0, 1.0))
    narrator.announce([late])
    narrator.announce([early])
    world.run(2.0)
    narrator.handle_event(event(What.LOST))
    assert [each.what for each in told] == ["news", "lost"]
    narrator.tell_rest()
    assert late not in told
    world.run(1.0)
    narrator.tell_rest()
    assert told[-1] is late


def test_only_a_second_start_is_news() -> None:
    _, narrator, told = listening()
    for what in (What.SUBMITTED, What.CLAIMED, What.STARTED, What.STARTED, What.COMPLETED):
        narrator.handle_event(event(what))
    assert [each.text for each in told] == ["build 1-2-aa, start number 2 (agent-a)"]
    _, narrator, told = listening(everything=True)
    for what in (What.SUBMITTED, What.STARTED):
        narrator.handle_event(event(what))
    assert [each.what for each in told] == ["submitted", "started"]


def test_a_belief_is_told_once_for_all_who_share_it() -> None:
    world, narrator, told = listening()

    def hear(new: str, host: str = "a", name: str = "c", node: str = "0123456789") -> None:
        body = {"node": node, "name": name, "old": None, "new": new}
        narrator.handle_notice(world.hosts[host], Notify("member", body))

    for new in ("alive", "suspect", "down", "dead"):
        hear(new)
        hear(new, host="b")
    hear("down", node="other")  # a machine of that name, with another disk
    hear("down", name="a", node="a's")  # what a node says of itself
    heard = [(each.where, each.what) for each in told]
    assert heard == [("c", "down"), ("c", "dead"), ("c", "down")]
    assert told[0].text == "node 01234567 in the view of a"


def test_another_result_is_told_once_per_node() -> None:
    world, narrator, told = listening()
    for host in ("a", "a", "b"):
        body = {"task": "1-2-aa", "by": "c", "token": "t"}
        narrator.handle_notice(world.hosts[host], Notify("task.result_superseded", body))
    assert [each.where for each in told] == ["a", "b"]
