"""A small mesh for tests: fixed keys by name, real signatures."""

from collections.abc import Sequence

from mesh.core.crypto.keys import root_key_hash
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.identity import FactId, PublicKey
from mesh.core.instants import Instant, Now, WallTime
from mesh.core.trust.founding import Founded, MeshPlan, found
from mesh.core.trust.records import Admin, Certificate, Revocation, Rotation, Scope
from mesh.core.trust.standing import write_list
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Author, Fact, Verified, Verifier, author_of

SUITE = RealSuite()
WALL = WallTime(1_800_000_000.0)
NOW = Now(Instant(100.0), WALL)


def key_of(name: str) -> SigningKey:
    return SigningKey(name.encode().ljust(32, b"."))


def public_key_of(name: str) -> PublicKey:
    return SUITE.public_key(key_of(name))


def plan(*, open_to_all: bool = False, name: str = "home") -> MeshPlan:
    next_root = root_key_hash(public_key_of("next root"))
    return MeshPlan(name, "lan", open_to_all, int(WALL), b"n" * 16, next_root)


class Stage:
    """A founded mesh whose root key is `root` and whose first admin is `a`."""

    def __init__(self, *, open_to_all: bool = False, name: str = "home") -> None:
        self.founded: Founded = found(
            SUITE, key_of("root"), key_of("a"), plan(open_to_all=open_to_all, name=name)
        )
        self.mesh = self.founded.mesh
        self.verifier = Verifier(SUITE, self.mesh)
        self.sheets: list[bytes] = []
        """Every sheet that a page made here names."""

    def author(self, name: str) -> Author:
        return author_of(SUITE, key_of(name), self.verifier)

    def sign(self, by: str, fact: Fact) -> Verified[Fact]:
        (verified,) = self.author(by).sign([fact])
        return verified

    def admin(self, name: str, *, by: str = "root") -> Verified[Fact]:
        return self.sign(by, Admin(public_key_of(name)))

    def certificate(self, name: str, *, by: str = "a", expires_s: int = 0) -> Verified[Fact]:
        return self.sign(by, Certificate(public_key_of(name), int(WALL), expires_s))

    def pages(self, by: str, ids: Sequence[FactId]) -> list[Verified[Fact]]:
        pages, sheets = write_list(self.author(by), ids)
        self.sheets += [sheet for sheet in sheets if sheet not in self.sheets]
        return pages

    def revocation(
        self,
        name: str,
        *,
        by: str = "a",
        scope: Scope = Scope.EVERYTHING,
        pages: Sequence[Verified[Fact]] = (),
    ) -> Verified[Fact]:
        first = pages[0].id if pages else None
        return self.sign(by, Revocation(public_key_of(name), scope, first, int(WALL), ""))

    def rotation(
        self,
        *,
        by: str = "next root",
        former: str = "root",
        following: str = "third root",
        pages: Sequence[Verified[Fact]] = (),
    ) -> Verified[Fact]:
        first = pages[0].id if pages else None
        promised = root_key_hash(public_key_of(following))
        return self.sign(by, Rotation(public_key_of(former), promised, first, int(WALL)))

    def trust(self, records: Sequence[Verified[Fact]] = ()) -> Trust:
        trust = Trust(self.mesh)
        trust.restore((*self.founded.records, *records))
        self.fetch(trust)
        return trust

    def fetch(self, trust: Trust) -> None:
        """Let a trust have the sheets that it wants, as from its peers."""
        while trust.accept_sheets(self.sheets):
            pass
