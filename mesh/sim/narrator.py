"""Tells what happens in a world while it happens: faults, beliefs, and what became of tasks.

The narrator only listens. It draws no chance and puts nothing on the schedule, so that a world
that is narrated has the same trace as one that is not.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mesh.core.effects import Json, Notify
from mesh.core.snapshot import Status
from mesh.sim.checker import Checker, watch
from mesh.sim.history import Event, What
from mesh.sim.host import Host
from mesh.sim.trace import KINDS, Trace
from mesh.sim.trial import JOIN_S, Trial
from mesh.sim.weather import Fault, FaultKind
from mesh.sim.world import World

TASK_CHARS = 14
"""So many characters tell the tasks of one world apart for a reader."""
NODE_CHARS = 8
BYTES_SHOWN = 8
INSTANT = (FaultKind.WALL_JUMP, FaultKind.MASS_JOIN)
OFF_FOR = (
    *(FaultKind.CRASH, FaultKind.POWER_CUT, FaultKind.DISK_LOST),
    *(FaultKind.TORN_WRITE, FaultKind.LEAVE),
)
TEXTS = ("input", "effect")
"""Kinds of traced events whose bytes are a text."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened: when, at which hosts, of which sort, and the rest in words."""

    at_s: float
    where: str
    what: str
    text: str

    def line(self) -> str:
        """Return one line for people."""
        return f"{self.at_s:10.3f} s  {self.where:<8}  {self.what:<10}  {self.text}".rstrip()


Tell = Callable[[Happening], None]


class TellingTrace(Trace):
    """A trace that also passes on what is noted in it."""

    __slots__ = ("_listen",)

    def __init__(self, listen: Callable[[float, int, int, bytes], None]) -> None:
        super().__init__()
        self._listen = listen

    def note(self, at_s: float, kind: int, host: int, data: bytes) -> None:
        """Add one event: when, of which kind, at which host, with which bytes."""
        super().note(at_s, kind, host, data)
        self._listen(at_s, kind, host, data)


class Narrator(Checker):
    """Listens to a world from before its first event on.

    With `everything`, each datagram, timer, input and effect is told, and each thing a client saw;
    otherwise what a reader looks for first.
    """

    def __init__(self, world: World, tell: Tell, *, everything: bool = False) -> None:
        self._world = world
        self._tell = tell
        self._everything = everything
        self._names: list[str] = []
        self._announced: deque[Happening] = deque()
        self._believed: dict[str, str] = {}
        self._started: dict[str, int] = {}
        self._superseded: dict[tuple[str, str, str], None] = {}
        world.trace = TellingTrace(self._handle_traced)
        watch(world, [self])

    def announce(self, happenings: Iterable[Happening]) -> None:
        """Tell these when their time has come."""
        merged = [*self._announced, *happenings]
        self._announced = deque(sorted(merged, key=lambda happening: happening.at_s))

    def tell_rest(self) -> None:
        """Tell what was announced and came last."""
        self._reach(self._world.now_s)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        text = f"{event.kind} {event.task[:TASK_CHARS]}".strip()
        again = False
        if event.what is What.STARTED:
            self._started[event.task] = self._started.get(event.task, 0) + 1
            number = self._started[event.task]
            again = number > 1
            text += f", start number {number}" if again else ""
        if self._everything or again or event.what in (What.LOST, What.CANCELED):
            self._say(event.host, event.what.value, f"{text} ({event.agent})")

    def handle_notice(self, host: Host, notice: Notify) -> None:
        """A node told its watchers, or one client, something."""
        if notice.topic == "member":
            self._hear(host, notice.body)
        elif "superseded" in notice.topic:
            task, token = str(notice.body.get("task")), str(notice.body.get("token"))
            if (host.name, task, token) not in self._superseded:
                self._superseded[host.name, task, token] = None
                self._say(host.name, "superseded", f"another result for {task[:TASK_CHARS]}")

    def _hear(self, host: Host, body: Mapping[str, Json]) -> None:
        # What one node says first, the others soon say too: one line for all of them. A machine
        # that lost its disk comes back under its name, but as another node.
        node, name, new = (str(body.get(field)) for field in ("node", "name", "new"))
        known = self._believed.get(node, Status.ALIVE.value)
        if new in (known, Status.SUSPECT) or name == host.name:
            return
        self._believed[node] = new
        self._say(name, new, f"node {node[:NODE_CHARS]} in the view of {host.name}")

    def _handle_traced(self, at_s: float, kind: int, host: int, data: bytes) -> None:
        name = KINDS[kind]
        if name == "start":
            self._say(self._name(host), "starts", "")
        elif self._everything:
            text = data.decode() if name in TEXTS else _shown(data)
            self._reach(at_s)
            self._tell(Happening(at_s, self._name(host), name, text))

    def _say(self, where: str, what: str, text: str) -> None:
        self._reach(self._world.now_s)
        self._tell(Happening(self._world.now_s, where, what, text))

    def _reach(self, at_s: float) -> None:
        while self._announced and self._announced[0].at_s <= at_s:
            self._tell(self._announced.popleft())

    def _name(self, index: int) -> str:
        if index >= len(self._names):
            self._names = list(self._world.hosts)
        return self._names[index]


def _shown(data: bytes) -> str:
    return f"{len(data)} bytes {data[:BYTES_SHOWN].hex()}" if data else ""


def fault_text(fault: Fault) -> str:
    """Return how long a fault lasts, in words."""
    if fault.kind in INSTANT:
        return ""
    return f"{'off ' if fault.kind in OFF_FOR else ''}for {fault.lasts_s:.1f} s"


def weather_report(trial: Trial) -> list[Happening]:
    """Return what is known of a trial before it begins: every fault, and the end of them all."""
    weather, core = trial.weather, trial.core
    report = [
        Happening(JOIN_S + fault.at_s, ",".join(fault.hosts), fault.kind.value, fault_text(fault))
        for fault in weather.faults
    ]
    left = "all nodes stay" if len(core) == len(trial.names) else f"{', '.join(core)} stay"
    storm = Happening(JOIN_S, "*", "storm", "the weather begins, and agents with it")
    calm = Happening(JOIN_S + weather.lasts_s, "*", "calm", f"all faults end; {left}")
    return [storm, *report, calm]


def narrate(trial: Trial, tell: Tell, *, everything: bool = False) -> Narrator:
    """Tell what happens in a trial; call before it runs, and `finish` after it."""
    narrator = Narrator(trial.world, tell, everything=everything)
    narrator.announce(weather_report(trial))
    return narrator
