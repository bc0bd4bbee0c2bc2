"""What is signed: batches of facts by one author under one signature over a Merkle root.

A fact can travel with its batch or alone with its Merkle path; either way it is the same
`SignedFact`, and its id is its leaf hash, which covers mesh, context, author and payload but
never a signature. Received bytes are kept and forwarded, never re-encoded.
"""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NewType, TypeVar

from mesh.core.crypto.suite import SIGNATURE_BYTES, SigningKey, Suite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, MeshId, NodeId, PublicKey, node_id
from mesh.core.wire.codec import (
    Binary,
    Group,
    Many,
    Record,
    Text,
    Uint,
    pack,
    unpack_untrusted,
)

BATCH_FACTS_MAX = 64
PAYLOAD_BYTES_MAX = 1100
CONTEXT_BYTES_MAX = 32
ROOT_CONTEXT = b"batch-root/1"
VERIFIED_ROOTS_MAX = 8192
AUTHORS_SHARED_MAX = 1024
CONTEXTS_SHARED_MAX = 64
PROOF_PARTS_SHARED_MAX = 1024
"""Facts of one batch that travel alone come close together: 16 have 31 parts, and not 80."""
DECODED_MAX = 1024
"""Accusations and the facts of greetings come in the same bytes again and again."""
SIGNED_FACT_LAYOUT = (
    Binary(32),
    Binary(SIGNATURE_BYTES),
    Uint(8),
    Uint(8),
    Many(Binary(32), 6),
    Text(CONTEXT_BYTES_MAX, 1),
    Binary(0, PAYLOAD_BYTES_MAX),
)
BATCH_LAYOUT = (
    Binary(32),
    Binary(SIGNATURE_BYTES),
    Many(Group((Text(CONTEXT_BYTES_MAX, 1), Binary(0, PAYLOAD_BYTES_MAX))), BATCH_FACTS_MAX),
)

MerkleRoot = NewType("MerkleRoot", bytes)


@functools.lru_cache(maxsize=AUTHORS_SHARED_MAX)
def _shared(author: PublicKey) -> tuple[PublicKey, NodeId]:
    """Return key and id of an author, the same two objects for all of its facts."""
    return author, node_id(author)


@functools.lru_cache(maxsize=CONTEXTS_SHARED_MAX)
def _shared_context(context: str) -> str:
    return context


_shared_part = functools.lru_cache(maxsize=PROOF_PARTS_SHARED_MAX)(bytes)
"""Returns equal signatures and hashes as one object: a fact's id is its neighbour's sibling."""


@dataclass(frozen=True, slots=True)
class Fact(Record):
    """Something that one author says for ever; `CONTEXT` names its type and version."""

    CONTEXT: ClassVar[str] = ""
    URGENT: ClassVar[bool] = False
    """Whether gossip sends it ahead of whatever else waits."""


def pre_authentication(mesh: MeshId, context: bytes, author: PublicKey, payload: bytes) -> bytes:
    """Return the exact bytes that a signature covers (PAE)."""
    return b"".join(
        (
            b"mesh-sig-v1\0",
            mesh,
            len(context).to_bytes(1, "big"),
            context,
            author,
            len(payload).to_bytes(4, "big"),
            payload,
        )
    )


def leaf_hash(mesh: MeshId, context: str, author: PublicKey, payload: bytes) -> FactId:
    """Return the id of a fact."""
    name = context.encode()
    prefix = b"mesh-fact-v1\0" + mesh + len(name).to_bytes(1, "big") + name + author
    return FactId(hashlib.blake2b(prefix + payload, digest_size=32).digest())


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.blake2b(b"mesh-node-v1\0" + left + right, digest_size=32).digest()


def merkle_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return all levels, leaves first; an odd last node moves up unchanged."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [_parent(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(pairs + below[len(pairs) * 2 :])
    return levels


