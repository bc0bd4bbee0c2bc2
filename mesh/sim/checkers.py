"""What must hold in every history, however bad the weather: one checker per rule.

A checker knows nothing of how nodes work: only rows, snapshots and answers.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.core.claims.facts import Spec
from mesh.core.effects import Notify, Row
from mesh.core.errors import RemoteError
from mesh.core.identity import (
    Boot,
    FactId,
    MeshId,
    NodeId,
    PublicKey,
    TaskId,
    boot_counter,
    task_text,
)
from mesh.core.membership.facts import Presence
from mesh.core.snapshot import MemberView, Snapshot, TaskState, TaskView
from mesh.core.wire.envelope import (
    ROOT_CONTEXT,
    SignedFact,
    decode_signed_fact_untrusted,
    merkle_root,
    pre_authentication,
    root_payload,
)
from mesh.sim.chains import ChainsValid
from mesh.sim.checker import Checker, Violation
from mesh.sim.durability import SubmitsKept, WritesDurable
from mesh.sim.history import Event, What
from mesh.sim.host import Host
from mesh.sim.seen import Place, Retained, Unchanged
from mesh.sim.stored import FACT_ROWS
from mesh.sim.world import World

RANK_CONTEXT = b"mesh-rank-v1\0"
SCORE_DIGITS = 4
"""Of the rank in a token: what was bid in an auction stands before the lot."""
VIEWS_MAX = 4096
EPOCH_DIGITS = 8
"""A token begins with its epoch: 32 bits in hex, of fixed width."""
CALM_MARGIN_S = 60.0
"""What went wrong so long ago has no consequences any more."""
DONE = (TaskState.COMPLETED, TaskState.CANCELED)


@dataclass(slots=True, eq=False)
class FactsSigned(Checker):
    """S3, S7: what was written was signed, and no presence, boot or task id is signed twice.

    Looks at the rows that nodes keep facts in. Silent until the world knows its mesh id. Asks the
    suite itself, for a node that fools its own verifier must not fool this one.
    """

    world: World
    facts: int = 0
    _signed: dict[tuple[bytes, bytes], None] = field(default_factory=dict)
    _presences: dict[tuple[PublicKey, int, int], FactId] = field(default_factory=dict)
    _boots: dict[tuple[PublicKey, int], Boot] = field(default_factory=dict)
    _specs: dict[tuple[PublicKey, TaskId], FactId] = field(default_factory=dict)

    def handle_rows(self, host: Host, rows: Sequence[Row]) -> None:
        """A node asked for these rows to be made durable."""
        mesh = self.world.mesh_id
        if mesh is None:
            return
        for row in rows:
            if row.kind == FACT_ROWS and row.value is not None:
                self._check(host, mesh, row.key, row.value[1:])

    def _check(self, host: Host, mesh: MeshId, key: bytes, value: bytes) -> None:
        self.facts += 1
        try:
            signed = decode_signed_fact_untrusted(value, mesh)
            is_signed = self._is_signed(mesh, signed)
        except RemoteError as refused:
            raise Violation("S3", f"{host.name} keeps what is no fact: {refused}") from None
        if not is_signed:
            raise Violation("S3", f"{host.name} keeps {signed.context} that nobody signed")
        if signed.id != key[:32]:
            raise Violation("S3", f"{host.name} keeps {signed.id.hex()} as {key.hex()}")
        if signed.context == Presence.CONTEXT:
            self._check_presence(host, signed)
        elif signed.context == Spec.CONTEXT:
            self._check_spec(host, signed)

    def _is_signed(self, mesh: MeshId, signed: SignedFact) -> bool:
        root = merkle_root(signed.id, signed.index, signed.count, signed.path)
        message = pre_authentication(
            mesh, ROOT_CONTEXT, signed.author, root_payload(root, signed.count)
        )
        if (signed.signature, message) not in self._signed:
            if not self.world.suite.verify(signed.author, signed.signature, message):
                return False
            self._signed[signed.signature, message] = None
        return True

    def _check_presence(self, host: Host, signed: SignedFact) -> None:
        presence = Presence.decode_untrusted(signed.payload)
        place = (signed.author, presence.boot, presence.incarnation)
        if self._presences.setdefault(place, signed.id) != signed.id:
            raise Violation("S7", f"{host.name} met a second presence {presence}")
        run = (signed.author, boot_counter(presence.boot))
        if self._boots.setdefault(run, presence.boot) != presence.boot:
            raise Violation("S7", f"{host.name} met a second boot of one number: {presence}")

    def _check_spec(self, host: Host, signed: SignedFact) -> None:
        spec = Spec.decode_untrusted(signed.payload)
        place = (signed.author, spec.task)  # the task of a key is of whoever submits it
        if self._specs.setdefault(place, signed.id) != signed.id:
            raise Violation("S7", f"{host.name} met a second task {task_text(spec.task)}")


Said = tuple[NodeId, str, int, int, tuple[tuple[str, str], ...]]


def said(view: MemberView) -> Said:
    """Return the part of a member's view that follows from signed facts alone."""
    return (view.id, view.name, view.boot, view.incarnation, view.tags)


