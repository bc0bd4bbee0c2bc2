"""The first records of a new mesh: its genesis, its first admin, and that node's certificate."""

from dataclasses import dataclass
from typing import Any

from mesh.core.crypto.suite import SigningKey, Suite
from mesh.core.errors import LocalError
from mesh.core.identity import MeshId
from mesh.core.params import PROFILES
from mesh.core.trust.names import check_name
from mesh.core.trust.records import Admin, Certificate, Genesis, mesh_id_of
from mesh.core.wire.envelope import Verified, Verifier, author_of


@dataclass(frozen=True, slots=True)
class MeshPlan:
    """What the founder decides for ever.

    `nonce` is 16 random bytes, `next_root_hash` is `root_key_hash` of the key that may one day
    take over from the root key.
    """

    name: str
    profile: str
    open: bool
    created_s: int
    nonce: bytes
    next_root_hash: bytes


@dataclass(frozen=True, slots=True)
class Founded:
    """A mesh with one member, who is its admin."""

    mesh: MeshId
    genesis: Verified[Genesis]
    admin: Verified[Admin]
    certificate: Verified[Certificate]

    @property
    def records(self) -> tuple[Verified[Any], ...]:
        """All three, each after the one it rests on."""
        return self.genesis, self.admin, self.certificate


def found(suite: Suite, root_key: SigningKey, node_key: SigningKey, plan: MeshPlan) -> Founded:
    """Return a new mesh; raises LocalError for a name or profile that cannot be."""
    name = check_name(plan.name)
    if plan.profile not in PROFILES:
        raise LocalError(
            "bad_profile",
            f"there is no profile {plan.profile!r}",
            f"choose one of {', '.join(PROFILES)}",
        )
    genesis = Genesis(
        suite.public_key(root_key),
        plan.next_root_hash,
        name,
        plan.profile,
        plan.open,
        plan.created_s,
        plan.nonce,
    )
    mesh = mesh_id_of(genesis.encode())
    verifier = Verifier(suite, mesh)
    root = author_of(suite, root_key, verifier)
    node = author_of(suite, node_key, verifier)
    # One signature each, so that a chain carries no Merkle path.
    (signed_genesis,) = root.sign([genesis])
    (admin,) = root.sign([Admin(node.public_key)])
    (certificate,) = node.sign([Certificate(node.public_key, plan.created_s, 0)])
    return Founded(mesh, signed_genesis, admin, certificate)
