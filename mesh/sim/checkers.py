"""What must hold in every history, however bad the weather: one checker per rule.

A checker hears of what agents see as it happens, and sees all nodes every so often. It knows
nothing of how nodes work: only rows, snapshots and answers. A broken rule raises `Violation`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.core.effects import Notify, Row
from mesh.core.errors import RemoteError
from mesh.core.identity import FactId, NodeId, PublicKey, task_text
from mesh.core.membership.facts import Presence
from mesh.core.snapshot import MemberView, Snapshot, TaskState, TaskView
from mesh.core.wire.envelope import SignedFact, Verifier, decode_signed_fact_untrusted
from mesh.sim.history import Event, What
from mesh.sim.host import Host
from mesh.sim.world import World

FACT_ROWS = "fact"
VIEWS_MAX = 4096
EPOCH_DIGITS = 8
"""A token begins with its epoch: 32 bits in hex, of fixed width."""
CALM_MARGIN_S = 60.0
"""What went wrong so long ago has no consequences any more."""
DONE = (TaskState.COMPLETED, TaskState.CANCELED)


class Violation(Exception):  # noqa: N818  the word of the field
    """A rule of the mesh was broken: `rule` is its number, the text says how."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class Checker:
    """Sees everything, and by itself minds nothing."""

    def handle_event(self, event: Event) -> None:
        """A client saw this."""

    def handle_rows(self, host: Host, rows: Sequence[Row]) -> None:
        """A node asked for these rows to be made durable."""

    def handle_notice(self, host: Host, notice: Notify) -> None:
        """A node told its watchers, or one client, something."""

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""

    def finish(self, core: Sequence[str], snapshots: Mapping[str, Snapshot]) -> None:
        """Faults have stopped long ago; these nodes are what was left running."""


def watch(world: World, checkers: Iterable[Checker]) -> None:
    """Let checkers see a world from now on; call `world.watch` for snapshots."""
    for checker in checkers:
        world.observers.append(checker)
        world.history.listeners.append(checker.handle_event)


def ruined(world: World, at_s: float) -> int:
    """Return how many disks of that moment are destroyed or switched off for good."""
    running = {host.name: None for host in world.running()}
    return sum(
        host.disk_lost_s >= at_s or name not in running for name, host in world.hosts.items()
    )


@dataclass(slots=True, eq=False)
class SubmitsKept(Checker):
    """S1: a submit that was acknowledged with n copies survives the loss of n - 1 disks."""

    world: World
    acknowledged: dict[str, Event] = field(default_factory=dict)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        if event.what is What.SUBMITTED:
            self.acknowledged[event.task] = event

    def finish(self, core: Sequence[str], snapshots: Mapping[str, Snapshot]) -> None:
        """Faults have stopped long ago; these nodes are what was left running."""
        known = {
            name: {task_text(view.id): None for view in snapshots[name].tasks} for name in core
        }
        for task, event in self.acknowledged.items():
            if ruined(self.world, event.at_s) >= max(1, event.copies):
                continue
            for name in core:
                if task not in known[name]:
                    raise Violation("S1", f"{name} does not know {task}, submitted as {event}")


