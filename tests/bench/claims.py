"""Measures claims and submits on three real nodes: `python -m tests.bench claims`.

Every round starts a fresh mesh on loopback and drives it with real clients, each a process of its
own that has one request in flight. Figures are medians over the rounds, with the targets beside
them; nothing here passes or fails, since another machine has other figures.
"""

import argparse
import multiprocessing
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mesh.cli.demo import DemoNode, free_ports, stop_all, wait_for
from mesh.control.client import Client, Refused
from tests.bench import readings
from tests.bench.readings import PERCENT
from tests.bench.reports import (
    RESULTS,
    Kept,
    load,
    number,
    put_between,
    quantile,
    some_of,
    table,
)

NODES = 3
CLIENTS = 8
ROUNDS = 5
SECONDS = 1.5
FIRST_WAIT_S = 60.0
SETTLE_S = 1.0
MEMORY_WARM_UP_TASKS, MEMORY_TASKS = 4000, 12_000
SEEN_TASKS = 60
SEEN_PAUSE_S = 0.02
BUNDLE = 32
ROOM = 4000
"""Tasks made beforehand per second of claiming by many."""
SUBMIT_AHEAD = 8
"""Connections that submit the tasks to be claimed, beforehand and untimed."""
LABELS = {
    "claim_1": "claim by id to may-start, 1 client",
    "claim_8": "the same, 8 clients",
    "claim_8_at_1": "the same, 8 clients of one node",
    "claim_1_by_32": "claim by id, 32 on one line, 1 client (ms: of a line)",
    "claim_8_by_32": "the same, 8 clients",
    "provisional_1": "provisional claim, 1 client",
    "next_1": "next of a kind, start, complete, 1 client",
    "next_8": "the same, 8 clients",
    "submit_1": "durable submit on 2 nodes, 1 client",
    "submit_8": "the same, 8 clients",
    "submit_8_at_1": "the same, 8 clients of one node",
    "submit_1_by_32": "durable submit, 32 on one line, 1 client (ms: of a line)",
    "submit_8_by_32": "the same, 8 clients",
    "seen": "seen on the other nodes",
    "memory_open_task": "memory per open task and node",
}
TARGETS = {
    "claim_1": "p50 <= 1.2 ms; >= 1,000/s",
    "claim_8": ">= 5,000/s",
    "claim_1_by_32": ">= 20,000/s",
    "claim_8_by_32": ">= 20,000/s",
    "provisional_1": "p50 <= 0.3 ms",
    "submit_1": "p50 <= 1.5 ms",
    "submit_8": ">= 5,000/s",
    "seen": "p50 <= 4 ms, p99 <= 40 ms",
    "memory_open_task": "<= 1.5 KB",
}


@dataclass(frozen=True, slots=True)
class Work:
    """What one client does, again and again until its time is over."""

    action: str
    socket: str
    begin_at: float
    seconds: float
    kind: str = ""
    tasks: tuple[str, ...] = ()
    bundle: int = 1
    """Requests that are sent at once, on one line."""


@dataclass(slots=True)
class Row:
    """One measurement of one round."""

    name: str
    done: int = 0
    elapsed_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    cpu_percent: list[float] = field(default_factory=list)
    """Of one core, per node."""
    extra: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Return what the table shows."""
        shown = dict(self.extra)
        if self.elapsed_s:
            shown["per_s"] = self.done / self.elapsed_s
        if self.latencies_ms:
            shown["p50_ms"] = quantile(self.latencies_ms, 0.5) or 0.0
            shown["p99_ms"] = quantile(self.latencies_ms, 0.99) or 0.0
        if self.cpu_percent:
            shown["cpu_percent"] = sum(self.cpu_percent)
            shown["cpu_ms"] = sum(self.cpu_percent) * self.elapsed_s * 10 / max(1, self.done)
        return shown


# --- clients


def _requests(work: Work) -> Iterator[tuple[str, dict[str, Any]]]:
    match work.action:
        case "submit":
            while True:
                yield "task.submit", {"kind": work.kind, "payload": "aGVsbG8="}
        case "claim" | "provisional":
            early = work.action == "provisional"
            for task in work.tasks:
                yield "task.claim", {"task": task, "detached": True, "provisional": early}
        case "next":
            while True:
                yield "task.claim", {"kinds": [work.kind], "wait_s": 1.0}
        case action:
            raise AssertionError(action)


def _finish(client: Client, claimed: Mapping[str, Any]) -> None:
    client.call("task.start", handle=claimed["handle"])
    client.call("task.complete", handle=claimed["handle"], output="aGVsbG8=")


def _ask(client: Client, bundle: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Return what a client is answered: for each request a result, or a Refused."""
    if len(bundle) > 1:
        return client.bundle(bundle)
    try:
        return [client.request(*bundle[0])]
    except Refused as no:
        return [no]


