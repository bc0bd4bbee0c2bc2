"""The names that people give to meshes and nodes."""

from mesh.core.errors import LocalError, RemoteError
from mesh.core.wire.codec import Text, normalise_text

NAME_BYTES_MAX = 64
NAME = Text(NAME_BYTES_MAX, 1)


def check_name(text: str) -> str:
    """Return a name in its normal form; raises LocalError when it cannot be one."""
    name = normalise_text(text)
    try:
        NAME.check(name)
    except (RemoteError, UnicodeEncodeError):
        raise LocalError(
            "bad_name",
            f"{text!r} cannot be a name",
            f"use 1 to {NAME_BYTES_MAX} bytes of UTF-8 without control characters",
        ) from None
    return name