@dataclass(slots=True, eq=False)
class FactsSigned(Checker):
    """S2, S3, S7: who may write, what they signed, and that no presence is signed twice.

    Looks at the rows that nodes keep facts in. Silent until the world knows its mesh id.
    """

    world: World
    facts: int = 0
    _verifier: Verifier | None = None
    _presences: dict[tuple[PublicKey, int, int], FactId] = field(default_factory=dict)

    def handle_rows(self, host: Host, rows: Sequence[Row]) -> None:
        """A node asked for these rows to be made durable."""
        if self.world.mesh_id is None:
            return
        if self._verifier is None:
            self._verifier = Verifier(self.world.suite, self.world.mesh_id)
        for row in rows:
            if row.kind == FACT_ROWS and row.value is not None:
                self._check(host, self._verifier, row.key, row.value[1:])

    def _check(self, host: Host, verifier: Verifier, key: bytes, value: bytes) -> None:
        self.facts += 1
        try:
            signed = decode_signed_fact_untrusted(value, verifier.mesh)
            verifier.check(signed)
        except RemoteError as refused:
            raise Violation("S3", f"{host.name} keeps what nobody signed: {refused}") from None
        if signed.id != key[:32]:
            raise Violation("S3", f"{host.name} keeps {signed.id.hex()} as {key.hex()}")
        if signed.author in self.world.outsiders:
            raise Violation("S2", f"{host.name} keeps {signed.context} by an outsider")
        if signed.context == Presence.CONTEXT:
            self._check_presence(host, signed)

    def _check_presence(self, host: Host, signed: SignedFact) -> None:
        presence = Presence.decode_untrusted(signed.payload)
        place = (signed.author, presence.boot, presence.incarnation)
        if self._presences.setdefault(place, signed.id) != signed.id:
            raise Violation("S7", f"{host.name} met a second presence {presence}")


Said = tuple[NodeId, str, int, int, tuple[tuple[str, str], ...]]


def said(view: MemberView) -> Said:
    """Return the part of a member's view that follows from signed facts alone."""
    return (view.id, view.name, view.boot, view.incarnation, view.tags)


class EqualFactsEqualState(Checker):
    """S4: whoever holds the same facts sees the same tasks and members, now and at any time."""

    def __init__(self) -> None:
        self._views: OrderedDict[bytes, tuple[object, ...]] = OrderedDict()

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            tasks = tuple(sorted(snapshot.tasks, key=lambda view: view.id))
            members = tuple(sorted(said(view) for view in snapshot.members))
            for table, facts, view in (
                ("tasks", snapshot.task_facts, tasks),
                ("members", snapshot.member_facts, members),
            ):
                other = self._recall(table, facts, view)
                if other != view:
                    raise Violation("S4", f"{table} of {name}: {view} not {other}")

    def _recall(
        self, table: str, facts: Sequence[FactId], view: tuple[object, ...]
    ) -> tuple[object, ...]:
        """Return the view seen first for these facts; this one if there was none (bounded)."""
        key = hashlib.blake2b(b"".join((table.encode(), *facts)), digest_size=16).digest()
        seen = self._views.setdefault(key, view)
        self._views.move_to_end(key)
        if len(self._views) > VIEWS_MAX:
            self._views.popitem(last=False)
        return seen


@dataclass(slots=True, eq=False)
class TokensRise(Checker):
    """S5: a token is handed out once, has one owner, and tokens rise at each node."""

    world: World
    _handed: dict[str, Event] = field(default_factory=dict)
    _greatest: dict[tuple[str, int, str], str] = field(default_factory=dict)
    _owners: dict[str, tuple[str, NodeId]] = field(default_factory=dict)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        if event.what is not What.CLAIMED:
            return
        first = self._handed.setdefault(event.token, event)
        if first is not event:
            raise Violation("S5", f"{event.token} was handed out twice: {first}, {event}")
        # What a node knew went with its disk, so a new disk starts anew.
        place = (event.host, self.world.hosts[event.host].disk_number, event.task)
        before = self._greatest.get(place, "")
        if event.token <= before:
            raise Violation("S5", f"{event} after {before}")
        self._greatest[place] = event.token

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            for view in snapshot.tasks:
                if not view.token or view.owner is None:
                    continue
                owned = (task_text(view.id), view.owner)
                if self._owners.setdefault(view.token, owned) != owned:
                    other = self._owners[view.token]
                    raise Violation("S5", f"{view.token} is of {other} and, at {name}, {owned}")


