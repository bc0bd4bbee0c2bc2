"""Nodes, runners and machines that stop while work is under way: nothing outlives its claim."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh.cli.demo import wait_for
from tests.end_to_end.processes import show, submit
from tests.faults import beating_work
from tests.faults.fault import Fault, Figure, Outcome, Scale
from tests.faults.machine import HostMesh, HostNode, host_mesh, seconds_until

KIND = "beat"
OUTLIVES_LIMIT_S = 4.0
TAKEOVER_LIMIT_S = 40.0
WORK_S = 3600.0
HEIR_LIMIT_S = 30.0
PROGRESS_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Beats:
    """What the processes of work have written of themselves."""

    folder: Path

    def of(self, token: str) -> list[float]:
        """Return when the work under one token was seen running, in order."""
        times = [
            float(line)
            for path in self.folder.glob(f"{token}.*")
            for line in path.read_text().split("\n")[:-1]
        ]
        return sorted(times)

    def tokens(self) -> list[str]:
        """Return the tokens under which work began, least first: that is their order."""
        return sorted({path.name.partition(".")[0] for path in self.folder.iterdir()})


@dataclass
class Stage:
    """Three nodes: one submits, one works, and a third takes over when its time has come."""

    mesh: HostMesh
    submitter: HostNode
    owner: HostNode
    heir: HostNode
    beats: Beats
    task: str = ""
    token: str = ""

    def employ(self, node: HostNode) -> None:
        """Start a worker whose work beats."""
        script = [sys.executable, beating_work.__file__, str(self.beats.folder), str(WORK_S)]
        node.employ(KIND, script)

    def begin(self, progress_limit_s: float | None = None) -> None:
        """Have the owner work, and the heir ready."""
        self.employ(self.owner)
        self.task = submit(self.submitter, KIND, progress_limit_s=progress_limit_s)
        wait_for("work", lambda: len(self.beats.tokens()) == 1, HEIR_LIMIT_S)
        [self.token] = self.beats.tokens()
        wait_for("two processes", lambda: len(list(self.beats.folder.iterdir())) == 2, 10)
        self.employ(self.heir)

    def await_heir(self) -> float:
        """Wait until the heir works; returns when its claim superseded the owner's."""
        wait_for("the heir's claim", self._is_superseded, TAKEOVER_LIMIT_S)
        superseded = time.monotonic()
        wait_for("the heir's work", lambda: len(self.beats.tokens()) > 1, HEIR_LIMIT_S)
        return superseded

    def _is_superseded(self) -> bool:
        token = show(self.submitter, self.task)["token"]
        return token is not None and token > self.token

    def figures(self, harmed: float, superseded: float) -> tuple[Figure, ...]:
        """Return how long the owner's work went on, by the harm and by its claim."""
        time.sleep(1.0)
        last = self.beats.of(self.token)[-1]
        first = self.beats.of(self.beats.tokens()[1])[0]
        return (
            Figure("its work ran on after the fault for", max(0.0, last - harmed), "s"),
            Figure(
                "its work outlived its claim by",
                max(0.0, last - superseded),
                "s",
                at_most=OUTLIVES_LIMIT_S,
            ),
            Figure("two worked at once for", max(0.0, last - first), "s", at_most=OUTLIVES_LIMIT_S),
            Figure("taken over after", superseded - harmed, "s", at_most=TAKEOVER_LIMIT_S),
            Figure("starts", show(self.submitter, self.task)["starts"], at_least=2, at_most=2),
        )


@contextmanager
def stage(progress_limit_s: float | None = None) -> Iterator[Stage]:
    """Three nodes, the second at work; its task may have a limit."""
    with host_mesh(3) as mesh:
        folder = mesh.folder / "beats"
        folder.mkdir()
        submitter, owner, heir = mesh.hosts()
        made = Stage(mesh, submitter, owner, heir, Beats(folder))
        made.begin(progress_limit_s)
        yield made


def node_killed(_: Scale) -> Outcome:
    """Kill the owner's node, not its worker."""
    with stage() as on:
        on.mesh.kill(on.owner)
        harmed = time.monotonic()
        return Outcome(on.figures(harmed, on.await_heir()))


def runner_killed(_: Scale) -> Outcome:
    """Kill the owner's `mesh work`, not its node nor the command."""
    with stage() as on:
        assert on.owner.worker is not None
        on.owner.worker.kill()
        on.owner.worker.wait()
        harmed = time.monotonic()
        return Outcome(on.figures(harmed, on.await_heir()))


