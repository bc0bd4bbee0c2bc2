"""Names of things: nodes, boots, meshes, facts, tasks, addresses."""

import hashlib
from typing import NamedTuple, NewType

NodeId = NewType("NodeId", bytes)
"""16 bytes: BLAKE2b-128 of the node's Ed25519 public key."""

PublicKey = NewType("PublicKey", bytes)
"""32 bytes: an Ed25519 public key."""

MeshId = NewType("MeshId", bytes)
"""32 bytes: BLAKE2b-256 of the genesis payload."""

FactId = NewType("FactId", bytes)
"""32 bytes: the leaf hash of a fact; never covers a signature."""

TaskId = NewType("TaskId", bytes)
"""28 bytes: a dot (creator 16, boot 8, number 4), or a hash for a task with a dedupe key."""

BlobId = NewType("BlobId", bytes)
"""32 bytes: BLAKE2b-256 of a blob's content."""

Boot = NewType("Boot", int)
"""One run of a node: start counter shifted left by 28, plus 28 random bits; fits 64 bits."""

Incarnation = NewType("Incarnation", int)
"""Raised by a node within one boot to refute what is said of it."""

BOOT_RANDOM_BITS = 28


class Address(NamedTuple):
    """Where a node's UDP socket and TCP listener are: a numeric host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def node_id(public_key: PublicKey) -> NodeId:
    """Return the id bound to the whole public key."""
    return NodeId(hashlib.blake2b(public_key, digest_size=16).digest())


def mint_boot(counter: int, random_bits: int) -> Boot:
    """Return the boot number of the `counter`-th start."""
    return Boot(counter << BOOT_RANDOM_BITS | random_bits & (1 << BOOT_RANDOM_BITS) - 1)


def boot_counter(boot: Boot) -> int:
    """Return how many times the node had started."""
    return boot >> BOOT_RANDOM_BITS


def dot_task_id(creator: NodeId, boot: Boot, number: int) -> TaskId:
    """Return the id of the `number`-th task that `creator` made in `boot`."""
    return TaskId(creator + boot.to_bytes(8, "big") + number.to_bytes(4, "big"))


def keyed_task_id(mesh: MeshId, namespace: str, key: str, window_end_s: int) -> TaskId:
    """Return the id that every submitter of one dedupe key computes."""
    digest = hashlib.blake2b(b"mesh-task-key-v1\0" + mesh, digest_size=28)
    for part in (namespace.encode(), key.encode()):
        digest.update(len(part).to_bytes(4, "big") + part)
    digest.update(window_end_s.to_bytes(8, "big"))
    return TaskId(digest.digest())


def task_text(task: TaskId) -> str:
    """Return the id as people and programs see it: `number-boot-creator`, all hex."""
    number = int.from_bytes(task[24:], "big")
    boot = int.from_bytes(task[16:24], "big")
    return f"{number:x}-{boot:x}-{task[:16].hex()}"


def parse_task_text(text: str) -> TaskId:
    """Return the id behind a text; raises ValueError when it is none."""
    number, boot, creator = text.split("-")
    made = bytes.fromhex(creator) + int(boot, 16).to_bytes(8, "big")
    task = TaskId(made + int(number, 16).to_bytes(4, "big"))
    if len(task) != 28 or task_text(task) != text:
        raise ValueError(text)
    return task
