"""What was acknowledged is on as many disks as was said, at every moment."""

from collections.abc import Callable

import pytest

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Result, Spec
from mesh.core.claims.forgotten import Forget
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import Commit, CommitNumber, Row
from mesh.core.identity import Boot, MeshId, PublicKey, dot_task_id, task_text
from mesh.core.trust.records import Revocation, Scope
from mesh.core.wire.envelope import Author, Fact, Verified, Verifier, author_of
from mesh.sim.checker import Violation, watch
from mesh.sim.durability import WritesDurable
from mesh.sim.history import Event, What
from tests.unit.sim.scripted import world_of

MESH = MeshId(b"m" * 32)


class Bench:
    """Three machines, and somebody who signs what is put on their disks."""

    def __init__(self, *, is_founded: bool = True) -> None:
        self.world = world_of("a", "b", "c")
        self.world.mesh_id = MESH if is_founded else None
        watch(self.world, [WritesDurable(self.world)])
        suite = self.world.suite
        self.author: Author = author_of(suite, SigningKey(b"k" * 32), Verifier(suite, MESH))
        self.task = dot_task_id(self.author.id, Boot(1), 1)
        self.spec = self.sign(Spec(self.task, "build", b"", 0, 3, 0, None, b""))
        rank = claim_rank(self.task, 1, self.author.id)
        claim = Claim(self.task, self.spec.id, 1, rank, Boot(1), "agent", b"n" * 8, None, None)
        self.claim = self.sign(claim)
        self.result = self.sign(Result(self.task, self.claim.id, b"", bytes(32)))
        self.token = f"{1:08x}-{rank:016x}-{self.author.id.hex()}-{(b'n' * 8).hex()}"

    def sign(self, fact: Fact) -> Verified[Fact]:
        return self.author.sign([fact])[0]

    def write(self, name: str, *facts: Verified[Fact]) -> None:
        """Make facts durable at a host."""
        self.put(name, *(Row("fact", f.id + b"\1", b"\1" + f.signed.encode()) for f in facts))

    def remove(self, name: str, *facts: Verified[Fact]) -> None:
        self.put(name, *(Row("fact", f.id + b"\1", None) for f in facts))

    def put(self, name: str, *rows: Row) -> None:
        disk = self.world.hosts[name].disk
        commit = Commit(CommitNumber(1), rows)
        disk.begin(0.0, commit)
        disk.finish(commit)

    def acknowledge(self, what: What, copies: int, token: str = "") -> None:
        event = Event(what, 0.0, "a", 1, task_text(self.task), "build", token, "agent", copies)
        self.world.history.add(event)

    def acknowledge_completion(self, copies: int) -> None:
        self.acknowledge(What.COMPLETED, copies, self.token)


def test_s1_a_submit_counts_where_it_is_durable() -> None:
    bench = Bench()
    with pytest.raises(Violation, match="S1: durable at nobody"):
        bench.acknowledge(What.SUBMITTED, 0)
    bench.write("a", bench.spec)
    bench.acknowledge(What.SUBMITTED, 1)
    with pytest.raises(Violation, match=r"S1: durable at a \(disk 0\), acknowledged as"):
        bench.acknowledge(What.SUBMITTED, 2)
    bench.write("b", bench.spec)
    bench.acknowledge(What.SUBMITTED, 2)


def test_what_waits_for_a_disk_is_not_durable() -> None:
    bench = Bench()
    row = Row("fact", bench.spec.id + b"\1", b"\1" + bench.spec.signed.encode())
    disk = bench.world.hosts["a"].disk
    disk.full = True
    bench.put("a", row)
    disk.full = False
    disk.begin(0.0, Commit(CommitNumber(2), (row,)))
    with pytest.raises(Violation, match="S1"):
        bench.acknowledge(What.SUBMITTED, 1)


def test_a_disk_that_is_lost_has_held_what_was_on_it() -> None:
    bench = Bench()
    bench.write("a", bench.spec)
    bench.write("b", bench.spec)
    bench.world.destroy_disk("b")
    bench.acknowledge(What.SUBMITTED, 2)
    bench.remove("b", bench.spec)  # another disk: it never held it


def test_s6_a_completion_counts_where_all_that_it_rests_on_is_durable() -> None:
    bench = Bench()
    bench.write("a", bench.spec, bench.claim, bench.result)
    bench.write("b", bench.result)
    bench.acknowledge_completion(1)
    for missing in (bench.spec, bench.claim):
        with pytest.raises(Violation, match=r"S6: durable at a \(disk 0\), acknowledged as"):
            bench.acknowledge_completion(2)
        bench.write("b", missing)
    bench.acknowledge_completion(2)
    with pytest.raises(Violation, match="S6: durable at nobody"):
        bench.acknowledge(What.COMPLETED, 1, bench.token.replace("-", "+"))


