"""What the fields of commands may hold: their types with bounds, used by several methods."""

from typing import Annotated

from msgspec import Meta

PRINTED = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""No control characters; `$` would let a last newline pass, which peers refuse in a fact."""
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTED)]
TagName = Annotated[str, Meta(min_length=1, max_length=32, pattern=PRINTED)]
TagValue = Annotated[str, Meta(max_length=64, pattern=PRINTED)]
Base64 = Annotated[str, Meta(max_length=1_398_104, description="bytes in base64")]
TaskText = Annotated[str, Meta(min_length=1, max_length=96, description="a task id")]
Handle = Annotated[str, Meta(min_length=8, max_length=64, description="from task.claim")]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
NodeText = Annotated[str, Meta(min_length=1, max_length=64, description="name/id/fingerprint/key")]
RootText = Annotated[str, Meta(max_length=256, description="a root key as `mesh root` prints it")]
WallSeconds = Annotated[float, Meta(ge=0, description="seconds since 1970")]
Limit = Annotated[float, Meta(ge=0.001, le=4_294_967)]
Digest = Annotated[str, Meta(min_length=64, max_length=64, description="BLAKE2b-256 in hex")]
RequestId = Annotated[str, Meta(min_length=1, max_length=128)]