def run_client(work: Work, to_parent: Connection) -> None:
    """Run one client; sends (latencies in ms, refusals by name, what was done, when it ended)."""
    latencies: list[float] = []
    refused: dict[str, int] = {}
    done = 0
    with Client.connect(work.socket) as client:
        if work.action == "next":
            client.call("agent.attach", name="bench", kinds=[work.kind])
        time.sleep(max(0.0, work.begin_at - time.monotonic()))
        end = work.begin_at + work.seconds
        requests = _requests(work)
        while bundle := list(islice(requests, work.bundle)):
            begun = time.monotonic()
            if begun >= end:
                break
            answers = _ask(client, bundle)
            latencies.append((time.monotonic() - begun) * 1000)
            for answer in answers:
                if isinstance(answer, Refused):
                    refused[answer.name] = refused.get(answer.name, 0) + 1
                    continue
                done += 1
                if work.action == "next":
                    _finish(client, answer)
    to_parent.send((latencies, refused, done, time.monotonic()))
    to_parent.close()


def run_clients(name: str, works: Sequence[Work], nodes: Sequence[DemoNode]) -> Row:
    """Run all of them at once, each in a process, and add up what they measured."""
    context = multiprocessing.get_context("fork")
    pairs = [context.Pipe(duplex=False) for _ in works]
    processes = [
        context.Process(target=run_client, args=(work, sender))
        for work, (_, sender) in zip(works, pairs, strict=True)
    ]
    for process in processes:
        process.start()
    row = Row(name)
    time.sleep(max(0.0, works[0].begin_at - time.monotonic()))
    before = cpu_seconds(nodes)
    ends = []
    for receiver, _ in pairs:
        latencies, refused, done, ended = receiver.recv()
        row.latencies_ms += latencies
        row.done += done
        ends.append(ended)
        for refusal, count in refused.items():
            row.refused[refusal] = row.refused.get(refusal, 0) + count
    row.elapsed_s = max(ends) - works[0].begin_at
    used = zip(cpu_seconds(nodes), before, strict=True)
    row.cpu_percent = [PERCENT * (now - then) / row.elapsed_s for now, then in used]
    for process in processes:
        process.join()
    return row


# --- nodes


def pids_of(nodes: Sequence[DemoNode]) -> list[int]:
    """Return the processes of nodes."""
    return [node.node.pid for node in nodes if node.node is not None]


def cpu_seconds(nodes: Sequence[DemoNode]) -> list[float]:
    """Return the CPU time that each node has used."""
    return [readings.cpu_seconds(pid) for pid in pids_of(nodes)]


def resident_bytes(nodes: Sequence[DemoNode]) -> list[int]:
    """Return the memory that each node has in use."""
    return [readings.resident_bytes(pid) for pid in pids_of(nodes)]


