"""Where texts and bytes of local clients enter the mesh: normalised, decoded, measured."""

from base64 import b64decode

from mesh.core.errors import LocalError
from mesh.core.wire.codec import normalise_text

MS_MAX = (1 << 32) - 1


def entered_text(text: str, bytes_max: int, what: str) -> str:
    """Return a text in NFC; raises LocalError when it is empty or too long in UTF-8."""
    normal = normalise_text(text)
    size = len(entered_bytes(normal, what))
    if not 0 < size <= bytes_max:
        raise LocalError(
            "text_too_long",
            f"{what}: {size} bytes of UTF-8, at most {bytes_max} fit",
            f"give a shorter {what}",
        )
    return normal


def entered_bytes(text: str, what: str) -> bytes:
    """Return a text's NFC form in UTF-8; raises LocalError for what is no Unicode text."""
    try:
        return normalise_text(text).encode()
    except UnicodeEncodeError:
        raise LocalError(
            "bad_text", f"{what}: not a Unicode text", "send valid UTF-8 without lone surrogates"
        ) from None


def entered_ms(seconds: float | None, what: str) -> int | None:
    """Return a duration in milliseconds; raises LocalError when it is none, or too long."""
    if seconds is None:
        return None
    if not 0 < round(seconds * 1000) <= MS_MAX:
        raise LocalError(
            "bad_duration",
            f"{what}: {seconds:g} s, between 0.001 and {MS_MAX // 1000} fit",
            "give another duration, or leave it out",
        )
    return round(seconds * 1000)


def fitting_bytes(text: str, bytes_max: int, what: str) -> bytes:
    """Return a text in UTF-8, possibly empty; raises LocalError when it is too long."""
    data = entered_bytes(text, what)
    if len(data) > bytes_max:
        raise LocalError(
            "text_too_long",
            f"{what}: {len(data)} bytes of UTF-8, at most {bytes_max} fit",
            f"give a shorter {what}",
        )
    return data


def cut_text(text: str, bytes_max: int, what: str) -> bytes:
    """Return as much of a text as fits, never half a character."""
    data = entered_bytes(text, what)
    return data[:bytes_max].decode(errors="ignore").encode()


def entered_base64(text: str, bytes_max: int, what: str) -> bytes:
    """Return the bytes behind base64; raises LocalError when they are none, or too many."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise LocalError(
            "bad_base64", f"{what}: not base64", "encode the bytes as standard base64 with padding"
        ) from None
    if len(data) > bytes_max:
        raise LocalError(
            "payload_too_large",
            f"{what}: {len(data)} bytes, at most {bytes_max} fit",
            "put it in with blob.put, and give the digest of the blob instead",
        )
    return data
