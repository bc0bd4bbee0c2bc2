"""A key as a line that people can write down and type in again.

    spelling := 13 groups of "dddd" "c": 52 base32 digits hold the 32 bytes, c checks one group

The check letter depends on the digits of its group and on its place, so a slip names its group, and
two groups that were swapped do not pass. Words from a list would read better aloud, but need a list
of 2,048 of them, kept for ever; fingerprints here are base32 already, and so are these.
"""

import base64
import hashlib

from mesh.core.errors import LocalError

KEY_BYTES = 32
GROUPS = 13
DIGITS = 4
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
LOOKALIKES = str.maketrans("0189", "OIBG")
"""Digits that base32 does not have, and what somebody who wrote them down has meant."""


def _check(place: int, digits: str) -> str:
    text = f"mesh-spelling-v1\0{place}:{digits}".encode()
    return ALPHABET[hashlib.blake2b(text, digest_size=1).digest()[0] % len(ALPHABET)]


def spell_key(key: bytes) -> str:
    """Return 32 bytes as 13 groups of five characters."""
    assert len(key) == KEY_BYTES
    digits = base64.b32encode(key).decode().rstrip("=")
    groups = [digits[at : at + DIGITS] for at in range(0, len(digits), DIGITS)]
    return "-".join(group + _check(place, group) for place, group in enumerate(groups))


def read_key(text: str) -> bytes:
    """Return the 32 bytes behind a spelling; raises LocalError that names what is mistyped."""
    plain = "".join(text.upper().replace("-", " ").split()).translate(LOOKALIKES)
    groups = [plain[at : at + DIGITS + 1] for at in range(0, len(plain), DIGITS + 1)]
    for place, group in enumerate(groups):
        digits, check = group[:DIGITS], group[DIGITS:]
        if _check(place, digits) != check or any(digit not in ALPHABET for digit in digits):
            raise _mistyped(f"group {place + 1} is mistyped, or in the wrong place")
    if len(groups) != GROUPS:
        raise _mistyped(f"{len(groups)} groups of five characters, where {GROUPS} belong")
    key = base64.b32decode("".join(group[:DIGITS] for group in groups) + "====")
    if spell_key(key).replace("-", "") != plain:
        raise _mistyped("the last group can not end so")
    return key


def _mistyped(message: str) -> LocalError:
    return LocalError("bad_root_key", f"this is no key: {message}", "compare it with what you kept")
