"""`mesh sim --seeds`: many trials on all processors, with what went wrong in which of them."""

import argparse
import contextlib
import hashlib
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.crew import WorkFailed, cores, work_through
from mesh.cli.output import Output, escape, say
from mesh.cli.simulate import outcome_body, plan_of, profile_of
from mesh.core.params import params_for
from mesh.sim.population import Population
from mesh.sim.sizing import quantile
from mesh.sim.trial import AGREE_S, Outcome, Plan, run_trial

ERASE = "\r\x1b[K"
TERMINAL_PACE_S = 0.2
LOG_PACE_S = 10.0


def try_plan(profile: str, plan: Plan) -> Outcome:
    """Run one trial with real nodes."""
    return run_trial(plan, params_for(profile), Population())


@dataclass(slots=True)
class Sweep:
    """What came out of the trials so far."""

    wanted: int
    first: int
    jobs: int
    began_s: float
    outcomes: list[Outcome] = field(default_factory=list)
    elapsed_s: float = 0.0
    interrupted: bool = False
    lost: str | None = None
    """Why the sweep could not go on."""

    @property
    def failures(self) -> list[Outcome]:
        """The trials in which something was violated, in the order of their seeds."""
        failed = (outcome for outcome in self.outcomes if outcome.broken is not None)
        return sorted(failed, key=lambda outcome: outcome.plan.seed)

    @property
    def seeds_s(self) -> float:
        """Seeds per second."""
        return len(self.outcomes) / max(self.elapsed_s, 1e-9)

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of one trial."""
        self.outcomes.append(outcome)
        self.elapsed_s = time.monotonic() - self.began_s

    def agreement(self) -> dict[str, Any] | None:
        """Return how long after the weather had cleared up all agreed; None if none did."""
        found = [outcome.agreed_s for outcome in self.outcomes if outcome.agreed_s is not None]
        if not found:
            return None
        late = sum(at_s > AGREE_S for at_s in found)
        return {
            "p50_s": quantile(found, 0.5),
            "p99_s": quantile(found, 0.99),
            "worst_s": max(found),
            "late": late,
        }

    def trace(self) -> str:
        """Return one fingerprint of all trials: equal when each of them went the same way."""
        found = sorted((outcome.plan.seed, outcome.trace) for outcome in self.outcomes)
        return hashlib.sha256(repr(found).encode()).hexdigest()[:32]

    def body(self) -> dict[str, Any]:
        """Return the sweep as programs read it."""
        ran, failures = len(self.outcomes), self.failures
        return {
            "from": self.first,
            "seeds": self.wanted,
            "ran": ran,
            "ok": ran - len(failures),
            "failed": len(failures),
            "interrupted": self.interrupted,
            "problem": self.lost,
            "virtual_s": round(sum(outcome.virtual_s for outcome in self.outcomes), 6),
            "events": sum(outcome.events for outcome in self.outcomes),
            "starts": sum(outcome.starts for outcome in self.outcomes),
            "agreed": self.agreement(),
            "elapsed_s": round(self.elapsed_s, 3),
            "seeds_s": round(self.seeds_s, 3),
            "jobs": self.jobs,
            "trace": self.trace(),
            "failures": [outcome_body(outcome) for outcome in failures],
        }


class Progress:
    """One line on stderr that says how far a sweep is: rewritten on a terminal, else repeated."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._pace_s = TERMINAL_PACE_S if self._is_terminal else LOG_PACE_S
        self._due_s = time.monotonic() + self._pace_s

    def show(self, sweep: Sweep) -> None:
        """Say how far it is, if it is time to."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + self._pace_s
        ran, failed = len(sweep.outcomes), len(sweep.failures)
        left_s = (sweep.wanted - ran) / sweep.seeds_s
        text = (
            f"{ran} of {sweep.wanted} seeds, {failed} failed,"
            f" {sweep.seeds_s:.1f} seeds/s, {left_s:.0f} s left"
        )
        sys.stderr.write(f"{ERASE}{text}" if self._is_terminal else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for other talk."""
        if self._is_terminal:
            sys.stderr.write(ERASE)
            sys.stderr.flush()


def sweep(options: argparse.Namespace) -> int:
    """Run many trials; the first failure of each is said at once, all of them at the end."""
    output = Output(options)
    first = getattr(options, "from") or 0
    plans = (plan_of(options, seed) for seed in range(first, first + options.seeds))
    jobs = min(options.jobs or cores(), options.seeds)
    made = Sweep(options.seeds, first, jobs, time.monotonic())
    progress = Progress()
    work = work_through(partial(try_plan, profile_of(options)), plans, jobs)
    try:
        with contextlib.closing(work):
            for _, outcome in work:
                made.add(outcome)
                if outcome.broken is not None:
                    progress.clear()
                    say(escape(outcome.line()))
                progress.show(made)
    except KeyboardInterrupt:
        made.interrupted = True
    except WorkFailed as failed:
        made.lost = str(failed)
    progress.clear()
    _print(output, made)
    if made.failures or made.lost is not None:
        return exit_codes.FAILED
    return exit_codes.INTERRUPTED if made.interrupted else exit_codes.OK


def _print(output: Output, made: Sweep) -> None:
    body = made.body()
    if output.as_json:
        output.document({"sweep": body})
        return
    ending = ", interrupted" if made.interrupted else ""
    output.line(
        f"{body['ran']} of {made.wanted} seeds from {made.first}:"
        f" {body['ok']} ok, {body['failed']} failed{ending}"
    )
    speed = body["virtual_s"] / max(made.elapsed_s, 1e-9)
    output.line(
        f"{body['virtual_s']:,.0f} virtual seconds, {body['events']:,} events,"
        f" {body['starts']:,} starts, trace {body['trace']}"
    )
    if (agreed := body["agreed"]) is not None:
        output.line(
            f"agreed again after {agreed['p50_s']:g} s (median), {agreed['p99_s']:g} s (p99),"
            f" {agreed['worst_s']:g} s (worst); {agreed['late']} after more than {AGREE_S:g} s"
        )
    output.line(
        f"{made.elapsed_s:.1f} s, {made.jobs} at once: {made.seeds_s:.1f} seeds/s,"
        f" {speed:,.0f} times faster than real time"
    )
    if made.lost is not None:
        say(f"mesh: {escape(made.lost)}")
    for outcome in made.failures:
        output.line(escape(outcome.line()))