def merkle_path(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """Return the siblings on the way from leaf `index` to the root."""
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return tuple(path)


def merkle_root(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> MerkleRoot:
    """Return the root that a path leads to; raises RemoteError when the path has a wrong length."""
    if not 0 <= index < count <= BATCH_FACTS_MAX:
        raise RemoteError(Refusal.MALFORMED, "no such leaf")
    node, rest = leaf, list(path)
    while count > 1:
        if index ^ 1 < count:
            if not rest:
                raise RemoteError(Refusal.MALFORMED, "the path is too short")
            sibling = rest.pop(0)
            node = _parent(sibling, node) if index & 1 else _parent(node, sibling)
        index, count = index // 2, (count + 1) // 2
    if rest:
        raise RemoteError(Refusal.MALFORMED, "the path is too long")
    return MerkleRoot(node)


def root_payload(root: MerkleRoot, count: int) -> bytes:
    """Return what the author signs: the root and how many facts stand under it."""
    return root + count.to_bytes(1, "big")


@dataclass(frozen=True, slots=True)
class SignedFact:
    """A fact as it is stored and relayed alone: author, signature, place in its batch, payload.

    A draft has no signature yet: its id is known, and `sign_drafts` fills in the rest, once.
    What is held for long keeps no payload beside the fact: each is made of the other.
    """

    id: FactId
    author: PublicKey
    signature: bytes
    index: int
    count: int
    path: tuple[bytes, ...]
    context: str
    body: bytes | Fact = field(compare=False)
    """The payload, or the fact that encodes to it; the id stands for either."""

    @property
    def payload(self) -> bytes:
        """The canonical bytes of the fact."""
        body = self.body
        return body.encode() if isinstance(body, Fact) else body

    def encode(self) -> bytes:
        """Return the bytes of the single-fact form."""
        assert self.signature, "a draft can not leave"
        return pack(
            (
                self.author,
                self.signature,
                self.index,
                self.count,
                self.path,
                self.context,
                self.payload,
            )
        )


def decode_signed_fact_untrusted(data: bytes, mesh: MeshId) -> SignedFact:
    """Return the fact behind foreign bytes, not yet verified; raises RemoteError."""
    return _decode_signed_fact(data, mesh)


@functools.lru_cache(maxsize=DECODED_MAX)
def _decode_signed_fact(data: bytes, mesh: MeshId) -> SignedFact:
    author, signature, index, count, path, context, payload = unpack_untrusted(
        data, SIGNED_FACT_LAYOUT
    )
    id_ = FactId(_shared_part(leaf_hash(mesh, context, author, payload)))
    author, signature = _shared(author)[0], _shared_part(signature)
    path = tuple(map(_shared_part, path))
    return SignedFact(id_, author, signature, index, count, path, _shared_context(context), payload)


def sign_batch(
    suite: Suite, key: SigningKey, mesh: MeshId, facts: Sequence[Fact]
) -> tuple[SignedFact, ...]:
    """Return up to 64 facts under one signature of ours."""
    assert 0 < len(facts) <= BATCH_FACTS_MAX
    author = suite.public_key(key)
    payloads = [(fact.CONTEXT, fact.encode()) for fact in facts]
    leaves = [leaf_hash(mesh, context, author, payload) for context, payload in payloads]
    levels = merkle_levels(leaves)
    signed = root_payload(MerkleRoot(levels[-1][0]), len(leaves))
    signature = suite.sign(key, pre_authentication(mesh, ROOT_CONTEXT, author, signed))
    return tuple(
        SignedFact(
            leaf, author, signature, i, len(leaves), merkle_path(levels, i), context, payload
        )
        for i, (leaf, (context, payload)) in enumerate(zip(leaves, payloads, strict=True))
    )


def draft_of(mesh: MeshId, author: PublicKey, fact: Fact) -> SignedFact:
    """Return a fact of ours that is still to be signed."""
    payload = fact.encode()
    id_ = leaf_hash(mesh, fact.CONTEXT, author, payload)
    return SignedFact(id_, author, b"", 0, 0, (), fact.CONTEXT, payload)


def sign_drafts(suite: Suite, key: SigningKey, mesh: MeshId, drafts: Sequence[SignedFact]) -> None:
    """Put up to 64 drafts of ours under one signature."""
    assert 0 < len(drafts) <= BATCH_FACTS_MAX
    levels = merkle_levels([draft.id for draft in drafts])
    signed = root_payload(MerkleRoot(levels[-1][0]), len(drafts))
    message = pre_authentication(mesh, ROOT_CONTEXT, drafts[0].author, signed)
    signature = suite.sign(key, message)
    for index, draft in enumerate(drafts):
        assert not draft.signature
        proof = (signature, index, len(drafts), merkle_path(levels, index))
        for name, value in zip(("signature", "index", "count", "path"), proof, strict=True):
            # The only change that a proof ever sees; nobody can have looked at it before.
            object.__setattr__(draft, name, value)


def encode_batch(facts: Sequence[SignedFact]) -> bytes:
    """Return the compact form of a whole batch, without paths."""
    first = facts[0]
    assert len(facts) == first.count
    return pack(
        (first.author, first.signature, tuple((fact.context, fact.payload) for fact in facts))
    )


def decode_batch_untrusted(data: bytes, mesh: MeshId) -> tuple[SignedFact, ...]:
    """Return the facts of a whole batch, not yet verified; raises RemoteError."""
    author, signature, bodies = unpack_untrusted(data, BATCH_LAYOUT)
    if not bodies:
        raise RemoteError(Refusal.MALFORMED, "an empty batch")
    author = _shared(author)[0]
    leaves = [leaf_hash(mesh, context, author, payload) for context, payload in bodies]
    levels = merkle_levels(leaves)
    return tuple(
        SignedFact(
            *(leaf, author, signature, i, len(leaves), merkle_path(levels, i)),
            *(_shared_context(context), payload),
        )
        for i, (leaf, (context, payload)) in enumerate(zip(leaves, bodies, strict=True))
    )


AnyFact_co = TypeVar("AnyFact_co", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True)
class Verified(Generic[AnyFact_co]):
    """A fact whose signature holds and whose payload decoded; only these change state."""

    fact: AnyFact_co
    signed: SignedFact
    author: NodeId

    @property
    def id(self) -> FactId:
        """The fact's id."""
        return self.signed.id

    def shed_payload(self) -> None:
        """Let go of the payload, which is made of the fact anew where somebody asks for it."""
        object.__setattr__(self.signed, "body", self.fact)


@dataclass(slots=True)
class Verifier:
    """Checks signatures, once per batch: roots that verified are remembered (bounded)."""

    suite: Suite
    mesh: MeshId
    verifications: int = 0
    _roots: OrderedDict[tuple[bytes, bytes], None] = field(default_factory=OrderedDict)

    def check(self, signed: SignedFact) -> None:
        """Raise RemoteError(BAD_SIGNATURE) unless the author signed this fact in this mesh."""
        root = merkle_root(signed.id, signed.index, signed.count, signed.path)
        payload = root_payload(root, signed.count)
        known = (signed.author + signed.signature, payload)
        if known in self._roots:
            return
        self.verifications += 1
        message = pre_authentication(self.mesh, ROOT_CONTEXT, signed.author, payload)
        if not self.suite.verify(signed.author, signed.signature, message):
            raise RemoteError(Refusal.BAD_SIGNATURE, f"{signed.context} by {signed.author.hex()}")
        self._remember(known)

    def trust(self, signed: SignedFact) -> None:
        """Remember the batch of a fact that was just signed here."""
        root = merkle_root(signed.id, signed.index, signed.count, signed.path)
        self._remember((signed.author + signed.signature, root_payload(root, signed.count)))

    def _remember(self, root: tuple[bytes, bytes]) -> None:
        self._roots[root] = None
        if len(self._roots) > VERIFIED_ROOTS_MAX:
            self._roots.popitem(last=False)

    def open_untrusted(self, signed: SignedFact, kinds: "Contexts") -> Verified[Any]:
        """Return the verified fact; raises RemoteError before decoding when the signature fails."""
        self.check(signed)
        kind = kinds.get(signed.context)
        if kind is None:
            raise RemoteError(Refusal.UNKNOWN_CONTEXT, signed.context)
        body = signed.body
        fact = kind.decode_untrusted(body) if type(body) is bytes else body
        return Verified(fact, signed, _shared(signed.author)[1])


Contexts = dict[str, type[Fact]]
"""Which type each context decodes to."""


@dataclass(frozen=True, slots=True)
class Author:
    """This node as a signer: its key, its mesh, and the cache that knows its own batches."""

    suite: Suite
    key: SigningKey
    verifier: Verifier
    public_key: PublicKey
    id: NodeId

    def sign(self, facts: Sequence[AnyFact_co]) -> list[Verified[AnyFact_co]]:
        """Return up to 64 facts signed as one batch, in their order."""
        signed = sign_batch(self.suite, self.key, self.verifier.mesh, facts)
        self.verifier.trust(signed[0])
        return [Verified(fact, proof, self.id) for fact, proof in zip(facts, signed, strict=True)]

    def draft(self, fact: Fact) -> Verified[Any]:
        """Return a fact that counts here at once and is signed later, together with others."""
        return Verified(fact, draft_of(self.verifier.mesh, self.public_key, fact), self.id)

    def sign_drafts(self, drafts: Sequence[SignedFact], batch_max: int = BATCH_FACTS_MAX) -> None:
        """Sign drafts, in batches of at most so many."""
        for start in range(0, len(drafts), batch_max):
            batch = drafts[start : start + batch_max]
            sign_drafts(self.suite, self.key, self.verifier.mesh, batch)
            self.verifier.trust(batch[0])


def author_of(suite: Suite, key: SigningKey, verifier: Verifier) -> Author:
    """Return the signer for a key."""
    public = suite.public_key(key)
    return Author(suite, key, verifier, public, node_id(public))
