"""`mesh demo`: five real nodes, one task per file of the standard library, one node killed.

Everything is real: processes, sockets, tickets, signatures, SQLite. Every result is checked
against a direct computation, and the exit code is 0 only if all of them are right.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from mesh.cli import demo_worker
from mesh.control.client import Client, NodeUnreachable, Refused

KIND = "examine"
NODES_MAX = 50
"""More processes than this say more about the machine than about the mesh."""
NOT_OURS = ("MESH_TICKET", "MESH_SOCKET", "NOTIFY_SOCKET")
"""What in the environment is about the user's own node: the demo's join no other mesh."""
FILES = 240
LIMIT_S = 55.0
START_LIMIT_S = 15.0
STOP_LIMIT_S = 8.0
CATCH_S = 0.1
"""What a stopped node has sent before is known to the others after so long."""
VICTIM = 2
NAMES = ("amber", "birch", "cedar", "dahlia", "elm", "fir", "ginkgo", "hazel", "iris", "juniper")


def write(text: str, *, end: str = "\n", file: TextIO = sys.stdout) -> None:
    """Write a line of the demo's output."""
    print(text, end=end, file=file, flush=True)


class DemoError(Exception):
    """The demo could not go on; the text says where."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has right now, for UDP and TCP."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp = stack.enter_context(socket.socket())
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname())
                ports.append(udp.getsockname()[1])
        return ports


def sources(count: int) -> list[str]:
    """Return the files to examine: the running Python's own standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    found = sorted(
        path
        for folder in (library, *(library / name for name in ("json", "email", "asyncio", "xml")))
        for path in folder.glob("*.py")
    )
    return [str(path) for path in found[:count]]


def wait_for(what: str, ready: Callable[[], bool], limit_s: float) -> None:
    """Return once something holds; raises DemoError after the limit."""
    end = time.monotonic() + limit_s
    while not ready():
        if time.monotonic() > end:
            raise DemoError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.05)


@dataclass(slots=True)
class DemoNode:
    """One node of the demo and its worker, as processes."""

    name: str
    folder: Path
    port: int
    join: Path | None
    extra: tuple[str, ...] = ()
    """More options of `mesh up`."""
    node: "subprocess.Popen[bytes] | None" = None
    worker: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> Path:
        """Where its control socket is."""
        return self.folder / "mesh.sock"

    def start_node(self) -> None:
        """Start `mesh up`."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        join = [] if self.join is None else ["--join", f"@{self.join}"]
        arguments = [
            *("up", "--data", str(self.folder / "data"), "--bind", f"127.0.0.1:{self.port}"),
            *("--name", self.name, "--socket", str(self.socket), "--profile", "local", *join),
            *self.extra,
        ]
        self.node = self._start(arguments, "node.log")

    def start_worker(self) -> None:
        """Start `mesh work`."""
        command = [sys.executable, "-S", "-E", demo_worker.__file__]
        arguments = ["work", "--kind", KIND, "--name", self.name, "--socket", str(self.socket)]
        self.worker = self._start([*arguments, "--", *command], "worker.log")

    def _start(self, arguments: list[str], log: str) -> "subprocess.Popen[bytes]":
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "mesh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={name: v for name, v in os.environ.items() if name not in NOT_OURS},
                start_new_session=True,
            )

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
        """Ask this node; raises NodeUnreachable or Refused."""
        with Client.connect(str(self.socket)) as client:
            answer: dict[str, Any] = client.call(method, **parameters)
            return answer

    def is_up(self) -> bool:
        """Whether the node answers as a member; raises DemoError when it has ended."""
        if self.node is not None and self.node.poll() is not None:
            tail = (self.folder / "node.log").read_text(errors="replace")[-2000:]
            raise DemoError(f"node {self.name} ended with {self.node.returncode}:\n{tail}")
        try:
            return bool(self.call("node.status")["node"]["state"] == "member")
        except (NodeUnreachable, Refused, OSError):
            return False

    def processes(self) -> "list[subprocess.Popen[bytes]]":
        """Return what of it still runs, the worker first."""
        return [p for p in (self.worker, self.node) if p is not None and p.poll() is None]

    def stop(self) -> None:
        """End both processes and wait for them."""
        stop_all([self])


def stop_all(nodes: "list[DemoNode]") -> None:
    """End all processes, first in peace, and wait for them."""
    for node in nodes:
        for process in node.processes():
            process.terminate()
    end = time.monotonic() + STOP_LIMIT_S
    for process in [process for node in nodes for process in node.processes()]:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(slots=True)
class Timeline:
    """When what was seen, in seconds of this process's clock."""

    killed: float = 0.0
    down: float | None = None
    dead: float | None = None
    retaken: float | None = None


