"""The facts that say who may take part; genesis is the root of all of them."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from mesh.core.identity import MeshId, PublicKey
from mesh.core.wire.codec import Binary, Flag, Layout, Text, Uint
from mesh.core.wire.envelope import Contexts, Fact


@dataclass(frozen=True, slots=True)
class Genesis(Fact):
    """The birth of a mesh, signed by its root key; its hash is the mesh id."""

    CONTEXT: ClassVar[str] = "genesis/1"
    LAYOUT: ClassVar[Layout] = (
        Binary(32),
        Binary(32),
        Text(64, 1),
        Text(16, 1),
        Flag(),
        Uint(64),
        Binary(16),
    )
    root_key: PublicKey
    next_root_hash: bytes
    name: str
    profile: str
    open: bool
    created_s: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Admin(Fact):
    """The root lets this key admit others."""

    CONTEXT: ClassVar[str] = "admin/1"
    LAYOUT: ClassVar[Layout] = (Binary(32),)
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Certificate(Fact):
    """An admin (in an open mesh: the node itself) lets this key take part; 0 never expires."""

    CONTEXT: ClassVar[str] = "node-cert/1"
    LAYOUT: ClassVar[Layout] = (Binary(32), Uint(64), Uint(64))
    key: PublicKey
    issued_s: int
    expires_s: int


TRUST_CONTEXTS: Contexts = {kind.CONTEXT: kind for kind in (Genesis, Admin, Certificate)}


def mesh_id_of(genesis_payload: bytes) -> MeshId:
    """Return the id of the mesh that a genesis founds."""
    return MeshId(hashlib.blake2b(b"mesh-id-v1\0" + genesis_payload, digest_size=32).digest())
