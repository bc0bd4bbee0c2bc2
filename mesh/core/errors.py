"""Errors by blame: the caller's, or a remote peer's; our own bugs are assertions."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why something from outside was refused; the value is also the counter's name."""

    MALFORMED = "malformed"
    NOT_CANONICAL = "not_canonical"
    TOO_LARGE = "too_large"
    BAD_SIGNATURE = "bad_signature"
    BAD_KEY = "bad_key"
    WRONG_MESH = "wrong_mesh"
    UNKNOWN_SENDER = "unknown_sender"
    UNKNOWN_CONTEXT = "unknown_context"
    NOT_ADMITTED = "not_admitted"
    REPLAYED = "replayed"
    NOT_SEALED_FOR_US = "not_sealed_for_us"
    AUTHOR_MISMATCH = "author_mismatch"
    BROKEN_RULE = "broken_rule"
    OVER_CAP = "over_cap"
    EXPIRED = "expired"
    FORGOTTEN = "forgotten"
    TICKET_USED = "ticket_used"
    TICKET_UNKNOWN = "ticket_unknown"
    CLOCK = "clock"
    PENDING = "pending"
    DENIED = "denied"


class RemoteError(Exception):
    """A peer sent something wrong: it is dropped and counted, and no state has changed.

    `refusal` is the reason counted, the message says what was seen.
    """

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(f"{refusal}: {detail}" if detail else str(refusal))
        self.refusal = refusal
        self.detail = detail


class LocalError(Exception):
    """A caller on this machine asked for something that cannot be: nothing has changed.

    `name` is a stable identifier for programs (snake_case), the message is for people, and
    `hint` says what to do next.
    """

    def __init__(self, name: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.hint = hint
