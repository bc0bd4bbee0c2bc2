"""Which disks hold what about tasks: submits and completions, from when they are durable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mesh.core.claims.facts import Claim, Result, Spec
from mesh.core.claims.forgotten import Blackened, Forget, ForgetBoots, blackened_by, dot_of
from mesh.core.claims.keyed import ForgetKey
from mesh.core.effects import Row
from mesh.core.identity import FactId, MeshId, NodeId, TaskId, node_id, parse_task_text, task_text
from mesh.core.trust.records import Revocation, Rotation, Scope
from mesh.core.wire.envelope import SignedFact, decode_signed_fact_untrusted
from mesh.sim.host import Host

FACT_ROWS = "fact"
ID_BYTES = 32
WRITES = {kind.CONTEXT: kind for kind in (Spec, Claim, Result)}
EXCUSES = {kind.CONTEXT: kind for kind in (Forget, ForgetBoots, ForgetKey, Revocation, Rotation)}
"""Because of these, writes leave disks for good."""
Disk = tuple[str, int]
"""A host, and the number of its disk."""
Disks = dict[Disk, None]
Write = tuple[str, str]
"""A task with the token of its completion, or "" for its submit."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A fact that was durable somewhere, and the disks that hold it."""

    fact: Spec | Claim | Result
    author: NodeId
    disks: Disks = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Stored:
    """Tells which disks hold a write, and which writes a node takes off its disk.

    A disk that was destroyed counts as it was.
    """

    _facts: dict[FactId, Kept] = field(default_factory=dict)
    _tasks: dict[str, list[Kept]] = field(default_factory=dict)
    _forgotten: dict[tuple[Disk, NodeId], Blackened] = field(default_factory=dict)
    """By disk and creator."""
    _keys_forgotten: dict[TaskId, None] = field(default_factory=dict)
    """Anywhere: nobody says so any more to who comes back after a key's time, and it goes there."""
    _revoked: dict[tuple[Disk, NodeId], None] = field(default_factory=dict)
    """Of these some words do not count any more."""

    def take(self, host: Host, mesh: MeshId, rows: Sequence[Row]) -> list[Write]:
        """Take rows that are durable now; return what has gone without an excuse."""
        disk = (host.name, host.disk_number)
        facts = [(FactId(row.key[:ID_BYTES]), row.value) for row in rows if row.kind == FACT_ROWS]
        # What comes and goes in one commit was never there: who joins hears a fact, and in the
        # next moment that its author is not admitted, until a record comes that says otherwise.
        named = [self._facts[id_].fact.task for id_, _ in facts if self._holds(disk, id_)]
        whole = [
            (write, parts)
            for task in dict.fromkeys(named)
            for write, parts in self._writes(task_text(task))
            if _is_whole(disk, parts)
        ]
        for id_, value in facts:
            if value is not None:
                self._add(disk, mesh, id_, value[1:])
            elif self._holds(disk, id_):
                del self._facts[id_].disks[disk]
        return [
            write
            for write, parts in whole
            if disk not in self.disks(*write) and not self._is_excused(disk, parts)
        ]

    def disks(self, task: str, token: str) -> Disks:
        """Return every disk that holds a write and all that it rests on."""
        found: Disks = {}
        for write, parts in self._writes(task):
            if write == (task, token):
                found.update({disk: None for disk in parts[0].disks if _is_whole(disk, parts)})
        return found

    def is_forgotten(self, task: str) -> bool:
        """Whether any node has heard that a task is over and forgotten."""
        id_ = parse_task_text(task)
        return id_ in self._keys_forgotten or any(
            self._is_black(disk, id_) for disk, _ in self._forgotten
        )

    def _holds(self, disk: Disk, id_: FactId) -> bool:
        return id_ in self._facts and disk in self._facts[id_].disks

    def _add(self, disk: Disk, mesh: MeshId, id_: FactId, value: bytes) -> None:
        kept = self._facts.get(id_)
        if kept is None:
            signed = decode_signed_fact_untrusted(value, mesh)
            if signed.context in EXCUSES:
                self._excuse(disk, mesh, signed)
            if signed.context not in WRITES:
                return
            fact = WRITES[signed.context].decode_untrusted(signed.payload)
            kept = self._facts[id_] = Kept(fact, node_id(signed.author))
            self._tasks.setdefault(task_text(fact.task), []).append(kept)
        kept.disks[disk] = None

    def _excuse(self, disk: Disk, mesh: MeshId, signed: SignedFact) -> None:
        match EXCUSES[signed.context].decode_untrusted(signed.payload):
            case Revocation(key=key, scope=Scope.EVERYTHING) | Rotation(former=key):
                self._revoked[disk, node_id(key)] = None
            case Revocation():
                pass  # it takes back records of trust alone
            case ForgetKey() as fact:
                self._keys_forgotten[fact.task(mesh)] = None
            case Forget() | ForgetBoots() as fact:
                place = (disk, fact.creator)
                known = self._forgotten.get(place, Blackened())
                self._forgotten[place] = known.join(blackened_by(fact))

    def _is_excused(self, disk: Disk, parts: Sequence[Kept]) -> bool:
        task = parts[0].fact.task
        if task in self._keys_forgotten or self._is_black(disk, task):
            return True
        return any((disk, part.author) in self._revoked for part in parts)

    def _is_black(self, disk: Disk, task: TaskId) -> bool:
        creator, boot, number = dot_of(task)
        return (boot, number) in self._forgotten.get((disk, creator), Blackened())

    def _writes(self, task: str) -> Iterator[tuple[Write, list[Kept]]]:
        """Give what was submitted and completed, each with the facts that make it up."""
        for kept in self._tasks.get(task, ()):
            fact = kept.fact
            if isinstance(fact, Spec):
                yield (task, ""), [kept]
            elif isinstance(fact, Result):
                claim = self._facts.get(fact.claim)
                if claim is None or not isinstance(claim.fact, Claim):
                    continue
                bid = claim.fact
                token = f"{bid.epoch:08x}-{bid.rank:016x}-{claim.author.hex()}-{bid.nonce.hex()}"
                spec = self._facts.get(bid.spec)
                if spec is not None:
                    yield (task, token), [kept, claim, spec]


def _is_whole(disk: Disk, parts: Sequence[Kept]) -> bool:
    return all(disk in part.disks for part in parts)
