"""The facts that say who may take part; genesis is the root of all of them."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from mesh.core.identity import FactId, MeshId, PublicKey
from mesh.core.wire.codec import Binary, Flag, Group, Layout, Many, Maybe, Text, Uint
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


STANDING_ID_BYTES = 16
"""What a sheet keeps of a fact's id: enough that nobody finds a second fact for it."""
SHEET_DIGEST_BYTES = 16
PAGE_SHEETS_MAX = 24
NOTE_BYTES_MAX = 64


class Scope(IntEnum):
    """What a revocation takes away."""

    EVERYTHING = 0
    """The key takes part no more."""
    ADMIN = 1
    """The key is no admin any more; its node stays a member. Only the root says so."""


@dataclass(frozen=True, slots=True)
class Revocation(Fact):
    """The author takes back what was given to a key, for ever.

    Of what that key has said only the facts on the pages behind `standing` go on counting; None:
    nothing does. With scope `ADMIN` that concerns its records of trust alone.
    """

    CONTEXT: ClassVar[str] = "revoke/1"
    URGENT: ClassVar[bool] = True
    LAYOUT: ClassVar[Layout] = (
        Binary(32),
        Uint(8),
        Maybe(Binary(32)),
        Uint(64),
        Text(NOTE_BYTES_MAX),
    )
    key: PublicKey
    scope: int
    standing: FactId | None
    revoked_s: int
    """Wall time at the author, for people."""
    note: str


@dataclass(frozen=True, slots=True)
class Rotation(Fact):
    """Its author is the root from now on, as the root before it had promised by a hash.

    Of what the former root has said only the facts on the pages behind `standing` go on counting.
    """

    CONTEXT: ClassVar[str] = "root-rotate/1"
    URGENT: ClassVar[bool] = True
    LAYOUT: ClassVar[Layout] = (Binary(32), Binary(32), Maybe(Binary(32)), Uint(64))
    former: PublicKey
    next_root_hash: bytes
    standing: FactId | None
    rotated_s: int
    """Wall time at the author, for people."""


@dataclass(frozen=True, slots=True)
class StandingPage(Fact):
    """Names sheets of facts that go on counting, by first id and digest, and the next page."""

    CONTEXT: ClassVar[str] = "standing/2"
    URGENT: ClassVar[bool] = True
    LAYOUT: ClassVar[Layout] = (
        Maybe(Binary(32)),
        Many(Group((Binary(STANDING_ID_BYTES), Binary(SHEET_DIGEST_BYTES))), PAGE_SHEETS_MAX),
    )
    next: FactId | None
    sheets: tuple[tuple[bytes, bytes], ...]


TRUST_CONTEXTS: Contexts = {
    kind.CONTEXT: kind for kind in (Genesis, Rotation, Admin, StandingPage, Revocation, Certificate)
}
"""In an order in which a record rests on kinds before its own."""


def mesh_id_of(genesis_payload: bytes) -> MeshId:
    """Return the id of the mesh that a genesis founds."""
    return MeshId(hashlib.blake2b(b"mesh-id-v1\0" + genesis_payload, digest_size=32).digest())
