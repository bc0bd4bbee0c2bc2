"""`mesh sim` for one trial or one scenario: tells what happens, and says whether all is well."""

import argparse
import dataclasses
from functools import partial
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.output import Output, escape
from mesh.control.client import Refused
from mesh.core.params import params_for
from mesh.sim.history import What
from mesh.sim.narrator import Happening, Narrator, narrate
from mesh.sim.population import Population
from mesh.sim.stories import STORIES, Cast, hear
from mesh.sim.trial import Outcome, Plan, Trial
from mesh.sim.weather import Weather

PROFILE = "lan"
TOLD = (What.SUBMITTED, What.STARTED, What.COMPLETED, What.FAILED, What.LOST)


def profile_of(options: argparse.Namespace) -> str:
    """Return the profile that was asked for."""
    return PROFILE if options.profile is None else str(options.profile)


def plan_of(options: argparse.Namespace, seed: int) -> Plan:
    """Return the plan of the trial with this seed."""
    asked = {
        "nodes": None if options.nodes is None else options.nodes[0],
        "storm_s": options.storm,
        "calm_s": options.calm,
        "tasks": options.tasks,
        "loss": None if options.loss is None else options.loss[0],
        "delay_s": None if options.delay is None else options.delay[0],
        "kinds": options.faults,
        "scheduled": options.scheduled,
    }
    return Plan(seed, **{name: value for name, value in asked.items() if value is not None})


def show_trial(options: argparse.Namespace) -> int:
    """Run one trial and tell what happens in it."""
    output = Output(options)
    plan, profile = plan_of(options, options.seed), profile_of(options)
    trial = Trial(plan, params_for(profile), Population())
    happened: list[Happening] = []

    def tell(happening: Happening) -> None:
        if output.as_json:
            happened.append(happening)
        else:
            output.line(escape(happening.line()))

    if not output.as_json:
        output.line(f"{plan.nodes} nodes, profile {profile}, seed {plan.seed}")
        output.line(f"weather: {trial.weather.describe()}")
    narrator = narrate(trial, tell, everything=bool(options.trace))
    outcome = trial.run()
    narrator.tell_rest()
    counts = {what.value: len(trial.world.history.of(what)) for what in TOLD}
    if output.as_json:
        told = [dataclasses.asdict(happening) for happening in happened]
        output.document({"trial": trial_body(outcome, counts), "happened": told})
    else:
        seen = ", ".join(f"{number} {what}" for what, number in counts.items())
        output.line(f"tasks: {seen}; {outcome.virtual_s:.0f} virtual seconds")
        output.line(escape(outcome.line()))
    return exit_codes.OK if outcome.broken is None else exit_codes.FAILED


def trial_body(outcome: Outcome, counts: dict[str, int]) -> dict[str, Any]:
    """Return a trial as programs read it."""
    plan = outcome.plan
    return {
        **outcome_body(outcome),
        "nodes": plan.nodes,
        "profile": outcome.profile,
        "storm_s": plan.storm_s,
        "calm_s": plan.calm_s,
        "tasks": counts,
        "weather": weather_body(outcome.weather),
        "core": list(outcome.core),
    }


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """Return how a trial ended, as programs read it."""
    return {
        "seed": outcome.plan.seed,
        "ok": outcome.broken is None,
        "broken": outcome.broken,
        "replay": outcome.replay,
        "virtual_s": round(outcome.virtual_s, 6),
        "events": outcome.events,
        "starts": outcome.starts,
        "agreed_s": outcome.agreed_s,
        "trace": outcome.trace,
    }


def weather_body(weather: Weather) -> dict[str, Any]:
    """Return the weather of a trial as programs read it."""
    return dataclasses.asdict(weather) | {"text": weather.describe()}


def list_scenarios(options: argparse.Namespace) -> int:
    """Say what the scenarios are."""
    output = Output(options)
    if output.as_json:
        known = [
            {"name": name, "nodes": story.nodes, "summary": story.summary}
            for name, story in STORIES.items()
        ]
        output.document({"scenarios": known})
    else:
        rows = [(name, story.nodes, story.summary) for name, story in STORIES.items()]
        output.table(("SCENARIO", "NODES", "WHAT HAPPENS"), rows)
    return exit_codes.OK


def show_scenario(options: argparse.Namespace) -> int:
    """Play one scenario and tell what happens in it."""
    output = Output(options)
    story = STORIES[options.scenario]
    nodes = story.nodes if options.nodes is None else options.nodes[0]
    if nodes < story.nodes_low:
        raise Refused(
            "usage",
            f"{options.scenario} needs at least {story.nodes_low} nodes",
            "give --nodes a greater number, or leave it out",
        )
    told: list[dict[str, Any]] = []
    happened: list[Happening] = []

    def tell(happening: Happening) -> None:
        if output.as_json:
            happened.append(happening)
        else:
            output.line(escape(happening.line()))

    cast = Cast(
        nodes,
        1 if options.seed is None else options.seed,
        profile_of(options),
        0.0 if options.loss is None else options.loss[0],
        partial(Narrator, tell=tell, everything=True) if options.trace else None,
        None if options.delay is None else options.delay[0],
    )

    def say(at_s: float, sentence: str) -> None:
        told.append({"at_s": round(at_s, 6), "text": sentence})
        if not output.as_json:
            output.line(f"{at_s:10.2f} s  {escape(sentence)}")

    if not output.as_json:
        output.line(story.summary)
    broken = hear(options.scenario, cast, say)
    replay = cast.command(options.scenario)
    if output.as_json:
        head = {"name": options.scenario, "summary": story.summary, "nodes": cast.nodes}
        head |= {"seed": cast.seed, "profile": cast.profile, "loss": cast.loss}
        head["delay_s"] = cast.delay_s
        end = {"ok": broken is None, "broken": broken, "replay": replay, "told": told}
        if options.trace:
            end["happened"] = [dataclasses.asdict(happening) for happening in happened]
        output.document({"scenario": head | end})
    else:
        verdict = "ok" if broken is None else "FAILED"
        found = "" if broken is None else f"  # {' '.join(broken.split())}"
        output.line(escape(f"{verdict}: {replay}{found}"))
    return exit_codes.OK if broken is None else exit_codes.FAILED
