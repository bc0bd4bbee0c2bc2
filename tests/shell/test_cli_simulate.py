"""`mesh sim` end to end: small trials, planted violations, sweeps, scenarios and sizes."""

import argparse
import contextlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.cli import main
from mesh.cli.crew import WorkFailed, work_through
from mesh.cli.simulate import plan_of
from mesh.cli.simulate_options import chosen
from mesh.cli.simulate_sweep import try_plan
from mesh.core.errors import LocalError
from mesh.sim.checker import Violation
from mesh.sim.checkers import TablesBounded
from mesh.sim.population import Population
from mesh.sim.stories import STORIES, Cast, Say, Teller
from mesh.sim.trial import Outcome, Plan
from mesh.sim.weather import FaultKind

SMALL = ["--nodes", "3", "--storm", "10s", "--tasks", "3", "--profile", "local"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command line: returns exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main.run(["sim", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that no mesh keeps: broken once the storm has begun, at a host that exists."""

    def complain(self: TablesBounded, snapshots: dict[str, Any]) -> None:
        assert self is not None
        if len(snapshots) == 3:
            raise Violation("S8", "planted,\nin two lines")

    monkeypatch.setattr(TablesBounded, "handle_snapshots", complain)


def document(text: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(text)
    assert body.pop("v") == 1
    return body


def test_a_trial_is_told_and_ends_well(run: Run) -> None:
    code, out, err = run("--seed", "5", *SMALL)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "3 nodes, profile local, seed 5"
    assert lines[1].startswith("weather: loss ")
    assert any(" storm " in line for line in lines)
    assert lines[-2].startswith("tasks: 3 submitted, ")
    assert lines[-1].startswith("ok: mesh sim --seed 5 --nodes 3 --storm 10 --tasks 3")


def test_a_violation_is_exit_code_one_and_its_line_replays_it(run: Run, planted: None) -> None:
    assert planted is None
    arguments = ("--seed", "4", *SMALL, "--loss", "12.5%", "--delay", "7ms:30ms", "--calm", "33s")
    code, out, _ = run(*arguments)
    last = out.splitlines()[-1]
    assert code == 1
    assert last.startswith("FAILED: mesh sim --seed 4 ")
    assert last.endswith("S8: planted, in two lines")
    command = shlex.split(last.removeprefix("FAILED: "), comments=True)
    assert command[:2] == ["mesh", "sim"]
    again, replayed, _ = run(*command[2:])
    assert again == 1
    assert replayed == out


def test_nobody_listens_and_the_same_happens(run: Run) -> None:
    bodies = [
        document(run("--seed", "6", *SMALL, "--json", *more)[1]) for more in ([], ["--trace"])
    ]
    assert bodies[0]["trial"] == bodies[1]["trial"]
    told = [len(body["happened"]) for body in bodies]
    assert told[0] < 100 < told[1]
    assert {each["what"] for each in bodies[1]["happened"]} >= {"datagram", "timer", "submitted"}
    sweep = document(run("--seeds", "1", "--from", "6", "--jobs", "1", *SMALL, "--json")[1])
    trial = bodies[0]["trial"]
    assert [sweep["sweep"][name] for name in ("ok", "events", "virtual_s")] == [
        *(1, trial["events"], trial["virtual_s"])
    ]


def test_json_of_a_trial_has_its_shape(run: Run) -> None:
    code, out, _ = run("--seed", "1", *SMALL, "--loss", "20", "--json")
    body = document(out)
    assert code == 0
    trial = body["trial"]
    assert set(trial) == {
        *("seed", "ok", "broken", "replay", "virtual_s", "events", "starts", "agreed_s", "trace"),
        *("nodes", "profile", "storm_s", "calm_s", "tasks", "weather", "core"),
    }
    assert (trial["ok"], trial["broken"], trial["nodes"]) == (True, None, 3)
    assert trial["weather"]["loss"] == 0.2
    assert set(body["happened"][0]) == {"at_s", "where", "what", "text"}


def test_a_sweep_counts_and_names_its_failures(run: Run, planted: None) -> None:
    assert planted is None
    code, out, err = run("--seeds", "2", "--from", "8", "--jobs", "1", *SMALL)
    failed = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert code == 1
    assert out.startswith("2 of 2 seeds from 8: 0 ok, 2 failed\n")
    assert [line.split()[4] for line in failed] == ["8", "9"]
    assert failed[0] in err


def test_processes_find_what_one_process_finds(run: Run) -> None:
    asked = ["--seeds", "3", *SMALL, "--json"]
    alone, shared = (document(run(*asked, "--jobs", jobs)[1])["sweep"] for jobs in ("1", "2"))
    for timing in ("elapsed_s", "seeds_s", "jobs"):
        del alone[timing], shared[timing]
    assert alone == shared
    assert alone["ran"] == alone["ok"] == 3
    assert alone["failures"] == []


def test_ctrl_c_ends_a_sweep_with_what_it_has() -> None:
    line = [sys.executable, "-m", "mesh", "sim", "--seeds", "100000", *SMALL, "--jobs", "2"]
    with subprocess.Popen(
        [*line, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  the child must not ignore it
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = b"spawn_main"
        while sum(workers in command_of(pid) for pid in children.read_text().split()) < 2:
            assert process.poll() is None
            os.sched_yield()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
        # The pipe ends when the last process that could write into it has ended.
        out, said = process.stdout.read(), process.stderr.read()
    sweep = document(out.decode())["sweep"]
    assert (process.returncode, said) == (130, b"")
    assert sweep["interrupted"]
    assert sweep["ran"] < 100_000


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def end(how: str) -> str:
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raises":
        raise ValueError(how)
    return how.upper()


@pytest.mark.parametrize(
    ("how", "said"), [("dies", "dies ended with code -9"), ("raises", "ValueError: raises")]
)
def test_a_worker_that_fails_ends_the_work(how: str, said: str) -> None:
    done = list(work_through(end, ["ends"], jobs=2))
    assert done == [("ends", "ENDS")]
    with pytest.raises(WorkFailed, match=said):
        list(work_through(end, [how, how], jobs=2))


@pytest.mark.parametrize("name", [name for name in STORIES if name not in {"churn", "mass-join"}])
def test_a_scenario_is_told_in_prose(run: Run, name: str) -> None:
    code, out, _ = run("--scenario", name)
    lines = out.splitlines()
    assert code == 0, out
    assert lines[0] == STORIES[name].summary
    assert lines[-1] == (
        f"ok: mesh sim --scenario {name} --nodes {STORIES[name].nodes} --profile lan --seed 1"
    )


def test_many_take_part_if_asked(run: Run) -> None:
    body = document(run("--scenario", "mass-join", "--nodes", "8", "--json")[1])["scenario"]
    assert (body["ok"], body["nodes"], body["seed"]) == (True, 8, 1)
    assert body["told"][0]["text"] == "a founds a mesh and hands out a ticket for 7 machines."


def test_a_scenario_takes_loss_and_shows_every_packet(run: Run) -> None:
    code, out, _ = run("--scenario", "mass-join", "--nodes", "3", "--loss", "5", "--trace")
    assert code == 0, out
    lines = out.splitlines()
    assert any(line.split()[3:4] == ["datagram"] for line in lines)
    assert any("a founds a mesh" in line for line in lines)
    assert lines[-1].endswith("--nodes 3 --profile lan --seed 1 --loss 5")
    arguments = ("--scenario", "mass-join", "--nodes", "3", "--trace", "--json")
    body = document(run(*arguments)[1])["scenario"]
    assert body["loss"] == 0.0
    assert body["happened"]


def test_a_scenario_takes_a_delay_and_its_line_replays_it(run: Run) -> None:
    shown = run("--scenario", "one-way", "--delay", "20ms:80ms", "--loss", "2")
    command = shlex.split(shown[1].splitlines()[-1].removeprefix("ok: "))
    assert (shown[0], command[-4:]) == (0, ["--loss", "2", "--delay", "0.02:0.08"])
    assert run(*command[2:]) == shown
    body = document(run(*command[2:], "--json")[1])["scenario"]
    assert (body["delay_s"], body["replay"]) == ([0.02, 0.08], " ".join(command))


def test_scheduled_tasks_are_another_trial_and_its_line_replays_it(run: Run) -> None:
    plain, shown = (run("--seed", "5", *SMALL, *more) for more in ([], ["--scheduled"]))
    last = shown[1].splitlines()[-1]
    assert shown[0] == 0
    assert last.rsplit("trace")[-1] != plain[1].rsplit("trace")[-1].rstrip()
    command = shlex.split(last.removeprefix("ok: "), comments=True)
    assert command[-1] == "--scheduled"
    assert run(*command[2:]) == shown


def test_a_sweep_of_any_length_begins_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []

    def counted(options: argparse.Namespace, seed: int) -> Plan:
        planned.append(seed)
        return plan_of(options, seed)

    def interrupted(profile: str, plan: Plan) -> Outcome:
        if len(planned) > 1:
            raise KeyboardInterrupt
        return try_plan(profile, plan)

    monkeypatch.setattr("mesh.cli.simulate_sweep.plan_of", counted)
    monkeypatch.setattr("mesh.cli.simulate_sweep.try_plan", interrupted)
    code, out, _ = run("--seeds", "100000000", "--jobs", "1", *SMALL)
    assert (code, planned) == (130, [0, 1])
    assert out.startswith("1 of 100000000 seeds from 0: 1 ok, 0 failed, interrupted\n")


def test_a_crew_takes_no_more_than_it_has_hands_for() -> None:
    numbers = itertools.count()
    with contextlib.closing(work_through(abs, numbers, jobs=2)) as work:
        assert {next(work)[1] for _ in range(3)} <= {0, 1, 2, 3}
    assert next(numbers) <= 4


def test_a_scenario_that_goes_wrong_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_self: Population, *_: object) -> None:
        raise LocalError("broken", "no node", "none")

    monkeypatch.setattr(Population, "__call__", stumble)
    code, out, _ = run("--scenario", "split")
    assert code == 1
    assert out.splitlines()[-1].startswith("FAILED: mesh sim --scenario split --nodes 5")
    assert "LocalError" in out


def test_scenarios_are_listed(run: Run) -> None:
    code, out, _ = run("--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(STORIES)
    known = document(run("--list", "--json")[1])["scenarios"]
    assert [each["name"] for each in known] == list(STORIES)


def test_sizes_are_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.cli.simulate_sizing.CRASHES", 1)
    monkeypatch.setattr("mesh.cli.simulate_sizing.CLAIMS", 3)
    asked = ["--sizing", "--nodes", "3", "--loss", "0,10", "--profile", "local", "--jobs", "1"]
    code, out, err = run(*asked)
    assert (code, err) == (0, "1 of 2 meshes measured\n")
    rows = [line.split() for line in out.splitlines()]
    assert [row[:2] for row in rows] == [["NODES", "LOSS"], ["3", "0%"], ["3", "10%"]]
    [calm, lossy] = document(run(*asked, "--json")[1])["sizing"]
    assert calm["missing"] == lossy["missing"] == {}
    assert 0.5 < calm["down_p50_s"] <= calm["down_worst_s"] < 10
    assert 0 < calm["claim_p50_s"] <= calm["claim_p99_s"] < 1
    assert calm["wire_bytes_s"] > calm["bytes_s"] > 0
    assert 0 < calm["joined_99_s"] <= calm["joined_all_s"] < 5
    assert lossy["packets_s"] > calm["packets_s"]
    assert [calm["delay_p50_s"], calm["delay_p99_s"]] == [0.0011, 0.001982]


def test_sizes_are_measured_on_slow_networks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.cli.simulate_sizing.CRASHES", 1)
    monkeypatch.setattr("mesh.cli.simulate_sizing.CLAIMS", 3)
    asked = ["--sizing", "--nodes", "3", "--delay", "20ms:80ms,100ms:100ms", "--jobs", "1"]
    code, out, _ = run(*asked)
    assert code == 0
    head, *rows = (line.split("  ") for line in out.splitlines())
    assert [cell for cell in head if cell][2] == "DELAY"
    assert [[cell for cell in row if cell][2] for row in rows] == ["20/80 ms", "100/100 ms"]
    bodies = document(run(*asked, "--json")[1])["sizing"]
    shown = [(body["delay_p50_s"], body["delay_p99_s"]) for body in bodies]
    assert shown == [(0.02, 0.08), (0.1, 0.1)]
    near, far = bodies
    assert near["missing"] == far["missing"] == {}
    assert 0.02 < near["claim_p50_s"] < 0.12 < far["claim_p50_s"] < 0.4
    assert near["joined_all_s"] < far["joined_all_s"]


def test_what_cannot_be_measured_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.sim.sizing.FORMING_S", 0.0)
    monkeypatch.setattr("mesh.sim.claim_time.LIMIT_S", 0.0)
    code, out, err = run("--sizing", "--nodes", "3", "--jobs", "1")
    assert code == 1
    assert out.splitlines()[1].split() == ["3", "0%", "1.1/1.98", "ms", *"-" * 9]
    assert "3 nodes, loss 0%, delay 1.1/1.98 ms: detection: not within 0 s" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to simulate"),
        (["--nodes", "3"], "nothing to simulate"),
        (["--seed", "1", "--seeds", "2"], "--seed does not go with --seeds"),
        (["--seeds", "2", "--trace"], "--trace does not go with --seeds"),
        (["--list", "--nodes", "3"], "--nodes does not go with --list"),
        (["--scenario", "split", "--storm", "5s"], "--storm does not go with --scenario"),
        (["--seed", "1", "--nodes", "3,5"], "takes one value for --nodes"),
        (["--seeds", "1", "--delay", "1ms:2ms,3ms:4ms"], "takes one value for --delay"),
        (["--sizing", "--scheduled"], "--scheduled does not go with --sizing"),
        (["--sizing", "--nodes", "1,3"], "one node alone"),
        (["--scenario", "one-way", "--nodes", "3"], "needs at least 4 nodes"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "hint: " in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--seed", "1", "--loss", "100"],
        ["--seed", "1", "--loss", "lots"],
        ["--seed", "1", "--delay", "20ms"],
        ["--seed", "1", "--delay", "80ms:20ms"],
        ["--seed", "1", "--delay", "0:20ms"],
        ["--seed", "1", "--profile", "moon"],
        ["--seeds", "0"],
        ["--scenario", "nonsense"],
        ["--seed", "1", "--faults", "crash,nonsense"],
    ],
)
def test_values_are_checked(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("mesh sim: argument --")
    assert err.endswith("hint: see `mesh sim --help`\n")


def test_unknown_faults_are_answered_by_those_there_are(run: Run) -> None:
    _, _, err = run("--seed", "1", "--faults", "crash,nonsense")
    assert f"'nonsense' is no kind of fault: those are {', '.join(FaultKind)}\n" in err


@pytest.mark.parametrize(
    "plan",
    [
        Plan(7),
        Plan(0, nodes=3, storm_s=12.3456789, tasks=0, calm_s=1e-5),
        Plan(2**40, storm_s=1234567.0, loss=0.07, delay_s=(0.0123456789, 1 / 3)),
        Plan(1, loss=0.0),
        Plan(1, kinds=()),
        Plan(1, kinds=(FaultKind.CHURN, FaultKind.CRASH), scheduled=True),
    ],
)
def test_the_command_of_a_plan_stands_for_that_plan(plan: Plan) -> None:
    command = shlex.split(plan.command("wan") + "  # and what was found", comments=True)
    options = main.build_parser(["sim"]).parse_args(command[1:])
    assert chosen(options) == "seed"
    assert plan_of(options, options.seed) == plan
    assert options.profile == "wan"


def test_stories_say_how_a_hope_was_dashed() -> None:
    told: list[str] = []
    say: Say = lambda _at_s, sentence: told.append(sentence)  # noqa: E731  typed
    story = Teller(Cast(2).formed(), say)
    with pytest.raises(Violation, match="pigs fly: not within 1 s"):
        story.expect("pigs fly", lambda: False, 1.0)
    with pytest.raises(Violation, match="it does not hold that pigs fly"):
        story.insist("pigs fly", holds=False)
    assert told == []
