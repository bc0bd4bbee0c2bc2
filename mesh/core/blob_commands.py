"""What a control client may ask about blobs: see `commands`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mesh.core.command_fields import Base64, Digest, Seconds


class BlobPut(msgspec.Struct, tag="blob.put", frozen=True, forbid_unknown_fields=True):
    """Store at most 512 KiB at the `offset` up to which all is `stored`, as each answer says."""

    digest: Digest
    size: Annotated[int, Meta(ge=1, le=1_099_511_627_775)]
    offset: Annotated[int, Meta(ge=0, le=1_099_511_627_775)] = 0
    data: Base64 = ""


class BlobGet(msgspec.Struct, tag="blob.get", frozen=True, forbid_unknown_fields=True):
    """Read bytes of a blob that is here as a whole."""

    digest: Digest
    offset: Annotated[int, Meta(ge=0, le=1_099_511_627_775)] = 0
    count: Annotated[int, Meta(ge=1, le=393_216)] = 393_216


class BlobFetch(msgspec.Struct, tag="blob.fetch", frozen=True, forbid_unknown_fields=True):
    """Answer once a blob is here as a whole; who watches `blob` hears how far it is."""

    digest: Digest
    size: Annotated[int, Meta(ge=1, le=1_099_511_627_775)]
    wait_s: Seconds = 600.0


class BlobList(msgspec.Struct, tag="blob.list", frozen=True, forbid_unknown_fields=True):
    """The blobs on this node, those on their way included; `total` says how many there are."""

    skip: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


BlobCommand = BlobPut | BlobGet | BlobFetch | BlobList
