"""How clients spell blobs and their bytes, and what they are told when one is not here."""

from base64 import b64decode

from mesh.core.blobs.shelf import Volume
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId

PUT_BYTES_MAX = 512 * 1024
DIGEST_BYTES = 32


def blob_id(digest: str) -> BlobId:
    """Return the name of a blob as clients spell it; raises LocalError."""
    try:
        blob = bytes.fromhex(digest)
    except ValueError:
        blob = b""
    if len(blob) != DIGEST_BYTES or blob.hex() != digest:
        raise LocalError(
            "bad_digest",
            f"{digest!r} is no digest",
            "give the BLAKE2b-256 of the content as 64 lower-case hex digits",
        )
    return BlobId(blob)


def entered_part(text: str) -> bytes:
    """Return the bytes of one part; raises LocalError."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = None
    if data is None or len(data) > PUT_BYTES_MAX:
        raise LocalError(
            "bad_base64",
            f"data: not base64, or more than {PUT_BYTES_MAX} bytes",
            "encode the bytes as standard base64 with padding, so many at a time",
        )
    return data


def not_here(volume: Volume | None, name: str = "blob_not_here") -> LocalError:
    """Return the error for a blob that is not here as a whole."""
    have, size = (0, None) if volume is None else (volume.have, volume.size)
    of = "" if size is None else f" of {size}"
    return LocalError(
        name, f"{have}{of} bytes of this blob are here", "fetch it first, or wait longer"
    )


def blob_busy() -> LocalError:
    """Return the error for a blob that two clients put in at once."""
    return LocalError("blob_busy", "somebody is putting this blob in", "try again")


def blob_wrong() -> LocalError:
    """Return the error for bytes that have another digest."""
    return LocalError(
        "blob_digest",
        "the bytes that were put in are not what the digest says",
        "compute it as BLAKE2b-256 of the content, and put it in again from 0",
    )
