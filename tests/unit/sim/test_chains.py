"""Whoever writes has a chain of records up to the root."""

import pytest

from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import Row
from mesh.core.identity import MeshId, PublicKey
from mesh.core.trust.records import Admin, Certificate, Rotation
from mesh.core.wire.envelope import Fact, sign_batch
from mesh.sim.chains import ChainsValid
from mesh.sim.checker import Violation
from mesh.sim.world import Rank
from tests.unit.sim.scripted import world_of

MESH = MeshId(b"m" * 32)


class Bench:
    """A world whose root is known, and a node that is given rows to keep."""

    def __init__(self) -> None:
        self.world = world_of("a")
        self.world.mesh_id = MESH
        self.world.ranks[self.key("root")] = Rank.ROOT
        self.checker = ChainsValid(self.world)

    def key(self, name: str) -> PublicKey:
        return PublicKey(self.world.suite.public_key(SigningKey(name.encode().ljust(32))))

    def row(self, name: str, fact: Fact) -> Row:
        key = SigningKey(name.encode().ljust(32))
        [signed] = sign_batch(self.world.suite, key, MESH, [fact])
        return Row("fact", signed.id, b"\0" + signed.encode())

    def keep(self, *rows: Row) -> None:
        self.checker.handle_rows(self.world.hosts["a"], rows)

    def admin(self, by: str, name: str) -> Row:
        return self.row(by, Admin(self.key(name)))

    def certificate(self, by: str, name: str) -> Row:
        return self.row(by, Certificate(self.key(name), 1, 0))


def test_s2_a_chain_from_the_root_in_whatever_order_of_rows() -> None:
    bench = Bench()
    bench.keep(bench.admin("root", "admin"))
    bench.keep(bench.certificate("node", "somebody"), bench.certificate("admin", "node"))
    with pytest.raises(Violation, match="S2: a keeps node-cert/1 by an outsider"):
        bench.keep(bench.certificate("somebody", "friend"))


@pytest.mark.parametrize("by", ["node", "stranger"])
def test_s2_who_is_no_admin_admits_nobody(by: str) -> None:
    bench = Bench()
    bench.keep(bench.admin("root", "admin"), bench.certificate("admin", "node"))
    with pytest.raises(Violation, match="S2"):
        bench.keep(bench.certificate(by, "friend"), bench.certificate("friend", "x"))


def test_s2_an_admin_makes_no_admins() -> None:
    bench = Bench()
    bench.keep(bench.admin("root", "admin"), bench.admin("admin", "friend"))
    with pytest.raises(Violation, match="S2"):
        bench.keep(bench.certificate("friend", "x"))


@pytest.mark.parametrize("former", ["root", "admin"])
def test_s2_the_next_root_follows_a_root(former: str) -> None:
    bench = Bench()
    bench.keep(bench.admin("root", "admin"))
    rows = [
        bench.row("next", Rotation(bench.key(former), bytes(32), None, 1)),
        bench.admin("next", "new admin"),
    ]
    if former == "root":
        bench.keep(*rows)
        bench.keep(bench.certificate("new admin", "node"))
    else:
        with pytest.raises(Violation, match="S2"):
            bench.keep(*rows)


@pytest.mark.parametrize("is_open", [True, False])
def test_s2_in_an_open_mesh_nodes_admit_themselves(is_open: bool) -> None:
    bench = Bench()
    bench.world.is_open = is_open
    rows = [bench.certificate("node", "node")]
    if is_open:
        bench.keep(*rows)
    else:
        with pytest.raises(Violation, match="S2"):
            bench.keep(*rows)
    bench.world.is_open = True
    with pytest.raises(Violation, match="S2"):
        bench.keep(bench.certificate("stranger", "friend"))


def test_before_the_root_is_known_nothing_is_asked() -> None:
    bench = Bench()
    bench.world.ranks.clear()
    bench.keep(bench.certificate("stranger", "friend"))