def owner_stopped(scale: Scale) -> Outcome:
    """Stop the owner's node until its work is taken over, and a while longer."""
    with stage() as on:
        os.kill(on.owner.pid, signal.SIGSTOP)
        harmed = time.monotonic()
        superseded = on.await_heir()
        time.sleep(0.0 if scale is Scale.QUICK else 60.0)
        os.kill(on.owner.pid, signal.SIGCONT)
        fenced_s = seconds_until(lambda: show(on.owner, on.task)["token"] > on.token, 15, "fence")
        return Outcome(
            (
                *on.figures(harmed, superseded),
                Figure("fenced after waking", fenced_s, "s", at_most=5.0),
            )
        )


def lid_closed(scale: Scale) -> Outcome:
    """Stop a whole machine, node, worker and work together, and let all go on at once.

    The work itself cannot be told anything while it is stopped, and runs until its runner is told.
    """
    stopped_s = 15.0 if scale is Scale.QUICK else 600.0
    with stage() as on:
        processes = processes_of(on)
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        harmed = time.monotonic()
        on.await_heir()
        time.sleep(max(0.0, stopped_s - (time.monotonic() - harmed)))
        woken = time.monotonic()
        for process in processes:
            os.kill(process, signal.SIGCONT)
        time.sleep(2 * OUTLIVES_LIMIT_S)
        last = on.beats.of(on.token)[-1]
        shown = show(on.owner, on.task)
        return Outcome(
            (
                Figure("stopped for", woken - harmed, "s", at_least=stopped_s),
                Figure(
                    "its work outlived the waking by",
                    max(0.0, last - woken),
                    "s",
                    at_most=OUTLIVES_LIMIT_S + 1.0,
                ),
                Figure("starts", shown["starts"], at_least=2, at_most=2),
                Figure("the heir keeps the task", shown["token"] > on.token, at_least=1),
            ),
            "a lid closed for an hour is simulated: tests/simulation/test_ownership.py",
        )


def worker_stuck(_: Scale) -> Outcome:
    """Stop the owner's worker and its work for good; its node, and so its session, lives."""
    with stage(progress_limit_s=PROGRESS_LIMIT_S) as on:
        stopped = processes_of(on)[:-1]
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        harmed = time.monotonic()
        superseded = on.await_heir()
        states = [show(node, on.task)["state"] for node in on.mesh.hosts()]
        for process in stopped:
            os.kill(process, signal.SIGCONT)
        time.sleep(2 * OUTLIVES_LIMIT_S)
        last = on.beats.of(on.token)[-1]
        woken = time.monotonic() - 2 * OUTLIVES_LIMIT_S
        return Outcome(
            (
                Figure("progress limit", PROGRESS_LIMIT_S, "s"),
                Figure(
                    "taken over after", superseded - harmed, "s", at_most=PROGRESS_LIMIT_S + 10.0
                ),
                Figure("nodes that say it works elsewhere", states.count("working"), at_least=3),
                Figure(
                    "stuck work outlived its waking by",
                    max(0.0, last - woken),
                    "s",
                    at_most=OUTLIVES_LIMIT_S + 2.0,
                ),
            )
        )


def processes_of(on: Stage) -> list[int]:
    """Return every process of the owner's machine, the work's own first."""
    assert on.owner.worker is not None
    working = [int(path.suffix[1:]) for path in on.beats.folder.glob(f"{on.token}.*")]
    return [*working, on.owner.worker.pid, on.owner.pid]


FAULTS = (
    Fault(
        name="node-killed-at-work",
        does="kill -9 of the owner's node; its worker and the command are alive and stubborn",
        criterion="no child outlives its claim by more than 4 s",
        run=node_killed,
    ),
    Fault(
        name="runner-killed",
        does="kill -9 of `mesh work`; node and command are alive and stubborn",
        criterion="no child outlives its claim by more than 4 s",
        run=runner_killed,
    ),
    Fault(
        name="owner-stopped",
        does="SIGSTOP of the owner's node until its work is taken over, a minute longer in full",
        criterion="M7: one survivor resumes, the returning owner is fenced and stopped",
        run=owner_stopped,
    ),
    Fault(
        name="stuck-worker",
        does="SIGSTOP of the worker and its work; its node lives, the task has a progress limit",
        criterion="M6: noticed at the limit, another takes over, the stuck one is fenced",
        run=worker_stuck,
    ),
    Fault(
        name="lid-closed",
        does="SIGSTOP of node, worker and command together, 10 minutes in the full form",
        criterion="resumed or fenced as written; the work ends when its runner is told",
        run=lid_closed,
    ),
)