@dataclass(slots=True)
class Demo:
    """One run."""

    folder: Path
    nodes: list[DemoNode]
    files: list[str]
    quiet: bool
    begun: float = field(default_factory=time.monotonic)
    tasks: dict[str, str] = field(default_factory=dict)
    """Task id -> file."""
    timeline: Timeline = field(default_factory=Timeline)
    orphans: dict[str, str] = field(default_factory=dict)
    """Tasks that the killed node owned -> their tokens."""

    def say(self, text: str) -> None:
        """Tell a person what happens, on stderr."""
        if not self.quiet:
            elapsed = time.monotonic() - self.begun
            write(f"{elapsed:5.1f}s  {text}", file=sys.stderr)

    # ---- the acts

    def run(self) -> dict[str, Any]:
        """Run all of it and return the report."""
        self.start_mesh()
        self.submit()
        for node in self.nodes:
            node.start_worker()
        self.kill_and_restart()
        self.finish()
        return self.report()

    def start_mesh(self) -> None:
        """Start the first node, then the others with its ticket."""
        first = self.nodes[0]
        self.say(f"starting {first.name}, the first node of a new mesh")
        first.start_node()
        wait_for("the first node", first.is_up, START_LIMIT_S)
        uses = max(1, len(self.nodes) - 1)
        ticket = first.call("trust.invite", uses=uses, ttl_s=300.0)["ticket"]
        path = self.folder / "ticket"
        path.touch(mode=0o600)
        path.write_text(ticket)
        for node in self.nodes[1:]:
            node.join = path
            node.start_node()
        for node in self.nodes:
            wait_for(f"node {node.name}", node.is_up, START_LIMIT_S)
            node.call("member.wait", members=len(self.nodes), wait_s=START_LIMIT_S)
        self.say(f"{len(self.nodes)} nodes joined by ticket and see each other")

    def submit(self) -> None:
        """Put one task per file into the table, through all nodes in turn."""
        copies: Counter[int] = Counter()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client.connect(str(node.socket))) for node in self.nodes]
            for number, path in enumerate(self.files):
                payload = base64.b64encode(json.dumps({"path": path}).encode()).decode()
                answer = clients[number % len(clients)].call(
                    "task.submit", kind=KIND, payload=payload, request_id=f"demo-{number}"
                )
                self.tasks[answer["task"]] = path
                copies[answer["copies"]] += 1
        kept = ", ".join(f"{count} on {number} nodes" for number, count in sorted(copies.items()))
        self.say(f"{len(self.tasks)} tasks submitted and durable ({kept})")

    def _list(self, node: DemoNode) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = node.call("task.list", limit=100_000)["tasks"]
        return listed

    def _done(self) -> int:
        counts: dict[str, int] = self.nodes[0].call("node.status")["tasks"]
        return counts["completed"]

    def kill_and_restart(self) -> None:
        """Kill one node with SIGKILL in the middle of its work, and restart it later."""
        if len(self.nodes) < 2:
            return
        victim, watcher = self.nodes[min(VICTIM, len(self.nodes) - 1)], self.nodes[0]
        goal = len(self.tasks) // 3
        wait_for("a third of the tasks", lambda: self._progress() >= goal, LIMIT_S)
        assert victim.node is not None
        wait_for("work on the victim", lambda: self._catch(victim, watcher), START_LIMIT_S)
        victim.node.send_signal(signal.SIGKILL)
        victim.node.wait()
        self.timeline.killed = time.monotonic()
        self.say(f"killed {victim.name} (SIGKILL); it owned {len(self.orphans)} task(s)")
        self._watch_takeover(victim, watcher)
        self.say(f"restarting {victim.name}")
        victim.start_node()
        wait_for(f"node {victim.name}", victim.is_up, START_LIMIT_S)

    def _catch(self, victim: DemoNode, watcher: DemoNode) -> bool:
        """Stop the victim while it owns a task; let it go on if it has none just now."""
        assert victim.node is not None
        victim.node.send_signal(signal.SIGSTOP)
        time.sleep(CATCH_S)
        self.orphans = self._owned(watcher, victim)
        if not self.orphans:
            victim.node.send_signal(signal.SIGCONT)
        return bool(self.orphans)

    def _progress(self) -> int:
        done = self._done()
        if not self.quiet and sys.stderr.isatty():
            write(f"\r        {done}/{len(self.tasks)} done", end="\r", file=sys.stderr)
        return done

    def _owned(self, watcher: DemoNode, owner: DemoNode) -> dict[str, str]:
        return {
            task["id"]: task["token"]
            for task in self._list(watcher)
            if task["owner"] and task["owner"]["name"] == owner.name
        }

    def _watch_takeover(self, victim: DemoNode, watcher: DemoNode) -> None:
        def seen() -> bool:
            now = time.monotonic()
            views = watcher.call("member.list")["members"]
            status = next(view["status"] for view in views if view["name"] == victim.name)
            if status in {"down", "dead"} and self.timeline.down is None:
                self.timeline.down = now
                self.say(f"{victim.name} is seen down after {now - self.timeline.killed:.1f} s")
            if status == "dead" and self.timeline.dead is None:
                self.timeline.dead = now
            if self.orphans and not any(
                task in self.orphans for task in self._owned(watcher, victim)
            ):
                self.timeline.retaken = now
                self.say(f"its work has a new owner after {now - self.timeline.killed:.1f} s")
                return True
            return not self.orphans and self.timeline.dead is not None

        wait_for("the takeover", seen, LIMIT_S)

    def finish(self) -> None:
        """Wait until every task is finished."""
        total = len(self.tasks)
        limit_s = LIMIT_S - (time.monotonic() - self.begun)
        wait_for("all tasks", lambda: self._finished() >= total, max(limit_s, 10.0))
        self.say(f"all {total} tasks are finished")

    def _finished(self) -> int:
        counts: dict[str, int] = self.nodes[0].call("node.status")["tasks"]
        self._progress()
        return counts["completed"] + counts["failed"] + counts["canceled"]

    # ---- the report

    def report(self) -> dict[str, Any]:
        """Check every result against a direct computation and add up the costs."""
        shown = [self.nodes[0].call("task.show", task=task)["task"] for task in self.tasks]
        wrong = [task["id"] for task in shown if not self._is_right(task)]
        starts = Counter(task["starts"] for task in shown)
        owners = Counter(self._author(task["result"]) for task in shown)
        more = {
            task["id"]: f"{task['starts']} starts: {self._reason(task)}"
            for task in shown
            if task["starts"] != 1
        }
        line, killed = self.timeline, self.timeline.killed
        return {
            "v": 1,
            "ok": not wrong,
            "nodes": len(self.nodes),
            "tasks": len(shown),
            "wrong": wrong,
            "tasks_per_node": dict(sorted(owners.items())),
            "starts_per_task": {str(key): value for key, value in sorted(starts.items())},
            "started_more_than_once": more,
            "detection_s": None if line.down is None else round(line.down - killed, 2),
            "takeover_s": None if line.retaken is None else round(line.retaken - killed, 2),
            "elapsed_s": round(time.monotonic() - self.begun, 1),
            **self._costs(len(shown)),
        }

    def _author(self, result: dict[str, Any] | None) -> str:
        return "nobody" if result is None else str(result["name"])

    def _is_right(self, task: dict[str, Any]) -> bool:
        if task["state"] != "completed":
            return False
        try:
            answer = json.loads(base64.b64decode(task["result"]["output"]))
        except ValueError:
            return False
        return bool(answer == demo_worker.examine(self.tasks[task["id"]]))

    def _reason(self, task: dict[str, Any]) -> str:
        if task["id"] in self.orphans:
            return "its first owner was killed"
        return f"epoch {task['epoch']}"

    def _costs(self, tasks: int) -> dict[str, Any]:
        total: Counter[str] = Counter()
        for node in self.nodes:
            total.update(node.call("node.status")["counters"])
        return {
            "datagrams_per_task": round(total["datagrams_sent"] / tasks, 1),
            "bytes_per_task": round(total["bytes_sent"] / tasks),
            "verifications_per_task": round(total["verifications"] / tasks, 1),
        }


