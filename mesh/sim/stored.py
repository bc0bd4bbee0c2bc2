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
        held = [self._facts[id_] for id_, _ in facts if self._holds(disk, id_)]
        for id_, value in facts:
            if value is not None:
                self._add(disk, mesh, id_, value[1:])
            elif self._holds(disk, id_):
                del self._facts[id_].disks[disk]
        return [
            write
            for kept in held
            if disk not in kept.disks and not self._is_excused(disk, kept)
            for write, _ in self._writes(kept)
        ]

    def disks(self, task: str, token: str) -> Disks:
        """Return every disk that holds a write and all that it rests on."""
        found: Disks = {}
        for kept in self._tasks.get(task, ()):
            for write, disks in self._writes(kept):
                if write == (task, token):
                    found.update(disks)
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

    def _is_excused(self, disk: Disk, kept: Kept) -> bool:
        task = kept.fact.task
        if task in self._keys_forgotten or self._is_black(disk, task):
            return True
        # With the spec goes all that was said about it.
        specs = [other for other in self._tasks[task_text(task)] if isinstance(other.fact, Spec)]
        return any((disk, said.author) in self._revoked for said in (kept, *specs))

    def _is_black(self, disk: Disk, task: TaskId) -> bool:
        creator, boot, number = dot_of(task)
        return (boot, number) in self._forgotten.get((disk, creator), Blackened())

    def _writes(self, kept: Kept) -> Iterator[tuple[Write, Disks]]:
        """Give the write that a spec or a result stands for, and who has held all of it."""
        fact = kept.fact
        if isinstance(fact, Spec):
            yield (task_text(fact.task), ""), kept.disks
        elif isinstance(fact, Result):
            claim = self._facts.get(fact.claim)
            if claim is None or not isinstance(claim.fact, Claim):
                return
            token = claim.fact
            text = f"{token.epoch:08x}-{token.rank:016x}-{claim.author.hex()}-{token.nonce.hex()}"
            spec = self._facts.get(token.spec)
            behind = (claim.disks, {} if spec is None else spec.disks)
            disks = {disk: None for disk in kept.disks if all(disk in other for other in behind)}
            yield (task_text(fact.task), text), disks