def test_a_result_whose_claim_nobody_holds_is_no_submit() -> None:
    bench = Bench()
    bench.write("a", bench.result)
    with pytest.raises(Violation, match="S1"):
        bench.acknowledge(What.SUBMITTED, 1)
    with pytest.raises(Violation, match="S6"):
        bench.acknowledge_completion(1)


ENDS: list[tuple[str, Callable[[Bench], Verified[Fact]]]] = [
    ("S1", lambda bench: bench.spec),
    ("S6", lambda bench: bench.result),
]


@pytest.mark.parametrize(("rule", "pick"), ENDS)
def test_no_node_takes_off_its_disk_what_was_acknowledged(
    rule: str, pick: Callable[[Bench], Verified[Fact]]
) -> None:
    bench = Bench()
    for name in ("a", "b"):
        bench.write(name, bench.spec, bench.claim, bench.result)
    bench.remove("b", pick(bench))  # nobody was told of it yet
    bench.write("b", pick(bench))
    bench.acknowledge(What.SUBMITTED, 2)
    bench.acknowledge_completion(2)
    with pytest.raises(Violation, match=f"{rule}: b took off its disk"):
        bench.remove("b", pick(bench))


@pytest.mark.parametrize("missing", ["spec", "claim"])
def test_a_disk_that_never_held_all_of_a_completion_loses_none_of_it(missing: str) -> None:
    bench = Bench()
    bench.write("a", bench.spec, bench.claim, bench.result)
    bench.acknowledge_completion(1)
    parts = {"spec": bench.spec, "claim": bench.claim, "result": bench.result}
    absent = parts.pop(missing)
    bench.write("b", *parts.values())
    bench.remove("b", bench.result)
    bench.write("b", absent, bench.result)
    with pytest.raises(Violation, match="S6: b took off its disk"):
        bench.remove("b", absent)


@pytest.mark.parametrize("numbers", [(0, 2), (0, 1)])
def test_what_is_forgotten_goes(numbers: tuple[int, int]) -> None:
    bench = Bench()
    bench.write("a", bench.spec, bench.claim, bench.result)
    bench.acknowledge(What.SUBMITTED, 1)
    bench.acknowledge_completion(1)
    bench.write("a", bench.sign(Forget(bench.author.id, Boot(1), numbers)))
    if numbers == (0, 2):
        bench.remove("a", bench.spec, bench.result)
    else:
        with pytest.raises(Violation, match="S1: a took off"):
            bench.remove("a", bench.spec)


@pytest.mark.parametrize(
    ("is_author", "scope"),
    [(True, Scope.EVERYTHING), (False, Scope.EVERYTHING), (True, Scope.ADMIN)],
)
def test_what_somebody_said_who_was_removed_goes(is_author: bool, scope: Scope) -> None:
    bench = Bench()
    bench.write("a", bench.spec, bench.claim, bench.result)
    bench.acknowledge(What.SUBMITTED, 1)
    bench.acknowledge_completion(1)
    key = bench.author.public_key if is_author else PublicKey(b"x" * 32)
    bench.write("a", bench.sign(Revocation(key, scope, None, 0, "stolen")))
    if is_author and scope is Scope.EVERYTHING:
        bench.remove("a", bench.spec, bench.result)
    else:
        with pytest.raises(Violation, match="S6: a took off"):
            bench.remove("a", bench.result)


def test_before_the_mesh_is_founded_nothing_is_asked() -> None:
    bench = Bench(is_founded=False)
    bench.put("a", Row("fact", b"k", b"junk"), Row("fact", b"k", None))
    bench.acknowledge(What.SUBMITTED, 1)


def test_what_comes_and_goes_in_one_commit_was_never_there() -> None:
    bench = Bench()
    bench.write("a", bench.spec, bench.claim, bench.result)
    bench.acknowledge_completion(1)
    row = Row("fact", bench.result.id + b"\1", b"\1" + bench.result.signed.encode())
    bench.put("b", row, Row("fact", row.key, None))
    with pytest.raises(Violation, match=r"S6: durable at a \(disk 0\), acknowledged"):
        bench.acknowledge_completion(2)
    with pytest.raises(Violation, match="S6: a took off"):
        bench.put("a", row, Row("fact", row.key, None))
    bench.put("b", Row("fact", row.key, None), row)
