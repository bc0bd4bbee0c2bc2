"""Real nodes for simulated machines: keys and certificates drawn from the seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.core.crypto.keys import root_key_hash
from mesh.core.crypto.suite import SigningKey, Suite
from mesh.core.identity import PublicKey
from mesh.core.node.entry import fact_row
from mesh.core.node.node import Node
from mesh.core.node.setup import NodeSetup
from mesh.core.trust.founding import Founded, MeshPlan, found
from mesh.core.trust.records import Admin, Certificate
from mesh.core.wire.envelope import Fact, SignedFact, sign_batch
from mesh.sim.host import Birth
from mesh.sim.world import Rank, World

ADMINS = 3
"""The first so many hosts are admins, each on its first disk: a mesh bounds its admins."""
CREATED_S = 1_700_000_000
SEEDS_MAX = 3


def secret(world: World, *words: object) -> SigningKey:
    """Return the 32 bytes that this world has under these words."""
    text = repr((world.seed, *words)).encode()
    return SigningKey(hashlib.blake2b(text, digest_size=32).digest())


def node_key(world: World, name: str, disk: int) -> SigningKey:
    """Return the key of the node on one disk of a host."""
    return secret(world, "node", name, disk)


@dataclass(frozen=True, slots=True)
class Population:
    """Makes every node of a world a member of one mesh, without the exchange of joining.

    With `by_ticket`, nodes after the first start as strangers and join with `World.ticket`; while
    there is none, by the addresses of the others alone, and with `knows_mesh` by the mesh id too.
    With `promises` the root key is followed by one that is kept beside it.
    """

    open: bool = False
    by_ticket: bool = False
    knows_mesh: bool = False
    promises: bool = False
    copies: tuple[tuple[str, str], ...] = ()
    """(copy, original): hosts that run on a copy of another one's disk, and so under its key."""

    def founded(self, world: World) -> Founded:
        """Return the mesh of a world: its first host founds it."""
        first = next(iter(world.hosts))
        plan = MeshPlan(
            name="sim",
            profile=world.params.profile,
            open=self.open,
            created_s=CREATED_S,
            nonce=secret(world, "nonce")[:16],
            next_root_hash=self._promised(world),
        )
        return found(world.suite, secret(world, "root"), node_key(world, first, 0), plan)

    def _promised(self, world: World) -> bytes:
        if not self.promises:
            return bytes(32)
        return root_key_hash(world.suite.public_key(secret(world, "next root")))

    def __call__(self, world: World, birth: Birth, /) -> Node:
        """Return the node of one start of one host."""
        rows: dict[str, Mapping[bytes, bytes]] = dict(birth.rows)
        original = dict(self.copies).get(birth.name, birth.name)
        key = node_key(world, original, birth.disk)
        world.suite.public_key(key)
        stranger = self.by_ticket and birth.index > 0
        if "mesh" not in rows and not stranger:
            admitted = self._admitted(world, birth, key)
            rows = rows | {kind: {**kept, **rows.get(kind, {})} for kind, kept in admitted.items()}
        return Node(
            NodeSetup(
                suite=world.suite,
                key=key,
                params=world.params,
                rng=birth.rng,
                name=birth.name,
                addresses=(birth.address,),
                seeds=birth.seeds[:SEEDS_MAX],
                ticket=birth.ticket if stranger else None,
                mesh=world.mesh_id if stranger and self.knows_mesh else None,
                tags=tuple(birth.tags.items()),
                rows=rows,
                blobs=birth.blobs,
            )
        )

    def _admitted(
        self, world: World, birth: Birth, key: SigningKey
    ) -> Mapping[str, Mapping[bytes, bytes]]:
        """Return the rows that a completed join would have left on disk."""
        founded = self.founded(world)
        world.mesh_id, world.is_open = founded.mesh, self.open
        self._enlist(world, birth, key)
        facts = [record.signed for record in founded.records]
        if birth.index > 0 or birth.disk > 0:
            founder = node_key(world, next(iter(world.hosts)), 0)
            public = world.suite.public_key(key)
            facts.append(_sign(world.suite, founder, founded, Certificate(public, CREATED_S, 0)))
            if birth.index < ADMINS and birth.disk == 0:
                admin = Admin(PublicKey(public))
                facts.append(_sign(world.suite, secret(world, "root"), founded, admin))
        fact_rows = [fact_row(signed) for signed in facts]
        root_key = {b"": secret(world, "root")} if birth.index == 0 else {}
        if self.promises and root_key:
            root_key[b"next"] = secret(world, "next root")
        return {
            "mesh": {b"": founded.genesis.signed.encode()},
            "root_key": root_key,
            "fact": {row.key: row.value or b"" for row in fact_rows},
        }

    def _enlist(self, world: World, birth: Birth, key: SigningKey) -> None:
        """Say for the checkers who takes part by the rows alone."""
        public, is_first = world.suite.public_key, birth.disk == 0
        rank = Rank.ADMIN if birth.index < ADMINS and is_first else Rank.NODE
        world.ranks[PublicKey(public(secret(world, "root")))] = Rank.ROOT
        world.ranks.setdefault(PublicKey(public(key)), rank)


def _sign(suite: Suite, key: SigningKey, founded: Founded, fact: Fact) -> SignedFact:
    return sign_batch(suite, key, founded.mesh, [fact])[0]