class EqualFactsEqualState(Checker):
    """S4: whoever holds the same facts sees the same tasks and members, now and at any time."""

    def __init__(self) -> None:
        self._views: OrderedDict[bytes, tuple[object, ...]] = OrderedDict()
        self._tasks = Unchanged()
        self._members = Unchanged()

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            if not self._tasks.since_last(name, snapshot.task_facts, snapshot.tasks):
                tasks = tuple(sorted(snapshot.tasks, key=lambda view: view.id))
                self._check(name, "tasks", snapshot.task_facts, tasks)
            if not self._members.since_last(name, snapshot.member_facts, *snapshot.members):
                members = tuple(sorted(said(view) for view in snapshot.members))
                self._check(name, "members", snapshot.member_facts, members)

    def _check(
        self, name: str, table: str, facts: Sequence[FactId], view: tuple[object, ...]
    ) -> None:
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
    _seen: Unchanged = field(default_factory=Unchanged)

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
            if self._seen.since_last(name, snapshot.tasks):
                continue
            for view in snapshot.tasks:
                if not view.token or view.owner is None:
                    continue
                owned = (task_text(view.id), view.owner)
                if self._owners.setdefault(view.token, owned) != owned:
                    other = self._owners[view.token]
                    raise Violation("S5", f"{view.token} is of {other} and, at {name}, {owned}")


