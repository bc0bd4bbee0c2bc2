"""Content to try blobs with."""

import hashlib

from mesh.core.identity import BlobId

PIECE = 300_000


def content(size: int, mark: bytes = b"blob") -> bytes:
    """Return bytes of which no two parts are alike."""
    return hashlib.shake_128(mark).digest(size)


def name_of(data: bytes) -> BlobId:
    """Return the name of a blob with this content."""
    return BlobId(hashlib.blake2b(data, digest_size=32).digest())