@contextmanager
def fresh_mesh() -> Iterator[list[DemoNode]]:
    """Start nodes that know each other; end them and delete their data afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mesh-bench-"))
    names = ("amber", "birch", "cedar")
    nodes = [
        DemoNode(name, folder / name, port, None)
        for name, port in zip(names, free_ports(NODES), strict=True)
    ]
    try:
        nodes[0].start_node()
        wait_for("the first node", nodes[0].is_up, FIRST_WAIT_S)
        ticket = folder / "ticket"
        ticket.touch(mode=0o600)
        ticket.write_text(nodes[0].call("trust.invite", uses=NODES, ttl_s=300.0)["ticket"])
        for node in nodes[1:]:
            node.join = ticket
            node.start_node()
        for node in nodes:
            wait_for(node.name, node.is_up, FIRST_WAIT_S)
            node.call("member.wait", members=NODES, wait_s=FIRST_WAIT_S)
        time.sleep(SETTLE_S)
        yield nodes
    finally:
        stop_all(nodes)
        shutil.rmtree(folder, ignore_errors=True)


def submit_many(nodes: Sequence[DemoNode], count: int, kind: str) -> list[str]:
    """Submit tasks, untimed and quickly, and return their ids once every node counts them all.

    An answer that lists them would take more memory than they do, and leave holes.
    """
    known = max(map(_tasks_held, nodes))
    made: list[list[str]] = [[] for _ in range(SUBMIT_AHEAD)]

    def submit(number: int) -> None:
        node = nodes[number % len(nodes)]
        with Client.connect(str(node.socket)) as client:
            for _ in range(-(-count // SUBMIT_AHEAD // BUNDLE)):
                answers = client.bundle([("task.submit", {"kind": kind})] * BUNDLE)
                made[number] += [answer["task"] for answer in answers]

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(SUBMIT_AHEAD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks = [task for several in zip(*made, strict=True) for task in several]
    for node in nodes:
        wait_for("the tasks", partial(_holds, node, known + len(tasks)), FIRST_WAIT_S)
    time.sleep(SETTLE_S)
    return tasks


def _holds(node: DemoNode, count: int) -> bool:
    return _tasks_held(node) >= count


def _tasks_held(node: DemoNode) -> int:
    return int(sum(node.call("node.status")["tasks"].values()))


# --- measurements


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each measurement takes, and where its clients connect."""

    nodes: list[DemoNode]
    seconds: float
    bundle: int = 1

    def works(
        self, action: str, clients: int, *, kind: str, tasks: Sequence[str] = (), at: int = NODES
    ) -> list[Work]:
        """Return the work of some clients, spread over the first `at` nodes."""
        begin_at = time.monotonic() + 0.3
        return [
            Work(
                action,
                str(self.nodes[i % at].socket),
                begin_at,
                self.seconds,
                kind,
                tuple(tasks[i::clients]),
                self.bundle,
            )
            for i in range(clients)
        ]


def _name(action: str, plan: Plan, clients: int, at: int) -> str:
    bundled = "" if plan.bundle == 1 else f"_by_{plan.bundle}"
    return f"{action}_{clients}{bundled}" + ("" if at == NODES else f"_at_{at}")


def bundled(plan: Plan) -> Plan:
    """Return the plan with many requests on one line."""
    return replace(plan, bundle=BUNDLE)


def measure_submits(plan: Plan, clients: int, at: int = NODES) -> Row:
    """Measure submits that are durable on two nodes."""
    name = _name("submit", plan, clients, at)
    works = plan.works("submit", clients, kind=name, at=at)
    return run_clients(name, works, plan.nodes)


def measure_claims(plan: Plan, clients: int, action: str = "claim", at: int = NODES) -> Row:
    """Measure claims of fresh tasks by id, each task by one client."""
    name = _name(action, plan, clients, at)
    room = int(plan.seconds * (1500 if clients == plan.bundle == 1 else ROOM))
    tasks = submit_many(plan.nodes, room, name)
    works = plan.works(action, clients, kind=name, tasks=tasks, at=at)
    return run_clients(name, works, plan.nodes)


def measure_queue(plan: Plan, clients: int) -> Row:
    """Measure agents that claim the next task of a kind, start and complete it."""
    name = f"next_{clients}"
    submit_many(plan.nodes, int(plan.seconds * 800), name)
    return run_clients(name, plan.works("next", clients, kind=name), plan.nodes)