class LotsDrawn(Checker):
    """S5: the rank in a token is the lot of task, epoch and node: no clock and no work moves it."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}
        self._shown = Unchanged()

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            if self._shown.since_last(name, snapshot.tasks):
                continue
            for view in snapshot.tasks:
                if view.token and view.owner is not None and view.token not in self._seen:
                    self._seen[view.token] = None
                    self._check(name, view, view.owner)

    def _check(self, name: str, view: TaskView, owner: NodeId) -> None:
        lot = RANK_CONTEXT + view.id + view.epoch.to_bytes(4, "big") + owner
        rank = int.from_bytes(hashlib.blake2b(lot, digest_size=6).digest(), "big")
        drawn = view.token[:9] + view.token[9 + SCORE_DIGITS :]  # but for what was bid above it
        if not drawn.startswith(f"{view.epoch:08x}-{rank:012x}-{owner.hex()}-"):
            raise Violation("S5", f"{view.token} at {name}: the lot drawn was {rank:016x}")


@dataclass(slots=True, eq=False)
class GreatestResultWins(Checker):
    """S6: results only give way to greater tokens, no completion is undone, none is forgotten.

    With `announced`, a changed result must have been told to watchers: any notification about the
    task whose topic contains "superseded".
    """

    world: World
    announced: bool = False
    _results: dict[Place, tuple[int, str, bytes]] = field(default_factory=dict)
    _completed: list[Event] = field(default_factory=list)
    _told: dict[tuple[str, str], None] = field(default_factory=dict)
    _shown: Unchanged = field(default_factory=Unchanged)
    _retained: Retained = field(init=False)

    def __post_init__(self) -> None:
        self._retained = Retained(self.world)

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
            self._retained.settle(host)
            # A run shows tuples of its own, so that another run or disk is seen by them.
            if self._shown.since_last(name, snapshot.tasks):
                continue
            for view in snapshot.tasks:
                self._follow(host, view)

    def finish(self, core: Sequence[str], snapshots: Mapping[str, Snapshot]) -> None:
        """Faults have stopped long ago; these nodes are what was left running."""
        views = {
            name: {task_text(view.id): view for view in snapshots[name].tasks} for name in core
        }
        for event in self._completed:
            if self.world.ruined(event.copied_s) >= max(1, event.copies):
                continue
            for name in core:
                view = views[name].get(event.task)
                if view is None or view.result_token < event.token:
                    raise Violation("S6", f"{name} forgot {event}")

    def _follow(self, host: Host, view: TaskView) -> None:
        task = task_text(view.id)
        place = (host.name, host.disk_number, task)
        run, token, digest = self._results.get(place, (host.run, "", b""))
        if run != host.run and not self._retained.keeps(place):
            token = ""
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
        if view.result_token != token:
            self._retained.see(host, place)


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
    """S9: what is done is not started, and work in calm weather is left to its owner.

    Work that ended because its agent was told that it had lost counts as work at that moment.
    Where nothing is ever lost, nobody even starts what somebody else of the same epoch works on.
    """

    world: World
    calm: Callable[[float, str, str], bool] | None = None
    """Whether nothing went wrong since then at two hosts; the world's own answer when None."""
    _done: dict[Place, int] = field(default_factory=dict)
    """In which run of a host it was known."""
    _shown: Unchanged = field(default_factory=Unchanged)
    _retained: Retained = field(init=False)
    _working: dict[str, dict[str, Event]] = field(default_factory=dict)
    _robbed: dict[str, None] = field(default_factory=dict)
    """Tokens whose agents were told to stop."""
    _greatest: dict[tuple[str, str], str] = field(default_factory=dict)
    """By task and epoch, the greatest token that anybody has shown as the owner's."""

    def __post_init__(self) -> None:
        self._retained = Retained(self.world)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        place = (event.host, self.world.hosts[event.host].disk_number, event.task)
        match event.what:
            case What.COMPLETED | What.CANCELED:
                self._done[place] = event.run
                self._retained.keep(place)
            case What.STARTED:
                run = self._done.get(place)
                if run is not None and (run == event.run or self._retained.keeps(place)):
                    raise Violation("S9", f"{event.host} knew that it was done: {event}")
                self._check_rescue(event)
                self._working.setdefault(event.task, {})[event.token] = event
            case What.LOST:
                self._robbed[event.token] = None
            case What.STOPPED if event.token not in self._robbed:
                self._working.get(event.task, {}).pop(event.token, None)
            case _:
                pass

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""
        for name, snapshot in snapshots.items():
            host = self.world.hosts[name]
            self._retained.settle(host)
            if self._shown.since_last(name, snapshot.tasks):
                continue
            for view in snapshot.tasks:
                place = (name, host.disk_number, task_text(view.id))
                shown = (place[2], view.token[:EPOCH_DIGITS])
                self._greatest[shown] = max(view.token, self._greatest.get(shown, ""))
                if view.state not in DONE or self._done.get(place) == host.run:
                    continue
                if place not in self._done or not self._retained.keeps(place):
                    self._retained.see(host, place)
                self._done[place] = host.run

    def _check_rescue(self, event: Event) -> None:
        calm_since = self.calm or self.world.calm_since
        for token, work in self._working.get(event.task, {}).items():
            if token == event.token:
                continue
            epoch = token[:EPOCH_DIGITS]
            # One that was outranked in its own epoch is the loser of a race, whoever came after.
            outranked = self._greatest.get((event.task, epoch), "") > token
            rescued = epoch < event.token[:EPOCH_DIGITS] and not outranked
            since_s = work.at_s - CALM_MARGIN_S
            if not calm_since(since_s, work.host, event.host):
                continue
            if rescued or (token not in self._robbed and self._is_lossless()):
                raise Violation("S9", f"{event} while {work} was at work")

    def _is_lossless(self) -> bool:
        network = self.world.network
        return not network.rules and not network.loss


def safety_checkers(world: World) -> list[Checker]:
    """Return one of each."""
    return [
        SubmitsKept(world),
        WritesDurable(world),
        ChainsValid(world),
        FactsSigned(world),
        EqualFactsEqualState(),
        TokensRise(world),
        LotsDrawn(),
        GreatestResultWins(world, announced=True),
        TablesBounded(),
        StartsJustified(world),
    ]