@dataclass(slots=True, eq=False)
class GreatestResultWins(Checker):
    """S6: results only give way to greater tokens, no completion is undone, none is forgotten.

    With `announced`, a changed result must have been told to watchers: any notification about the
    task whose topic contains "superseded".
    """

    world: World
    announced: bool = False
    _results: dict[tuple[str, int, str], tuple[int, str, bytes]] = field(default_factory=dict)
    _completed: list[Event] = field(default_factory=list)
    _told: dict[tuple[str, str], None] = field(default_factory=dict)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        if event.what is What.COMPLETED:
            self._completed.append(event)

    def handle_notice(self, host: Host, notice: Notify) -> None:
        """A node told its watchers, or one client, something."""
        if "superseded" in notice.topic:
            self._told[host.name, str(notice.body.get("task"))] = None

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            host = self.world.hosts[name]
            for view in snapshot.tasks:
                self._follow(host, view)

    def finish(self, core: Sequence[str], snapshots: Mapping[str, Snapshot]) -> None:
        """Faults have stopped long ago; these nodes are what was left running."""
        views = {
            name: {task_text(view.id): view for view in snapshots[name].tasks} for name in core
        }
        for event in self._completed:
            if ruined(self.world, event.at_s) >= max(1, event.copies):
                continue
            for name in core:
                view = views[name].get(event.task)
                if view is None or view.result_token < event.token:
                    raise Violation("S6", f"{name} forgot {event}")

    def _follow(self, host: Host, view: TaskView) -> None:
        task = task_text(view.id)
        place = (host.name, host.disk_number, task)
        run, token, digest = self._results.get(place, (host.run, "", b""))
        if token and view.state is not TaskState.COMPLETED:
            raise Violation("S6", f"at {host.name} {task} was completed and is {view.state}")
        if view.result_token < token:
            raise Violation("S6", f"at {host.name} {task} went from {token} to {view.result_token}")
        changed = token and digest != view.result_digest and run == host.run
        if self.announced and changed and (host.name, task) not in self._told:
            raise Violation("S6", f"{host.name} did not announce the new result of {task}")
        if changed:
            self._told.pop((host.name, task), None)
        self._results[place] = (host.run, view.result_token, view.result_digest)


class TablesBounded(Checker):
    """S8: every table within its cap."""

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            for table, entries, cap in snapshot.table_sizes:
                if entries > cap:
                    raise Violation("S8", f"{table} of {name}: {entries} > {cap}")


@dataclass(slots=True, eq=False)
class StartsJustified(Checker):
    """S9: what is done is not started, and work in calm weather is left to its owner."""

    world: World
    calm: Callable[[float, str, str], bool] | None = None
    """Whether nothing went wrong since then at two hosts; the world's own answer when None."""
    _done: dict[tuple[str, int, str], None] = field(default_factory=dict)
    _working: dict[str, dict[str, Event]] = field(default_factory=dict)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        place = (event.host, self.world.hosts[event.host].disk_number, event.task)
        match event.what:
            case What.COMPLETED | What.CANCELED:
                self._done[place] = None
            case What.STARTED:
                if place in self._done:
                    raise Violation("S9", f"{event.host} knew that it was done: {event}")
                self._check_rescue(event)
                self._working.setdefault(event.task, {})[event.token] = event
            case What.STOPPED:
                self._working.get(event.task, {}).pop(event.token, None)
            case _:
                pass

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            disk = self.world.hosts[name].disk_number
            for view in snapshot.tasks:
                if view.state in DONE:
                    self._done[name, disk, task_text(view.id)] = None

    def _check_rescue(self, event: Event) -> None:
        calm_since = self.calm or self.world.calm_since
        for token, work in self._working.get(event.task, {}).items():
            rescued = token[:EPOCH_DIGITS] < event.token[:EPOCH_DIGITS]
            since_s = work.at_s - CALM_MARGIN_S
            if rescued and calm_since(since_s, work.host, event.host):
                raise Violation("S9", f"{event} while {work} was at work")


def safety_checkers(world: World) -> list[Checker]:
    """Return one of each."""
    return [
        SubmitsKept(world),
        FactsSigned(world),
        EqualFactsEqualState(),
        TokensRise(world),
        GreatestResultWins(world),
        TablesBounded(),
        StartsJustified(world),
    ]