def print_report(report: dict[str, Any]) -> None:
    """Write the report for people."""
    rows: Iterator[tuple[str, object]] = iter(
        [
            ("tasks", f"{report['tasks']}, wrong results: {len(report['wrong'])}"),
            ("by node", ", ".join(f"{k} {v}" for k, v in report["tasks_per_node"].items())),
            ("starts per task", json.dumps(report["starts_per_task"])),
            ("killed node seen down", f"after {report['detection_s']} s"),
            ("its work owned again", f"after {report['takeover_s']} s"),
            ("datagrams per task", f"{report['datagrams_per_task']}, all nodes together"),
            ("bytes per task", report["bytes_per_task"]),
            ("verifications per task", report["verifications_per_task"]),
            ("elapsed", f"{report['elapsed_s']} s"),
        ]
    )
    for label, value in rows:
        write(f"{label:24}{value}")
    for task, reason in report["started_more_than_once"].items():
        write(f"  {task}: {reason}")
    write("everything was right" if report["ok"] else f"WRONG: {report['wrong']}")


def run_demo(*, nodes: int, as_json: bool, keep: bool, quiet: bool = False) -> int:
    """Run the demo; returns 0 only if everything was right. Raises Refused for too many nodes."""
    if nodes > NODES_MAX:
        hint = "`mesh sim --sizing --nodes N` shows what larger meshes do"
        raise Refused("usage", f"{nodes} nodes, at most {NODES_MAX} on one machine", hint)
    folder = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    ports = free_ports(nodes)
    made = [
        DemoNode(
            NAMES[i % len(NAMES)] + ("" if i < len(NAMES) else str(i)), folder / f"{i}", port, None
        )
        for i, port in enumerate(ports)
    ]
    demo = Demo(folder, made, sources(FILES), quiet)
    previous = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        report = demo.run()
    except KeyboardInterrupt:
        write("stopped", file=sys.stderr)
        return 130
    except (DemoError, NodeUnreachable, Refused) as failed:
        write(f"mesh demo: {failed}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
        stop_all(demo.nodes)
        if keep:
            write(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        write(json.dumps(report))
    else:
        print_report(report)
    return 0 if report["ok"] else 1
