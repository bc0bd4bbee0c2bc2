"""One member that lies to everybody, again and again, while the others work."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from mesh.control.client import NodeUnreachable, Refused
from tests.faults.background import Background
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.lab import ROOT
from tests.faults.load import Load, encoded, equal_tables, lost, submit
from tests.faults.measures import seconds
from tests.faults.nodes import PORT, LabMesh, LabNode, empty_lab, wait_until
from tests.faults.switch import Link
from tests.faults.watch import Watch

NODES = 20
QUICK_NODES = 5
LIES_S = 180.0
QUICK_LIES_S = 3.0
DELAY_S = 0.001
HELD = 4
"""So many claims are held by their owners as long as the liar lies."""
PAUSE_S = 0.05
CALM_S = 60.0
KIND = "honest"
LOST = ("down", "dead", "left", "removed")
SPOILT = ("failed", "canceled", "expired")
"""What no honest node lets become of a task here."""


# ---- the liar


@dataclass(slots=True)
class Liar:
    """A process that lies: see `tests.attacks.lying_member`."""

    process: "subprocess.Popen[bytes]"
    id: str = ""

    def order(self, line: str) -> None:
        """Write one line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def told(self) -> dict[str, Any]:
        """Wait for its next line; raises OSError when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise OSError("the liar has ended")
        words: dict[str, Any] = json.loads(line)
        return words


@contextlib.contextmanager
def liar_among(mesh: LabMesh, honest: Sequence[LabNode], lasts_s: float) -> Iterator[Liar]:
    """Have a liar join, on the last host of the lab; it is ended at the end."""
    host = mesh.node(mesh.lab.hosts[-1])
    ticket = honest[0].call("trust.invite", uses=1, ttl_s=3600.0)["ticket"]
    plan = {
        "folder": str(host.folder),
        "ticket": ticket,
        "name": host.name,
        "address": [host.address, PORT],
        "honest": [node.name for node in honest],
        "lasts_s": lasts_s,
        "seed": 1,
    }
    with host.space.entered():
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.lying_member"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        liar = Liar(process)
        liar.order(json.dumps(plan))
        liar.id = liar.told()["id"]
        yield liar
    finally:
        process.kill()
        process.wait()


# ---- what the others make of it


@dataclass(eq=False)
class Audit(Background):
    """Asks every honest node again and again what it takes for true."""

    nodes: Sequence[LabNode]
    liar: str
    owners: dict[str, str] = field(default_factory=dict)
    """Tasks that are held all along -> their owners."""
    looks: int = 0
    forged: dict[str, None] = field(default_factory=dict)
    """In words, each once."""
    evicted: dict[str, None] = field(default_factory=dict)
    true: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    admins: frozenset[str] = frozenset()
    highest: Counter[str] = field(default_factory=Counter)
    """Node -> the greatest incarnation that anybody has listed."""

    def __enter__(self) -> Self:
        for node in self.nodes:
            own = own_view(node)
            self.true[node.id] = (own["name"], own["address"], own["boot"])
        self.admins = admins(self.nodes[0])
        return super().__enter__()

    def _run(self) -> None:
        while not self.ended.is_set():
            for node in self.nodes:
                self.look(node)
                self.ended.wait(PAUSE_S)

    def look(self, node: LabNode) -> None:
        """Compare all that one node lists with what is so."""
        try:
            self._look_at_members(node.name, node.call("member.list")["members"])
            for task, view in node.tasks().items():
                if task.rsplit("-", 1)[1] in self.true:
                    self._look_at_task(node.name, view)
        except (NodeUnreachable, Refused) as trouble:
            self.evicted[f"{node.name} does not answer: {trouble}"] = None
        self.looks += 1

    def _look_at_members(self, by: str, views: list[dict[str, Any]]) -> None:
        listed = {view["id"]: view for view in views}
        for node in self.true.keys() - listed.keys():
            self.evicted[f"{by} does not list {self.true[node][0]}"] = None
        for node, view in listed.items():
            if node == self.liar:
                continue
            self.highest[node] = max(self.highest[node], view["incarnation"])
            if (view["name"], view["address"], view["boot"]) != self.true.get(node):
                self.forged[f"{by} lists {view['name']} at {view['address']}"] = None
            if view["status"] in LOST:
                self.evicted[f"{by} takes {view['name']} for {view['status']}"] = None

    def _look_at_task(self, by: str, view: dict[str, Any]) -> None:
        task, owner, result = view["id"], view["owner"], view["result"]
        who = None if owner is None else owner["node"]
        if view["kind"] != KIND or view["state"] in SPOILT:
            self.forged[f"{by}: {task} is {view['kind']}, {view['state']}"] = None
        if who is not None and who not in self.true:
            self.forged[f"{by}: {task} is owned by {owner['name']}"] = None
        if not self.ended.is_set() and self.owners.get(task, who) != who:
            self.forged[f"{by}: {task} was taken from its owner"] = None
        if result is not None and (
            result["by"] not in self.true or result["output"] != encoded(task)
        ):
            self.forged[f"{by}: {task} has a result of {result['name']}"] = None

    def close(self, submitted: Iterable[str]) -> None:
        """Look once more: at who is admin, what was submitted, and what nobody said of itself."""
        known = set(submitted)
        for node in self.nodes:
            self.look(node)
            own = own_view(node)
            if self.highest[node.id] > own["incarnation"]:
                self.forged[f"{node.name} was listed above its incarnation"] = None
            if admins(node) != self.admins:
                self.forged[f"{node.name}: others are admins"] = None
            for task in node.tasks():
                if task.rsplit("-", 1)[1] in self.true and task not in known:
                    self.forged[f"{node.name}: {task} was submitted by nobody"] = None


def own_view(node: LabNode) -> dict[str, Any]:
    """Return what a node lists of itself."""
    views = node.call("member.list")["members"]
    return next(view for view in views if view["is_self"])


def admins(node: LabNode) -> frozenset[str]:
    """Return whom a node takes for admins."""
    return frozenset(admin["id"] for admin in node.call("trust.admins")["admins"])


def alive_to(node: LabNode, member: str) -> bool:
    """Whether a node lists a member, by its id, as alive."""
    views = node.call("member.list")["members"]
    return any(view["id"] == member and view["status"] == "alive" for view in views)


def hold(nodes: Sequence[LabNode]) -> dict[str, tuple[LabNode, str]]:
    """Have nodes own a task each and work on it; task -> its owner, and the handle."""
    held = {}
    for node in nodes:
        task = submit(node, KIND)
        handle = node.call("task.claim", task=task, detached=True)["handle"]
        node.call("task.start", handle=handle)
        held[task] = (node, handle)
    return held


def complete(held: dict[str, tuple[LabNode, str]]) -> int:
    """Have the owners finish what they hold; returns how many could."""
    done = 0
    for task, (node, handle) in held.items():
        with contextlib.suppress(Refused):
            node.call("task.complete", handle=handle, output=encoded(task))
            done += 1
    return done


def refusals(nodes: Sequence[LabNode]) -> "Counter[str]":
    """Return what all of these have counted as refused or muted."""
    found: Counter[str] = Counter()
    for node in nodes:
        for name, count in node.counters().items():
            if name.startswith("refused_") or name == "muted":
                found[name] += count
    return found


def evictions(watch: Watch, audit: Audit) -> tuple[int, int]:
    """Return how often honest nodes told that an honest one is lost, and is suspected."""
    about = [
        event.body["new"]
        for event in watch.heard
        if event.topic == "member" and event.body["node"] in audit.true
    ]
    return sum(status in LOST for status in about), about.count("suspect")


def one_evil_member(scale: Scale) -> Outcome:
    """Have a member lie to all others while they work."""
    full = scale is Scale.FULL
    count = NODES if full else QUICK_NODES
    lasts_s = LIES_S if full else QUICK_LIES_S
    with empty_lab(count) as mesh:
        mesh.start(range(1, count), scale)
        honest = list(mesh.nodes.values())
        mesh.lab.everywhere(Link(delay_s=DELAY_S))
        with liar_among(mesh, honest, lasts_s) as liar:
            mesh.together(honest, also=(mesh.node(count).name,))
            held = hold(honest[:HELD])
            owners = {task: node.id for task, (node, _) in held.items()}
            before = refusals(honest)
            with Watch(honest) as watch, Audit(honest, liar.id, owners) as audit:
                with Load(honest, per_s=4.0, kind=KIND) as load:
                    liar.order("begin")
                    lies = liar.told()
                audit.ended.set()
            kept = complete(held)
            calm = wait_until("equal tables", lambda: equal_tables(honest), CALM_S)
            audit.close([*load.submitted, *held])
            after = refusals(honest)
            alive = sum(alive_to(node, liar.id) for node in honest)
        gone = lost(honest, load)
    told = evictions(watch, audit)
    refused = {name: after[name] - before[name] for name in after if after[name] > before[name]}
    return Outcome(
        (
            Figure("lies", sum(lies["moves"].values()), at_least=lasts_s),
            Figure("messages of it", lies["messages"], at_least=1),
            Figure("looks at honest nodes", audit.looks, at_least=len(honest)),
            Figure("forged acceptances", len(audit.forged), at_most=0),
            Figure("honest evictions", max(told[0], len(audit.evicted)), at_most=0),
            Figure("suspicions of honest nodes", told[1]),
            Figure("tasks done meanwhile", len(load.finished), at_least=1),
            Figure("acknowledged writes lost", gone, at_most=0),
            Figure("claims held all along and completed", kept, at_least=HELD),
            Figure("equal tables after", calm, "s", at_most=seconds(10.0, scale)),
            *refusal_figures(refused, full=full),
            Figure("times that it was muted", refused.get("muted", 0), at_least=1),
        ),
        note(count, lasts_s, lies["moves"], [*audit.forged, *audit.evicted], alive),
    )


def refusal_figures(refused: dict[str, int], *, full: bool) -> list[Figure]:
    """Return what was refused: that shows that lies have come, in the full form of every sort."""
    least = 1 if full else None
    named = ("broken_rule", "author_mismatch", "bad_signature", "not_admitted")
    return [
        Figure("refused in all", sum(refused.values()) - refused.get("muted", 0), at_least=1),
        *(
            Figure(f"refused as {reason}", refused.get(f"refused_{reason}", 0), at_least=least)
            for reason in named
        ),
    ]


def note(count: int, lasts_s: float, moves: dict[str, int], found: list[str], alive: int) -> str:
    """Return what a reader should know beside the figures."""
    made = ", ".join(f"{name} {times}" for name, times in sorted(moves.items()))
    wrong = f"; found: {'; '.join(found[:5])}" if found else ""
    return (
        f"{count} nodes, one of them lies for {lasts_s:.0f} s under its own signature and then "
        f"makes some up: {made}; alive to {alive} of the others at the end; not tried is what the "
        f"rules allow any member (decisions 0003, 0011){wrong}"
    )


FAULTS = (
    Fault(
        "evil-member",
        "a member accuses everybody, spreads verdicts, forges, changes and re-signs facts",
        "0 forged acceptances, 0 honest evictions",
        one_evil_member,
        (Need.NAMESPACES,),
    ),
)