def measure_seen(plan: Plan) -> Row:
    """Measure the time from a submit on one node until the others tell their watchers of it."""
    seen: list[dict[str, float]] = [{} for _ in plan.nodes[1:]]
    ready = threading.Barrier(len(plan.nodes))

    def watch(node: DemoNode, arrivals: dict[str, float]) -> None:
        with Client.connect(str(node.socket)) as client:
            client.watch("task")
            ready.wait()
            for event in client.notifications(2.0):
                arrivals.setdefault(event["task"], time.monotonic())

    threads = [
        threading.Thread(target=watch, args=(node, arrivals))
        for node, arrivals in zip(plan.nodes[1:], seen, strict=True)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    begun: dict[str, float] = {}
    with Client.connect(str(plan.nodes[0].socket)) as client:
        for _ in range(SEEN_TASKS):
            at = time.monotonic()
            begun[client.call("task.submit", kind="seen")["task"]] = at
            time.sleep(SEEN_PAUSE_S)
    for thread in threads:
        thread.join()
    row = Row("seen")
    for task, at in begun.items():
        row.latencies_ms += [(told[task] - at) * 1000 for told in seen if task in told]
    row.extra["missing"] = float(SEEN_TASKS * len(seen) - len(row.latencies_ms))
    return row


def measure_memory(plan: Plan) -> Row:
    """Measure what an open task costs in memory, on every node."""
    submit_many(plan.nodes, MEMORY_WARM_UP_TASKS, "warm")
    before = resident_bytes(plan.nodes)
    made = len(submit_many(plan.nodes, MEMORY_TASKS, "memory"))
    grown = [now - then for now, then in zip(resident_bytes(plan.nodes), before, strict=True)]
    return Row("memory_open_task", extra={"kb": statistics.mean(grown) / made / 1000})


MEASURES: dict[str, Callable[[Plan], Row]] = {
    "claim_1": lambda plan: measure_claims(plan, 1),
    "claim_8": lambda plan: measure_claims(plan, CLIENTS),
    "claim_8_at_1": lambda plan: measure_claims(plan, CLIENTS, at=1),
    "claim_1_by_32": lambda plan: measure_claims(bundled(plan), 1),
    "claim_8_by_32": lambda plan: measure_claims(bundled(plan), CLIENTS),
    "provisional_1": lambda plan: measure_claims(plan, 1, "provisional"),
    "next_1": lambda plan: measure_queue(plan, 1),
    "next_8": lambda plan: measure_queue(plan, CLIENTS),
    "submit_1": lambda plan: measure_submits(plan, 1),
    "submit_8": lambda plan: measure_submits(plan, CLIENTS),
    "submit_8_at_1": lambda plan: measure_submits(plan, CLIENTS, at=1),
    "submit_1_by_32": lambda plan: measure_submits(bundled(plan), 1),
    "submit_8_by_32": lambda plan: measure_submits(bundled(plan), CLIENTS),
    "seen": measure_seen,
    "memory_open_task": measure_memory,
}
SEPARATE = ("memory_open_task",)
"""Measured in a mesh of its own."""


def run_round(names: Sequence[str], seconds: float) -> list[Row]:
    """Take all measurements once."""
    together = [name for name in names if name not in SEPARATE]
    groups = [together, *([name] for name in names if name in SEPARATE)]
    rows = []
    for group in groups:
        if not group:
            continue
        with fresh_mesh() as nodes:
            rows += [MEASURES[name](Plan(nodes, seconds)) for name in group]
    return rows


def medians(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the median of every figure over the rounds."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for figure, value in row.items():
            if isinstance(value, float):
                found.setdefault(row["name"], {}).setdefault(figure, []).append(value)
    return {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in found.items()
    }


def claims_table(shown: Mapping[str, Mapping[str, float]]) -> str:
    """Return the medians beside their targets; CPU is of all nodes together."""
    header = ["", "per s", "p50 ms", "p99 ms", "CPU ms a request", "CPU %", "KB a task", "target"]
    columns = ("per_s", "p50_ms", "p99_ms", "cpu_ms", "cpu_percent", "kb")
    return table(
        header,
        [
            [
                LABELS.get(name, name),
                *(number(figures[column]) if column in figures else "" for column in columns),
                TARGETS.get(name, ""),
            ]
            for name, figures in shown.items()
        ],
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of everything ({ROUNDS})")
    every = ",".join(MEASURES)
    parser.add_argument("--only", default=every, type=some_of(MEASURES), help="names, with commas")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, show, keep."""
    kept = Kept(options.out or (RESULTS / "claims.jsonl" if options.write else None))
    if options.source:
        rows = load(options.source)
    else:
        for turn in range(options.rounds):
            for row in run_round(options.only, options.seconds):
                figures = row.figures()
                kept.add({"round": turn, "name": row.name, **figures, "refused": row.refused})
        rows = kept.rows
    turns = 1 + max(row["round"] for row in rows)
    text = f"Medians of {turns} rounds.\n\n{claims_table(medians(rows))}"
    print(text)
    if options.write:
        put_between(options.write, "claims", text)
    return 0
